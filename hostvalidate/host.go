// SPDX-License-Identifier: Apache-2.0

package hostvalidate

import (
	"net/netip"
	"strconv"
	"strings"
)

const localhost = "localhost"

const (
	maxName  = 253 // RFC 1035 section 2.3.4, without the length bytes and the root label
	maxLabel = 63  // the same
	maxHost  = 260 // the longest uri-host [":" port] there is: a name, a trailing dot, ":65535"
)

// host is what a Host header names: a DNS name or an address, and a port. Parsing it allocates nothing.
type host struct {
	name  string     // as it was written, without a trailing dot; empty: addr
	addr  netip.Addr // an IPv4-mapped address is the IPv4 address
	port  uint16     // 0: none
	plain bool       // name is in lower case, as browsers send it
}

// parseHost reads uri-host [":" port] (RFC 9110 section 7.2, RFC 3986 section 3.2.2), but no more of reg-name than
// DNS and browsers use: percent-encoding, sub-delims and an empty name are valid there, and here a way to be
// understood differently by two programs.
func parseHost(s string) (h host, why Reason) {
	if s == "" {
		return host{}, HostMissing
	}
	if len(s) > maxHost {
		return host{}, HostTooLong
	}
	var end int
	if s[0] == '[' {
		end = strings.IndexByte(s, ']') + 1
		h.addr, why = parseIPv6(s[1:max(end-1, 1)])
	} else {
		h, end, why = parseName(s)
	}
	if why == 0 {
		h.port, why = parsePort(s[end:])
	}
	if why != 0 {
		return host{}, blame(s, why)
	}
	return h, 0
}

// parseName reads a DNS name from the start of s, up to the first byte that belongs to none. If its last label is a
// number, it is an IPv4 address: so browsers decide it (WHATWG URL, "ends in a number checker"), and what one of them
// takes for an address must not be a name here.
func parseName(s string) (h host, end int, why Reason) {
	var upper byte
	last := "" // the label before the dot or the end
	start := 0 // of the next one
	for ; ; end++ {
		var c byte
		if end < len(s) {
			c = classes[s[end]]
		}
		if c >= inName {
			upper |= c & inUpper
			continue
		}
		if label := s[start:end]; label != "" {
			if len(label) > maxLabel {
				return h, end, HostTooLong
			}
			if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
				return h, end, HostHyphen
			}
			last = label
		} else if c == dot {
			return h, end, HostDots
		} else if end == 0 {
			return h, end, HostMissing
		} // else one trailing dot
		if c != dot {
			break
		}
		start = end + 1
	}
	h.plain = upper == 0
	h.name = strings.TrimSuffix(s[:end], ".")
	if len(h.name) > maxName {
		return h, end, HostTooLong
	}
	if isNumber(last) {
		addr, ok := parseIPv4(s[:end])
		if !ok {
			return h, end, HostLegacyIPv4
		}
		return host{addr: addr}, end, 0
	}
	return h, end, 0
}

// classes are what the bytes of a host mean; 0 is none of these.
const (
	dot     = 1
	inName  = 2
	inUpper = 4 // only together with inName
)

// classes also has the underscore in names, as DNS has, and names of services.
var classes = func() (c [256]byte) {
	for _, span := range [...]struct {
		first, last, class byte
	}{
		{'a', 'z', inName}, {'0', '9', inName}, {'-', '-', inName}, {'_', '_', inName},
		{'A', 'Z', inName | inUpper},
		{'.', '.', dot},
	} {
		for b := span.first; b <= span.last; b++ {
			c[b] = span.class
		}
	}
	return c
}()

// isNumber tells whether browsers read a label as a number: decimal, octal, or hexadecimal after 0x.
func isNumber(label string) bool {
	if label[0] < '0' || label[0] > '9' {
		return false
	}
	if len(label) > 1 && label[0] == '0' && label[1]|0x20 == 'x' {
		label = label[2:]
		for i := range len(label) {
			if hex(label[i]) < 0 {
				return false
			}
		}
		return true
	}
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return true
}

// parseIPv4 reads four decimal numbers without leading zeros.
func parseIPv4(s string) (netip.Addr, bool) {
	var a [4]byte
	for i := range a {
		n, digits := 0, 0
		for digits < len(s) && digits < 3 && '0' <= s[digits] && s[digits] <= '9' {
			n = n*10 + int(s[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && s[0] == '0' {
			return netip.Addr{}, false
		}
		a[i], s = byte(n), s[digits:]
		if i < 3 {
			if s == "" || s[0] != '.' {
				return netip.Addr{}, false
			}
			s = s[1:]
		}
	}
	return netip.AddrFrom4(a), s == ""
}

// parseIPv6 reads what stands between brackets (RFC 4291 section 2.2): up to eight groups, one run of zeros left out,
// the last 32 bits perhaps as an IPv4 address.
func parseIPv6(s string) (netip.Addr, Reason) {
	var a [16]byte
	n, gap := 0, -1 // bytes filled; where the zeros go
	if strings.HasPrefix(s, "::") {
		gap, s = 0, s[2:]
	}
	for s != "" {
		if n == len(a) {
			return netip.Addr{}, HostBadIPv6
		}
		v, digits := 0, 0
		for digits < len(s) && digits < 4 && hex(s[digits]) >= 0 {
			v = v<<4 | hex(s[digits])
			digits++
		}
		if digits == 0 {
			return netip.Addr{}, HostBadIPv6
		}
		if digits < len(s) && s[digits] == '.' {
			v4, ok := parseIPv4(s)
			if !ok || n > len(a)-4 {
				return netip.Addr{}, HostBadIPv6
			}
			b := v4.As4()
			n += copy(a[n:], b[:])
			break
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
		if s = s[digits:]; s == "" {
			break
		}
		if s[0] != ':' || len(s) == 1 {
			return netip.Addr{}, HostBadIPv6
		}
		if s = s[1:]; s[0] == ':' {
			if gap >= 0 {
				return netip.Addr{}, HostBadIPv6
			}
			gap, s = n, s[1:]
		}
	}
	if (gap >= 0) == (n == len(a)) {
		return netip.Addr{}, HostBadIPv6
	}
	if gap >= 0 {
		moved := copy(a[len(a)-(n-gap):], a[gap:n])
		clear(a[gap : len(a)-moved])
	}
	addr := netip.AddrFrom16(a)
	if embedsIPv4(addr) {
		return netip.Addr{}, HostEmbeddedIPv4
	}
	return addr.Unmap(), 0
}

// embedsIPv4 finds an IPv4 address in clothes that routers and libraries take off again, and that comparisons forget:
// v4-compatible (RFC 4291 section 2.5.5.1), translated (RFC 2765 section 2.1), NAT64 (RFC 6052 section 2.1).
func embedsIPv4(addr netip.Addr) bool {
	a := addr.As16()
	if [8]byte(a[:8]) == [8]byte{0, 0x64, 0xff, 0x9b} {
		return [4]byte(a[8:12]) == [4]byte{}
	}
	if [8]byte(a[:8]) != [8]byte{} {
		return false
	}
	if [4]byte(a[8:12]) == [4]byte{} {
		return [3]byte(a[12:15]) != [3]byte{} // :: and ::1 are none
	}
	return [4]byte(a[8:12]) == [4]byte{0xff, 0xff}
}

// parsePort reads what follows the name: nothing, or a colon and a number without leading zeros.
func parsePort(s string) (uint16, Reason) {
	if s == "" {
		return 0, 0
	}
	if s[0] != ':' || len(s) < 2 || len(s) > len(":65535") || s[1] == '0' {
		return 0, HostBadPort
	}
	n := 0
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, HostBadPort
		}
		n = n*10 + int(s[i]-'0')
	}
	if n > 65535 {
		return 0, HostBadPort
	}
	return uint16(n), 0
}

// blame finds the most telling reason why s is no host, since the first wrong byte rarely is: the colon of
// "user:password@host" is no bad port.
func blame(s string, found Reason) Reason {
	bracketed := s[0] == '['
	switch {
	case strings.Contains(s, "@"):
		return HostUserinfo
	case strings.ContainsAny(s, ",; \t"):
		return HostList
	case strings.Contains(s, "%"):
		if bracketed {
			return HostZone
		}
		return HostEscaped
	}
	for i := range len(s) {
		if classes[s[i]] == 0 && !strings.Contains(":[]", s[i:i+1]) {
			return HostCharacter
		}
	}
	if !bracketed {
		// Brackets elsewhere, or an address that lacks them, and isn't a name with two ports.
		if _, why := parseIPv6(s); why != HostBadIPv6 || strings.ContainsAny(s, "[]") {
			return HostBadIPv6
		}
	}
	return found
}

// hex is the value of a hexadecimal digit, or -1.
func hex(c byte) int {
	if '0' <= c && c <= '9' {
		return int(c - '0')
	}
	if c |= 0x20; 'a' <= c && c <= 'f' {
		return int(c-'a') + 10
	}
	return -1
}

// isLoopback tells names and addresses that lead back to the machine that asks (RFC 6761 section 6.3).
func (h host) isLoopback() bool {
	if h.name == "" {
		return h.addr.IsLoopback()
	}
	cut := len(h.name) - len(localhost)
	return cut >= 0 && strings.EqualFold(h.name[cut:], localhost) && (cut == 0 || h.name[cut-1] == '.')
}

// isSubdomain tells app.localhost from localhost.
func (h host) isSubdomain() bool { return len(h.name) > len(localhost) }

// same compares what two hosts name, without their ports.
func (h host) same(other host) bool {
	return h.addr == other.addr && strings.EqualFold(h.name, other.name)
}

// canonical writes h as browsers do: in lower case, addresses in their one form (RFC 5952), the port if there is
// one. It gives back raw if that is what raw is already.
func (h host) canonical(raw string) string {
	if h.plain && (len(raw) == len(h.name) || raw[len(h.name)] == ':') {
		return raw
	}
	var buf [maxHost]byte
	return string(h.append(buf[:0]))
}

func (h host) append(b []byte) []byte {
	if h.name != "" {
		b = appendLower(b, h.name)
	} else if h.addr.Is4() {
		b = h.addr.AppendTo(b)
	} else {
		b = append(h.addr.AppendTo(append(b, '[')), ']')
	}
	if h.port != 0 {
		b = strconv.AppendUint(append(b, ':'), uint64(h.port), 10)
	}
	return b
}

func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}
