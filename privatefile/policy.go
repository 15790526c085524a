// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"fmt"
	"math"
)

// LoosePolicy says what happens to a file that others may read.
type LoosePolicy uint8

const (
	// Repair takes the rights of others away, verifies it, and reports. A file that cannot be repaired is refused.
	Repair LoosePolicy = iota
	// Reject refuses the file and leaves it as it is.
	Reject
	// Warn takes the file as it is and reports. Weaker: it stays open to others.
	Warn
)

func (p LoosePolicy) word() string {
	switch p {
	case Repair:
		return "repair"
	case Reject:
		return "reject"
	case Warn:
		return "warn"
	}
	return ""
}

// String is "repair", "reject" or "warn".
func (p LoosePolicy) String() string { return text(p, "LoosePolicy") }

// MarshalText is String, and an error for a policy that does not exist.
func (p LoosePolicy) MarshalText() ([]byte, error) { return marshal(p, "LoosePolicy") }

// UnmarshalText takes what String gives, and nothing else.
func (p *LoosePolicy) UnmarshalText(b []byte) error { return unmarshal(p, b, "LoosePolicy") }

// OwnerPolicy says whose files are accepted.
type OwnerPolicy uint8

const (
	// Self accepts files of the effective user of this process.
	Self OwnerPolicy = iota
	// SelfOrRoot also accepts files of root, such as what Kubernetes or a package manager put there.
	SelfOrRoot
)

func (p OwnerPolicy) word() string {
	switch p {
	case Self:
		return "self"
	case SelfOrRoot:
		return "self-or-root"
	}
	return ""
}

// String is "self" or "self-or-root".
func (p OwnerPolicy) String() string { return text(p, "OwnerPolicy") }

// MarshalText is String, and an error for a policy that does not exist.
func (p OwnerPolicy) MarshalText() ([]byte, error) { return marshal(p, "OwnerPolicy") }

// UnmarshalText takes what String gives, and nothing else.
func (p *OwnerPolicy) UnmarshalText(b []byte) error { return unmarshal(p, b, "OwnerPolicy") }

// A closed set has a word for each of its values, and "" for all other numbers.
type closed interface {
	~uint8
	word() string
}

func text[T closed](v T, kind string) string {
	if word := v.word(); word != "" {
		return word
	}
	return fmt.Sprintf("%s(%d)", kind, uint8(v))
}

func marshal[T closed](v T, kind string) ([]byte, error) {
	if word := v.word(); word != "" {
		return []byte(word), nil
	}
	return nil, fmt.Errorf("privatefile: %s(%d) does not exist", kind, uint8(v))
}

func unmarshal[T closed](v *T, b []byte, kind string) error {
	for known := range T(math.MaxUint8) {
		if word := known.word(); word != "" && word == string(b) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("privatefile: %q is no %s", b, kind)
}
