// SPDX-License-Identifier: Apache-2.0

package hostvalidate

// A Row is a request to a server that listens on all addresses and answers to gateway.example.com.
type Row struct {
	Name           string
	Host           string
	Origin, Second string // Second: of two Origin headers; empty: none
	Local, Peer    string // the ends of the connection
	Good           bool
}

const (
	loopback  = "127.0.0.1:18789"
	loopback6 = "[::1]:18789"
	own       = "192.168.1.10:18789"
	neighbour = "192.168.1.77:50123"
)

// Rows are judged by all implementations alike. Each says what a browser or a client really sends.
var Rows = []Row{
	{"localhost", "localhost:18789", "", "", loopback, loopback, true},
	{"localhost without a port", "localhost", "", "", loopback, loopback, true},
	{"localhost in capitals", "LocalHost:18789", "", "", loopback, loopback, true},
	{"localhost with the root dot", "localhost.:18789", "", "", loopback, loopback, true},
	{"localhost through a tunnel's port", "localhost:2222", "", "", loopback, loopback, true},
	{"localhost over IPv6", "localhost:18789", "", "", loopback6, loopback6, true},
	{"127.0.0.1", "127.0.0.1:18789", "", "", loopback, loopback, true},
	{"another loopback address", "127.0.0.2:18789", "", "", loopback, loopback, true},
	{"::1", "[::1]:18789", "", "", loopback6, loopback6, true},
	{"own page", "localhost:18789", "http://localhost:18789", "", loopback, loopback, true},
	{"own page behind TLS", "localhost:18789", "https://localhost:18789", "", loopback, loopback, true},
	{"declared name", "gateway.example.com", "", "", own, neighbour, true},
	{"declared name with a port", "gateway.example.com:8443", "", "", own, neighbour, true},
	{"declared name with the root dot", "gateway.example.com.", "", "", own, neighbour, true},
	{"declared name, own page", "gateway.example.com", "https://gateway.example.com", "", own, neighbour, true},
	{"declared name, port 443 in Host only", "gateway.example.com:443", "https://gateway.example.com", "", own, neighbour, true},
	{"the connection's own address", "192.168.1.10:18789", "", "", own, neighbour, true},
	{"the connection's own address, own page", "192.168.1.10:18789", "http://192.168.1.10:18789", "", own, neighbour, true},
	{"the connection's own IPv6 address", "[fd00::10]:18789", "", "", "[fd00::10]:18789", "[fd00::77]:50123", true},
	{"the connection's own link-local address", "[fe80::10]:18789", "", "", "[fe80::10%eth0]:18789", "[fe80::77%eth0]:50123", true},

	{"rebinding, GET", "evil.example:18789", "", "", loopback, loopback, false},
	{"rebinding, WebSocket", "evil.example:18789", "http://evil.example:18789", "", loopback, loopback, false},
	{"rebinding of a LAN address", "evil.example:18789", "http://evil.example:18789", "", own, neighbour, false},
	{"rebinding over IPv6", "evil.example:18789", "http://evil.example:18789", "", loopback6, loopback6, false},
	{"a name for 127.0.0.1", "localtest.me:18789", "http://localtest.me:18789", "", loopback, loopback, false},
	{"a name that holds 127.0.0.1", "127.0.0.1.nip.io:18789", "http://127.0.0.1.nip.io:18789", "", loopback, loopback, false},
	{"a name that begins with localhost", "localhost.evil.example", "http://localhost.evil.example", "", loopback, loopback, false},
	{"a name that ends in localhost", "evillocalhost", "http://evillocalhost", "", loopback, loopback, false},
	{"a subdomain of localhost", "app.localhost:18789", "http://app.localhost:18789", "", loopback, loopback, false},
	{"a declared name as a prefix", "gateway.example.com.evil.example", "http://gateway.example.com.evil.example", "", own, neighbour, false},
	{"below a declared name", "x.gateway.example.com", "https://x.gateway.example.com", "", own, neighbour, false},
	{"dots as wildcards", "gatewayxexample.com", "https://gatewayxexample.com", "", own, neighbour, false},
	{"an mDNS name", "server.local:18789", "http://server.local:18789", "", own, neighbour, false},
	{"another tailnet's name", "box.tail1234.ts.net", "https://box.tail1234.ts.net", "", own, neighbour, false},
	{"a neighbour's address", "192.168.1.11:18789", "http://192.168.1.11:18789", "", own, neighbour, false},
	{"localhost from the LAN", "localhost:18789", "http://localhost:18789", "", own, neighbour, false},
	{"127.0.0.1 from the LAN", "127.0.0.1:18789", "", "", own, neighbour, false},
	{"::1 from the LAN", "[::1]:18789", "", "", own, neighbour, false},
	{"a LAN address on loopback", "192.168.1.10:18789", "", "", loopback, loopback, false},
	{"0.0.0.0", "0.0.0.0:18789", "http://0.0.0.0:18789", "", loopback, loopback, false},
	{"::", "[::]:18789", "http://[::]:18789", "", loopback6, loopback6, false},

	{"cross-site WebSocket", "localhost:18789", "https://evil.example", "", loopback, loopback, false},
	{"cross-site to the declared name", "gateway.example.com", "https://evil.example", "", own, neighbour, false},
	{"another program on this machine", "localhost:18789", "http://localhost:3000", "", loopback, loopback, false},
	{"a sandboxed frame", "localhost:18789", "null", "", loopback, loopback, false},
	{"an undeclared extension", "localhost:18789", "chrome-extension://abc", "", loopback, loopback, false},
	{"user information in Origin", "localhost:18789", "http://evil.example@localhost:18789", "", loopback, loopback, false},
	{"a path in Origin", "localhost:18789", "http://localhost:18789/evil", "", loopback, loopback, false},
	{"another scheme for the own host", "localhost:18789", "ftp://localhost:18789", "", loopback, loopback, false},
	{"two Origins, ours first", "localhost:18789", "http://localhost:18789", "https://evil.example", loopback, loopback, false},
	{"two Origins, ours last", "localhost:18789", "https://evil.example", "http://localhost:18789", loopback, loopback, false},

	{"no Host", "", "", "", loopback, loopback, false},
	{"a port alone", ":18789", "", "", loopback, loopback, false},
	{"no port after the colon", "localhost:", "", "", loopback, loopback, false},
	{"port 0", "localhost:0", "", "", loopback, loopback, false},
	{"port 65536", "localhost:65536", "", "", loopback, loopback, false},
	{"port 99999999999", "localhost:99999999999", "", "", loopback, loopback, false},
	{"two ports", "localhost:80:80", "", "", loopback, loopback, false},
	{"user information", "localhost@evil.example", "", "", loopback, loopback, false},
	{"a list", "localhost,evil.example", "", "", loopback, loopback, false},
	{"percent-encoding", "%6cocalhost", "", "", loopback, loopback, false},
	{"an asterisk", "*", "", "", loopback, loopback, false},
	{"only dots", "..", "", "", loopback, loopback, false},
	{"two dots at the end", "localhost..", "", "", loopback, loopback, false},
	{"127.1", "127.1:18789", "", "", loopback, loopback, false},
	{"127.0.0.1 as one number", "2130706433:18789", "", "", loopback, loopback, false},
	{"127.0.0.1 in octal", "0177.0.0.1:18789", "", "", loopback, loopback, false},
	{"127.0.0.1 with a dot", "127.0.0.1.:18789", "", "", loopback, loopback, false},
	{"127.0.0.1 in brackets", "[127.0.0.1]:18789", "", "", loopback, loopback, false},
	{"::1 without brackets", "::1", "", "", loopback6, loopback6, false},
	{"::127.0.0.1", "[::127.0.0.1]:18789", "", "", loopback6, loopback6, false},
	{"a zone", "[fe80::10%25eth0]:18789", "", "", "[fe80::10%eth0]:18789", "[fe80::77%eth0]:50123", false},
}
