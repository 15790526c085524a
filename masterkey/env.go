// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"

	"github.com/merlon-go/merlon/privatefile"
)

// Env takes one key from an environment variable: 64 hex digits, or base64 of 32 bytes (padded or not, either
// alphabet). An unset or empty variable is ErrNotFound, anything else ErrCorrupt. It is ErrReadOnly for every write,
// so that it neither generates nor rotates. Pass os.Getenv as get.
//
// The environment is read by every program that this one starts, unless package envallow filters it, and by what prints
// it; SystemdCredential has neither problem.
func Env(get func(string) string, name string) Source { return env{get, name} }

type env struct {
	get  func(string) string
	name string
}

func (e env) Name() string { return "env:" + e.name }

func (e env) Load(context.Context) ([]byte, error) {
	if e.get == nil || e.name == "" {
		return nil, &fault{kind: ErrUnavailable, text: "Env needs a get function and a name"}
	}
	text := e.get(e.name)
	if text == "" {
		return nil, ErrNotFound
	}
	return givenKey([]byte(text))
}

func (e env) Store(context.Context, []byte) error { return readOnly() }

// SystemdCredential takes one key from the file name in $CREDENTIALS_DIRECTORY, where systemd puts what LoadCredential=
// and LoadCredentialEncrypted= name: what Env takes, or the 32 bytes themselves. Without the variable or the file it is
// ErrNotFound. The file may belong to root and be readable for a group, as systemd makes it. Pass os.Getenv as get.
func SystemdCredential(get func(string) string, name string) Source {
	return Bounded(credential{get, name})
}

type credential struct {
	get  func(string) string
	name string
}

func (c credential) Name() string { return "systemd-credential:" + c.name }

func (c credential) Load(context.Context) ([]byte, error) {
	if c.get == nil || c.name == "." || c.name == ".." || filepath.Base(c.name) != c.name {
		return nil, &fault{kind: ErrUnavailable, text: "SystemdCredential needs a get function and the plain name of a credential"}
	}
	dir := c.get("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, ErrNotFound
	}
	if !filepath.IsAbs(dir) {
		return nil, &fault{kind: ErrDenied, text: "$CREDENTIALS_DIRECTORY is not absolute"}
	}
	data, _, err := privatefile.Read(filepath.Join(dir, c.name), privatefile.Config{
		OnLoose: privatefile.Reject, Owner: privatefile.SelfOrRoot, AllowGroupRead: true, MaxBytes: maxStored, CheckParents: true,
	})
	if err != nil {
		return nil, fileFault(err)
	}
	if len(data) == keySize {
		return givenRing(data)
	}
	return givenKey(data)
}

func (c credential) Store(context.Context, []byte) error { return readOnly() }

func readOnly() error {
	return &fault{kind: ErrReadOnly, text: "the key is set outside this program, and is changed there"}
}

// givenKey takes a key as people write it. Something is there, so whatever it is, it is no absence.
func givenKey(text []byte) ([]byte, error) {
	s := strings.TrimSpace(string(text))
	secret, err := hex.DecodeString(s)
	if len(s) != 2*keySize || err != nil {
		plain := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(s), "=")
		secret, err = base64.RawURLEncoding.Strict().DecodeString(plain)
		if err != nil || len(secret) != keySize || len(s) != len(plain) && len(s) != base64.StdEncoding.EncodedLen(keySize) {
			return nil, &fault{kind: ErrCorrupt, text: "a key is 64 hex digits or base64 of 32 bytes"}
		}
	}
	return givenRing(secret)
}

var errPlaceholder = errors.New("32 times the same byte is a placeholder, no key")

func givenRing(secret []byte) ([]byte, error) {
	if strings.Count(string(secret), string(secret[:1])) == keySize {
		return nil, &fault{kind: ErrCorrupt, text: "the key is refused", cause: errPlaceholder}
	}
	return (&ring{0, []key{newKey([keySize]byte(secret))}}).encode(), nil
}
