// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// A Keyring gives master keys of 32 bytes by their id. *masterkey.Manager is one.
//
// An id is 1 to 128 ASCII letters, digits or any of "-._~:/@+=,": every envelope shows it. LookupKey answers an unknown
// id with an error that matches fs.ErrNotExist; any other error says that it could not find out. Both must be safe for
// concurrent use. The slices they give are neither kept nor written.
type Keyring interface {
	PrimaryKey() (id string, key []byte, err error)
	LookupKey(id string) (key []byte, err error)
}

const keySize = 32

// StaticKey returns a Keyring of one key, whose id is derived from it.
func StaticKey(key []byte) (Keyring, error) {
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("credcipher: StaticKey: %w", err)
	}
	id, err := hkdf.Key(sha256.New, key, nil, "merlon credcipher key id", 8)
	if err != nil {
		return nil, fmt.Errorf("credcipher: StaticKey: %w", err)
	}
	return &staticKey{hex.EncodeToString(id), hide(slices.Clone(key))}, nil
}

type staticKey struct {
	id  string
	key func() []byte
}

func (s *staticKey) PrimaryKey() (string, []byte, error) { return s.id, slices.Clone(s.key()), nil }

func (s *staticKey) LookupKey(id string) ([]byte, error) {
	if id != s.id {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(s.key()), nil
}

// hide keeps a value from printers. A Format method would not: fmt calls none in an unexported field, and %s prints what
// is there. Of a func it prints the address.
func hide[T any](value T) func() T { return func() T { return value } }

// checkKey refuses what cannot be a key. A key of zeros is a buffer that somebody cleared or never filled.
func checkKey(key []byte) error {
	if len(key) != keySize {
		return fmt.Errorf("a key has %d bytes, not %d", keySize, len(key))
	}
	for _, b := range key {
		if b != 0 {
			return nil
		}
	}
	return errors.New("the key is all zeros")
}

const keyIDLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/@+=,"

// checkKeyID keeps ids to letters that no JSON writer escapes but for the slash, so that an envelope needs no escapes.
func checkKeyID[T string | []byte](id T) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if strings.IndexByte(keyIDLetters, id[i]) < 0 {
			return false
		}
	}
	return true
}
