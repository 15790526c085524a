// SPDX-License-Identifier: Apache-2.0

package privatefile

import "fmt"

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

var looseNames = [...]string{Repair: "repair", Reject: "reject", Warn: "warn"}

func (p LoosePolicy) valid() bool { return int(p) < len(looseNames) }

// String is "repair", "reject" or "warn".
func (p LoosePolicy) String() string { return nameOf(looseNames[:], uint8(p), "LoosePolicy") }

// MarshalText is String, and an error for a policy that does not exist.
func (p LoosePolicy) MarshalText() ([]byte, error) {
	return marshalName(looseNames[:], uint8(p), "LoosePolicy")
}

// UnmarshalText takes what String gives, and nothing else.
func (p *LoosePolicy) UnmarshalText(text []byte) error {
	return unmarshalName(looseNames[:], text, (*uint8)(p), "LoosePolicy")
}

// OwnerPolicy says whose files are accepted.
type OwnerPolicy uint8

const (
	// Self accepts files of the effective user of this process.
	Self OwnerPolicy = iota
	// SelfOrRoot also accepts files of root, such as what Kubernetes or a package manager put there.
	SelfOrRoot
)

var ownerNames = [...]string{Self: "self", SelfOrRoot: "self-or-root"}

func (p OwnerPolicy) valid() bool { return int(p) < len(ownerNames) }

// String is "self" or "self-or-root".
func (p OwnerPolicy) String() string { return nameOf(ownerNames[:], uint8(p), "OwnerPolicy") }

// MarshalText is String, and an error for a policy that does not exist.
func (p OwnerPolicy) MarshalText() ([]byte, error) {
	return marshalName(ownerNames[:], uint8(p), "OwnerPolicy")
}

// UnmarshalText takes what String gives, and nothing else.
func (p *OwnerPolicy) UnmarshalText(text []byte) error {
	return unmarshalName(ownerNames[:], text, (*uint8)(p), "OwnerPolicy")
}

func nameOf(names []string, v uint8, kind string) string {
	if int(v) < len(names) && names[v] != "" {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", kind, v)
}

func marshalName(names []string, v uint8, kind string) ([]byte, error) {
	if int(v) < len(names) && names[v] != "" {
		return []byte(names[v]), nil
	}
	return nil, fmt.Errorf("privatefile: %s(%d) does not exist", kind, v)
}

func unmarshalName(names []string, text []byte, v *uint8, kind string) error {
	for i, name := range names {
		if name != "" && name == string(text) {
			*v = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("privatefile: %q is no %s", text, kind)
}
