// SPDX-License-Identifier: Apache-2.0

package hostvalidate

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// schemes is a set of URL schemes that a host may be used by.
type schemes uint8

const (
	plainHTTP schemes = 1 << iota
	overTLS
	anyScheme = plainHTTP | overTLS
)

func schemeOf(name string) schemes {
	switch {
	case strings.EqualFold(name, "http"):
		return plainHTTP
	case strings.EqualFold(name, "https"):
		return overTLS
	}
	return 0
}

func (s schemes) defaultPort() uint16 {
	switch s {
	case plainHTTP:
		return 80
	case overTLS:
		return 443
	}
	return 0
}

// rule is what an entry of Config.Hosts grants to the names it covers.
type rule struct {
	schemes schemes
	port    uint16 // 0: any
}

// allows gives the schemes by which a host with this port may be used; 0 is none. A host without a port has the
// default port of the scheme, which the server can't tell behind a proxy that ends TLS.
func (r rule) allows(port uint16) schemes {
	if r.port == 0 || r.port == port {
		return r.schemes
	}
	for _, s := range [...]schemes{plainHTTP, overTLS} {
		if port == 0 && r.port == s.defaultPort() {
			return r.schemes & s
		}
	}
	return 0
}

// table is what Config.Hosts declares. It never changes once a Policy has it.
type table struct {
	names    map[string][]rule // in lower case
	suffixes []suffix
	networks []network // single addresses too
}

type suffix struct {
	name string // in lower case, without the leading dot
	rule rule
}

type network struct {
	prefix netip.Prefix
	rule   rule
}

// allows gives the schemes by which h may be used according to the entries that cover it; 0 is none.
func (t *table) allows(h host) (granted schemes) {
	if h.name == "" {
		for _, n := range t.networks {
			if n.prefix.Contains(h.addr) {
				granted |= n.rule.allows(h.port)
			}
		}
		return granted
	}
	if h.plain {
		return allowsName(t, h.name, h.port)
	}
	var lower [maxName]byte
	return allowsName(t, appendLower(lower[:0], h.name), h.port)
}

// allowsName takes a name in lower case, also in a buffer that must not become a string of its own.
func allowsName[T string | []byte](t *table, name T, port uint16) (granted schemes) {
	for _, r := range t.names[string(name)] {
		granted |= r.allows(port)
	}
	for _, s := range t.suffixes {
		cut := len(name) - len(s.name)
		if cut >= 0 && string(name[cut:]) == s.name && (cut == 0 || name[cut-1] == '.') {
			granted |= s.rule.allows(port)
		}
	}
	return granted
}

// with is a copy of t that also holds entry.
func (t *table) with(entry string) (*table, error) {
	c := &table{names: maps.Clone(t.names), suffixes: slices.Clip(t.suffixes), networks: slices.Clip(t.networks)}
	return c, c.add(entry)
}

var (
	errWildcard = errors.New("a wildcard undoes the check; list the names, or write .name for a name and all below it")
	errScheme   = errors.New("only http:// and https:// can stand before a host")
	errNetwork  = errors.New("not a network such as 10.0.0.0/8; and a host has no path")
	errSuffix   = errors.New("a suffix of one label is everybody's; write at least two, such as .example.com")
)

// add puts an entry of Config.Hosts into t, which no Policy may have yet.
func (t *table) add(entry string) error {
	rest, r := entry, rule{schemes: anyScheme}
	if before, after, ok := strings.Cut(entry, "://"); ok {
		rest, r.schemes = after, schemeOf(before)
		if r.schemes == 0 {
			return errScheme
		}
	} else if strings.Contains(entry, "/") {
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			return errNetwork
		}
		t.networks = appendNew(t.networks, network{unmap(p), r})
		return nil
	}
	if strings.Contains(rest, "*") {
		return errWildcard
	}
	rest, isSuffix := strings.CutPrefix(rest, ".")
	h, why := parseEntryHost(rest)
	if why != 0 {
		return why
	}
	r.port = h.port
	name := string(appendLower(nil, h.name))
	if isSuffix {
		if !strings.Contains(name, ".") {
			return errSuffix
		}
		t.suffixes = appendNew(t.suffixes, suffix{name, r})
	} else if name != "" {
		t.names[name] = appendNew(slices.Clip(t.names[name]), r)
	} else {
		t.networks = appendNew(t.networks, network{netip.PrefixFrom(h.addr, h.addr.BitLen()), r})
	}
	return nil
}

// appendNew appends what is not there yet, so that adding an entry again costs nothing.
func appendNew[T comparable](to []T, v T) []T {
	if slices.Contains(to, v) {
		return to
	}
	return append(to, v)
}

// parseEntryHost also takes an IPv6 address without brackets, as people write it.
func parseEntryHost(s string) (host, Reason) {
	addr, why := parseIPv6(s)
	h := host{addr: addr}
	if why == HostBadIPv6 {
		h, why = parseHost(s)
	}
	if why == 0 && h.addr.IsUnspecified() {
		why = HostUnspecified
	}
	return h, why
}

// unmap makes a prefix of IPv4-mapped addresses one of the IPv4 addresses that they are.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// entryError is a wrong entry of Config or AddHost. It quotes the entry, which is the operator's.
type entryError struct {
	field, entry string
	why          error
}

func (e *entryError) Error() string {
	why := strings.TrimPrefix(e.why.Error(), "hostvalidate: ")
	return fmt.Sprintf("hostvalidate: %s: %.80q: %s", e.field, e.entry, why)
}

func (e *entryError) Unwrap() error { return e.why }
