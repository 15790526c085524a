// SPDX-License-Identifier: Apache-2.0

package hostvalidate

import (
	"net/http"
	"net/netip"
)

// CheckHTTP is Check for a request that a server of net/http gave to its handler. A request from elsewhere has no
// http.LocalAddrContextKey, and so no right that its connection could give.
func (p *Policy) CheckHTTP(r *http.Request) error {
	if refusal := p.checkHTTP(r); refusal != nil {
		return refusal
	}
	return nil
}

// CheckOrigin tells whether CheckHTTP would let r through. It fits gorilla/websocket's Upgrader.CheckOrigin.
//
// Other WebSocket libraries have no such hook: put Handler in front, and turn their own check off, which compares
// Origin with Host only. That is websocket.AcceptOptions{InsecureSkipVerify: true} for coder/websocket.
func (p *Policy) CheckOrigin(r *http.Request) bool {
	refusal := p.checkHTTP(r)
	p.report(r, refusal)
	return refusal == nil
}

// Handler serves what CheckHTTP lets through with next, and refuses the rest with status 421 if it is about the
// host, or 403, and a JSON object: {"error": a fixed sentence, "reason": the Reason}. Nothing of the request is in
// it.
//
// It must come before any mux, which would redirect or serve by a host that isn't checked yet, and before anything
// that rewrites RemoteAddr from a header, since the rights of loopback come from there.
func (p *Policy) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusal := p.checkHTTP(r)
		if refusal == nil {
			next.ServeHTTP(w, r)
			return
		}
		p.report(r, refusal)
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		status := refusal.Reason.Status()
		text := "this server does not answer to that host"
		if status == http.StatusForbidden {
			text = "this server does not serve that origin"
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"error":"` + text + `","reason":"` + refusal.Reason.String() + "\"}\n"))
	})
}

func (p *Policy) report(r *http.Request, refusal *Error) {
	if refusal != nil && p != nil && p.onRefuse != nil {
		p.onRefuse(r, refusal)
	}
}

func (p *Policy) checkHTTP(r *http.Request) *Error {
	// net/http moves the one Host header of HTTP/1 to r.Host. With HTTP/2 it stays where it is, whatever :authority
	// says, and a handler or a proxy behind could go by either (RFC 9113 section 8.3.1).
	for _, also := range r.Header["Host"] {
		if also != r.Host {
			return &Error{Reason: HostAmbiguous} // p may be nil
		}
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return p.check(&Request{
		Host:          r.Host,
		Origin:        r.Header["Origin"],
		ForwardedHost: r.Header["X-Forwarded-Host"],
		FetchSite:     r.Header["Sec-Fetch-Site"],
		Local:         localAddr(r),
		Peer:          peer,
		Absolute:      r.URL == nil || r.URL.Scheme != "" || r.URL.Host != "",
	})
}

// localAddr is the address that the connection came to; zero if it isn't known or not one of IP.
func localAddr(r *http.Request) netip.AddrPort {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ AddrPort() netip.AddrPort }); ok {
		return addr.AddrPort()
	}
	return netip.AddrPort{}
}
