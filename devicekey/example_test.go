// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/merlon-go/merlon/credcipher"
	"github.com/merlon-go/merlon/devicekey"
)

// atRest makes a cipher a Protector. A program's own lies in a file of its own; the package comment shows it too.
type atRest struct{ *credcipher.Cipher }

func (c atRest) Protect(_ context.Context, secret []byte, where []string) ([]byte, error) {
	return c.Seal(secret, where)
}

func (c atRest) Unprotect(_ context.Context, doc []byte, where []string) ([]byte, error) {
	secret, _, err := c.Open(doc, where)
	return secret, err
}

// masterKey stands for a program's master key; package masterkey obtains and keeps one.
func masterKey() devicekey.Protector {
	key := make([]byte, 32)
	rand.Read(key)
	ring, err := credcipher.StaticKey(key)
	if err != nil {
		panic(err)
	}
	c, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		panic(err)
	}
	return atRest{c}
}

func folder() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "devicekey")
	if err != nil {
		panic(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// Before, the key lay on the disk for whoever got hold of a copy. After, it is sealed, and what cannot be opened is
// an error.
func Example() {
	dir, remove := folder()
	defer remove()

	before := filepath.Join(dir, "device.pem")
	_, private, _ := ed25519.GenerateKey(nil)
	der, _ := x509.MarshalPKCS8PrivateKey(private)
	os.WriteFile(before, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	text, _ := os.ReadFile(before)
	stolen, _ := pem.Decode(text)
	_, err := x509.ParsePKCS8PrivateKey(stolen.Bytes)
	fmt.Println("before: a copy of the file signs:", err == nil)

	after := filepath.Join(dir, "device.key")
	if _, err := devicekey.Generate(context.Background(), after, masterKey()); err != nil {
		fmt.Println(err)
		return
	}
	_, err = devicekey.Load(context.Background(), after, masterKey()) // the thief's own
	var refused *devicekey.Error
	fmt.Println("after: a copy of the file:", errors.As(err, &refused), refused.Reason.String())
	// Output:
	// before: a copy of the file signs: true
	// after: a copy of the file: true protector-failed
}

// A first start makes the key; a start at which the Protector is locked, or the file damaged, is an error and makes
// none.
func ExampleLoad() {
	dir, remove := folder()
	defer remove()
	path, protector := filepath.Join(dir, "device.key"), masterKey()

	start := func() error {
		key, err := devicekey.Load(context.Background(), path, protector)
		if errors.Is(err, fs.ErrNotExist) {
			key, err = devicekey.Generate(context.Background(), path, protector)
		}
		if err != nil {
			return err
		}
		challenge := []byte("gateway login, nonce 42")
		signature, err := key.Sign(nil, challenge, crypto.Hash(0))
		if err != nil {
			return err
		}
		fmt.Println("verified:", ed25519.Verify(key.Public().(ed25519.PublicKey), challenge, signature))
		return nil
	}
	fmt.Println(start())
	fmt.Println(start())

	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	var refused *devicekey.Error
	fmt.Println(errors.As(start(), &refused), refused.Reason.String())
	// Output:
	// verified: true
	// <nil>
	// verified: true
	// <nil>
	// true malformed
}

// The plaintext goes only after the sealed file is known to open. What may remain of it: backups, snapshots, the old
// blocks of a flash drive or a copy-on-write file system. If that matters, make a new key instead and pair anew.
func ExampleImport() {
	dir, remove := folder()
	defer remove()
	old := filepath.Join(dir, "device.pem")
	_, private, _ := ed25519.GenerateKey(nil)
	der, _ := x509.MarshalPKCS8PrivateKey(private)
	os.WriteFile(old, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)

	text, err := os.ReadFile(old)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clear(text)
	key, err := devicekey.Import(context.Background(), filepath.Join(dir, "device.key"), text, masterKey())
	if err != nil {
		fmt.Println(err) // and the plaintext stays
		return
	}
	if err := os.Remove(old); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bytes.Equal(key.Public().(ed25519.PublicKey), private[32:]))
	_, err = os.Stat(old)
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// true
	// true
}

// A passphrase of its own, here from a file that systemd gives the service (LoadCredential=).
func ExamplePassphrase() {
	dir, remove := folder()
	defer remove()
	credential := filepath.Join(dir, "credential")
	os.WriteFile(credential, []byte("four words chosen by dice\n"), 0o600)

	protector := devicekey.Passphrase(func(context.Context) ([]byte, error) {
		words, err := os.ReadFile(credential)
		return bytes.TrimRight(words, "\n"), err
	})
	path := filepath.Join(dir, "device.key")
	if _, err := devicekey.Generate(context.Background(), path, protector); err != nil {
		fmt.Println(err)
		return
	}
	os.WriteFile(credential, []byte("four words chosen by mice\n"), 0o600)
	_, err := devicekey.Load(context.Background(), path, protector)
	fmt.Println(errors.Is(err, devicekey.ProtectorFailed), errors.Is(err, devicekey.WrongPassphrase))
	os.Remove(credential)
	_, err = devicekey.Load(context.Background(), path, protector)
	fmt.Println(errors.Is(err, devicekey.NoPassphrase), errors.Is(err, fs.ErrNotExist))
	// Output:
	// true true
	// true false
}

// A server that signs for every request pays for the Protector once in a while; before the machine sleeps, or when an
// operator says so, it forgets.
func ExampleKey_CacheFor() {
	dir, remove := folder()
	defer remove()
	asked := 0
	key, err := devicekey.Generate(context.Background(), filepath.Join(dir, "device.key"),
		devicekey.Passphrase(func(context.Context) ([]byte, error) { asked++; return []byte("four words chosen by dice"), nil }))
	if err != nil {
		fmt.Println(err)
		return
	}
	key.CacheFor(15 * time.Minute)
	asked = 0
	for range 3 {
		key.Sign(nil, []byte("request"), crypto.Hash(0))
	}
	fmt.Println(asked)
	key.Lock()
	key.Sign(nil, []byte("request"), crypto.Hash(0))
	fmt.Println(asked)
	// Output:
	// 1
	// 2
}

// From a passphrase to a master key. With the Protector that a key has already, Rewrap moves it to that one's newest
// master key.
func ExampleKey_Rewrap() {
	dir, remove := folder()
	defer remove()
	path, old := filepath.Join(dir, "device.key"), masterKey()
	key, err := devicekey.Generate(context.Background(), path, old)
	if err != nil {
		fmt.Println(err)
		return
	}
	next := masterKey()
	if err := key.Rewrap(context.Background(), next); err != nil {
		fmt.Println(err)
		return
	}
	again, err := devicekey.Load(context.Background(), path, next)
	fmt.Println(err, again.ID() == key.ID())
	_, err = devicekey.Load(context.Background(), path, old)
	fmt.Println(errors.Is(err, devicekey.ProtectorFailed))
	// Output:
	// <nil> true
	// true
}

// A cipher that is set to write plaintext protects nothing, and is refused.
func ExampleProtector() {
	dir, remove := folder()
	defer remove()
	key := make([]byte, 32)
	rand.Read(key)
	ring, _ := credcipher.StaticKey(key)
	open, err := credcipher.New(credcipher.Config{Keyring: ring, Policy: credcipher.InsecurePlaintext})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = devicekey.Generate(context.Background(), filepath.Join(dir, "device.key"), atRest{open})
	fmt.Println(errors.Is(err, devicekey.Exposed))
	// Output:
	// true
}

// The exported file is what ssh-keygen -y reads.
func ExampleKey_ExportOpenSSH() {
	dir, remove := folder()
	defer remove()
	key, err := devicekey.Generate(context.Background(), filepath.Join(dir, "device.key"), masterKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = key.ExportOpenSSH(context.Background(), nil)
	fmt.Println(errors.Is(err, devicekey.NoPassphrase))
	text, err := key.ExportOpenSSH(context.Background(), []byte("four words chosen by dice"))
	block, _ := pem.Decode(text)
	fmt.Println(err, block.Type)
	// Output:
	// true
	// <nil> OPENSSH PRIVATE KEY
}
