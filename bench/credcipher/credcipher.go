// SPDX-License-Identifier: Apache-2.0

// Package credcipher measures envelopes beside bare AES-GCM and the libraries that encrypt at rest.
package credcipher

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/minio/sio"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/credcipher"
)

const rawGCM = "AES-256-GCM, new cipher, random nonce"

// Subject seals and opens documents of two sizes.
func Subject() (measure.Subject, error) {
	s := measure.Subject{Name: "credcipher"}
	sizes := []struct {
		name string
		size int
		bars []measure.Bar
	}{
		{"seal and open 1 KiB", 1 << 10, []measure.Bar{measure.AtMost(6, rawGCM), measure.Within(10 * time.Microsecond)}},
		{"seal and open 1 MiB", 1 << 20, []measure.Bar{measure.AtMost(4.5, rawGCM)}},
	}
	makers := []struct {
		name string
		make func() (func(plaintext []byte) (size int, err error), error)
	}{
		{"credcipher", ours},
		{rawGCM, raw},
		{"tink-go AES256-GCM", tink},
		{"minio/sio", minio},
		{"age X25519", ageX25519},
	}
	for _, size := range sizes {
		plaintext := make([]byte, size.size)
		rand.Read(plaintext)
		job := measure.Job{Name: size.name, Bytes: int64(size.size), Bars: size.bars}
		for _, m := range makers {
			once, err := m.make()
			if err != nil {
				return measure.Subject{}, fmt.Errorf("%s: %w", m.name, err)
			}
			if _, err := once(plaintext); err != nil {
				return measure.Subject{}, fmt.Errorf("%s: %w", m.name, err)
			}
			job.Entries = append(job.Entries, measure.Entry{Name: m.name, Run: func(n int) {
				for range n {
					if _, err := once(plaintext); err != nil {
						panic(err)
					}
				}
			}})
		}
		s.Jobs = append(s.Jobs, job)
	}
	s.Note = func(w io.Writer) error {
		fmt.Fprintf(w, "| implementation | bytes for 64 | for 1 KiB | for 64 KiB |\n|---|---:|---:|---:|\n")
		for _, m := range makers {
			once, err := m.make()
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "| %s |", m.name)
			for _, n := range []int{64, 1 << 10, 64 << 10} {
				size, err := once(make([]byte, n))
				if err != nil {
					return err
				}
				fmt.Fprintf(w, " +%d |", size-n)
			}
			fmt.Fprintln(w)
		}
		return nil
	}
	return s, nil
}

func key() []byte {
	k := make([]byte, 32)
	rand.Read(k)
	return k
}

// same says whether the plaintext came back.
func same(plaintext, got []byte, sealed int, err error) (int, error) {
	if err == nil && !bytes.Equal(plaintext, got) {
		err = fmt.Errorf("something else came back")
	}
	return sealed, err
}

func ours() (func([]byte) (int, error), error) {
	ring, err := credcipher.StaticKey(key())
	if err != nil {
		return nil, err
	}
	c, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		return nil, err
	}
	where := credcipher.Binding{"gateway", "telegram.json"}
	return func(plaintext []byte) (int, error) {
		doc, err := c.Seal(plaintext, where)
		if err != nil {
			return 0, err
		}
		got, _, err := c.Open(doc, where)
		return same(plaintext, got, len(doc), err)
	}, nil
}

func raw() (func([]byte) (int, error), error) {
	k := key()
	gcm := func() (cipher.AEAD, error) {
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithRandomNonce(block)
	}
	return func(plaintext []byte) (int, error) {
		a, err := gcm()
		if err != nil {
			return 0, err
		}
		sealed := a.Seal(nil, nil, plaintext, nil)
		if a, err = gcm(); err != nil {
			return 0, err
		}
		got, err := a.Open(nil, nil, sealed, nil)
		return same(plaintext, got, len(sealed), err)
	}, nil
}

func tink() (func([]byte) (int, error), error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, err
	}
	where := []byte("gateway/telegram.json")
	return func(plaintext []byte) (int, error) {
		sealed, err := a.Encrypt(plaintext, where)
		if err != nil {
			return 0, err
		}
		got, err := a.Decrypt(sealed, where)
		return same(plaintext, got, len(sealed), err)
	}, nil
}

func minio() (func([]byte) (int, error), error) {
	config := sio.Config{Key: key()}
	return func(plaintext []byte) (int, error) {
		var sealed, got bytes.Buffer
		if _, err := sio.Encrypt(&sealed, bytes.NewReader(plaintext), config); err != nil {
			return 0, err
		}
		size := sealed.Len()
		_, err := sio.Decrypt(&got, &sealed, config)
		return same(plaintext, got.Bytes(), size, err)
	}, nil
}

func ageX25519() (func([]byte) (int, error), error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return func(plaintext []byte) (int, error) {
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, identity.Recipient())
		if err != nil {
			return 0, err
		}
		if _, err := w.Write(plaintext); err != nil {
			return 0, err
		}
		if err := w.Close(); err != nil {
			return 0, err
		}
		size := sealed.Len()
		r, err := age.Decrypt(&sealed, identity)
		if err != nil {
			return 0, err
		}
		got, err := io.ReadAll(r)
		return same(plaintext, got, size, err)
	}, nil
}
