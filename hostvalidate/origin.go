// SPDX-License-Identifier: Apache-2.0

package hostvalidate

import (
	"errors"
	"strings"
)

// origin is what an Origin header names.
type origin struct {
	scheme  string // as it was written
	host    host   // its port is never 0 if the scheme has a default one
	anyPort bool   // in entries of Config.Origins only
}

const (
	maxScheme = 32  // the longest that programs register is about 20 bytes
	maxOrigin = 295 // that, "://", maxHost
)

// parseOrigin reads scheme "://" host [ ":" port ] (RFC 6454 section 6.2), what a browser sends, and nothing more.
func parseOrigin(s string) (origin, Reason) {
	if s == "null" {
		return origin{}, OriginNull
	}
	if len(s) > maxOrigin {
		return origin{}, OriginMalformed
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !isScheme(scheme) {
		return origin{}, OriginMalformed
	}
	h, why := parseHost(rest)
	if why != 0 {
		return origin{}, OriginMalformed
	}
	o := origin{scheme: scheme, host: h}
	o.host.port = portOr(h.port, schemeOf(scheme))
	return o, 0
}

// isScheme follows RFC 3986 section 3.1.
func isScheme(s string) bool {
	if len(s) > maxScheme {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(s[i]))) {
			return false
		}
	}
	return s != ""
}

// portOr is the port, or the default one of the scheme.
func portOr(port uint16, s schemes) uint16 {
	if port != 0 {
		return port
	}
	return s.defaultPort()
}

// covers tells whether an entry of Config.Origins covers a request's origin.
func (o origin) covers(got origin) bool {
	samePort := o.anyPort || o.host.port == got.host.port
	return samePort && strings.EqualFold(o.scheme, got.scheme) && o.host.same(got.host)
}

// canonical writes o as browsers do, without a default port.
func (o origin) canonical() string {
	if o.host.port == schemeOf(o.scheme).defaultPort() {
		o.host.port = 0
	}
	var buf [maxOrigin]byte
	return string(o.host.append(append(appendLower(buf[:0], o.scheme), "://"...)))
}

var errWideOrigin = errors.New("a wildcard undoes the check; list the origins, of which only the port may be an asterisk")

// parseOriginEntry reads an entry of Config.Origins, whose port may be an asterisk.
func parseOriginEntry(entry string) (origin, error) {
	rest, anyPort := strings.CutSuffix(entry, ":*")
	if strings.Contains(rest, "*") {
		return origin{}, errWideOrigin
	}
	if anyPort {
		rest += ":1" // so that a port before the asterisk is one too many
	}
	o, why := parseOrigin(rest)
	if why != 0 {
		return origin{}, why
	}
	o.anyPort = anyPort
	return o, nil
}
