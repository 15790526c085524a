// SPDX-License-Identifier: Apache-2.0

package hostvalidate_test

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/merlon-go/merlon/hostvalidate"
)

// The referees: grammar by regular expression, addresses by net/netip. Slow and plain, they share no code with the package.
var (
	withPort = regexp.MustCompile(`^(.*?)(?::([1-9][0-9]{0,4}))?$`)
	label    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	number   = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]*)$`)
	printed  = regexp.MustCompile(`^([a-z][a-z0-9+.-]*://)?(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[0-9]+)?$`)
)

// refereeHost gives the name in lower case or the address that s is for; ok is false if it is for none.
func refereeHost(s string) (name string, addr netip.Addr, ok bool) {
	if strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", addr, false
	}
	parts := withPort.FindStringSubmatch(s)
	if port, _ := strconv.Atoi(parts[2]); port > 65535 {
		return "", addr, false
	}
	s = parts[1]
	if inner, found := strings.CutPrefix(s, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !found || err != nil || addr.Zone() != "" || !strings.Contains(inner, ":") {
			return "", addr, false
		}
		for _, embeds := range []string{"::/96", "::ffff:0:0:0/96", "64:ff9b::/96"} {
			if netip.MustParsePrefix(embeds).Contains(addr) && !netip.MustParsePrefix("::/120").Contains(addr) {
				return "", addr, false
			}
		}
		return "", addr.Unmap(), true
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
		return "", addr, true
	}
	name = strings.ToLower(strings.TrimSuffix(s, "."))
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if !label.MatchString(l) {
			return "", addr, false
		}
	}
	return name, addr, len(name) <= 253 && !number.MatchString(labels[len(labels)-1])
}

func seedHosts(f *testing.F) {
	for _, c := range hostRows {
		if len(c.request.Host) < 300 {
			f.Add(c.request.Host)
		}
	}
}

// FuzzHost compares every verdict and Reason class with the referees', with all addresses and one name declared.
func FuzzHost(f *testing.F) {
	seedHosts(f)
	p, err := hostvalidate.New(hosts("gw.example.com", "0.0.0.0/0", "::/0"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := loopback4.request()
		r.Host = s
		err := p.Check(r)
		name, addr, ok := refereeHost(s)
		switch {
		case !ok:
			if err == nil || errors.Is(err, hostvalidate.HostUndeclared) || errors.Is(err, hostvalidate.HostLoopback) {
				t.Fatalf("%q is malformed: %v", s, err)
			}
		case addr.IsValid() && addr.IsUnspecified():
			if !errors.Is(err, hostvalidate.HostUnspecified) {
				t.Fatalf("%q is unspecified: %v", s, err)
			}
		case addr.IsValid(), name == "gw.example.com", name == "localhost":
			if err != nil {
				t.Fatalf("%q is good: %v", s, err)
			}
		default:
			if !errors.Is(err, hostvalidate.HostUndeclared) {
				t.Fatalf("%q is undeclared: %v", s, err)
			}
		}
		if err == nil { // net/url must understand the same
			u, parseErr := url.Parse("http://" + s + "/")
			if parseErr != nil || u.Host != s || u.User != nil {
				t.Fatalf("%q is another host to net/url: %v, %v", s, u, parseErr)
			}
		}
	})
}

// FuzzSuggest: what is suggested is clean, works, and is suggested again for itself.
func FuzzSuggest(f *testing.F) {
	for _, c := range append(hostRows[:len(hostRows):len(hostRows)], originRows...) {
		if origin := append(c.request.Origin, ""); len(c.request.Host)+len(origin[0]) < 600 {
			f.Add(c.request.Host, origin[0])
		}
	}
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := request{Host: host, Origin: []string{origin}}
		var c config
		for range 3 {
			p, err := hostvalidate.New(c)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			var refusal *hostvalidate.Error
			if !errors.As(p.Check(r), &refusal) || refusal.Suggest == "" {
				return
			}
			if !printed.MatchString(refusal.Suggest) || !strings.Contains(refusal.Error(), refusal.Suggest) {
				t.Fatalf("%q", refusal.Suggest)
			}
			again := row{request: r}.full()
			if refusal.Reason == hostvalidate.HostUndeclared {
				c.Hosts = append(c.Hosts, refusal.Suggest)
				again.Host = refusal.Suggest
			} else {
				c.Origins = append(c.Origins, refusal.Suggest)
				again.Origin = []string{refusal.Suggest}
			}
			again.Local, again.Peer = r.Local, r.Peer
			var same *hostvalidate.Error
			if !errors.As(p.Check(again), &same) || *same != *refusal {
				t.Fatalf("%+v suggests %q, which suggests %v", r, refusal.Suggest, same)
			}
		}
		t.Fatalf("%+v: suggestions never end: %+v", r, c)
	})
}

// FuzzOrigin: an origin that is let through is the host that was asked for, letter by letter, as net/url sees it.
func FuzzOrigin(f *testing.F) {
	for _, c := range originRows {
		if len(c.request.Origin) == 1 && len(c.request.Origin[0]) < 600 {
			f.Add(c.request.Host, c.request.Origin[0])
		}
	}
	p, err := hostvalidate.New(hosts("::/0", "0.0.0.0/0", "gw.example.com"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := loopback4.request()
		r.Host, r.Origin = host, []string{origin}
		if p.Check(r) != nil {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path+u.RawQuery+u.Fragment != "" || u.User != nil {
			t.Fatalf("%q: %v, %v", origin, u, err)
		}
		asked, _ := url.Parse(u.Scheme + "://" + host)
		if place(u) != place(asked) {
			t.Fatalf("%q is not %q", origin, host)
		}
	})
}

// place is the host and effective port of u in one form.
func place(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if addr, err := netip.ParseAddr(name); err == nil {
		name = addr.Unmap().String()
	}
	return name + " " + port
}
