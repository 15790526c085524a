// SPDX-License-Identifier: Apache-2.0

package secretequal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"sync"
)

// A vault holds a random key and the tags of secrets under it. A [Verifier] or [Set] reaches its vault through a
// func, because that is where a printer that walks unexported fields and pointers must stop.
type vault struct {
	tags [][sha256.Size]byte
	macs sync.Pool // of *mac under the vault's key
}

// A mac computes HMAC-SHA-256. Between two uses it stands where the key has been absorbed and no message has, which
// FIPS 198-1, section 6, allows to keep; that saves half of the work.
type mac struct {
	hash.Hash
	block [sha256.BlockSize]byte
	tag   [sha256.Size]byte
}

func newVault() *vault {
	key := make([]byte, sha256.Size) // as long as the output: RFC 2104, section 3
	rand.Read(key)                   // ends the process if it fails
	return &vault{macs: sync.Pool{New: func() any {
		m := &mac{Hash: hmac.New(sha256.New, key)}
		m.Reset() // the first one prepares; each later one overwrites what the hash has buffered
		return m
	}}}
}

// add must not run beside other uses of v.
func (v *vault) add(secret []byte) {
	m := v.macs.Get().(*mac)
	sum(m, secret)
	v.tags = append(v.tags, m.tag)
	v.macs.Put(m)
}

// find returns the index of the secret that was presented, or a negative number. It looks at all tags, and chooses
// without a branch.
//
// The exported functions that take what was presented are marked noinline: in the caller's package the compiler does
// not know that a generic function lets go of its arguments, and would move what was presented to the heap.
func find[T []byte | string](open func() *vault, presented T) int {
	index := -1
	if open == nil || len(presented) == 0 || len(presented) > MaxLen {
		return index
	}
	v := open()
	m := v.macs.Get().(*mac)
	subtle.WithDataIndependentTiming(func() {
		sum(m, presented)
		for i := range v.tags {
			same := subtle.ConstantTimeCompare(m.tag[:], v.tags[i][:])
			index = subtle.ConstantTimeSelect(same, i, index)
		}
	})
	v.macs.Put(m)
	return index
}

// sum sets m.tag, and leaves nothing of the message in m. The message goes through m.block, because what is handed to
// an interface moves to the heap, and a string would have to be copied as a whole.
func sum[T []byte | string](m *mac, message T) {
	for len(message) > 0 {
		n := copy(m.block[:], message)
		m.Write(m.block[:n])
		message = message[n:]
	}
	m.Sum(m.tag[:0])
	m.Reset()
	clear(m.block[:])
}
