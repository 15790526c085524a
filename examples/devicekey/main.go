// SPDX-License-Identifier: Apache-2.0

// Command devicekey takes over a device key that lies in plaintext, and signs with it from then on.
package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/merlon-go/merlon/devicekey"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "devicekey-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plain, sealed := filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.key")
	if err := plaintextKey(plain); err != nil {
		return err
	}

	// Asked when the key is opened; here it is made up. With a master key at hand, use a credcipher.Cipher instead.
	passphrase := rand.Text()
	protector := devicekey.Passphrase(func(context.Context) ([]byte, error) { return []byte(passphrase), nil })

	content, err := os.ReadFile(plain)
	if err != nil {
		return err
	}
	defer clear(content)
	key, err := devicekey.Import(ctx, sealed, content, protector)
	if err != nil {
		return err
	}
	// Import has read the new file back. The old one goes now; its copies in backups, snapshots and on the device's
	// spare blocks stay, so a key that was ever backed up in plaintext is better replaced than imported.
	if err := os.Remove(plain); err != nil {
		return err
	}

	message := []byte("challenge")
	signature, err := key.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		return err
	}
	fmt.Println("signs as before:", ed25519.Verify(key.Public().(ed25519.PublicKey), message, signature))

	_, err = devicekey.Import(ctx, sealed, content, protector)
	fmt.Println("a second import replaces nothing:", errors.Is(err, fs.ErrExist))

	passphrase = "another"
	_, err = devicekey.Load(ctx, sealed, protector)
	fmt.Println("a wrong passphrase is refused:", errors.Is(err, devicekey.WrongPassphrase))
	return nil
}

// plaintextKey writes what this program is here to get rid of.
func plaintextKey(path string) error {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE " + "KEY", Bytes: der}), 0o600)
}
