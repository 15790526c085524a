// SPDX-License-Identifier: Apache-2.0

package masterkey

import "fmt"

// EventKind says what happened. Zero is no kind.
type EventKind uint8

const (
	// KeyFound: Open takes the keys of Source.
	KeyFound EventKind = iota + 1
	// KeyGenerated: there was no key anywhere, and a new one now rests in Source. Once in a service's life.
	KeyGenerated
	// KeyMoved: the keys that Dir knows are now in Source, and no longer where they were.
	KeyMoved
	// SourceFailed: Source cannot say whether it has a key, or no longer has the one that Dir knows; Err says why. A
	// source that never had one does not fail.
	SourceFailed
	// KeyStaged, KeyPromoted, KeyRetired: this Manager took that step of a rotation.
	KeyStaged
	KeyPromoted
	KeyRetired
	// KeysReloaded: another process changed the keys, and this Manager has them now.
	KeysReloaded
)

var kindNames = [...]string{
	KeyFound: "key-found", KeyGenerated: "key-generated", KeyMoved: "key-moved", SourceFailed: "source-failed",
	KeyStaged: "key-staged", KeyPromoted: "key-promoted", KeyRetired: "key-retired", KeysReloaded: "keys-reloaded",
}

// String is a stable word for logs and metrics, such as "key-generated".
func (k EventKind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("EventKind(%d)", uint8(k))
	}
	return kindNames[k]
}

// MarshalText is String, and an error for a kind that does not exist.
func (k EventKind) MarshalText() ([]byte, error) {
	if k == 0 || int(k) >= len(kindNames) {
		return nil, fmt.Errorf("masterkey: EventKind %d does not exist", uint8(k))
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText takes what String gives, and nothing else.
func (k *EventKind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if i > 0 && name == string(text) {
			*k = EventKind(i)
			return nil
		}
	}
	return fmt.Errorf("masterkey: no EventKind is named %.40q", text)
}

// An Event is for the operator's log. It holds no key.
type Event struct {
	Kind   EventKind
	Source string // Name of the source
	KeyID  string // the key that it is about, or else the primary one; empty when there is none
	Err    error  // only with SourceFailed
}
