// SPDX-License-Identifier: Apache-2.0

package hostvalidate

import (
	"fmt"
	"net/http"
)

// A Reason says why a request was refused. The set is closed: its texts are part of the API, and no new one is given
// to what has one already. A Reason is an error, so that errors.Is(err, hostvalidate.HostUndeclared) works. The zero
// Reason is no valid one, and a refusal all the same.
type Reason uint8

// The Reasons up to HostUndeclared are about the host that was asked for, and answered with 421; the others are about
// the page that asks, and answered with 403.
const (
	NotConfigured    Reason = iota + 1 // the Policy is nil or was not made by New
	AbsoluteTarget                     // a request target with a host of its own: absolute-form, or CONNECT
	HostMissing                        // no host, or an empty one
	HostAmbiguous                      // several values, which software along the way may choose from differently
	HostTooLong                        // a name over 253 bytes, a label over 63 (RFC 1035 section 2.3.4)
	HostUserinfo                       // user@host
	HostList                           // a comma, semicolon or blank
	HostEscaped                        // percent-encoding
	HostZone                           // an IPv6 zone, which has a meaning on one machine only (RFC 6874)
	HostCharacter                      // another byte that no host name has
	HostDots                           // an empty label: a leading dot, or two in a row; one trailing dot is fine
	HostHyphen                         // a label that begins or ends with a hyphen (RFC 952)
	HostLegacyIPv4                     // 127.1, 0x7f.1, 2130706433, 0177.0.0.1, 127.0.0.1.: no browser sends these
	HostBadIPv6                        // brackets around anything but an IPv6 address, or one without brackets
	HostEmbeddedIPv4                   // an IPv4 address in IPv6 other than mapped: ::127.0.0.1, 64:ff9b::7f00:1
	HostBadPort                        // a port that isn't 1 to 65535 in plain decimal
	HostUnspecified                    // 0.0.0.0 or [::], which reach loopback services on Linux and macOS
	HostLoopback                       // localhost or a loopback address, but an end of the connection is elsewhere
	HostUndeclared                     // well formed, and not declared: the signature of DNS rebinding

	OriginMissing    // no Origin, and Config.RequireOrigin is set
	CrossSite        // no Origin, and Sec-Fetch-Site tells of another site
	OriginAmbiguous  // several Origin headers
	OriginNull       // "null": a sandboxed frame, a file, a redirect
	OriginMalformed  // not scheme://host[:port]
	OriginScheme     // this host by a scheme that its entry in Config.Hosts excludes
	OriginUndeclared // neither the host that was asked for nor in Config.Origins

	reasons // their number, and one
)

// describe gives the name that logs and clients see, and the sentence for people.
func (r Reason) describe() (name, text string) {
	switch r {
	case NotConfigured:
		return "not-configured", "the Policy was not made by New; everything is refused"
	case AbsoluteTarget:
		return "absolute-target", "the request target names a host of its own; send the path only"
	case HostMissing:
		return "host-missing", "no host; name one"
	case HostAmbiguous:
		return "host-ambiguous", "more than one host; send exactly one"
	case HostTooLong:
		return "host-too-long", "longer than a host name can be"
	case HostUserinfo:
		return "host-userinfo", "user information before the host; leave it out"
	case HostList:
		return "host-list", "a list; give exactly one host"
	case HostEscaped:
		return "host-escaped", "percent-encoding; write the host plainly"
	case HostZone:
		return "host-zone", "an IPv6 zone; leave it out"
	case HostCharacter:
		return "host-character", "a character that no host name has; write foreign names in Punycode (xn--)"
	case HostDots:
		return "host-dots", "an empty label; remove the dot too many"
	case HostHyphen:
		return "host-hyphen", "a label that begins or ends with a hyphen"
	case HostLegacyIPv4:
		return "host-legacy-ipv4", "an IPv4 address that is not four plain decimal numbers"
	case HostBadIPv6:
		return "host-bad-ipv6", "not an IPv6 address in brackets"
	case HostEmbeddedIPv4:
		return "host-embedded-ipv4", "an IPv4 address within an IPv6 address; use the IPv4 address"
	case HostBadPort:
		return "host-bad-port", "the port must be 1 to 65535, in plain decimal"
	case HostUnspecified:
		return "host-unspecified", "the unspecified address; use the server's own address"
	case HostLoopback:
		return "host-loopback", "a loopback host is only good from the same machine; declare a name in Hosts and use that"
	case HostUndeclared:
		return "host-undeclared", "not a host of this server"
	case OriginMissing:
		return "origin-missing", "no Origin, which this server requires"
	case CrossSite:
		return "cross-site", "the browser says that another site sent this, and no Origin says which"
	case OriginAmbiguous:
		return "origin-ambiguous", "more than one Origin"
	case OriginNull:
		return "origin-null", "an opaque Origin can be anyone's; open the page from this server"
	case OriginMalformed:
		return "origin-malformed", "not scheme://host[:port]"
	case OriginScheme:
		return "origin-scheme", "this host is declared for another scheme"
	case OriginUndeclared:
		return "origin-undeclared", "not an origin that may use this server"
	}
	return "", "refused for an unknown reason"
}

// String is the reason's name, such as "host-undeclared".
func (r Reason) String() string {
	if name, _ := r.describe(); name != "" {
		return name
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// Error is a sentence that says what is wrong and, where the client can mend it, how.
func (r Reason) Error() string {
	_, text := r.describe()
	return "hostvalidate: " + text
}

// Status is the HTTP status of a refusal: 421 for the host, 403 for the origin.
func (r Reason) Status() int {
	if r <= HostUndeclared {
		return http.StatusMisdirectedRequest
	}
	return http.StatusForbidden
}

// MarshalText writes the reason's name; an unknown reason is an error.
func (r Reason) MarshalText() ([]byte, error) {
	if name, _ := r.describe(); name != "" {
		return []byte(name), nil
	}
	return nil, fmt.Errorf("hostvalidate: no Reason has the number %d", uint8(r))
}

// UnmarshalText reads what MarshalText wrote; anything else is an error.
func (r *Reason) UnmarshalText(text []byte) error {
	for known := range reasons {
		if name, _ := known.describe(); name != "" && name == string(text) {
			*r = known
			return nil
		}
	}
	return fmt.Errorf("hostvalidate: no Reason is named %.40q", text)
}

// An Error is a refusal. It may be shared between requests of one Policy, and must not be changed.
type Error struct {
	Reason Reason

	from source // here, it takes no room

	// Suggest is empty, or the entry that would let this request in: for Config.Hosts and AddHost after
	// HostUndeclared, for Config.Origins after OriginUndeclared. It is in the one form that browsers send, and safe
	// to print. It is what the client asked for: add it only if it is yours.
	Suggest string
}

// Error says which header was refused, why, and which entry would let it in. It never holds the header itself.
func (e *Error) Error() string {
	_, text := e.Reason.describe()
	text = "hostvalidate: " + e.Header() + ": " + text
	if e.Suggest == "" {
		return text
	}
	if e.Reason <= HostUndeclared {
		return text + `; if it is yours, add "` + e.Suggest + `" to Hosts`
	}
	return text + `; if you trust it, add "` + e.Suggest + `" to Origins`
}

// Header is the header that decided: Host, which also stands for :authority and the request target, X-Forwarded-Host,
// Origin, or Sec-Fetch-Site.
func (e *Error) Header() string {
	if e.Reason == CrossSite {
		return "Sec-Fetch-Site"
	}
	if e.Reason > HostUndeclared {
		return "Origin"
	}
	return [sources]string{"Host", "X-Forwarded-Host"}[e.from]
}

// Unwrap gives the Reason.
func (e *Error) Unwrap() error { return e.Reason }

// source is where a host comes from.
type source uint8

const (
	fromHost source = iota
	fromForwardedHost
	sources
)

// refusals holds every refusal that suggests nothing, so that refusing allocates nothing.
type refusals [sources][reasons]Error

func (all *refusals) fill() {
	for s := range sources {
		for r := range reasons {
			all[s][r] = Error{Reason: r, from: s}
		}
	}
}
