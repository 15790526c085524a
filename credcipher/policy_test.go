// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

// memoryMarker is a Marker that can be told to fail.
type memoryMarker struct {
	mu                sync.Mutex
	places            []string
	readErr, writeErr error
}

func (m *memoryMarker) Sealed(b credcipher.Binding) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.places, strings.Join(b, "|")), m.readErr
}

func (m *memoryMarker) MarkSealed(b credcipher.Binding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr == nil {
		m.places = append(m.places, strings.Join(b, "|"))
	}
	return m.writeErr
}

func migrating(t testing.TB, k credcipher.Keyring, m credcipher.Marker) *credcipher.Cipher {
	t.Helper()
	return newCipher(t, credcipher.Config{Keyring: k, Policy: credcipher.Migrate, Marker: m})
}

func TestPolicyText(t *testing.T) {
	texts := map[credcipher.Policy]string{
		credcipher.RequireSealed:     "require-sealed",
		credcipher.Migrate:           "migrate",
		credcipher.InsecurePlaintext: "insecure-plaintext",
	}
	for p, text := range texts {
		require.Equal(t, text, p.String())
		out, err := p.MarshalText()
		require.NoError(t, err)
		require.Equal(t, text, string(out))
		var back credcipher.Policy
		require.NoError(t, back.UnmarshalText(out))
		require.Equal(t, p, back)
		got, err := credcipher.PolicyFromEnv(func(name string) string {
			require.Equal(t, "SEALING", name)
			return text
		}, "SEALING")
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	require.Equal(t, "Policy(3)", credcipher.Policy(3).String())
	_, err := credcipher.Policy(3).MarshalText()
	quiet(t, err)
	for _, text := range []string{"", " migrate", "Migrate", "plaintext", "0", "1", "true", "off"} {
		p := credcipher.Migrate
		quiet(t, p.UnmarshalText([]byte(text)))
		require.Equal(t, credcipher.Migrate, p)
		got, err := credcipher.PolicyFromEnv(func(string) string { return text }, "SEALING")
		require.Equal(t, credcipher.RequireSealed, got)
		require.Equal(t, text == "", err == nil, text)
	}
	var config credcipher.Config
	require.NoError(t, json.Unmarshal([]byte(`{"policy":"migrate"}`), &config))
	require.Equal(t, credcipher.Migrate, config.Policy)
	require.Error(t, json.Unmarshal([]byte(`{"policy":2}`), &config))
}

func TestRequireSealed(t *testing.T) {
	c := strict(t, newRing)
	for _, doc := range []string{`{"token":"evil"}`, "evil", "1", "[]", `{}`, `{"a":{"_encrypted":true}}`, "\xff", `{"encrypted":1}`} {
		got, info, err := c.Open([]byte(doc), here)
		refused(t, credcipher.ErrPlaintext, got, info, err)
	}
}

func TestMigrate(t *testing.T) {
	doc := sealed(t, strict(t, newRing), secret, here)

	t.Run("plaintext is read, and asks for a reseal", func(t *testing.T) {
		m := &memoryMarker{}
		c := migrating(t, newRing, m)
		plaintext := slices.Clone(secret)
		got, info, err := c.Open(plaintext, here)
		require.NoError(t, err)
		require.Equal(t, credcipher.Info{NeedsReseal: true}, info)
		clear(plaintext)
		require.Equal(t, secret, got, "what it gives is a copy")
		require.Empty(t, m.places)
	})
	t.Run("an opened envelope marks its place", func(t *testing.T) {
		c := migrating(t, newRing, &memoryMarker{})
		_, _, err := c.Open(doc, here)
		require.NoError(t, err)
		got, info, err := c.Open(secret, here)
		refused(t, credcipher.ErrDowngrade, got, info, err)
		_, _, err = c.Open(secret, elsewhere)
		require.NoError(t, err, "another place is not marked")
	})
	t.Run("Seal marks nothing: the write may never happen", func(t *testing.T) {
		m := &memoryMarker{}
		c := migrating(t, newRing, m)
		out := sealed(t, c, secret, here)
		require.Empty(t, m.places)
		got, _, err := strict(t, newRing).Open(out, here)
		require.NoError(t, err)
		require.Equal(t, secret, got)
	})
	t.Run("an envelope that does not open marks nothing", func(t *testing.T) {
		m := &memoryMarker{}
		c := migrating(t, newRing, m)
		blob := blobOf(t, doc)
		blob[len(blob)-1] ^= 1
		_, _, err := c.Open(docOf("new", blob), here)
		require.ErrorIs(t, err, credcipher.ErrTampered)
		_, _, err = c.Open(doc, elsewhere)
		require.ErrorIs(t, err, credcipher.ErrWrongKeyOrContext)
		require.Empty(t, m.places)
	})
	t.Run("a marker that cannot be read refuses plaintext", func(t *testing.T) {
		broken := errors.New("disk")
		got, info, err := migrating(t, newRing, &memoryMarker{readErr: broken}).Open(secret, here)
		require.ErrorIs(t, err, broken)
		require.Nil(t, got)
		require.Zero(t, info)
		quiet(t, err)
	})
	t.Run("a marker that cannot be written refuses the envelope", func(t *testing.T) {
		broken := errors.New("disk")
		got, info, err := migrating(t, newRing, &memoryMarker{writeErr: broken}).Open(doc, here)
		require.ErrorIs(t, err, broken)
		require.Nil(t, got)
		require.Zero(t, info)
		quiet(t, err)
	})
	t.Run("fields have places of their own", func(t *testing.T) {
		m := &memoryMarker{}
		c := migrating(t, newRing, m)
		plain := []byte(`{"a":"1","b":"2"}`)
		half, err := c.SealFields(plain, []string{"/a"}, here)
		require.NoError(t, err)
		got, info, err := c.OpenFields(half, []string{"/a", "/b"}, here)
		require.NoError(t, err)
		require.Equal(t, plain, got)
		require.Equal(t, credcipher.Info{NeedsReseal: true}, info)
		require.Equal(t, []string{"gateway|telegram.json|#/a"}, m.places)
		_, _, err = c.OpenFields(plain, []string{"/b"}, here)
		require.NoError(t, err)
		got, _, err = c.OpenFields(plain, []string{"/a"}, here)
		require.ErrorIs(t, err, credcipher.ErrDowngrade)
		require.Nil(t, got)
	})
}

// TestLookalikes: what claims to be an envelope is never taken for plaintext, however it is spelt or broken.
func TestLookalikes(t *testing.T) {
	envelope := string(sealed(t, strict(t, newRing), secret, here))
	docs := []string{
		`{"_encrypted":true}`,
		`{"_encrypted":1,"token":"evil"}`,
		`{"token":"evil","_encrypted":null}`,
		`{"\u005fencrypted":{}}`,
		`{"_ENCRYPTED":{}}`,
		` {"x":[{"y":"\u00e9\ud83e\udd9e"}],"_encr\u0079pted":{}}`,
		"\ufeff" + envelope,
		envelope[:len(envelope)-1],
		envelope[:len(envelope)/2],
		envelope + "x",
		envelope + envelope,
		strings.ToUpper(envelope),
		strings.Replace(envelope, `"v":2`, `"v":2,"v":2`, 1),
		"",
	}
	insecure := newCipher(t, credcipher.Config{Keyring: newRing, Policy: credcipher.InsecurePlaintext})
	migrate := migrating(t, newRing, &memoryMarker{})
	for _, doc := range docs {
		got, info, err := insecure.Open([]byte(doc), here)
		refused(t, credcipher.ErrMalformed, got, info, err)
		got, info, err = migrate.Open([]byte(doc), here)
		refused(t, credcipher.ErrMalformed, got, info, err)
		got, err = insecure.Seal([]byte(doc), here)
		require.ErrorIs(t, err, credcipher.ErrMalformed)
		require.Nil(t, got)
		if doc != "" && json.Valid([]byte(doc)) {
			got, err = insecure.SealFields([]byte(`{"a":`+doc+`}`), []string{"/a"}, here)
			require.ErrorIs(t, err, credcipher.ErrMalformed)
			require.Nil(t, got)
		}
	}
	got, err := insecure.Seal([]byte(envelope), here)
	require.ErrorIs(t, err, credcipher.ErrMalformed)
	require.Nil(t, got)
}

func TestInsecurePlaintext(t *testing.T) {
	c := newCipher(t, credcipher.Config{Keyring: newRing, Policy: credcipher.InsecurePlaintext})
	n := 0
	for _, plaintext := range []string{`{"token":"x"}`, "text", "\x00\xff", `{"a":{"_encrypted":1}}`, `{"a":"_encrypted"}`, "[" + strings.Repeat("[", 2000)} {
		in := []byte(plaintext)
		doc := sealed(t, c, in, here)
		clear(in)
		require.Equal(t, plaintext, string(doc), "what it gives is a copy")
		got, info, err := c.Open(doc, here)
		require.NoError(t, err)
		require.Equal(t, plaintext, string(got))
		require.Zero(t, info)
		n++
	}
	require.Equal(t, 6, n)

	doc := []byte(`{"a":"x","b":1}`)
	fields, err := c.SealFields(doc, []string{"/a"}, here)
	require.NoError(t, err)
	require.Equal(t, doc, fields)
	got, info, err := c.OpenFields(fields, []string{"/a"}, here)
	require.NoError(t, err)
	require.Equal(t, doc, got)
	require.Zero(t, info)

	envelope := sealed(t, strict(t, oldRing), secret, here)
	_, _, err = c.Open(envelope, here)
	require.ErrorIs(t, err, credcipher.ErrUnknownKey, "an envelope is opened, not given out")
	both := newCipher(t, credcipher.Config{Keyring: bothRing, Policy: credcipher.InsecurePlaintext})
	got, info, err = both.Open(envelope, here)
	require.NoError(t, err)
	require.Equal(t, secret, got)
	require.Equal(t, credcipher.Info{Sealed: true, KeyID: "old", NeedsReseal: true}, info)
}
