// SPDX-License-Identifier: Apache-2.0

package secretequal

import "crypto/subtle"

// Equal reports whether presented is secret, for a comparison that happens once. An empty value equals nothing, nor
// does a presented value of more than [MaxLen] bytes. Unless secret is empty, the time depends on len(presented)
// alone.
//
// Where a secret is compared more than once a [Verifier] is the better choice, because Equal gives up this:
//
//   - It reads the secret at every call, as far as presented goes. Who can watch the processor's caches, as another
//     program on the same machine may, can see how far it went; a Verifier reads tags, and all are of one length.
//   - The secret has to stay in memory for the next call.
//   - That no secret is configured shows in nothing but refusals, and in their time; [New] fails instead.
//
//go:noinline
func Equal(secret, presented []byte) bool { return equal(secret, presented) }

// EqualString is like [Equal] for strings.
//
//go:noinline
func EqualString(secret, presented string) bool { return equal(secret, presented) }

func equal[T []byte | string](secret, presented T) (same bool) {
	if len(secret) == 0 || len(presented) == 0 || len(presented) > MaxLen {
		return false
	}
	subtle.WithDataIndependentTiming(func() { same = difference(secret, presented) == 0 })
	return same
}

// difference is zero if the two are the same. Beyond the end of the secret it compares presented with itself, chosen
// by index and not by a branch, and it gathers before it compares: loads from two places in turn, or from one place
// again and again, run into each other in the processor's first cache as often as the secret's length has it. Without
// either precaution TestTiming finds that.
func difference[T []byte | string](secret, presented T) int {
	sides := [2]T{presented, secret}
	differ := len(secret) ^ len(presented)
	var gathered [64]byte
	for start := 0; start < len(presented); start += len(gathered) {
		n := min(len(gathered), len(presented)-start)
		for i := range n {
			inside := uint64(start+i-len(secret)) >> 63 // the sign: 1 below len(secret), else 0
			gathered[i] = sides[inside][start+i]
		}
		for i := range n {
			differ |= int(gathered[i] ^ presented[start+i])
		}
	}
	clear(gathered[:])
	return differ
}
