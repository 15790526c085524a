// SPDX-License-Identifier: Apache-2.0

// Package hostvalidate refuses requests whose Host or Origin this server never answers to. It stops DNS rebinding and
// cross-site WebSocket hijacking of services on localhost and in private networks (finding MED-03, CWE-350, CWE-346,
// CWE-1385): a web page that anyone opens gives its own name a second address, that of this server, and then reads it
// and acts on it as if it were the page's own site.
//
// The usual defence compares Origin with Host. Rebinding makes the two equal, and sends no Origin at all with GET; so
// the name in Host is the only thing that gives it away:
//
//	origin, _ := url.Parse(r.Header.Get("Origin"))
//	return origin.Host == r.Host                  // true for http://evil.example:8080 and evil.example:8080
//	return strings.HasPrefix(r.Host, "localhost") // true for localhost.evil.example
//
// # Use
//
//	policy, err := hostvalidate.New(hostvalidate.Config{Hosts: []string{"gateway.example.com"}})
//	if err != nil {
//		return err
//	}
//	server := &http.Server{Handler: policy.Handler(mux)} // before any mux, and before RemoteAddr is rewritten
//
// # Guarantees
//
//   - A host is good if Config.Hosts or AddHost declares it, if it is the very IP address that this connection came
//     to, or if it is localhost or a loopback address and both ends of the connection are loopback. Nothing else
//     is, however the server listens: on loopback, on one address, or on all.
//   - A loopback host on any other connection is refused, even if it is declared.
//   - A host that is anything but one DNS name or one IP address, with at most one port, is refused with a [Reason]
//     of its own. So are spellings of an address that programs read differently, and a request target that names a
//     host besides the Host header.
//   - Behind one of Config.TrustedProxies, Host and X-Forwarded-Host must both be good. From anyone else
//     X-Forwarded-Host has no effect.
//   - A request with an Origin is served if that is the host and port that was asked for, by http or https as
//     Config.Hosts permits, or if it is in Config.Origins. null, a list, and two headers are refused.
//   - Absence: no host is refused; no Origin is let through, unless Config.RequireOrigin is set or Sec-Fetch-Site
//     tells of another site; an unknown local or peer address gives no right that an address could give; a nil or
//     zero [Policy] refuses everything.
//   - Time and memory are bounded by Config, not by the request.
//
// # Not guaranteed
//
//   - Who the client is. Everything but a browser writes what it likes into Host and Origin: authenticate
//     (secretequal), and count failures (authlimit). A Host of localhost behind a proxy on the same machine does
//     not make the client local.
//   - State changes by GET. A link or an image needs no Origin. Sec-Fetch-Site stops those of other sites, but not
//     of this site's other ports and subdomains; and browsers don't send it to http:// names other than localhost.
//     Change no state on GET.
//   - The scheme, where Config.Hosts leaves it open. A page that came by http, and so may be written by whoever is on
//     the way, is then the own page of an https server at the same host and port, or with neither port given. Write
//     https:// before the name.
//   - Rebinding behind a proxy that puts a good host of its own into Host, as nginx does by default. Let it pass Host
//     on; or let it set X-Forwarded-Host, and list it in Config.TrustedProxies, which takes no Unix socket.
//   - Safety of a declared name. Whoever controls it, or its DNS, or a name below a .suffix, is let in. A suffix
//     under which anyone can register, such as .ts.net, lets anyone in.
//   - Links from other sites. Where the browser sends Sec-Fetch-Site, a plain link from another site's page to this
//     server is refused like an image there; typed addresses and bookmarks are served.
//   - Requests that other software answers before this handler, or that reach a mux beside it.
//   - CORS. A page of Config.Origins is served; whether the browser lets it read the answer is up to CORS headers.
//
// # Cost
//
// Check takes about a third of the time of a pattern in the AllowedHosts of unrolled/secure. CheckHTTP, which has to
// read the same http.Request, takes about half; a short list of whole strings there lies between the two. Nothing is
// allocated, also in refusing; only a refusal that suggests an entry is. See bench/hostvalidate, also for the wrong
// answers of each.
package hostvalidate

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Config says which hosts are this server's, and which pages may use it. The zero Config declares nothing: good
// are localhost and loopback addresses from the same machine, the address that a connection came to, and pages from
// there.
type Config struct {
	// Hosts are the hosts this server answers to besides the built-in ones. Empty: none. An entry is one of
	//
	//	gateway.example.com          the name, with any port
	//	gateway.example.com:8443     with this port only; a default port may be left out by the client
	//	.example.com                 the name and all below it; at least two labels, all under your control
	//	192.168.1.50, fd00::1        the address, which is good without an entry if connections come to it directly
	//	100.64.0.0/10                any address of the network
	//	https://gateway.example.com  the name, and pages by this scheme only; also http://, and with a port
	//
	// Case and one trailing dot make no difference. Names that aren't ASCII are written in Punycode (xn--).
	Hosts []string

	// Origins are the origins of other pages that may use this server, on top of those from the host that was asked
	// for. Empty: none. An entry is scheme://host, scheme://host:port, or scheme://host:* for any port. Weaker by
	// every entry: such a page can do what the user can do here.
	Origins []string

	// RequireOrigin refuses requests without Origin, which browsers send with WebSockets, POST and whatever goes to
	// another site. False, the weaker, lets them pass: plain navigation and programs send none.
	RequireOrigin bool

	// LocalhostSubdomains treats names such as app.localhost as localhost. True is weaker: not every resolver knows
	// that these names are loopback (RFC 6761 section 6.3), and another user's server may be behind one.
	LocalhostSubdomains bool

	// TrustedProxies are the proxies that set or remove X-Forwarded-Host themselves. Empty: the header is never
	// read. A zero Prefix trusts nobody. Stricter by every entry: the host named there must be good as well. Pages
	// are then compared with it instead of with Host. A request of theirs without it is judged by Host alone.
	TrustedProxies []netip.Prefix

	// OnRefuse is called with each request that Handler or CheckOrigin refuses, for the log. It must be safe for
	// concurrent use. Nil: nobody is told, and the entry that Error.Suggest names is lost.
	OnRefuse func(*http.Request, *Error) `json:"-"`
}

// A Policy is a checked Config. It is safe for concurrent use. A nil or zero Policy refuses everything.
type Policy struct {
	table    atomic.Pointer[table] // nil: not made by New
	adding   sync.Mutex            // held from load to store by AddHost
	origins  []origin
	proxies  []netip.Prefix
	onRefuse func(*http.Request, *Error)

	requireOrigin, subdomains bool

	refusals refusals
}

// loaded is nil for a Policy that was not made by New.
func (p *Policy) loaded() *table {
	if p == nil {
		return nil
	}
	return p.table.Load()
}

func (p *Policy) refuse(why Reason) *Error { return &p.refusals[fromHost][why] }

// New checks c and makes a Policy. The error names every wrong entry.
func New(c Config) (*Policy, error) {
	p := &Policy{onRefuse: c.OnRefuse, requireOrigin: c.RequireOrigin, subdomains: c.LocalhostSubdomains}
	t := &table{names: map[string][]rule{}}
	var wrong []error
	for i, entry := range c.Hosts {
		if err := t.add(entry); err != nil {
			wrong = append(wrong, &entryError{fmt.Sprintf("Hosts[%d]", i), entry, err})
		}
	}
	for i, entry := range c.Origins {
		o, err := parseOriginEntry(entry)
		if err != nil {
			wrong = append(wrong, &entryError{fmt.Sprintf("Origins[%d]", i), entry, err})
		}
		p.origins = append(p.origins, o)
	}
	for _, prefix := range c.TrustedProxies {
		p.proxies = append(p.proxies, unmap(prefix))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	p.refusals.fill()
	p.table.Store(t)
	return p, nil
}

// AddHost declares one more host, in the form of an entry of Config.Hosts: for names that are learnt at run time,
// such as from a VPN. It applies to all later requests. Adding a host again changes nothing; a wrong entry is an
// error and changes nothing. A call copies all entries there are.
func (p *Policy) AddHost(entry string) error {
	if p.loaded() == nil {
		return NotConfigured
	}
	p.adding.Lock()
	defer p.adding.Unlock()
	t, err := p.loaded().with(entry)
	if err != nil {
		return &entryError{"AddHost", entry, err}
	}
	p.table.Store(t)
	return nil
}

// A Request is what decides about a request. Its zero value is refused.
type Request struct {
	// Host is the Host header or :authority.
	Host string

	// Origin, ForwardedHost and FetchSite are the values of Origin, X-Forwarded-Host and Sec-Fetch-Site. Empty: no
	// such header.
	Origin, ForwardedHost, FetchSite []string

	// Local and Peer are the ends of the connection. Zero: unknown, or no IP connection.
	Local, Peer netip.AddrPort

	// Absolute is set if the request target names a host: absolute-form, or CONNECT. Such a request is refused,
	// because the Host header may say something else (RFC 9112 section 3.2.2), and a proxy in front may have judged
	// that.
	Absolute bool
}

// Check returns nil if r may be served, or else an *Error. With a Policy from New, it allocates a refusal that suggests
// an entry, and nothing else.
func (p *Policy) Check(r Request) error {
	if refusal := p.check(&r); refusal != nil {
		return refusal
	}
	return nil
}

func (p *Policy) check(r *Request) *Error {
	t := p.loaded()
	if t == nil {
		return &Error{Reason: NotConfigured}
	}
	if r.Absolute {
		return p.refuse(AbsoluteTarget)
	}
	asked, granted, refusal := p.checkHost(t, r, fromHost, r.Host)
	if refusal != nil {
		return refusal
	}
	if len(r.ForwardedHost) > 0 && p.trusts(r.Peer) {
		if len(r.ForwardedHost) > 1 {
			return &p.refusals[fromForwardedHost][HostAmbiguous]
		}
		asked, granted, refusal = p.checkHost(t, r, fromForwardedHost, r.ForwardedHost[0])
		if refusal != nil {
			return refusal
		}
	}
	return p.checkOrigin(r, asked, granted)
}

// checkHost parses one host, and gives the schemes by which it may be used.
func (p *Policy) checkHost(t *table, r *Request, from source, raw string) (host, schemes, *Error) {
	h, why := parseHost(raw)
	if why != 0 {
		return host{}, 0, &p.refusals[from][why]
	}
	if h.addr.IsUnspecified() {
		return host{}, 0, &p.refusals[from][HostUnspecified]
	}
	granted := t.allows(h)
	var builtin bool
	if h.isLoopback() {
		if !isLoopback(r.Local) || !isLoopback(r.Peer) {
			return host{}, 0, &p.refusals[from][HostLoopback]
		}
		builtin = p.subdomains || !h.isSubdomain()
	} else {
		builtin = h.addr.IsValid() && h.addr == plain(r.Local)
	}
	if granted == 0 && builtin { // an entry may have fixed the scheme
		granted = anyScheme
	}
	if granted == 0 {
		return host{}, 0, &Error{Reason: HostUndeclared, from: from, Suggest: h.canonical(raw)}
	}
	return h, granted, nil
}

// checkOrigin judges the page that sent r to asked, which it may use by the granted schemes.
func (p *Policy) checkOrigin(r *Request, asked host, granted schemes) *Error {
	if len(r.Origin) == 0 {
		if p.requireOrigin {
			return p.refuse(OriginMissing)
		}
		if !sameSite(r.FetchSite) {
			return p.refuse(CrossSite)
		}
		return nil
	}
	if len(r.Origin) > 1 {
		return p.refuse(OriginAmbiguous)
	}
	got, why := parseOrigin(r.Origin[0])
	if why != 0 {
		return p.refuse(why)
	}
	by := schemeOf(got.scheme)
	own := by != 0 && got.host.same(asked) && got.host.port == portOr(asked.port, by)
	if own && granted&by != 0 {
		return nil
	}
	for _, o := range p.origins {
		if o.covers(got) {
			return nil
		}
	}
	if own {
		return p.refuse(OriginScheme)
	}
	return &Error{Reason: OriginUndeclared, Suggest: got.canonical()}
}

// sameSite tells whether Sec-Fetch-Site is absent or one value that doesn't tell of another site. Browsers that are
// too old to send it, and requests to plain http: names other than localhost, come without it.
func sameSite(values []string) bool {
	if len(values) == 0 {
		return true
	}
	return len(values) == 1 && (values[0] == "same-origin" || values[0] == "same-site" || values[0] == "none")
}

func (p *Policy) trusts(peer netip.AddrPort) bool {
	addr := plain(peer)
	for _, prefix := range p.proxies {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// plain is the address without zone, which browsers leave out, and without IPv4-mapping, which dual-stack listeners
// add.
func plain(a netip.AddrPort) netip.Addr { return a.Addr().Unmap().WithZone("") }

func isLoopback(a netip.AddrPort) bool { return plain(a).IsLoopback() }
