// SPDX-License-Identifier: Apache-2.0

// Package hostvalidate measures merlon's hostvalidate beside the checks that services rely on today, and counts the
// wrong answers of each.
package hostvalidate

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/unrolled/secure"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/hostvalidate"
)

// declared is the one name that the measured server answers to besides its own addresses.
const declared = "gateway.example.com"

// Subject measures how long a verdict takes; the peers' wrong ones are in the note.
func Subject() (measure.Subject, error) {
	policy, err := hostvalidate.New(hostvalidate.Config{Hosts: []string{declared}})
	if err != nil {
		return measure.Subject{}, err
	}
	exact, pattern := unrolledExact(), unrolledPattern()
	cross := http.NewCrossOriginProtection()

	job := func(name, host string, origin bool, allocs int) measure.Job {
		row := Row{Host: host, Local: loopback, Peer: loopback}
		if origin {
			row.Origin = "http://" + host
		}
		request, r := row.request(http.MethodPost), row.pure()
		return measure.Job{
			Name: name,
			Entries: []measure.Entry{
				{Name: "Check", Run: func(n int) {
					for range n {
						_ = policy.Check(r)
					}
				}},
				{Name: "CheckHTTP", Run: func(n int) {
					for range n {
						_ = policy.CheckHTTP(request)
					}
				}},
				{Name: "unrolled/secure, names", Run: func(n int) {
					for range n {
						_, _, _ = exact.ProcessNoModifyRequest(nil, request)
					}
				}},
				{Name: "unrolled/secure, pattern", Run: func(n int) {
					for range n {
						_, _, _ = pattern.ProcessNoModifyRequest(nil, request)
					}
				}},
				{Name: "CrossOriginProtection", Run: func(n int) {
					for range n {
						_ = cross.Check(request)
					}
				}},
			},
			// No bar against a list of names: it compares whole strings, and so knows neither ports nor the connection.
			Bars: []measure.Bar{
				measure.Faster(2.5, "unrolled/secure, pattern"),
				measure.Within(100), measure.Allocs(allocs),
			},
		}
	}
	withOrigin := job("localhost with Origin", "localhost:18789", true, 0)
	withOrigin.Bars = []measure.Bar{measure.AtMost(1, "CrossOriginProtection"), measure.Allocs(0)}
	return measure.Subject{
		Name: "hostvalidate",
		Jobs: []measure.Job{
			job("localhost", "localhost:18789", false, 0),
			job("127.0.0.1", "127.0.0.1:18789", false, 0),
			job("[::1]", "[::1]:18789", false, 0),
			job("declared name", declared, false, 0),
			job("undeclared name", "evil.example:18789", false, 1), // the error, which suggests an entry
			job("malformed", "localhost:18789@evil.example", false, 0),
			withOrigin,
		},
		Note: note,
	}, nil
}

// A judge says whether it would let a request through.
type judge struct {
	name   string
	allows func(Row) bool
}

// judges are ours and the real peers, each set up as well as it can be for the server of the rows.
func judges() []judge {
	exact, pattern, cross := unrolledExact(), unrolledPattern(), http.NewCrossOriginProtection()
	unrolled := func(s *secure.Secure) func(Row) bool {
		return func(row Row) bool {
			_, _, err := s.ProcessNoModifyRequest(nil, row.request(http.MethodPost))
			return err == nil
		}
	}
	ours := func(row Row) bool {
		policy, err := hostvalidate.New(hostvalidate.Config{Hosts: []string{declared}})
		return err == nil && policy.CheckHTTP(row.request(http.MethodGet)) == nil
	}
	crossOrigin := func(row Row) bool { return cross.Check(row.request(http.MethodPost)) == nil } // it lets every GET through
	viaCoder := func(row Row) bool {
		w := httptest.NewRecorder()
		_, _ = coder.Accept(w, row.request(http.MethodGet), nil)
		return w.Code != http.StatusForbidden // else it fails later, as a recorder is no connection
	}
	viaGorilla := func(row Row) bool {
		w := httptest.NewRecorder()
		_, _ = new(gorilla.Upgrader).Upgrade(w, row.request(http.MethodGet), nil)
		return w.Code != http.StatusForbidden
	}
	both := func(a, b func(Row) bool) func(Row) bool {
		return func(row Row) bool { return a(row) && b(row) }
	}
	return []judge{
		{"hostvalidate", ours},
		{"unrolled/secure, names", unrolled(exact)},
		{"unrolled/secure, pattern", unrolled(pattern)},
		{"CrossOriginProtection", crossOrigin},
		{"gorilla/websocket", viaGorilla},
		{"coder/websocket", viaCoder},
		{"unrolled/secure, pattern, and CrossOriginProtection", both(unrolled(pattern), crossOrigin)},
		{"unrolled/secure, pattern, and coder/websocket", both(unrolled(pattern), viaCoder)},
	}
}

// unrolledExact lists the hosts by name, with and without the port, as its comparison of whole strings needs.
func unrolledExact() *secure.Secure {
	var hosts []string
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]", declared, "192.168.1.10"} {
		hosts = append(hosts, host, host+":18789")
	}
	return quiet(secure.New(secure.Options{AllowedHosts: hosts}))
}

// unrolledPattern is the pattern that a careful operator writes.
func unrolledPattern() *secure.Secure {
	return quiet(secure.New(secure.Options{
		AllowedHosts:         []string{`(?i)^(localhost|127\.0\.0\.1|\[::1\]|gateway\.example\.com|192\.168\.1\.10)(:[0-9]+)?$`},
		AllowedHostsAreRegex: true,
	}))
}

// quiet takes the writing of the answer out of what is measured.
func quiet(s *secure.Secure) *secure.Secure {
	s.SetBadHostHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return s
}

// note prints the wrong answers of each judge.
func note(w io.Writer) error {
	allowed, refused := 0, 0
	for _, row := range Rows {
		if row.Good {
			allowed++
		} else {
			refused++
		}
	}
	fmt.Fprintf(w, "Wrong answers to the %d hostile and %d legitimate requests of bench/hostvalidate/rows.go, a server that answers to %s:\n\n", refused, allowed, declared)
	fmt.Fprintf(w, "| check | wrongly allowed | wrongly refused | the first of each |\n|---|---:|---:|---|\n")
	for _, j := range judges() {
		var count [2]int
		var first [2]string
		for _, row := range Rows {
			if j.allows(row) == row.Good {
				continue
			}
			kind := 0
			if row.Good {
				kind = 1
			}
			if count[kind]++; first[kind] == "" {
				first[kind] = row.Name
			}
		}
		examples := first[0]
		if first[0] != "" && first[1] != "" {
			examples += "; "
		}
		if _, err := fmt.Fprintf(w, "| %s | %d | %d | %s |\n", j.name, count[0], count[1], examples+first[1]); err != nil {
			return err
		}
	}
	return nil
}

// request is the row as a server of net/http sees it, with the headers of a WebSocket handshake.
func (row Row) request(method string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	r.Host, r.RemoteAddr = row.Host, row.Peer
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		r.Header.Set(name, value)
	}
	if row.Origin != "" {
		r.Header.Set("Origin", row.Origin)
	}
	if row.Second != "" {
		r.Header.Add("Origin", row.Second)
	}
	local := net.Addr(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(row.Local)))
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
}

func (row Row) pure() hostvalidate.Request {
	r := hostvalidate.Request{Host: row.Host, Local: netip.MustParseAddrPort(row.Local), Peer: netip.MustParseAddrPort(row.Peer)}
	if row.Origin != "" {
		r.Origin = []string{row.Origin}
	}
	return r
}
