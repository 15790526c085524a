// SPDX-License-Identifier: Apache-2.0

package hostvalidate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/hostvalidate"
)

// A path is the two ends of a connection, local first.
type path struct{ local, peer string }

var (
	loopback4 = path{"127.0.0.1:18789", "127.0.0.1:50123"}
	loopback6 = path{"[::1]:18789", "[::1]:50123"}
	dualStack = path{"[::ffff:127.0.0.1]:18789", "[::ffff:127.0.0.1]:50123"}
	lan       = path{"192.168.1.10:18789", "192.168.1.77:50123"}
	linkLocal = path{"[fe80::1%eth0]:18789", "[fe80::2%eth0]:50123"}
)

func (p path) request() hostvalidate.Request {
	var r hostvalidate.Request
	if p.local != "" {
		r.Local = netip.MustParseAddrPort(p.local)
	}
	if p.peer != "" {
		r.Peer = netip.MustParseAddrPort(p.peer)
	}
	return r
}

const allowed = hostvalidate.Reason(0)

// row is one request and what becomes of it.
type row struct {
	name    string
	config  hostvalidate.Config
	path    path // zero: loopback4
	request hostvalidate.Request
	want    hostvalidate.Reason
	suggest string
}

type (
	config  = hostvalidate.Config
	request = hostvalidate.Request
)

func hosts(entries ...string) config   { return config{Hosts: entries} }
func origins(entries ...string) config { return config{Origins: entries} }
func host(h string) request            { return request{Host: h} }
func from(h, origin string) request    { return request{Host: h, Origin: []string{origin}} }

var hostRows = []row{
	{name: "localhost", request: host("localhost")},
	{name: "localhost with a port", request: host("localhost:18789")},
	{name: "localhost with the port of a tunnel", request: host("localhost:1")},
	{name: "localhost in capitals", request: host("LocalHost:18789")},
	{name: "localhost. as Chromium sends it", request: host("localhost.:18789")},
	{name: "127.0.0.1", request: host("127.0.0.1:18789")},
	{name: "another loopback address", request: host("127.255.255.254")},
	{name: "a loopback address that ends in 9", request: host("127.0.0.9")},
	{name: "a loopback address that ends in 19", request: host("127.0.0.19")},
	{name: "::1", request: host("[::1]:18789")},
	{name: "127.0.0.1 mapped, no zeros left out", request: host("[0:0:0:0:0:ffff:127.0.0.1]")},
	{name: "::1 at full length", request: host("[0000:0000:0000:0000:0000:0000:0000:0001]")},
	{name: "127.0.0.1 mapped into IPv6", request: host("[::ffff:127.0.0.1]:18789")},
	{name: "127.0.0.1 mapped, in hexadecimal", request: host("[::FFFF:7f00:1]")},
	{name: "localhost over IPv6", path: loopback6, request: host("localhost")},
	{name: "127.0.0.1 on a dual-stack listener", path: dualStack, request: host("127.0.0.1")},
	{name: "the address the connection came to", path: lan, request: host("192.168.1.10:18789")},
	{name: "the address the connection came to, through a port forward", path: lan, request: host("192.168.1.10:80")},
	{name: "the address the connection came to, mapped", path: lan, request: host("[::ffff:192.168.1.10]")},
	{name: "a link-local address without the zone", path: linkLocal, request: host("[fe80::1]:18789")},

	{name: "rebinding", request: host("evil.example:18789"), want: hostvalidate.HostUndeclared, suggest: "evil.example:18789"},
	{name: "rebinding of a server on the LAN", path: lan, request: host("evil.example"), want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "rebinding, capitals are folded in what is suggested", request: host("EVIL.Example.:80"), want: hostvalidate.HostUndeclared, suggest: "evil.example:80"},
	{name: "rebinding, the root dot is left out of what is suggested", request: host("evil.example."), want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "a name that begins with localhost", request: host("localhost.evil.example"), want: hostvalidate.HostUndeclared, suggest: "localhost.evil.example"},
	{name: "a name that ends in localhost", request: host("evillocalhost"), want: hostvalidate.HostUndeclared, suggest: "evillocalhost"},
	{name: "a name as long as localhost", request: host("lacalhost"), want: hostvalidate.HostUndeclared, suggest: "lacalhost"},
	{name: "a name shorter than localhost", request: host("ocalhost"), want: hostvalidate.HostUndeclared, suggest: "ocalhost"},
	{name: "a subdomain of localhost", request: host("app.localhost"), want: hostvalidate.HostUndeclared, suggest: "app.localhost"},
	{name: "a name that holds 127.0.0.1", request: host("127.0.0.1.nip.io"), want: hostvalidate.HostUndeclared, suggest: "127.0.0.1.nip.io"},
	{name: "an mDNS name that anyone on the LAN can claim", path: lan, request: host("server.local"), want: hostvalidate.HostUndeclared, suggest: "server.local"},
	{name: "a neighbour's address", path: lan, request: host("192.168.1.11:18789"), want: hostvalidate.HostUndeclared, suggest: "192.168.1.11:18789"},
	{name: "a neighbour's IPv6 address", path: linkLocal, request: host("[FE80:0::3]"), want: hostvalidate.HostUndeclared, suggest: "[fe80::3]"},
	{name: "the address of another interface", request: host("192.168.1.10"), want: hostvalidate.HostUndeclared, suggest: "192.168.1.10"},

	{name: "localhost from the LAN", path: lan, request: host("localhost"), want: hostvalidate.HostLoopback},
	{name: "127.0.0.1 from the LAN", path: lan, request: host("127.0.0.1"), want: hostvalidate.HostLoopback},
	{name: "::1 from the LAN", path: lan, request: host("[::1]"), want: hostvalidate.HostLoopback},
	{name: "localhost from the LAN although declared", config: hosts("localhost", "127.0.0.0/8"), path: lan, request: host("localhost"), want: hostvalidate.HostLoopback},
	{name: "127.0.0.1 from the LAN although declared", config: hosts("localhost", "127.0.0.0/8"), path: lan, request: host("127.0.0.1"), want: hostvalidate.HostLoopback},
	{name: "app.localhost from the LAN", config: config{LocalhostSubdomains: true}, path: lan, request: host("app.localhost"), want: hostvalidate.HostLoopback},
	{name: "localhost, peer elsewhere", path: path{"127.0.0.1:1", "192.168.1.77:1"}, request: host("localhost"), want: hostvalidate.HostLoopback},
	{name: "127.0.0.1 as the local address, peer elsewhere", path: path{"127.0.0.1:1", "192.168.1.77:1"}, request: host("127.0.0.1"), want: hostvalidate.HostLoopback},
	{name: "localhost, local address elsewhere", path: path{"192.168.1.10:1", "127.0.0.1:1"}, request: host("localhost"), want: hostvalidate.HostLoopback},
	{name: "localhost, peer unknown", path: path{local: "127.0.0.1:1"}, request: host("localhost"), want: hostvalidate.HostLoopback},
	{name: "localhost, local address unknown", path: path{peer: "127.0.0.1:1"}, request: host("localhost"), want: hostvalidate.HostLoopback},
	{name: "an address, local address unknown", path: path{peer: "127.0.0.1:1"}, request: host("192.168.1.10"), want: hostvalidate.HostUndeclared, suggest: "192.168.1.10"},

	{name: "rebinding, local address unknown", path: path{peer: "127.0.0.1:1"}, request: host("evil.example"), want: hostvalidate.HostUndeclared, suggest: "evil.example"},

	{name: "app.localhost, asked for", config: config{LocalhostSubdomains: true}, request: host("app.localhost:18789")},
	{name: "app.localhost, declared", config: hosts("app.localhost"), request: host("APP.localhost")},
	{name: "declared name", config: hosts("gw.example.com"), request: host("gw.example.com")},
	{name: "declared name from the LAN", config: hosts("gw.example.com"), path: lan, request: host("gw.example.com:8443")},
	{name: "declared name without an IP connection", config: hosts("gw.example.com"), path: path{peer: "[::]:1"}, request: host("gw.example.com")},
	{name: "declared in capitals with the root dot", config: hosts("GW.Example.Com."), request: host("gw.example.com")},
	{name: "asked for in capitals with the root dot", config: hosts("gw.example.com"), request: host("GW.Example.Com.")},
	{name: "underscore, digits, hyphens", config: hosts("_a-1--b.1x.xn--p1ai"), request: host("_a-1--b.1x.xn--p1ai")},
	{name: "first label is a number", config: hosts("0x10.123.example"), request: host("0x10.123.example")},
	{name: "the last letter in capitals", config: hosts("z.example.com"), request: host("Z.example.com")},
	{name: "single label", config: hosts("gateway"), request: host("gateway")},
	{name: "below a declared name", config: hosts("gw.example.com"), request: host("x.gw.example.com"), want: hostvalidate.HostUndeclared, suggest: "x.gw.example.com"},
	{name: "declared name as a prefix", config: hosts("gw.example.com"), request: host("gw.example.com.evil.example"), want: hostvalidate.HostUndeclared, suggest: "gw.example.com.evil.example"},
	{name: "a dot is no wildcard", config: hosts("gw.example.com"), request: host("gwxexample.com"), want: hostvalidate.HostUndeclared, suggest: "gwxexample.com"},
	{name: "declared port", config: hosts("gw.example.com:8443"), request: host("gw.example.com:8443")},
	{name: "another port than declared", config: hosts("gw.example.com:8443"), request: host("gw.example.com:8444"), want: hostvalidate.HostUndeclared, suggest: "gw.example.com:8444"},
	{name: "no port, another than the default declared", config: hosts("gw.example.com:8443"), request: host("gw.example.com"), want: hostvalidate.HostUndeclared, suggest: "gw.example.com"},
	{name: "no port, 443 declared", config: hosts("gw.example.com:443"), request: host("gw.example.com")},
	{name: "no port, 80 declared", config: hosts("gw.example.com:80"), request: host("gw.example.com")},
	{name: "no port, 80 declared for https", config: hosts("https://gw.example.com:80"), request: host("gw.example.com"), want: hostvalidate.HostUndeclared, suggest: "gw.example.com"},
	{name: "no port, 443 declared for http", config: hosts("http://gw.example.com:443"), request: host("gw.example.com"), want: hostvalidate.HostUndeclared, suggest: "gw.example.com"},
	{name: "two ports declared", config: hosts("gw.example.com:8443", "gw.example.com:8444"), request: host("gw.example.com:8444")},
	{name: "suffix", config: hosts(".gw.example.com"), request: host("a.b.GW.example.com")},
	{name: "suffix, the apex", config: hosts(".gw.example.com"), request: host("gw.example.com")},
	{name: "suffix with a port", config: hosts(".gw.example.com:8443"), request: host("a.gw.example.com:8443")},
	{name: "suffix with another port", config: hosts(".gw.example.com:8443"), request: host("a.gw.example.com:1"), want: hostvalidate.HostUndeclared, suggest: "a.gw.example.com:1"},
	{name: "suffix inside a label (CVE-2021-22881)", config: hosts(".gw.example.com"), request: host("agw.example.com"), want: hostvalidate.HostUndeclared, suggest: "agw.example.com"},
	{name: "shorter than the suffix", config: hosts(".gw.example.com"), request: host("example.com"), want: hostvalidate.HostUndeclared, suggest: "example.com"},
	{name: "declared address", config: hosts("192.168.1.50"), request: host("192.168.1.50:18789")},
	{name: "declared address with its port", config: hosts("192.168.1.50:80"), request: host("192.168.1.50")},
	{name: "declared IPv6 address without brackets", config: hosts("fd00::1"), request: host("[FD00:0:0:0:0:0:0:1]:18789")},
	{name: "declared IPv6 address in brackets", config: hosts("[fd00::1]"), request: host("[fd00::1]")},
	{name: "declared IPv6 address with a port", config: hosts("[fd00::1]:80"), request: host("[fd00::1]:80")},
	{name: "next to a declared IPv6 address", config: hosts("fd00::1"), request: host("[fd00::2]"), want: hostvalidate.HostUndeclared, suggest: "[fd00::2]"},
	{name: "declared network", config: hosts("100.64.0.0/10"), request: host("100.127.255.255")},
	{name: "beside a declared network", config: hosts("100.64.0.0/10"), request: host("100.128.0.0"), want: hostvalidate.HostUndeclared, suggest: "100.128.0.0"},
	{name: "declared network, mapped", config: hosts("::ffff:10.0.0.0/104"), request: host("10.1.2.3")},
	{name: "all of IPv4, mapped", config: hosts("::ffff:0:0/96"), request: host("10.1.2.3")},
	{name: "declared IPv6 network", config: hosts("fd7a:115c:a1e0::/48"), request: host("[fd7a:115c:a1e0::5]")},
	{name: "a name is in no network", config: hosts("0.0.0.0/0", "::/0"), request: host("evil.example"), want: hostvalidate.HostUndeclared, suggest: "evil.example"},

	{name: "an absolute target", request: request{Host: "localhost", Absolute: true}, want: hostvalidate.AbsoluteTarget},
	{name: "empty", request: host(""), want: hostvalidate.HostMissing},
	{name: "only a port", request: host(":18789"), want: hostvalidate.HostMissing},
	{name: "only a dot", request: host("."), want: hostvalidate.HostDots},
	{name: "two dots at the end", request: host("localhost.."), want: hostvalidate.HostDots},
	{name: "a dot in front", request: host(".localhost"), want: hostvalidate.HostDots},
	{name: "an empty label", request: host("a..localhost"), want: hostvalidate.HostDots},
	{name: "user information", request: host("localhost@evil.example"), want: hostvalidate.HostUserinfo},
	{name: "user information with a password", request: host("localhost:80@evil.example"), want: hostvalidate.HostUserinfo},
	{name: "user information and a path", config: hosts(".gw.example.com"), request: host("evil.example/@.gw.example.com"), want: hostvalidate.HostUserinfo},
	{name: "a list", request: host("localhost,evil.example"), want: hostvalidate.HostList},
	{name: "a list by semicolon", request: host("localhost;evil.example"), want: hostvalidate.HostList},
	{name: "a list by a blank", request: host("localhost evil.example"), want: hostvalidate.HostList},
	{name: "a list by a tab", request: host("localhost\tevil.example"), want: hostvalidate.HostList},
	{name: "a list that begins with an address", request: host("[::1],evil.example"), want: hostvalidate.HostList},
	{name: "percent-encoding", request: host("local%68ost"), want: hostvalidate.HostEscaped},
	{name: "a zone", path: linkLocal, request: host("[fe80::1%25eth0]"), want: hostvalidate.HostZone},
	{name: "a zone, not escaped", path: linkLocal, request: host("[fe80::1%eth0]:18789"), want: hostvalidate.HostZone},
	{name: "a path", config: hosts(".gw.example.com"), request: host("evil.example/.gw.example.com"), want: hostvalidate.HostCharacter},
	{name: "a fragment", request: host("localhost#"), want: hostvalidate.HostCharacter},
	{name: "a line break", request: host("localhost\r\nX:y"), want: hostvalidate.HostCharacter},
	{name: "a NUL", request: host("localhost\x00"), want: hostvalidate.HostCharacter},
	{name: "an asterisk", request: host("*"), want: hostvalidate.HostCharacter},
	{name: "a small letter that folds to l in no locale", request: host("ⅼocalhost"), want: hostvalidate.HostCharacter},
	{name: "the Kelvin sign folds to k", config: hosts("k.example.com"), request: host("\u212a.example.com"), want: hostvalidate.HostCharacter},
	{name: "ideographic dots", request: host("127。0。0。1"), want: hostvalidate.HostCharacter},
	{name: "a byte beyond ASCII", request: host("localhost\xff"), want: hostvalidate.HostCharacter},
	{name: "a hyphen in front", request: host("-a.example"), want: hostvalidate.HostHyphen},
	{name: "a hyphen at the end of a label", request: host("a-.example"), want: hostvalidate.HostHyphen},
	{name: "a label of 63 bytes", config: hosts(long(63) + ".example"), request: host(long(63) + ".example")},
	{name: "a label of 64 bytes", request: host(long(64) + ".example"), want: hostvalidate.HostTooLong},
	{name: "a name of 253 bytes, root dot, longest port", config: hosts(name253), request: host(name253 + ".:65535")},
	{name: "a name of 254 bytes", request: host("a" + name253), want: hostvalidate.HostTooLong},
	{name: "a host of 261 bytes", request: host(name253 + ".:065535"), want: hostvalidate.HostTooLong},
	{name: "a megabyte", request: host(strings.Repeat("a.", 1<<19)), want: hostvalidate.HostTooLong},
	{name: "127.1", request: host("127.1"), want: hostvalidate.HostLegacyIPv4},
	{name: "127.0.0.1 as one number", request: host("2130706433:18789"), want: hostvalidate.HostLegacyIPv4},
	{name: "127.0.0.1 in hexadecimal", request: host("0x7F000001"), want: hostvalidate.HostLegacyIPv4},
	{name: "0x alone, which browsers read as 0", request: host("a.0x"), want: hostvalidate.HostLegacyIPv4},
	{name: "0xg is no number", config: hosts("0xg"), request: host("0xg")},
	{name: "127.0.0.1 with an octal part", request: host("0177.0.0.1"), want: hostvalidate.HostLegacyIPv4},
	{name: "127.0.0.01", request: host("127.0.0.01"), want: hostvalidate.HostLegacyIPv4},
	{name: "127.0.0.1.", request: host("127.0.0.1."), want: hostvalidate.HostLegacyIPv4},
	{name: "five parts", request: host("127.0.0.1.1"), want: hostvalidate.HostLegacyIPv4},
	{name: "a part of 255", config: hosts("255.255.255.255"), request: host("255.255.255.255")},
	{name: "a part of 256", request: host("127.0.0.256"), want: hostvalidate.HostLegacyIPv4},
	{name: "a part of four digits", request: host("1270.0.0.1"), want: hostvalidate.HostLegacyIPv4},
	{name: "a name that ends in a number", request: host("evil.example.1"), want: hostvalidate.HostLegacyIPv4},
	{name: "::1 without brackets", request: host("::1"), want: hostvalidate.HostBadIPv6},
	{name: "127.0.0.1 in brackets", request: host("[127.0.0.1]:18789"), want: hostvalidate.HostBadIPv6},
	{name: "a name in brackets", request: host("[localhost]"), want: hostvalidate.HostBadIPv6},
	{name: "empty brackets", request: host("[]"), want: hostvalidate.HostBadIPv6},
	{name: "a bracket", request: host("["), want: hostvalidate.HostBadIPv6},
	{name: "an open bracket", request: host("[::1"), want: hostvalidate.HostBadIPv6},
	{name: "a stray bracket", request: host("localhost]"), want: hostvalidate.HostBadIPv6},
	{name: "two runs of zeros", request: host("[::1::]"), want: hostvalidate.HostBadIPv6},
	{name: "seven groups", request: host("[1:2:3:4:5:6:7]"), want: hostvalidate.HostBadIPv6},
	{name: "nine groups", request: host("[1:2:3:4:5:6:7:8:9]"), want: hostvalidate.HostBadIPv6},
	{name: "an IPv4 address after seven groups", config: hosts("::/0"), request: host("[1:2:3:4:5:6:7:1.2.3.4]"), want: hostvalidate.HostBadIPv6},
	{name: "a group of five digits", request: host("[::12345]"), want: hostvalidate.HostBadIPv6},
	{name: "IPvFuture", request: host("[v1.a:b]"), want: hostvalidate.HostBadIPv6},
	{name: "::127.0.0.1", request: host("[::127.0.0.1]"), want: hostvalidate.HostEmbeddedIPv4},
	{name: "::127.0.0.1 in a declared network", config: hosts("::/0"), request: host("[::7f00:1]"), want: hostvalidate.HostEmbeddedIPv4},
	{name: "translated", request: host("[::ffff:0:127.0.0.1]"), want: hostvalidate.HostEmbeddedIPv4},
	{name: "NAT64", request: host("[64:ff9b::7f00:1]:18789"), want: hostvalidate.HostEmbeddedIPv4},
	{name: "beside NAT64", config: hosts("::/0"), request: host("[64:ff9b::1:0:0]")},
	{name: "no port after the colon", request: host("localhost:"), want: hostvalidate.HostBadPort},
	{name: "port 0", request: host("localhost:0"), want: hostvalidate.HostBadPort},
	{name: "port 65535", request: host("localhost:65535")},
	{name: "port 65536", request: host("localhost:65536"), want: hostvalidate.HostBadPort},
	{name: "port 080", request: host("localhost:080"), want: hostvalidate.HostBadPort},
	{name: "port 99999999999", request: host("localhost:99999999999"), want: hostvalidate.HostBadPort},
	{name: "port by name", request: host("localhost:http"), want: hostvalidate.HostBadPort},
	{name: "two ports", request: host("localhost:80:80"), want: hostvalidate.HostBadPort},
	{name: "a bracket after the port", request: host("[::1]:80]"), want: hostvalidate.HostBadPort},
	{name: "a name after the bracket", request: host("[::1]localhost"), want: hostvalidate.HostBadPort},
	{name: "0.0.0.0, which reaches loopback on Linux", request: host("0.0.0.0:18789"), want: hostvalidate.HostUnspecified},
	{name: "0.0.0.0 in a declared network", config: hosts("0.0.0.0/0"), request: host("0.0.0.0:18789"), want: hostvalidate.HostUnspecified},
	{name: "0.0.0.0 as the local address", path: path{local: "0.0.0.0:1"}, request: host("0.0.0.0:18789"), want: hostvalidate.HostUnspecified},
	{name: "::", request: host("[::]"), want: hostvalidate.HostUnspecified},
	{name: "0.0.0.0 mapped", request: host("[::ffff:0.0.0.0]"), want: hostvalidate.HostUnspecified},
}

func long(n int) string { return strings.Repeat("a", n) }

var name253 = long(63) + "." + long(63) + "." + long(63) + "." + long(61)

var originRows = []row{
	{name: "no Origin", request: request{Host: "localhost", Origin: []string{}}},
	{name: "no Origin, required", config: config{RequireOrigin: true}, request: host("localhost"), want: hostvalidate.OriginMissing},
	{name: "Origin, required", config: config{RequireOrigin: true}, request: from("localhost:18789", "http://localhost:18789")},
	{name: "the server's own page", request: from("localhost:18789", "http://localhost:18789")},
	{name: "the server's own page behind TLS", request: from("[::1]:18789", "https://[::1]:18789")},
	{name: "the server's own page, capitals and root dot", request: from("LocalHost.:18789", "HTTP://localhost:18789")},
	{name: "port 80 left out of Origin", request: from("localhost:80", "http://localhost")},
	{name: "port 80 left out of Host", request: from("localhost", "http://localhost:80")},
	{name: "port 443 left out of Origin", request: from("localhost:443", "https://localhost")},
	{name: "port 443 left out of Host", request: from("localhost", "https://localhost:443")},
	{name: "both ports left out", request: from("localhost", "https://localhost")},

	{name: "rebinding makes Origin equal Host", request: from("evil.example:18789", "http://evil.example:18789"), want: hostvalidate.HostUndeclared, suggest: "evil.example:18789"},
	{name: "cross-site WebSocket", request: from("localhost:18789", "https://EVIL.example:443"), want: hostvalidate.OriginUndeclared, suggest: "https://evil.example"},
	{name: "another port on this machine", request: from("localhost:18789", "http://localhost:3000"), want: hostvalidate.OriginUndeclared, suggest: "http://localhost:3000"},
	{name: "no port is another port", request: from("localhost:18789", "http://localhost"), want: hostvalidate.OriginUndeclared, suggest: "http://localhost"},
	{name: "port 80 is not 443", request: from("localhost:80", "https://localhost"), want: hostvalidate.OriginUndeclared, suggest: "https://localhost"},
	{name: "http on port 443", request: from("localhost", "http://localhost:443"), want: hostvalidate.OriginUndeclared, suggest: "http://localhost:443"},
	{name: "another spelling of this machine", request: from("localhost:18789", "http://127.0.0.1:18789"), want: hostvalidate.OriginUndeclared, suggest: "http://127.0.0.1:18789"},
	{name: "a subdomain", request: from("localhost:18789", "http://app.localhost:18789"), want: hostvalidate.OriginUndeclared, suggest: "http://app.localhost:18789"},
	{name: "an extension", request: from("localhost:18789", "chrome-extension://abc"), want: hostvalidate.OriginUndeclared, suggest: "chrome-extension://abc"},
	{name: "this host by ftp", request: from("localhost:18789", "ftp://localhost:18789"), want: hostvalidate.OriginUndeclared, suggest: "ftp://localhost:18789"},
	{name: "this host without a port by ftp", request: from("localhost", "ftp://localhost"), want: hostvalidate.OriginUndeclared, suggest: "ftp://localhost"},
	{name: "a sandboxed frame", request: from("localhost", "null"), want: hostvalidate.OriginNull},
	{name: "null is not to be declared by way of a name", config: origins("http://null"), request: from("localhost", "null"), want: hostvalidate.OriginNull},
	{name: "a file", request: from("localhost", "file://"), want: hostvalidate.OriginMalformed},
	{name: "empty", request: from("localhost", ""), want: hostvalidate.OriginMalformed},
	{name: "no scheme", request: from("localhost", "localhost"), want: hostvalidate.OriginMalformed},
	{name: "empty scheme", request: from("localhost", "://localhost"), want: hostvalidate.OriginMalformed},
	{name: "a scheme of 32 bytes", config: origins(long(32) + "://x"), request: from("localhost", long(32)+"://x")},
	{name: "a scheme of 33 bytes", request: from("localhost", long(33)+"://localhost"), want: hostvalidate.OriginMalformed},
	{name: "a scheme that begins with a digit", request: from("localhost", "1http://localhost"), want: hostvalidate.OriginMalformed},
	{name: "a scheme with a byte that none has", request: from("localhost", "ht~tp://localhost"), want: hostvalidate.OriginMalformed},
	{name: "a path", request: from("localhost", "http://localhost/"), want: hostvalidate.OriginMalformed},
	{name: "user information", request: from("localhost", "http://localhost@evil.example"), want: hostvalidate.OriginMalformed},
	{name: "a list, ours first", request: from("localhost", "http://localhost, http://evil.example"), want: hostvalidate.OriginMalformed},
	{name: "a list by blanks, ours last", request: from("localhost", "http://evil.example http://localhost"), want: hostvalidate.OriginMalformed},
	{name: "a megabyte", request: from("localhost", "http://"+strings.Repeat("a.", 1<<19)), want: hostvalidate.OriginMalformed},
	{name: "the longest origin there is", config: origins(long(32) + "://" + name253 + ":65535"), request: from("localhost", long(32)+"://"+name253+".:65535")},
	{name: "a byte longer", request: from("localhost", long(32)+"://"+name253+".:655351"), want: hostvalidate.OriginMalformed},
	{name: "two headers, ours first", request: request{Host: "localhost", Origin: []string{"http://localhost", "http://evil.example"}}, want: hostvalidate.OriginAmbiguous},
	{name: "two headers, ours last", request: request{Host: "localhost", Origin: []string{"http://evil.example", "http://localhost"}}, want: hostvalidate.OriginAmbiguous},
	{name: "two headers, equal", request: request{Host: "localhost", Origin: []string{"http://localhost", "http://localhost"}}, want: hostvalidate.OriginAmbiguous},

	{name: "declared", config: origins("https://app.example.com"), request: from("localhost", "https://app.example.com")},
	{name: "declared with the default port", config: origins("https://app.example.com:443"), request: from("localhost", "https://app.example.com")},
	{name: "declared in capitals", config: origins("HTTPS://App.Example.com."), request: from("localhost", "https://app.example.com")},
	{name: "declared after another", config: origins("tauri://localhost", "vscode-webview://0abc"), request: from("localhost", "vscode-webview://0abc")},
	{name: "declared extension", config: origins("moz-extension://0a-1b"), request: from("localhost", "moz-extension://0a-1b")},
	{name: "declared by another scheme", config: origins("https://app.example.com"), request: from("localhost", "http://app.example.com:443"), want: hostvalidate.OriginUndeclared, suggest: "http://app.example.com:443"},
	{name: "declared with another port", config: origins("http://localhost:3000"), request: from("localhost", "http://localhost:3001"), want: hostvalidate.OriginUndeclared, suggest: "http://localhost:3001"},
	{name: "declared for any port", config: origins("http://127.0.0.1:*"), request: from("localhost", "http://127.0.0.1:40313")},
	{name: "declared for any port, none given", config: origins("http://127.0.0.1:*"), request: from("localhost", "http://127.0.0.1")},
	{name: "any port of another address", config: origins("http://127.0.0.1:*"), request: from("localhost", "http://127.0.0.2:40313"), want: hostvalidate.OriginUndeclared, suggest: "http://127.0.0.2:40313"},
	{name: "below a declared one", config: origins("https://app.example.com"), request: from("localhost", "https://x.app.example.com"), want: hostvalidate.OriginUndeclared, suggest: "https://x.app.example.com"},
	{name: "a declared origin does not make the host good", config: origins("https://app.example.com"), request: from("app.example.com", "https://app.example.com"), want: hostvalidate.HostUndeclared, suggest: "app.example.com"},
	{name: "a declared host is not the origin of another", config: hosts("gw.example.com"), request: from("localhost", "http://gw.example.com"), want: hostvalidate.OriginUndeclared, suggest: "http://gw.example.com"},
	{name: "an IPv6 origin suggested in its one form", request: from("localhost", "http://[FD00::0:1]:3000"), want: hostvalidate.OriginUndeclared, suggest: "http://[fd00::1]:3000"},

	{name: "stripped of TLS", config: hosts("https://gw.example.com"), request: from("gw.example.com", "http://gw.example.com"), want: hostvalidate.OriginScheme},
	{name: "stripped of TLS, below a suffix", config: hosts("https://.example.com"), request: from("gw.example.com", "http://gw.example.com"), want: hostvalidate.OriginScheme},
	{name: "stripped of TLS, on the connection's own address", config: hosts("https://192.168.1.10"), path: lan, request: from("192.168.1.10", "http://192.168.1.10"), want: hostvalidate.OriginScheme},
	{name: "stripped of TLS, localhost", config: hosts("https://localhost"), request: from("localhost", "http://localhost"), want: hostvalidate.OriginScheme},
	{name: "by TLS as declared", config: hosts("HTTPS://gw.example.com"), request: from("gw.example.com:8443", "https://gw.example.com:8443")},
	{name: "http as declared", config: hosts("http://gw.example.com"), request: from("gw.example.com", "http://gw.example.com")},
	{name: "https where http is declared", config: hosts("http://gw.example.com"), request: from("gw.example.com", "https://gw.example.com"), want: hostvalidate.OriginScheme},
	{name: "both declared", config: hosts("http://gw.example.com", "https://gw.example.com"), request: from("gw.example.com", "http://gw.example.com")},
	{name: "declared by scheme, and without by a suffix", config: hosts("https://gw.example.com", ".example.com"), request: from("gw.example.com", "http://gw.example.com")},
	{name: "port 443 means https where no port is given", config: hosts("gw.example.com:443"), request: from("gw.example.com", "http://gw.example.com"), want: hostvalidate.OriginScheme},
	{name: "port 80 means http where no port is given", config: hosts("gw.example.com:80"), request: from("gw.example.com", "https://gw.example.com"), want: hostvalidate.OriginScheme},
	{name: "stripped of TLS, but let in by Origins", config: config{Hosts: []string{"https://gw.example.com"}, Origins: []string{"http://gw.example.com"}}, request: from("gw.example.com", "http://gw.example.com")},

	{name: "image on another site", request: request{Host: "localhost", FetchSite: []string{"cross-site"}}, want: hostvalidate.CrossSite},
	{name: "declared page on another site", config: origins("https://app.example.com"), request: request{Host: "localhost", Origin: []string{"https://app.example.com"}, FetchSite: []string{"cross-site"}}},
	{name: "typed by the user", request: request{Host: "localhost", FetchSite: []string{"none"}}},
	{name: "link on the server's own page", request: request{Host: "localhost", FetchSite: []string{"same-origin"}}},
	{name: "link on the same site", request: request{Host: "localhost", FetchSite: []string{"same-site"}}},
	{name: "unknown Sec-Fetch-Site", request: request{Host: "localhost", FetchSite: []string{"cross-site-2"}}, want: hostvalidate.CrossSite},
	{name: "empty Sec-Fetch-Site", request: request{Host: "localhost", FetchSite: []string{""}}, want: hostvalidate.CrossSite},
	{name: "two Sec-Fetch-Site", request: request{Host: "localhost", FetchSite: []string{"none", "cross-site"}}, want: hostvalidate.CrossSite},
}

func behindProxy(hosts ...string) config {
	return config{Hosts: hosts, TrustedProxies: []netip.Prefix{{}, netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("fe80::/10")}}
}

func forwarded(hosts ...string) request {
	return request{Host: "gw.example.com", ForwardedHost: hosts}
}

var (
	proxied  = path{"192.168.1.10:80", "192.0.2.7:50123"}
	proxied6 = path{"[fe80::1%eth0]:80", "[fe80::2%eth0]:50123"}
	mapped   = path{"192.168.1.10:80", "[::ffff:10.1.2.3]:50123"}
)

var forwardedRows = []row{
	{name: "no X-Forwarded-Host", config: behindProxy("gw.example.com"), path: proxied, request: forwarded()},
	{name: "declared", config: behindProxy("gw.example.com"), path: proxied, request: forwarded("gw.example.com:8443")},
	{name: "rebinding seen by the proxy", config: behindProxy("gw.example.com"), path: proxied, request: forwarded("evil.example"), want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "rebinding, the proxy on a dual-stack listener", config: behindProxy("gw.example.com"), path: mapped, request: forwarded("evil.example"), want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "rebinding, the proxy on a link-local address", config: behindProxy("gw.example.com"), path: proxied6, request: forwarded("evil.example"), want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "a good X-Forwarded-Host does not cover for Host", config: behindProxy("gw.example.com"), path: proxied, request: request{Host: "evil.example", ForwardedHost: []string{"gw.example.com"}}, want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "a good X-Forwarded-Host from anyone does not cover for Host", config: behindProxy("gw.example.com"), path: lan, request: request{Host: "evil.example", ForwardedHost: []string{"gw.example.com"}}, want: hostvalidate.HostUndeclared, suggest: "evil.example"},
	{name: "not from a trusted proxy", config: behindProxy("gw.example.com"), path: lan, request: forwarded("evil.example")},
	{name: "no proxy is trusted", config: hosts("gw.example.com"), path: proxied, request: forwarded("evil.example")},
	{name: "peer unknown", config: behindProxy("gw.example.com"), path: path{local: "192.168.1.10:80"}, request: forwarded("evil.example")},
	{name: "two headers, equal", config: behindProxy("gw.example.com"), path: proxied, request: forwarded("gw.example.com", "gw.example.com"), want: hostvalidate.HostAmbiguous},
	{name: "a list", config: behindProxy("gw.example.com"), path: proxied, request: forwarded("evil.example, gw.example.com"), want: hostvalidate.HostList},
	{name: "empty", config: behindProxy("gw.example.com"), path: proxied, request: forwarded(""), want: hostvalidate.HostMissing},
	{name: "localhost", config: behindProxy("gw.example.com"), path: proxied, request: forwarded("localhost"), want: hostvalidate.HostLoopback},
	{name: "the page is compared with what the client asked for", config: behindProxy("gw.example.com", "ui.example.com"), path: proxied, request: request{Host: "gw.example.com", ForwardedHost: []string{"ui.example.com"}, Origin: []string{"https://ui.example.com"}}},
	{name: "a page on the name between proxy and server", config: behindProxy("gw.example.com", "ui.example.com"), path: proxied, request: request{Host: "gw.example.com", ForwardedHost: []string{"ui.example.com"}, Origin: []string{"https://gw.example.com"}}, want: hostvalidate.OriginUndeclared, suggest: "https://gw.example.com"},
	{name: "stripped of TLS in front of the proxy", config: behindProxy("gw.example.com", "https://ui.example.com"), path: proxied, request: request{Host: "gw.example.com", ForwardedHost: []string{"ui.example.com"}, Origin: []string{"http://ui.example.com"}}, want: hostvalidate.OriginScheme},
}

func (c row) policy(t testing.TB) *hostvalidate.Policy {
	t.Helper()
	p, err := hostvalidate.New(c.config)
	require.NoError(t, err)
	return p
}

func (c row) full() hostvalidate.Request {
	ends := c.path
	if ends == (path{}) {
		ends = loopback4
	}
	r := ends.request()
	r.Host, r.Origin, r.ForwardedHost, r.FetchSite, r.Absolute = c.request.Host, c.request.Origin, c.request.ForwardedHost, c.request.FetchSite, c.request.Absolute
	return r
}

func TestCheck(t *testing.T) {
	seen := map[hostvalidate.Reason]bool{}
	count := 0
	for group, rows := range map[string][]row{"host": hostRows, "origin": originRows, "forwarded": forwardedRows} {
		for _, c := range rows {
			count++
			seen[c.want] = true
			t.Run(group+"/"+c.name, func(t *testing.T) {
				err := c.policy(t).Check(c.full())
				if c.want == allowed {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, c.want)
				var refusal *hostvalidate.Error
				require.ErrorAs(t, err, &refusal)
				require.Empty(t, cmp.Diff(&hostvalidate.Error{Reason: c.want, Suggest: c.suggest}, refusal, cmpopts.IgnoreUnexported(hostvalidate.Error{})))
				require.True(t, strings.HasPrefix(err.Error(), "hostvalidate: "+refusal.Header()+": "), err)
			})
		}
	}
	require.GreaterOrEqual(t, count, 230)
	for _, r := range reasons(t) {
		require.True(t, seen[r] || r == hostvalidate.NotConfigured, "no row causes %v", r)
	}
}

// A suggestion is only worth its name if it works, for the very request that was refused.
func TestSuggestWorks(t *testing.T) {
	count := 0
	for _, c := range append(append(hostRows[:len(hostRows):len(hostRows)], originRows...), forwardedRows...) {
		if c.suggest == "" {
			continue
		}
		count++
		t.Run(c.name, func(t *testing.T) {
			if c.want == hostvalidate.HostUndeclared {
				p := c.policy(t)
				require.NoError(t, p.AddHost(c.suggest))
				err := p.Check(c.full())
				require.NotErrorIs(t, err, hostvalidate.HostUndeclared)
				c.config.Hosts = append([]string{c.suggest}, c.config.Hosts...)
			} else {
				c.config.Origins = append([]string{c.suggest}, c.config.Origins...)
			}
			r := c.full()
			if c.want == hostvalidate.HostUndeclared {
				r.Origin = nil
			}
			require.NoError(t, c.policy(t).Check(r))
		})
	}
	require.GreaterOrEqual(t, count, 40)
}

// naive is the check that services have: Origin must equal Host, and Host must look local.
func naive(r hostvalidate.Request) bool {
	if len(r.Origin) > 0 {
		u, err := url.Parse(r.Origin[0])
		return err == nil && u.Host == r.Host
	}
	return true
}

func TestNaiveCheckIsBeaten(t *testing.T) {
	wronglyAllowed, wronglyRefused := 0, 0
	for _, c := range append(hostRows[:len(hostRows):len(hostRows)], originRows...) {
		switch ok := naive(c.full()); {
		case ok && c.want != allowed:
			wronglyAllowed++
		case !ok && c.want == allowed:
			wronglyRefused++
		}
	}
	require.GreaterOrEqual(t, wronglyAllowed, 100)
	require.GreaterOrEqual(t, wronglyRefused, 10)
}

func TestHeaderNamesTheCulprit(t *testing.T) {
	p, err := hostvalidate.New(config{Hosts: []string{"gw.example.com"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	require.NoError(t, err)
	for want, r := range map[string]request{
		"Host":             host("a@b"),
		"X-Forwarded-Host": {Host: "gw.example.com", ForwardedHost: []string{"a@b"}},
		"Origin":           from("gw.example.com", "a@b"),
		"Sec-Fetch-Site":   {Host: "gw.example.com", FetchSite: []string{"cross-site"}},
	} {
		var refusal *hostvalidate.Error
		require.ErrorAs(t, p.Check(row{request: r}.full()), &refusal)
		require.Equal(t, want, refusal.Header())
	}
	for want, r := range map[string]request{
		"Host":             host("evil.example"),
		"X-Forwarded-Host": {Host: "gw.example.com", ForwardedHost: []string{"evil.example"}},
		"Origin":           from("gw.example.com", "http://evil.example"),
	} {
		var refusal *hostvalidate.Error
		require.ErrorAs(t, p.Check(row{request: r}.full()), &refusal)
		require.Equal(t, want, refusal.Header())
		require.Contains(t, refusal.Error(), `"`+refusal.Suggest+`"`)
	}
}

func TestNilAndZeroPolicyRefuse(t *testing.T) {
	for name, p := range map[string]*hostvalidate.Policy{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, p.Check(row{request: host("localhost")}.full()), hostvalidate.NotConfigured)
			require.ErrorIs(t, p.AddHost("gw.example.com"), hostvalidate.NotConfigured)
			require.ErrorIs(t, p.Check(row{request: host("gw.example.com")}.full()), hostvalidate.NotConfigured)
		})
	}
	p, err := hostvalidate.New(config{})
	require.NoError(t, err)
	require.ErrorIs(t, p.Check(request{}), hostvalidate.HostMissing)
}

var badHosts = []struct {
	entry string
	want  error // nil: any
}{
	{"", hostvalidate.HostMissing},
	{"*", nil},
	{"*.example.com", nil},
	{"https://*", nil},
	{"https://*/", nil},
	{"gw.example.com:*", nil},
	{".", nil},
	{".com", nil},
	{".com.", nil},
	{".localhost", nil},
	{"..example.com", hostvalidate.HostDots},
	{".192.168.1.1", nil},
	{".[fd00::1]", nil},
	{" gw.example.com", hostvalidate.HostList},
	{"gw.example.com,ui.example.com", hostvalidate.HostList},
	{"user@gw.example.com", hostvalidate.HostUserinfo},
	{"gw.example.com/", nil},
	{"gw.example.com/x", nil},
	{"https://gw.example.com/", hostvalidate.HostCharacter},
	{"wss://gw.example.com", nil},
	{"://gw.example.com", nil},
	{"https://", hostvalidate.HostMissing},
	{"^gw$", hostvalidate.HostCharacter},
	{"bücher.example", hostvalidate.HostCharacter},
	{"gw.example.com:0", hostvalidate.HostBadPort},
	{"gw.example.com:99999", hostvalidate.HostBadPort},
	{"[::1", hostvalidate.HostBadIPv6},
	{"fe80::1%eth0", hostvalidate.HostEscaped},
	{"64:ff9b::7f00:1", hostvalidate.HostEmbeddedIPv4},
	{"[64:ff9b::7f00:1]", hostvalidate.HostEmbeddedIPv4},
	{"127.1", hostvalidate.HostLegacyIPv4},
	{"0.0.0.0", hostvalidate.HostUnspecified},
	{"::", hostvalidate.HostUnspecified},
	{"10.0.0.0/33", nil},
	{"10.0.0.0/8/8", nil},
	{"https://10.0.0.0/8", hostvalidate.HostCharacter},
}

func TestBadHosts(t *testing.T) {
	for _, c := range badHosts {
		t.Run(c.entry, func(t *testing.T) {
			p, err := hostvalidate.New(config{})
			require.NoError(t, err)
			added := p.AddHost(c.entry)
			_, made := hostvalidate.New(hosts("gw.example.com", c.entry))
			for field, err := range map[string]error{"AddHost": added, "Hosts[1]": made} {
				require.Error(t, err)
				require.True(t, strings.HasPrefix(err.Error(), "hostvalidate: "+field+": "), err)
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
				}
			}
		})
	}
}

func TestBadOrigins(t *testing.T) {
	for _, entry := range []string{
		"", "*", "null", "gw.example.com", "https://", "https://*", "https://*.example.com", "http://gw.example.com:*:*", "http://gw.example.com:80:*",
		"http://:*", "https://gw.example.com/", "https://u@gw.example.com", "://gw.example.com", "http://gw.example.com:99999", "https://.example.com",
	} {
		t.Run(entry, func(t *testing.T) {
			_, err := hostvalidate.New(origins("https://gw.example.com", entry))
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), "hostvalidate: Origins[1]: "), err)
		})
	}
}

func TestNewNamesEveryWrongEntry(t *testing.T) {
	_, err := hostvalidate.New(config{Hosts: []string{"*", "a", "a@b"}, Origins: []string{"*"}})
	require.Error(t, err)
	for _, field := range []string{"Hosts[0]", "Hosts[2]", "Origins[0]"} {
		require.Contains(t, err.Error(), field)
	}
	require.ErrorIs(t, err, hostvalidate.HostUserinfo)
}

func TestConfigFromJSON(t *testing.T) {
	var c config
	require.NoError(t, json.Unmarshal([]byte(`{"Hosts":["gw.example.com"],"Origins":["https://ui.example.com"],"RequireOrigin":true,"LocalhostSubdomains":true,"TrustedProxies":["192.0.2.0/24"]}`), &c))
	require.Empty(t, cmp.Diff(config{
		Hosts: []string{"gw.example.com"}, Origins: []string{"https://ui.example.com"}, RequireOrigin: true, LocalhostSubdomains: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}, c, cmpopts.EquateComparable(netip.Prefix{})))
}

func TestConfigIsNotKept(t *testing.T) {
	c := config{Hosts: []string{"gw.example.com"}, Origins: []string{"https://ui.example.com"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	p, err := hostvalidate.New(c)
	require.NoError(t, err)
	c.Hosts[0], c.Origins[0], c.TrustedProxies[0] = "evil.example", "http://evil.example", netip.Prefix{}
	require.NoError(t, p.Check(row{request: from("gw.example.com", "https://ui.example.com")}.full()))
	require.ErrorIs(t, p.Check(row{request: host("evil.example")}.full()), hostvalidate.HostUndeclared)
	require.ErrorIs(t, p.Check(row{request: request{Host: "gw.example.com", ForwardedHost: []string{"evil.example"}}}.full()), hostvalidate.HostUndeclared)
}

func TestAddHost(t *testing.T) {
	for _, c := range []struct{ entry, good, bad string }{
		{"late.example.com", "late.example.com:8443", "x.late.example.com"},
		{"late.example.com:8443", "late.example.com:8443", "late.example.com"},
		{".late.example.com", "x.late.example.com", "xlate.example.com"},
		{"192.168.1.50", "192.168.1.50", "192.168.1.51"},
		{"10.0.0.0/8", "10.1.2.3", "11.1.2.3"},
	} {
		t.Run(c.entry, func(t *testing.T) {
			p, err := hostvalidate.New(hosts("gw.example.com", ".ui.example.com", "192.168.1.1"))
			require.NoError(t, err)
			require.Error(t, p.Check(row{request: host(c.good)}.full()))
			for range 2 {
				require.NoError(t, p.AddHost(c.entry))
				require.NoError(t, p.Check(row{request: host(c.good)}.full()))
				require.ErrorIs(t, p.Check(row{request: host(c.bad)}.full()), hostvalidate.HostUndeclared)
				for _, before := range []string{"gw.example.com", "a.ui.example.com", "192.168.1.1"} {
					require.NoError(t, p.Check(row{request: host(before)}.full()))
				}
			}
		})
	}
}

// Entries for one name add up, and adding the next disturbs none before it.
func TestAddHostKeepsOlderRules(t *testing.T) {
	p, err := hostvalidate.New(hosts("gw.example.com:1"))
	require.NoError(t, err)
	for port := 2; port <= 9; port++ {
		require.NoError(t, p.AddHost(fmt.Sprintf("gw.example.com:%d", port)))
	}
	for port := 1; port <= 9; port++ {
		require.NoError(t, p.Check(row{request: host(fmt.Sprintf("gw.example.com:%d", port))}.full()))
	}
	require.ErrorIs(t, p.Check(row{request: host("gw.example.com:10")}.full()), hostvalidate.HostUndeclared)
}

func TestAddHostWhileChecking(t *testing.T) {
	p, err := hostvalidate.New(hosts("gw.example.com:1", ".ui.example.com:1", "192.168.1.1"))
	require.NoError(t, err)
	const adders, each = 4, 50
	var group sync.WaitGroup
	for adder := range adders {
		group.Go(func() {
			for i := range each {
				for _, entry := range []string{"h%[1]d-%[2]d.example.com", "gw.example.com:1%[1]d%02[2]d", ".s%[1]d-%[2]d.example.com", "10.0.%[1]d.%[2]d"} {
					if err := p.AddHost(fmt.Sprintf(entry, adder, i)); err != nil {
						t.Error(err)
					}
				}
			}
		})
		group.Go(func() {
			for range each * 4 {
				if err := p.Check(row{request: host("gw.example.com:1")}.full()); err != nil {
					t.Error(err)
				}
				if err := p.Check(row{request: host("evil.example")}.full()); !errors.Is(err, hostvalidate.HostUndeclared) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for adder := range adders {
		for i := range each {
			for _, good := range []string{"h%[1]d-%[2]d.example.com", "gw.example.com:1%[1]d%02[2]d", "x.s%[1]d-%[2]d.example.com", "10.0.%[1]d.%[2]d"} {
				require.NoError(t, p.Check(row{request: host(fmt.Sprintf(good, adder, i))}.full()))
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	p, err := hostvalidate.New(config{
		Hosts: []string{"gw.example.com", ".corp.example.com", "10.0.0.0/8"}, Origins: []string{"https://app.example.com:*"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		row  row
		want float64
	}{
		{"localhost", row{request: from("localhost:18789", "http://localhost:18789")}, 0},
		{"an address", row{request: host("[::ffff:127.0.0.1]:18789")}, 0},
		{"a declared name in capitals", row{request: from("GW.EXAMPLE.COM.:8443", "HTTPS://GW.EXAMPLE.COM:8443")}, 0},
		{"below a suffix", row{request: host("a.b.CORP.example.com")}, 0},
		{"a declared origin", row{request: from("localhost", "https://app.example.com:1")}, 0},
		{"behind a proxy", row{path: proxied, request: forwarded("gw.example.com")}, 0},
		{"malformed", row{request: host("a:b@localhost")}, 0},
		{"malformed address", row{request: host("[fe80::1%25eth0]")}, 0},
		{"address without brackets", row{request: host("fe80::1")}, 0},
		{"loopback from the LAN", row{path: lan, request: host("localhost")}, 0},
		{"malformed origin", row{request: from("localhost", "null")}, 0},
		{"cross-site", row{request: request{Host: "localhost", FetchSite: []string{"cross-site"}}}, 0},
		{"undeclared: the error and nothing else", row{request: host("evil.example:18789")}, 1},
		{"undeclared in capitals: the error and its suggestion", row{request: host("EVIL.EXAMPLE")}, 2},
		{"undeclared origin: the error and its suggestion", row{request: from("localhost", "http://evil.example")}, 2},
	} {
		r := c.row.full()
		require.Equal(t, c.want, testing.AllocsPerRun(100, func() { _ = p.Check(r) }), c.name)
	}
}

// A header of 64 MiB, read to its end even at the speed of memory, takes milliseconds. The best of several tries has
// nothing in it but Check.
func TestTimeIsBounded(t *testing.T) {
	p, err := hostvalidate.New(behindProxy("gw.example.com"))
	require.NoError(t, err)
	huge := strings.Repeat("h", 64<<20)
	for name, c := range map[string]row{
		"Host":             {request: host(huge)},
		"Origin":           {request: from("localhost", huge)},
		"X-Forwarded-Host": {path: proxied, request: forwarded(huge)},
		"Sec-Fetch-Site":   {request: request{Host: "localhost", FetchSite: []string{huge}}},
	} {
		r, best := c.full(), time.Hour
		for range 20 {
			start := time.Now()
			require.Error(t, p.Check(r))
			best = min(best, time.Since(start))
		}
		require.Less(t, best, 100*time.Microsecond, name)
	}
}

func reasons(t *testing.T) (all []hostvalidate.Reason) {
	for r := hostvalidate.Reason(1); ; r++ {
		if _, err := r.MarshalText(); err != nil {
			require.Len(t, all, 26)
			return all
		}
		all = append(all, r)
	}
}

func TestReasonText(t *testing.T) {
	names := map[string]bool{}
	for _, r := range reasons(t) {
		text, err := r.MarshalText()
		require.NoError(t, err)
		require.Equal(t, r.String(), string(text))
		require.Regexp(t, `^[a-z0-9-]+$`, r.String())
		require.True(t, strings.HasPrefix(r.Error(), "hostvalidate: "))
		require.False(t, names[r.String()] || names[r.Error()], "%v is told twice", r)
		names[r.String()], names[r.Error()] = true, true

		var back hostvalidate.Reason
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, r, back)

		want := http.StatusMisdirectedRequest
		if r > hostvalidate.HostUndeclared {
			want = http.StatusForbidden
		}
		require.Equal(t, want, r.Status())
	}
	for _, unknown := range []hostvalidate.Reason{0, 27, 255} {
		_, err := unknown.MarshalText()
		require.Error(t, err)
		require.Equal(t, fmt.Sprintf("Reason(%d)", uint8(unknown)), unknown.String())
		require.True(t, strings.HasPrefix(unknown.Error(), "hostvalidate: "))
	}
	require.Equal(t, http.StatusMisdirectedRequest, hostvalidate.Reason(0).Status(), "the zero Reason is a refusal, too")
	for _, unknown := range []string{"", "Reason(0)", "HOST-UNDECLARED", "host-undeclared "} {
		r := hostvalidate.HostDots
		require.Error(t, r.UnmarshalText([]byte(unknown)))
		require.Equal(t, hostvalidate.HostDots, r)
	}
}
