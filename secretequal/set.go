// SPDX-License-Identifier: Apache-2.0

package secretequal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A Set recognises several secrets and tells them apart by id, without keeping them. A nil, zero or empty Set
// recognises nothing.
//
// It is made for rotation and for a few clients. To rotate, make a Set of the old and the new secret, and one of the
// new alone when no client uses the old any more; an atomic.Pointer[Set] swaps them in a running server. Each entry
// makes Match slower, so give many clients a [Verifier] each and let them present a public name beside the secret.
//
// A Set does not change, and copies of it are the same Set. Printed, logged or encoded, it shows [REDACTED]; what walks
// its unexported fields finds the ids.
type Set struct {
	redacted
	open func() *vault
	ids  []string // in the order of the vault's tags
}

// NewSet returns a Set of the secrets by id, and neither keeps nor changes the map and its slices. It fails, naming
// each id at fault, if an id is empty, if a secret is empty ([ErrEmptySecret]) or too long ([ErrLongSecret]), and if
// two ids have one secret: a match could not say who it was, and taking one of them away would shut nobody out.
func NewSet(secrets map[string][]byte) (*Set, error) {
	v := newVault()
	s := &Set{open: func() *vault { return v }}
	var faults []error
	for _, id := range slices.Sorted(maps.Keys(secrets)) {
		if id == "" {
			faults = append(faults, errors.New("secretequal: an id is empty: name every secret"))
		}
		if err := keepable(secrets[id]); err != nil {
			faults = append(faults, fmt.Errorf("%w (id %q)", err, id))
			continue
		}
		if twin, ok := s.Match(secrets[id]); ok {
			faults = append(faults, fmt.Errorf("secretequal: ids %q and %q have one secret: give each its own", twin, id))
		}
		v.add(secrets[id])
		s.ids = append(s.ids, id)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return s, nil
}

// Match returns the id of the secret that was presented, or "" and false. The time it takes depends on len(presented)
// and the number of entries, not on which of them matches.
//
//go:noinline
func (s *Set) Match(presented []byte) (id string, ok bool) { return match(s, presented) }

// MatchString is like [Set.Match] for a string, of which it makes no copy.
//
//go:noinline
func (s *Set) MatchString(presented string) (id string, ok bool) { return match(s, presented) }

func match[T []byte | string](s *Set, presented T) (id string, ok bool) {
	if s == nil {
		return "", false
	}
	i := find(s.open, presented)
	if i < 0 {
		return "", false
	}
	return s.ids[i], true
}
