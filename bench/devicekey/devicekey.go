// SPDX-License-Identifier: Apache-2.0

// Package devicekey measures merlon's devicekey beside a key that lies in memory, and beside the encrypted form in
// which OpenSSH keeps one on the disk.
package devicekey

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/credcipher"
	"github.com/merlon-go/merlon/devicekey"
)

type atRest struct{ *credcipher.Cipher }

func (c atRest) Protect(_ context.Context, secret []byte, where []string) ([]byte, error) {
	return c.Seal(secret, where)
}

func (c atRest) Unprotect(_ context.Context, doc []byte, where []string) ([]byte, error) {
	secret, _, err := c.Open(doc, where)
	return secret, err
}

// Subject signs a challenge of 64 bytes, and starts up from a file.
func Subject() (measure.Subject, error) {
	ctx, phrase, message := context.Background(), []byte("four words chosen by dice"), make([]byte, 64)
	dir, err := os.MkdirTemp("", "bench-devicekey")
	if err != nil {
		return measure.Subject{}, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	ring, err := credcipher.StaticKey(master)
	if err != nil {
		return measure.Subject{}, err
	}
	cipher, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		return measure.Subject{}, err
	}
	underMaster, underPhrase := filepath.Join(dir, "master.key"), filepath.Join(dir, "phrase.key")
	prompt := devicekey.Passphrase(func(context.Context) ([]byte, error) { return phrase, nil })
	asks, err := devicekey.Generate(ctx, underMaster, atRest{cipher})
	if err != nil {
		return measure.Subject{}, err
	}
	keeps, err := devicekey.Load(ctx, underMaster, atRest{cipher})
	if err != nil {
		return measure.Subject{}, err
	}
	keeps.CacheFor(24 * time.Hour)
	if _, err := devicekey.Generate(ctx, underPhrase, prompt); err != nil {
		return measure.Subject{}, err
	}

	// The peers: the bare key, and OpenSSH's file with its default of bcrypt rounds.
	_, bare, err := ed25519.GenerateKey(nil)
	if err != nil {
		return measure.Subject{}, err
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(bare, "", phrase)
	if err != nil {
		return measure.Subject{}, err
	}
	opensshFile, plainFile := filepath.Join(dir, "openssh"), filepath.Join(dir, "plain")
	plain, err := ssh.MarshalPrivateKey(bare, "")
	if err != nil {
		return measure.Subject{}, err
	}
	for path, b := range map[string]*pem.Block{opensshFile: block, plainFile: plain} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			return measure.Subject{}, err
		}
	}

	sign := func(name string, s crypto.Signer) measure.Entry {
		return measure.Entry{Name: name, Run: func(n int) {
			for range n {
				must(s.Sign(nil, message, crypto.Hash(0)))
			}
		}}
	}
	load := func(name, path string, p devicekey.Protector) measure.Entry {
		return measure.Entry{Name: name, Run: func(n int) {
			for range n {
				must(devicekey.Load(ctx, path, p))
			}
		}}
	}
	parse := func(name, path string, parse func([]byte) (any, error)) measure.Entry {
		return measure.Entry{Name: name, Run: func(n int) {
			for range n {
				must(parse(must(os.ReadFile(path))))
			}
		}}
	}
	return measure.Subject{
		Name: "devicekey",
		Jobs: []measure.Job{
			{
				Name: "Sign 64 bytes, cached",
				Entries: []measure.Entry{
					sign("Key.Sign, cached", keeps),
					sign("ed25519.PrivateKey", bare),
				},
				Bars: []measure.Bar{measure.AtMost(1.15, "ed25519.PrivateKey")},
			},
			{
				Name: "Sign 64 bytes, decrypted on use",
				Entries: []measure.Entry{
					sign("Key.Sign, credcipher", asks),
					sign("ed25519.PrivateKey", bare),
					{Name: "ed25519 from the seed", Run: func(n int) {
						for range n {
							must(ed25519.NewKeyFromSeed(bare.Seed()).Sign(nil, message, crypto.Hash(0)))
						}
					}},
				},
				Bars: []measure.Bar{measure.AtMost(2.6, "ed25519.PrivateKey")},
			},
			{
				Name: "open the file, master key",
				Entries: []measure.Entry{
					load("Load, credcipher", underMaster, atRest{cipher}),
					parse("ssh.ParseRawPrivateKey, plaintext", plainFile, ssh.ParseRawPrivateKey),
				},
			},
			{
				Name: "open the file, passphrase",
				Entries: []measure.Entry{
					load("Load, Passphrase", underPhrase, prompt),
					parse("ssh.ParseRawPrivateKeyWithPassphrase", opensshFile, func(b []byte) (any, error) {
						return ssh.ParseRawPrivateKeyWithPassphrase(b, bytes.Clone(phrase))
					}),
				},
			},
		},
		Done: func() error { return os.RemoveAll(dir) },
	}, nil
}

// must ends the run: an implementation that fails is not to be timed.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
