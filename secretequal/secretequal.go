// SPDX-License-Identifier: Apache-2.0

// Package secretequal compares a secret that a client presents with the one that a server expects, without telling
// the client by its timing how much of it was right or how long the right one is (findings HIGH-01 and HIGH-02,
// CWE-208), and without ever taking "no secret configured" for "no secret needed" (CWE-258).
//
// It replaces these, each of which answers a patient client:
//
//	presented == token                                      // stops at the first wrong byte
//	subtle.ConstantTimeCompare(presented, token) == 1       // returns at once if the lengths differ
//	hmac.Equal(mac(presented), mac(token))                  // hashes the token anew: time grows with its length
//
// and all three take an empty presented value for the right one as long as the token is unset.
//
// # Use
//
//	verifier, err := secretequal.New([]byte(os.Getenv("GATEWAY_TOKEN")))
//	if err != nil {
//		return err // ErrEmptySecret: the variable is not set
//	}
//	if !verifier.MatchString(presented) {
//		http.Error(w, "unauthorized", http.StatusUnauthorized)
//		return
//	}
//
// A [Set] holds several secrets: the old and the new one during a rotation, or one for each of a few clients. [Equal]
// is for a comparison that happens once; see there what it gives up.
//
// # Guarantees
//
//   - How long Match takes depends on the length of the presented value, which the client knows, and not on the
//     secret: not on its bytes, not on its length, not on whether the lengths are equal. A Verifier does not touch
//     the secret after New; it compares tags, HMAC-SHA-256 under a random key of its own (FIPS 198-1), which a client
//     can neither predict nor steer. TestTiming, a t-test over a million samples, has found no difference on
//     linux/amd64; it says how to run it elsewhere.
//   - Absence never matches: an empty secret is refused by New and NewSet, an empty presented value by every
//     function, and everything by a nil or zero Verifier or Set.
//   - A Set hashes the presented value once and compares with every entry, whichever matches.
//   - Work is bounded: a presented value longer than [MaxLen] is refused without being read.
//   - No copy of the secret or of a presented value is left on the heap. No printer, encoder or logger gets a byte of
//     secret, tag or key out of a value of this package, not even one that walks unexported fields.
//   - Everything may be used by several goroutines at once, and no lock is held while a value is hashed or compared.
//
// # Not guaranteed
//
//   - Guessing. A short secret falls to trial and error at full speed: use package authlimit, and a secret of 128
//     bits or more, as crypto/rand.Text makes it.
//   - Passwords at rest. A Verifier lives in memory only, and whoever can read that memory can try guesses against
//     its tag: use argon2id from golang.org/x/crypto for what people choose, package credcipher for what must be
//     kept.
//   - Other copies in memory: the slice given to New, the request that held the presented value, and what a stack
//     held until it is used again. Wiping those is for their owner; runtime/secret, an experiment of Go 1.26, is for
//     stacks.
//   - What happens before and after: an early return for an unknown user can be timed however the secret is compared.
//     Nor is the id hidden that a Set found, or how many entries it has.
//   - Replay of a secret that was overheard: use package noncecache with signed messages.
//   - Channels other than time (power, emission, speculation), and processors whose instructions take longer for some
//     data. On arm64 data-independent timing is switched on for each comparison where the processor has the switch;
//     Go knows none on other processors.
//
// # Cost
//
// Match of 43 bytes takes as long as hashing both sides with SHA-256, less than a quarter of hashing both with fresh
// HMACs, and 13 times as long as ConstantTimeCompare; a Set of 16 takes twice as long as a Verifier, Equal less than
// half. None allocates, but for a Match that finds the garbage collector to have taken its hash. To measure it:
//
//	go run -C bench . secretequal
package secretequal

import "errors"

// MaxLen is the length in bytes of the longest secret that can be kept, and of the longest presented value that is
// looked at. It bounds what an unauthenticated client can make the server hash.
const MaxLen = 4 << 10

var (
	// ErrEmptySecret refuses to keep an empty secret, which as a rule is a setting that is missing.
	ErrEmptySecret = errors.New("secretequal: the secret is empty: configure one")

	// ErrLongSecret refuses to keep a secret of more than [MaxLen] bytes, which nothing presented could match.
	ErrLongSecret = errors.New("secretequal: the secret is longer than 4096 bytes: configure a shorter one")
)

// A Verifier recognises one secret without keeping it. A nil or zero Verifier recognises nothing.
//
// Copies of a Verifier are the same Verifier. Printed, logged or encoded, it shows [REDACTED].
type Verifier struct {
	redacted
	open func() *vault
}

// New returns a Verifier for secret, which it neither keeps nor changes. It fails with [ErrEmptySecret] or
// [ErrLongSecret]; any other secret will do, so that a weak one must be refused where it is made.
func New(secret []byte) (*Verifier, error) {
	if err := keepable(secret); err != nil {
		return nil, err
	}
	v := newVault()
	v.add(secret)
	return &Verifier{open: func() *vault { return v }}, nil
}

// Match reports whether presented is the secret. The time it takes depends on len(presented) alone.
//
//go:noinline
func (v *Verifier) Match(presented []byte) bool {
	return v != nil && find(v.open, presented) >= 0
}

// MatchString is like [Verifier.Match] for a string, of which it makes no copy.
//
//go:noinline
func (v *Verifier) MatchString(presented string) bool {
	return v != nil && find(v.open, presented) >= 0
}

func keepable(secret []byte) error {
	if len(secret) == 0 {
		return ErrEmptySecret
	}
	if len(secret) > MaxLen {
		return ErrLongSecret
	}
	return nil
}
