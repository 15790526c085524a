// SPDX-License-Identifier: Apache-2.0

package secretequal

import "crypto/subtle"

// Equal reports whether presented is secret, for a comparison that happens once. An empty value equals nothing, nor does
// a presented value of more than [MaxLen] bytes. The time it takes depends on len(presented) alone, unless secret is
// empty.
//
// A [Verifier] is the better choice where a secret is compared more than once, because Equal gives up this:
//
//   - It reads the secret at every call, next to bytes that the client chose. Who can watch the processor's caches, as
//     another process on the same machine may, learns to within a cache line how long the secret is, if that is shorter
//     than what is presented; a Verifier reads tags, of one length for all.
//   - The secret has to stay in memory for the next call.
//   - Whether a secret is configured at all shows in the time, and only as a refusal; [New] fails instead.
//
//go:noinline
func Equal(secret, presented []byte) bool { return equal(secret, presented) }

// EqualString is like [Equal] for strings.
func EqualString(secret, presented string) bool { return equal(secret, presented) }

func equal[T []byte | string](secret, presented T) bool {
	if len(secret) == 0 || len(presented) == 0 || len(presented) > MaxLen {
		return false
	}
	differ := len(secret) ^ len(presented)
	subtle.WithDataIndependentTiming(func() {
		for i := range len(presented) {
			inside := (i - len(secret)) >> 63 // the sign: all ones below len(secret), else zero
			differ |= int(presented[i] ^ secret[i&inside])
		}
	})
	return differ == 0
}
