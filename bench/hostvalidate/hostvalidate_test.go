// SPDX-License-Identifier: Apache-2.0

package hostvalidate

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/hostvalidate"
)

func TestSubject(t *testing.T) {
	subject, err := Subject()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := subject.Report(io.Discard, measure.Smoke); err != nil {
		t.Fatal(err)
	}
}

func TestOursAnswersEveryRow(t *testing.T) {
	if len(Rows) < 70 {
		t.Fatal("rows are missing")
	}
	ours := judges()[0]
	for _, row := range Rows {
		if ours.allows(row) != row.Good {
			t.Errorf("%s: allowed is %t", row.Name, !row.Good)
		}
	}
}

// TestPeersAreBeaten shows that the rows are no straw men: each peer fails some, and none fails all.
func TestPeersAreBeaten(t *testing.T) {
	for _, j := range judges()[1:] {
		wrong := 0
		for _, row := range Rows {
			if j.allows(row) != row.Good {
				wrong++
			}
		}
		if wrong == 0 || wrong > len(Rows)*2/3 {
			t.Errorf("%s: %d wrong answers of %d", j.name, wrong, len(Rows))
		}
	}
}

// upgraders are the two libraries as their users set them up: alone, and with the guard.
var upgraders = []struct {
	name string
	make func(policy *hostvalidate.Policy) http.Handler // nil: without
}{
	{"gorilla, CheckOrigin", func(policy *hostvalidate.Policy) http.Handler {
		upgrader := new(gorilla.Upgrader)
		if policy != nil {
			upgrader.CheckOrigin = policy.CheckOrigin
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.WriteMessage(gorilla.TextMessage, []byte("the secret"))
		})
	}},
	{"coder behind Handler", func(policy *hostvalidate.Policy) http.Handler {
		handler := func(options *coder.AcceptOptions) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := coder.Accept(w, r, options)
				if err != nil {
					return
				}
				_ = conn.Write(r.Context(), coder.MessageText, []byte("the secret"))
				_ = conn.Close(coder.StatusNormalClosure, "")
			})
		}
		if policy == nil {
			return handler(nil)
		}
		return policy.Handler(handler(&coder.AcceptOptions{InsecureSkipVerify: true}))
	}},
}

// TestUpgraders opens real WebSockets. PORT is the server's.
func TestUpgraders(t *testing.T) {
	for _, u := range upgraders {
		for _, c := range []struct {
			name, host, origin string
			alone, guarded     bool
		}{
			{"a program", "localhost:PORT", "", true, true},
			{"own page", "localhost:PORT", "http://localhost:PORT", true, true},
			{"rebinding", "evil.example:PORT", "http://evil.example:PORT", true, false},
			{"rebinding by a program's request", "evil.example:PORT", "", true, false},
			{"cross-site", "localhost:PORT", "https://evil.example", false, false},
			{"another scheme", "localhost:PORT", "ftp://localhost:PORT", true, false},
			{"a path in Origin", "localhost:PORT", "http://localhost:PORT/evil", true, false},
		} {
			t.Run(u.name+"/"+c.name, func(t *testing.T) {
				policy, err := hostvalidate.New(hostvalidate.Config{})
				if err != nil {
					t.Fatal(err)
				}
				for _, guard := range []*hostvalidate.Policy{nil, policy} {
					want := c.alone
					if guard != nil {
						want = c.guarded
					}
					server := httptest.NewServer(u.make(guard))
					got, err := open(server.Listener.Addr().String(), c.host, c.origin)
					server.Close()
					if got != want {
						t.Errorf("guard %t: opened is %t: %v", guard != nil, got, err)
					}
				}
			})
		}
	}
}

// open dials by gorilla's client and reads the secret.
func open(addr, host, origin string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	fill := func(s string) string { return strings.ReplaceAll(s, "PORT", port) }
	header := http.Header{"Host": {fill(host)}}
	if origin != "" {
		header.Set("Origin", fill(origin))
	}
	conn, response, err := gorilla.DefaultDialer.DialContext(ctx, "ws://"+addr+"/", header)
	if err != nil {
		if response == nil || response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusMisdirectedRequest {
			panic(err)
		}
		return false, err
	}
	defer conn.Close()
	_, message, err := conn.ReadMessage()
	return string(message) == "the secret", err
}
