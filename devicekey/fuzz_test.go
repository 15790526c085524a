// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"testing"

	"github.com/merlon-go/merlon/devicekey"
)

// FuzzFile: what is read as a key file is spelled as it would be written, and nothing is given beside an error.
func FuzzFile(f *testing.F) {
	_, _, _, doc := start(f)
	for _, seed := range [][]byte{doc, doc[:60], devicekey.Encode(make([]byte, 32), nil), devicekey.Encode(nil, doc), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		public, sealed, err := devicekey.Decode(doc)
		if err != nil {
			refused(t, devicekey.Malformed, err)
			if public != nil || sealed != nil {
				t.Fatal("content beside an error")
			}
			return
		}
		if len(public) != 32 || !bytes.Equal(devicekey.Encode(public, sealed), doc) {
			t.Fatalf("%q is read and not written", doc)
		}
	})
}

// FuzzImport: what is taken is a private key with its own public half, and the text holds its seed.
func FuzzImport(f *testing.F) {
	seed := newSeed()
	private := ed25519.NewKeyFromSeed(seed)
	f.Add("PRIVATE"+" KEY", der(f, private))
	f.Add("PRIVATE"+" KEY", oneAsymmetricKey(tagged(4, seed), half(private[32:])))
	f.Add("OPENSSH PRIVATE"+" KEY", openssh(f, private).Bytes)
	f.Add("CERTIFICATE", seed)
	f.Fuzz(func(t *testing.T, kind string, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		private, err := devicekey.Plain(text)
		if err != nil {
			if private != nil {
				t.Fatal("a key beside an error")
			}
			return
		}
		if !bytes.Equal(private, ed25519.NewKeyFromSeed(private[:32])) || !bytes.Contains(der, private[:32]) {
			t.Fatal("halves that do not belong together")
		}
	})
}
