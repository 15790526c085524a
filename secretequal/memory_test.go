// SPDX-License-Identifier: Apache-2.0

package secretequal_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/secretequal"
)

// TestMemoryHoldsNoSecret dumps the heap after its caller has wiped the secret, and searches the dump for pieces of
// it.
func TestMemoryHoldsNoSecret(t *testing.T) {
	var live []any // what a server would still have
	rows := []struct {
		name  string
		use   func(secret []byte)
		found bool
	}{
		{"a server that keeps the secret", func(secret []byte) {
			live = append(live, bytes.Clone(secret))
		}, true},
		{"a Verifier that nobody has asked", func(secret []byte) {
			v, err := secretequal.New(secret)
			live = append(live, v, err)
		}, false},
		{"a Verifier", func(secret []byte) {
			v, err := secretequal.New(secret)
			live = append(live, v, err, v.Match(secret), v.MatchString(unsafe.String(&secret[0], len(secret))))
		}, false},
		{"a Set", func(secret []byte) {
			s, err := secretequal.NewSet(map[string][]byte{"it": secret})
			id, ok := s.Match(secret)
			live = append(live, s, err, id, ok)
		}, false},
		{"a Set that refused", func(secret []byte) {
			_, err := secretequal.NewSet(map[string][]byte{"it": secret, "twin": secret})
			live = append(live, err)
		}, false},
		{"Equal", func(secret []byte) {
			live = append(live, secretequal.Equal(secret, secret))
		}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			const n, veil = 43 + 64, 0x5a // more than a block, so that the hash has to buffer the rest
			veiled := make([]byte, n)
			done := make(chan struct{})
			go func() { // the stack on which the secret was handled ends with the goroutine
				defer close(done)
				secret := make([]byte, n)
				rand.Read(secret)
				row.use(secret)
				for i, b := range secret {
					veiled[i] = b ^ veil
				}
				clear(secret)
			}()
			<-done
			heap := dump(t)
			pieces := 0
			for i := range n - 8 + 1 {
				piece := bytes.Clone(veiled[i : i+8])
				for j := range piece {
					piece[j] ^= veil
				}
				if bytes.Contains(heap, piece) {
					pieces++
				}
			}
			if row.found {
				require.Equal(t, n-8+1, pieces, "the search does not find a secret that is there")
			} else {
				require.Zero(t, pieces)
			}
		})
	}
	runtime.KeepAlive(live)
}

// dump returns the content of all objects on the heap and of all stacks.
func dump(t *testing.T) []byte {
	file, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	require.NoError(t, err)
	debug.WriteHeapDump(file.Fd())
	require.NoError(t, file.Close())
	content, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	return content
}
