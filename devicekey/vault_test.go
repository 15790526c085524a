// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/devicekey"
)

var errLocked = errors.New("the vault is locked")

// vault is a Protector that is quick: AES-GCM with the binding as additional data. Its funcs, where set, come
// between.
type vault struct {
	aead        cipher.AEAD
	protect     func(sealed []byte) ([]byte, error)
	unprotect   func(secret []byte) ([]byte, error)
	wait        func(context.Context) error
	asked       atomic.Int64 // calls of Unprotect
	at, highest atomic.Int64 // calls under way
}

func newVault(t testing.TB) *vault {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	v := &vault{}
	v.aead, err = cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	return v
}

func (v *vault) Protect(_ context.Context, secret []byte, binding []string) ([]byte, error) {
	sealed := v.aead.Seal(nil, nil, secret, []byte(strings.Join(binding, "\n")))
	if v.protect != nil {
		return v.protect(sealed)
	}
	return sealed, nil
}

func (v *vault) Unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	v.asked.Add(1)
	v.highest.Store(max(v.highest.Load(), v.at.Add(1)))
	defer v.at.Add(-1)
	if v.wait != nil {
		if err := v.wait(ctx); err != nil {
			return nil, err
		}
	}
	secret, err := v.aead.Open(nil, nil, sealed, []byte(strings.Join(binding, "\n")))
	if err == nil && v.unprotect != nil {
		return v.unprotect(secret)
	}
	return secret, err
}

// glass is a Protector that encrypts nothing.
type glass struct {
	show func([]byte) []byte
	back func([]byte) ([]byte, error)
}

func (g glass) Protect(_ context.Context, secret []byte, _ []string) ([]byte, error) {
	return g.show(secret), nil
}

func (g glass) Unprotect(_ context.Context, sealed []byte, _ []string) ([]byte, error) {
	return g.back(sealed)
}

// glasses are the ways in which a secret comes to rest in plain sight.
func glasses() map[string]devicekey.Protector {
	text := func(before, after string, encode func([]byte) string, decode func(string) ([]byte, error)) glass {
		return glass{
			func(secret []byte) []byte { return []byte(before + encode(secret) + after) },
			func(sealed []byte) ([]byte, error) {
				s := strings.TrimSuffix(strings.TrimPrefix(string(sealed), before), after)
				return decode(s)
			},
		}
	}
	raw := func(before, after string) glass {
		return text(before, after, func(b []byte) string { return string(b) }, func(s string) ([]byte, error) { return []byte(s), nil })
	}
	all := map[string]devicekey.Protector{
		"as it is":           glass{func(b []byte) []byte { return b }, func(b []byte) ([]byte, error) { return b, nil }},
		"after a header":     raw("v1:", ""),
		"before a tag":       raw("", "\x00tag"),
		"in JSON":            raw(`{"secret":"`, `"}`),
		"hex":                text("", "", hex.EncodeToString, hex.DecodeString),
		"HEX":                text(`{"k":"`, `"}`, func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }, hex.DecodeString),
		"base64":             text(`"`, `"`, base64.StdEncoding.EncodeToString, base64.StdEncoding.DecodeString),
		"base64url":          text(`"`, `"`, base64.RawURLEncoding.EncodeToString, base64.RawURLEncoding.DecodeString),
		"the first 12 bytes": partly(0, 12),
		"the last 12 bytes":  partly(20, 32),
	}
	for offset := 1; offset < 3; offset++ { // base64 of a longer record that holds the secret
		before := strings.Repeat("x", offset)
		all["base64 of a record, "+before] = glass{
			func(b []byte) []byte {
				return base64.StdEncoding.AppendEncode(nil, append([]byte(before), b...))
			},
			func(b []byte) ([]byte, error) {
				record, err := base64.StdEncoding.AppendDecode(nil, b)
				return record[offset:], err
			},
		}
	}
	return all
}

// partly encrypts all of the secret but what lies between from and to.
func partly(from, to int) glass {
	mask := func(b []byte) []byte {
		b = bytes.Clone(b)
		for i := range b {
			if i < from || i >= to {
				b[i] ^= 0x5a
			}
		}
		return b
	}
	return glass{mask, func(b []byte) ([]byte, error) { return mask(b), nil }}
}

// malleable is a Protector that does not authenticate: one fixed key stream, and the secret is encrypted in place.
type malleable struct{}

func (malleable) Protect(_ context.Context, secret []byte, _ []string) ([]byte, error) {
	for i := range secret {
		secret[i] ^= byte(i) + 101
	}
	return secret, nil
}

func (m malleable) Unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	return m.Protect(ctx, sealed, binding)
}
