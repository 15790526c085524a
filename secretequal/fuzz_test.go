// SPDX-License-Identifier: Apache-2.0

package secretequal_test

import (
	"bytes"
	"testing"

	"github.com/merlon-go/merlon/secretequal"
)

// FuzzMatch holds every way to ask against the plain definition: the same bytes, at least one and at most MaxLen.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"", ""}, {"a", ""}, {"", "a"}, {"a", "a"}, {"a", "b"}, {"a\x00", "a"}} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	for _, n := range []int{63, 64, 65, 128, secretequal.MaxLen, secretequal.MaxLen + 1} {
		f.Add(bytes.Repeat([]byte{'x'}, n), bytes.Repeat([]byte{'x'}, n))
	}
	f.Fuzz(func(t *testing.T, secret, presented []byte) {
		usable := len(secret) > 0 && len(secret) <= secretequal.MaxLen
		for _, way := range ways {
			if way.ask(secret, presented) != (usable && bytes.Equal(secret, presented)) || way.ask(secret, secret) != usable {
				t.Fatalf("%s is wrong", way.name)
			}
		}
	})
}
