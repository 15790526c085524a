// SPDX-License-Identifier: Apache-2.0

package hostvalidate_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/hostvalidate"
)

// answer is what came back over the wire.
type answer struct {
	Status int
	Type   string
	Body   string
	Reason hostvalidate.Reason
}

const hangUp = "Connection: close\r\n\r\n"

// send dials a server, sends raw bytes with PORT replaced, and reads one answer. Status 0: it was closed without one.
func send(t *testing.T, server *httptest.Server, raw string) answer {
	t.Helper()
	conn, err := net.Dial(server.Listener.Addr().Network(), server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	_, err = io.WriteString(conn, strings.ReplaceAll(raw, "PORT", port))
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	a := answer{Status: resp.StatusCode, Type: resp.Header.Get("Content-Type")}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return a
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	a.Body = string(body)
	if a.Type == "application/json" {
		var told struct {
			Error  string
			Reason hostvalidate.Reason
		}
		require.NoError(t, json.Unmarshal(body, &told))
		require.NotEmpty(t, told.Error)
		a.Reason = told.Reason
	}
	return a
}

// service is what is attacked: it reads, acts, and speaks WebSocket. Handler, if set, guards it.
type service struct {
	mu     sync.Mutex
	served []string
}

func (s *service) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = append(s.served, what)
}

func (s *service) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.served...)
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "websocket" {
		s.note("WebSocket")
		upgrade(w, r)
		return
	}
	s.note(r.Method)
	_, _ = io.WriteString(w, "the secret")
}

// upgrade is RFC 6455 section 4.2.2 and one text frame, "the secret".
func upgrade(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(accept[:]) + "\r\n\r\n\x81\x0athe secret")
	_ = buffered.Flush()
	_, _ = io.Copy(io.Discard, conn) // until the client goes
}

const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// wireRows are whole requests, which net/http serves without the guard unless its own status is given.
var wireRows = []struct {
	name, raw string
	want      hostvalidate.Reason
	unguarded int // zero: 200
}{
	{name: "localhost", raw: "GET / HTTP/1.1\r\nHost: localhost:PORT\r\n" + hangUp},
	{name: "the server's own page", raw: "POST / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\nSec-Fetch-Site: same-origin\r\n" + hangUp},
	{name: "a target that only looks absolute", raw: "GET //evil.example/ HTTP/1.1\r\nHost: localhost:PORT\r\n" + hangUp},
	{name: "X-Forwarded-Host from anyone", raw: "GET / HTTP/1.1\r\nHost: localhost:PORT\r\nX-Forwarded-Host: evil.example\r\n" + hangUp},
	{name: "HTTP/1.0 with Host", raw: "GET / HTTP/1.0\r\nHost: localhost:PORT\r\n\r\n"},

	{name: "rebinding", raw: "GET / HTTP/1.1\r\nHost: evil.example:PORT\r\n" + hangUp, want: hostvalidate.HostUndeclared},
	{name: "rebinding, POST", raw: "POST / HTTP/1.1\r\nHost: evil.example:PORT\r\nOrigin: http://evil.example:PORT\r\nContent-Length: 2\r\n" + hangUp + "{}", want: hostvalidate.HostUndeclared},
	{name: "rebinding, X-Forwarded-Host", raw: "GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n" + hangUp, want: hostvalidate.HostUndeclared},
	{name: "rebinding, Forwarded", raw: "GET / HTTP/1.1\r\nHost: evil.example\r\nForwarded: host=localhost\r\n" + hangUp, want: hostvalidate.HostUndeclared},
	{name: "absolute form, Host is good", raw: "GET http://evil.example/ HTTP/1.1\r\nHost: localhost:PORT\r\n" + hangUp, want: hostvalidate.AbsoluteTarget},
	{name: "absolute form, target is good", raw: "GET http://localhost:PORT/ HTTP/1.1\r\nHost: evil.example\r\n" + hangUp, want: hostvalidate.AbsoluteTarget},
	{name: "absolute form, opaque", raw: "GET localhost:x HTTP/1.1\r\nHost: localhost:PORT\r\n" + hangUp, want: hostvalidate.AbsoluteTarget},
	{name: "CONNECT", raw: "CONNECT localhost:PORT HTTP/1.1\r\nHost: localhost:PORT\r\n" + hangUp, want: hostvalidate.AbsoluteTarget},
	{name: "HTTP/1.0 without Host", raw: "GET / HTTP/1.0\r\n\r\n", want: hostvalidate.HostMissing},
	{name: "empty Host", raw: "GET / HTTP/1.1\r\nHost:\r\n" + hangUp, want: hostvalidate.HostMissing},
	{name: "Host of blanks", raw: "GET / HTTP/1.1\r\nHost: \t \r\n" + hangUp, want: hostvalidate.HostMissing},
	{name: "a port alone", raw: "GET / HTTP/1.1\r\nHost: :PORT\r\n" + hangUp, want: hostvalidate.HostMissing},
	{name: "two ports", raw: "GET / HTTP/1.1\r\nHost: localhost:80:80\r\n" + hangUp, want: hostvalidate.HostBadPort},
	{name: "a stray bracket", raw: "GET / HTTP/1.1\r\nHost: [::1]:80]\r\n" + hangUp, want: hostvalidate.HostBadPort},
	{name: "a list", raw: "GET / HTTP/1.1\r\nHost: localhost,evil.example\r\n" + hangUp, want: hostvalidate.HostList},
	{name: "percent-encoding", raw: "GET / HTTP/1.1\r\nHost: %6cocalhost\r\n" + hangUp, want: hostvalidate.HostEscaped},
	{name: "an asterisk", raw: "GET / HTTP/1.1\r\nHost: *\r\n" + hangUp, want: hostvalidate.HostCharacter},
	{name: "dots", raw: "GET / HTTP/1.1\r\nHost: ..\r\n" + hangUp, want: hostvalidate.HostDots},
	{name: "a label of 300 bytes", raw: "GET / HTTP/1.1\r\nHost: " + long(300) + "\r\n" + hangUp, want: hostvalidate.HostTooLong},
	{name: "127.1", raw: "GET / HTTP/1.1\r\nHost: 127.1:PORT\r\n" + hangUp, want: hostvalidate.HostLegacyIPv4},
	{name: "0.0.0.0", raw: "GET / HTTP/1.1\r\nHost: 0.0.0.0:PORT\r\n" + hangUp, want: hostvalidate.HostUnspecified},
	{name: "127.0.0.1 in brackets", raw: "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n" + hangUp, want: hostvalidate.HostBadIPv6},
	{name: "::127.0.0.1", raw: "GET / HTTP/1.1\r\nHost: [::127.0.0.1]\r\n" + hangUp, want: hostvalidate.HostEmbeddedIPv4},
	{name: "a zone", raw: "GET / HTTP/1.1\r\nHost: [::1%25lo]\r\n" + hangUp, want: hostvalidate.HostZone},
	{name: "a hyphen in front", raw: "GET / HTTP/1.1\r\nHost: -localhost\r\n" + hangUp, want: hostvalidate.HostHyphen},
	{name: "cross-site POST", raw: "POST / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: https://evil.example\r\n" + hangUp, want: hostvalidate.OriginUndeclared},
	{name: "cross-site, another case of the name", raw: "POST / HTTP/1.1\r\nHost: localhost:PORT\r\noRIGIN: https://evil.example\r\n" + hangUp, want: hostvalidate.OriginUndeclared},
	{name: "two Origins", raw: "POST / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: http://localhost:PORT\r\nOrigin: https://evil.example\r\n" + hangUp, want: hostvalidate.OriginAmbiguous},
	{name: "two Origins, the first empty", raw: "POST / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin:\r\nOrigin: https://evil.example\r\n" + hangUp, want: hostvalidate.OriginAmbiguous},
	{name: "image on another site", raw: "GET / HTTP/1.1\r\nHost: localhost:PORT\r\nSec-Fetch-Site: cross-site\r\n" + hangUp, want: hostvalidate.CrossSite},

	{name: "WebSocket", raw: "GET / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: http://localhost:PORT\r\n" + handshake, unguarded: http.StatusSwitchingProtocols},
	{name: "rebinding, WebSocket", raw: "GET / HTTP/1.1\r\nHost: evil.example:PORT\r\nOrigin: http://evil.example:PORT\r\n" + handshake, want: hostvalidate.HostUndeclared, unguarded: http.StatusSwitchingProtocols},
	{name: "cross-site WebSocket", raw: "GET / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: https://evil.example\r\n" + handshake, want: hostvalidate.OriginUndeclared, unguarded: http.StatusSwitchingProtocols},
	{name: "WebSocket from a sandboxed frame", raw: "GET / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: null\r\n" + handshake, want: hostvalidate.OriginNull, unguarded: http.StatusSwitchingProtocols},
}

// TestWire sends each request to the service without and with the guard. The first must serve it, so that the row shows
// something that net/http lets through.
func TestWire(t *testing.T) {
	refused := 0
	for _, c := range wireRows {
		t.Run(c.name, func(t *testing.T) {
			p, err := hostvalidate.New(config{})
			require.NoError(t, err)
			bare, guarded := new(service), new(service)
			twin := httptest.NewServer(bare)
			defer twin.Close()
			var hook, direct atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hook.Store(p.CheckOrigin(r))
				direct.Store(p.CheckHTTP(r) == nil)
				p.Handler(guarded).ServeHTTP(w, r)
			}))
			defer server.Close()

			open := http.StatusOK
			if c.unguarded != 0 {
				open = c.unguarded
			}
			require.Equal(t, open, send(t, twin, c.raw).Status)
			require.Len(t, bare.log(), 1)

			got := send(t, server, c.raw)
			require.Equal(t, c.want, got.Reason)
			require.Equal(t, c.want == allowed, hook.Load(), "CheckOrigin")
			require.Equal(t, c.want == allowed, direct.Load(), "CheckHTTP")
			if c.want == allowed {
				require.Equal(t, open, got.Status)
				require.Len(t, guarded.log(), 1)
				return
			}
			refused++
			require.Equal(t, c.want.Status(), got.Status)
			require.Empty(t, guarded.log())
			require.NotContains(t, got.Body, "evil")
		})
	}
	require.GreaterOrEqual(t, refused, 30)
}

// TestTwoHosts: net/http refuses these itself, in whatever way; the guard must not make it worse.
func TestTwoHosts(t *testing.T) {
	p, err := hostvalidate.New(config{})
	require.NoError(t, err)
	s := new(service)
	server := httptest.NewServer(p.Handler(s))
	defer server.Close()
	for _, headers := range []string{
		"Host: localhost:PORT\r\nHost: evil.example\r\n", "Host: evil.example\r\nHost: localhost:PORT\r\n", "", "Host: localhost/evil\r\n",
		"Host: localhost@evil.example\r\n", "Host: localhost\r\n evil.example\r\n", "Host : localhost\r\n", "Host: localhost\x00\r\n",
	} {
		got := send(t, server, "GET / HTTP/1.1\r\n"+headers+hangUp)
		require.True(t, got.Status == 0 || got.Status >= 400 && got.Status < 500, "%q: %d", headers, got.Status)
	}
	require.Empty(t, s.log())
}

// TestHTTP2 speaks HTTP/2 by hand, since no client sends a Host that differs from :authority.
func TestHTTP2(t *testing.T) {
	p, err := hostvalidate.New(config{})
	require.NoError(t, err)
	for _, c := range []struct {
		name    string
		headers []string
		want    hostvalidate.Reason
	}{
		{name: "localhost", headers: []string{":method", "GET", ":scheme", "http", ":authority", "localhost", ":path", "/"}},
		{name: "Host instead of :authority", headers: []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "localhost"}},
		{name: "Host equal to :authority", headers: []string{":method", "GET", ":scheme", "http", ":authority", "localhost", ":path", "/", "host", "localhost"}},
		{name: "rebinding", headers: []string{":method", "GET", ":scheme", "http", ":authority", "evil.example", ":path", "/"}, want: hostvalidate.HostUndeclared},
		{name: "Host instead of :authority, rebinding", headers: []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "evil.example"}, want: hostvalidate.HostUndeclared},
		{name: "Host beside :authority", headers: []string{":method", "GET", ":scheme", "http", ":authority", "localhost", ":path", "/", "host", "evil.example"}, want: hostvalidate.HostAmbiguous},
		{name: "two Hosts beside :authority", headers: []string{":method", "GET", ":scheme", "http", ":authority", "localhost", ":path", "/", "host", "localhost", "host", "evil.example"}, want: hostvalidate.HostAmbiguous},
		{name: "neither", headers: []string{":method", "GET", ":scheme", "http", ":path", "/"}, want: hostvalidate.HostMissing},
		{name: "CONNECT", headers: []string{":method", "CONNECT", ":authority", "localhost:80"}, want: hostvalidate.AbsoluteTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, guard := range []bool{false, true} {
				verdict := make(chan error, 1)
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if guard {
						verdict <- p.CheckHTTP(r)
					} else {
						verdict <- nil
					}
				}))
				server.Config.Protocols = new(http.Protocols)
				server.Config.Protocols.SetUnencryptedHTTP2(true)
				server.Start()
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				require.NoError(t, err)
				_, err = conn.Write(http2Request(c.headers))
				require.NoError(t, err)
				select {
				case err = <-verdict:
				case <-time.After(10 * time.Second):
					t.Fatal("the request did not reach the handler")
				}
				require.NoError(t, conn.Close())
				server.Close()
				if !guard || c.want == allowed {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.want)
				}
			}
		})
	}
}

// http2Request is the client's preface, SETTINGS, and one request without body (RFC 9113 section 3.4), whose headers are
// literals that no table indexes (RFC 7541 section 6.2.2).
func http2Request(headers []string) []byte {
	var block []byte
	for i := 0; i < len(headers); i += 2 {
		block = append(block, 0, byte(len(headers[i])))
		block = append(append(block, headers[i]...), byte(len(headers[i+1])))
		block = append(block, headers[i+1]...)
	}
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, 0, 0, 4, 0, 0, 0, 0, 0)
	out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))<<8|1), 5, 0, 0, 0, 1) // HEADERS, END_STREAM|END_HEADERS, stream 1
	return append(out, block...)
}

// TestOtherAddresses shows that the rights of an address come from the connection, whatever the server listens on.
func TestOtherAddresses(t *testing.T) {
	p, err := hostvalidate.New(hosts("gw.example.com"))
	require.NoError(t, err)
	serve := func(l net.Listener) *httptest.Server {
		server := &httptest.Server{Listener: l, Config: &http.Server{Handler: p.Handler(new(service))}}
		server.Start()
		t.Cleanup(server.Close)
		return server
	}
	listen := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		require.NoError(t, err)
		return l
	}
	ask := func(server *httptest.Server, host string) hostvalidate.Reason {
		return send(t, server, "GET / HTTP/1.1\r\nHost: "+host+"\r\n"+hangUp).Reason
	}
	t.Run("all addresses", func(t *testing.T) {
		server := serve(listen("tcp4", "0.0.0.0:0")) // dialled as 127.0.0.1
		require.Equal(t, allowed, ask(server, "localhost"))
		require.Equal(t, hostvalidate.HostUndeclared, ask(server, "evil.example"))
		require.Equal(t, hostvalidate.HostUnspecified, ask(server, "0.0.0.0"))
	})
	networks := map[string]net.Listener{
		"198.51.100.10": network{listen("tcp4", "127.0.0.1:0"), "198.51.100.10", "198.51.100.77"}, // there may be no other
	}
	for _, own := range ownAddresses(t) {
		networks[own] = listen("tcp", net.JoinHostPort(own, "0"))
	}
	for own, l := range networks {
		t.Run("an address of a network, "+own, func(t *testing.T) {
			server := serve(l)
			require.Equal(t, allowed, ask(server, own))
			require.Equal(t, allowed, ask(server, "gw.example.com"))
			require.Equal(t, hostvalidate.HostLoopback, ask(server, "localhost"))
			require.Equal(t, hostvalidate.HostLoopback, ask(server, "127.0.0.1"))
			require.Equal(t, hostvalidate.HostUndeclared, ask(server, "evil.example"))
			require.Equal(t, hostvalidate.HostUndeclared, ask(server, "203.0.113.7"))
		})
	}
	t.Run("one end on a network", func(t *testing.T) {
		for _, l := range []network{
			{listen("tcp4", "127.0.0.1:0"), "198.51.100.10", "127.0.0.1"}, {listen("tcp4", "127.0.0.1:0"), "127.0.0.1", "198.51.100.77"},
		} {
			server := serve(l)
			require.Equal(t, hostvalidate.HostLoopback, ask(server, "localhost"))
			require.Equal(t, hostvalidate.HostLoopback, ask(server, "127.0.0.1"))
		}
	})
	t.Run("a Unix socket has no address", func(t *testing.T) {
		server := serve(listen("unix", filepath.Join(t.TempDir(), "s")))
		require.Equal(t, allowed, ask(server, "gw.example.com"))
		require.Equal(t, hostvalidate.HostLoopback, ask(server, "localhost"))
		require.Equal(t, hostvalidate.HostUndeclared, ask(server, "203.0.113.7"))
	})
}

// ownAddresses are the IPv4 addresses of this machine that aren't loopback and can be reached.
func ownAddresses(t *testing.T) (own []string) {
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		require.NoError(t, err)
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				own = append(own, p.Addr().String())
			}
		}
	}
	return own
}

// A network is a listener whose connections say that they came over a network. net/http asks them for both ends, so
// that this shows the same on a machine with loopback only.
type network struct {
	net.Listener
	local, peer string
}

func (n network) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	return networkConn{conn, n}, err
}

type networkConn struct {
	net.Conn
	network network
}

func (c networkConn) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.network.local), Port: 80}
}
func (c networkConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.network.peer), Port: 50123}
}

func TestTrustedProxyOverTheWire(t *testing.T) {
	p, err := hostvalidate.New(config{Hosts: []string{"gw.example.com"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	require.NoError(t, err)
	s := new(service)
	server := httptest.NewServer(p.Handler(s))
	defer server.Close()
	get := "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"
	require.Equal(t, allowed, send(t, server, get+hangUp).Reason)
	require.Equal(t, allowed, send(t, server, get+"X-Forwarded-Host: gw.example.com\r\nOrigin: https://gw.example.com\r\n"+hangUp).Reason)
	require.Len(t, s.log(), 2)
	require.Equal(t, hostvalidate.HostUndeclared, send(t, server, get+"X-Forwarded-Host: evil.example\r\n"+hangUp).Reason)
	require.Equal(t, hostvalidate.HostAmbiguous, send(t, server, get+"X-Forwarded-Host: gw.example.com\r\nx-forwarded-host: evil.example\r\n"+hangUp).Reason)
	require.Len(t, s.log(), 2)
}

func TestHandMadeRequestHasNoRights(t *testing.T) {
	p, err := hostvalidate.New(hosts("gw.example.com"))
	require.NoError(t, err)
	for remote, host := range map[string]string{"127.0.0.1:1": "localhost", "127.0.0.1": "127.0.0.1", "@": "localhost", "": "[::1]"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host = remote, host
		require.ErrorIs(t, p.CheckHTTP(r), hostvalidate.HostLoopback)
		require.False(t, p.CheckOrigin(r))
		r.Host = "gw.example.com"
		require.NoError(t, p.CheckHTTP(r))
		require.True(t, p.CheckOrigin(r))
	}
	// A Peer that was rewritten from a header does not make the connection a local one.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(192, 168, 1, 10), Port: 80})))
	require.ErrorIs(t, p.CheckHTTP(r), hostvalidate.HostLoopback)
	r.Host, r.URL = "gw.example.com", nil
	require.ErrorIs(t, p.CheckHTTP(r), hostvalidate.AbsoluteTarget)
}

func TestNilAndZeroPolicyRefuseOverTheWire(t *testing.T) {
	for name, p := range map[string]*hostvalidate.Policy{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			s := new(service)
			server := httptest.NewServer(p.Handler(s))
			defer server.Close()
			got := send(t, server, "GET / HTTP/1.1\r\nHost: localhost:PORT\r\n"+hangUp)
			require.Equal(t, hostvalidate.NotConfigured, got.Reason)
			require.Equal(t, http.StatusMisdirectedRequest, got.Status)
			require.False(t, p.CheckOrigin(httptest.NewRequest(http.MethodGet, "/", nil)))
			require.Empty(t, s.log())
		})
	}
}

func TestRefusalTellsNothingOfTheRequest(t *testing.T) {
	p, err := hostvalidate.New(config{})
	require.NoError(t, err)
	for raw, want := range map[string]string{
		"Host: evil.example\r\n":                              `{"error":"this server does not answer to that host","reason":"host-undeclared"}` + "\n",
		"Host: localhost\r\nOrigin: https://evil.example\r\n": `{"error":"this server does not serve that origin","reason":"origin-undeclared"}` + "\n",
	} {
		w := httptest.NewRecorder()
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			p.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
		}))
		send(t, server, "GET / HTTP/1.1\r\n"+raw+hangUp)
		server.Close()
		require.Equal(t, want, w.Body.String())
		require.Equal(t, http.Header{
			"Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
		}, w.Header())
	}
}

func TestOnRefuse(t *testing.T) {
	var told []string
	p, err := hostvalidate.New(config{OnRefuse: func(r *http.Request, e *hostvalidate.Error) {
		told = append(told, r.Method+" "+e.Reason.String()+" "+e.Suggest)
	}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Host = "evil.example"
	p.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	require.False(t, p.CheckOrigin(r))
	require.Error(t, p.CheckHTTP(r), "its caller has the error")
	require.NoError(t, p.AddHost("evil.example"))
	p.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	require.True(t, p.CheckOrigin(r))
	require.Equal(t, []string{"POST host-undeclared evil.example", "POST host-undeclared evil.example"}, told)
}
