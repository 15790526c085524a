// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

// ring is a Keyring with ids of our choice.
type ring struct {
	primary string
	keys    map[string][]byte
	err     error
}

func (r ring) PrimaryKey() (string, []byte, error) { return r.primary, r.keys[r.primary], r.err }

func (r ring) LookupKey(id string) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if key, ok := r.keys[id]; ok {
		return key, nil
	}
	return nil, fmt.Errorf("ring: %w", fs.ErrNotExist)
}

// pattern is a key that nobody takes for a real one.
func pattern(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

var (
	oldRing  = ring{primary: "old", keys: map[string][]byte{"old": pattern(1)}}
	newRing  = ring{primary: "new", keys: map[string][]byte{"new": pattern(2)}}
	bothRing = ring{primary: "new", keys: map[string][]byte{"old": pattern(1), "new": pattern(2)}}

	here      = credcipher.Binding{"gateway", "telegram.json"}
	elsewhere = credcipher.Binding{"gateway", "slack.json"}
	secret    = []byte(`{"token":"visible-marker"}`)
)

func newCipher(t testing.TB, c credcipher.Config) *credcipher.Cipher {
	t.Helper()
	x, err := credcipher.New(c)
	require.NoError(t, err)
	return x
}

func strict(t testing.TB, k credcipher.Keyring) *credcipher.Cipher {
	t.Helper()
	return newCipher(t, credcipher.Config{Keyring: k})
}

func sealed(t testing.TB, c *credcipher.Cipher, plaintext []byte, b credcipher.Binding) []byte {
	t.Helper()
	doc, err := c.Seal(plaintext, b)
	require.NoError(t, err)
	return doc
}

// sentinels are all that a document can be refused with.
var sentinels = map[string]error{
	"plaintext":            credcipher.ErrPlaintext,
	"downgrade":            credcipher.ErrDowngrade,
	"malformed":            credcipher.ErrMalformed,
	"unknown-key":          credcipher.ErrUnknownKey,
	"wrong-key-or-context": credcipher.ErrWrongKeyOrContext,
	"tampered":             credcipher.ErrTampered,
	"unsupported":          credcipher.ErrUnsupported,
}

// refused wants exactly one of the sentinels, no plaintext beside it, and a text that gives nothing away.
func refused(t testing.TB, want error, got []byte, info credcipher.Info, err error) {
	t.Helper()
	require.ErrorIs(t, err, want)
	for _, other := range sentinels {
		if other != want {
			require.NotErrorIs(t, err, other)
		}
	}
	require.Nil(t, got)
	require.Zero(t, info)
	quiet(t, err)
}

func quiet(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	require.True(t, strings.HasPrefix(err.Error(), "credcipher: "), err.Error())
	require.NotContains(t, err.Error(), "visible-marker")
}

func TestWhatIsSealedComesBack(t *testing.T) {
	c := strict(t, bothRing)
	n := 0
	for name, plaintext := range map[string][]byte{
		"nothing":        {},
		"a document":     secret,
		"no UTF-8":       {0, 255, 254},
		"the sentinel":   []byte(`{"_encrypted":true}`),
		"an envelope":    sealed(t, c, secret, here),
		"a group more":   bytes.Repeat([]byte("x"), 769),
		"1 MiB":          bytes.Repeat([]byte("0123456789abcdef"), 1<<16),
		"lengths mod 3=": []byte("ab"),
	} {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(plaintext)
			doc := sealed(t, c, plaintext, here)
			require.Equal(t, before, plaintext)
			require.True(t, json.Valid(doc))
			kept := bytes.Clone(doc)
			got, info, err := c.Open(doc, here)
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, got))
			require.Equal(t, kept, doc, "Open changed its argument")
			require.Equal(t, credcipher.Info{Sealed: true, KeyID: "new"}, info)
			require.Equal(t, len(got), cap(got), "an append would reach the tag")
			require.NotEqual(t, doc, sealed(t, c, plaintext, here))
		})
		n++
	}
	require.Equal(t, 8, n)
}

func TestEveryLengthComesBack(t *testing.T) {
	c := strict(t, newRing)
	plaintext := make([]byte, 1600)
	for i := range plaintext {
		plaintext[i] = byte(i * 7)
	}
	for n := range plaintext {
		got, _, err := c.Open(sealed(t, c, plaintext[:n], here), here)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext[:n], got), n)
	}
}

func TestPlaintextBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine and 89 MB, which the race detector makes very slow; the run without it has no skip")
	}
	c := strict(t, newRing)
	big := make([]byte, credcipher.MaxPlaintext+1)
	_, err := c.Seal(big, here)
	quiet(t, err)
	doc := sealed(t, c, big[1:], here)
	got, _, err := c.Open(doc, here)
	require.NoError(t, err)
	require.Len(t, got, credcipher.MaxPlaintext)

	// White space may fill a document up to its own limit.
	limit := credcipher.MaxPlaintext/3*4 + 64<<10
	padded := append(doc, bytes.Repeat([]byte(" "), limit-len(doc)+1)...)
	got, _, err = c.Open(padded[:limit], here)
	require.NoError(t, err)
	require.Len(t, got, credcipher.MaxPlaintext)
	got, info, err := c.Open(padded, here)
	refused(t, credcipher.ErrMalformed, got, info, err)
	insecure := newCipher(t, credcipher.Config{Keyring: newRing, Policy: credcipher.InsecurePlaintext})
	_, err = insecure.Seal(big, here)
	quiet(t, err)
	got, _, err = insecure.Open(sealed(t, insecure, big[1:], here), here)
	require.NoError(t, err)
	require.Len(t, got, credcipher.MaxPlaintext)
	copy(padded, bytes.Repeat([]byte(" "), len(padded)))
	copy(padded, `{"a":1}`)
	_, err = insecure.SealFields(padded[:limit], []string{"/a"}, here)
	require.NoError(t, err)
	_, err = insecure.SealFields(padded, []string{"/a"}, here)
	require.ErrorIs(t, err, credcipher.ErrMalformed)

	// What SealFields gives is what OpenFields takes, or nothing.
	out, err := c.SealFields([]byte(`{"a":1}`), []string{"/a"}, here)
	require.NoError(t, err)
	padded = padded[:limit-len(out)+len(`{"a":1}`)+1]
	_, err = c.SealFields(padded, []string{"/a"}, here)
	quiet(t, err)
	out, err = c.SealFields(padded[:len(padded)-1], []string{"/a"}, here)
	require.NoError(t, err)
	require.Len(t, out, limit)
	_, _, err = c.OpenFields(out, []string{"/a"}, here)
	require.NoError(t, err)
}

// TestOverhead pins what the package comment says about size.
func TestOverhead(t *testing.T) {
	k, err := credcipher.StaticKey(pattern(1))
	require.NoError(t, err)
	c := strict(t, k)
	require.Less(t, len(sealed(t, c, make([]byte, 64), here)), 64*4/3+250)
	require.Less(t, len(sealed(t, c, make([]byte, 64<<10), here)), (64<<10)*4/3+250)
}

func TestPlacesThatReadAlikeAreTwoPlaces(t *testing.T) {
	c := strict(t, newRing)
	rows := []struct{ seal, open credcipher.Binding }{
		{credcipher.Binding{"to", "to"}, credcipher.Binding{"to:to"}},
		{credcipher.Binding{"a", "b"}, credcipher.Binding{"ab"}},
		{credcipher.Binding{"ab", "c"}, credcipher.Binding{"a", "bc"}},
		{credcipher.Binding{"a", "b"}, credcipher.Binding{"b", "a"}},
		{credcipher.Binding{"a"}, credcipher.Binding{"a", ""}},
		{credcipher.Binding{""}, credcipher.Binding{"", ""}},
		{credcipher.Binding{"a"}, credcipher.Binding{"A"}},
		{credcipher.Binding{"a"}, credcipher.Binding{"a\x00"}},
		{credcipher.Binding{"é"}, credcipher.Binding{"e\u0301"}},
		{credcipher.Binding{"\x00\x00\x00\x01a"}, credcipher.Binding{"a"}},
	}
	for _, r := range rows {
		t.Run(fmt.Sprintf("%q and %q", r.seal, r.open), func(t *testing.T) {
			got, info, err := c.Open(sealed(t, c, secret, r.seal), r.open)
			refused(t, credcipher.ErrWrongKeyOrContext, got, info, err)
			got, info, err = c.Open(sealed(t, c, secret, r.open), r.seal)
			refused(t, credcipher.ErrWrongKeyOrContext, got, info, err)
		})
	}
}

func TestKeyrings(t *testing.T) {
	doc := sealed(t, strict(t, oldRing), secret, here)

	t.Run("an old key opens and asks for a reseal", func(t *testing.T) {
		got, info, err := strict(t, bothRing).Open(doc, here)
		require.NoError(t, err)
		require.Equal(t, secret, got)
		require.Equal(t, credcipher.Info{Sealed: true, KeyID: "old", NeedsReseal: true}, info)
	})
	t.Run("a missing key is unknown", func(t *testing.T) {
		got, info, err := strict(t, newRing).Open(doc, here)
		refused(t, credcipher.ErrUnknownKey, got, info, err)
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
	t.Run("another key under the same id is wrong, not unknown", func(t *testing.T) {
		for _, other := range []ring{
			{primary: "old", keys: map[string][]byte{"old": pattern(3)}},
			{primary: "new", keys: map[string][]byte{"old": pattern(3), "new": pattern(2)}},
		} {
			got, info, err := strict(t, other).Open(doc, here)
			refused(t, credcipher.ErrWrongKeyOrContext, got, info, err)
		}
	})
	t.Run("a locked keyring is its own error", func(t *testing.T) {
		locked := errors.New("locked")
		down := bothRing
		down.err = locked
		c := strict(t, down)
		got, err := c.Seal(secret, here)
		require.ErrorIs(t, err, locked)
		require.Nil(t, got)
		got, err = c.SealFields(secret, []string{"/token"}, here)
		require.ErrorIs(t, err, locked)
		require.Nil(t, got)
		got, _, err = c.Open(doc, here)
		require.ErrorIs(t, err, locked)
		require.NotErrorIs(t, err, credcipher.ErrUnknownKey)
		require.Nil(t, got)
		quiet(t, err)
	})
	t.Run("a keyring that fails only at an old key", func(t *testing.T) {
		_, _, err := strict(t, failingLookup{bothRing}).Open(doc, here)
		require.ErrorIs(t, err, errFlaky)
		require.NotErrorIs(t, err, credcipher.ErrUnknownKey)
	})
	t.Run("a key of another size, or a cleared one", func(t *testing.T) {
		for _, key := range [][]byte{nil, pattern(1)[:31], append(pattern(1), 1), make([]byte, 32)} {
			c := strict(t, ring{primary: "old", keys: map[string][]byte{"old": key}})
			got, err := c.Seal(secret, here)
			quiet(t, err)
			require.Nil(t, got)
			got, _, err = c.Open(doc, here)
			quiet(t, err)
			require.Nil(t, got)
			c = strict(t, ring{primary: "new", keys: map[string][]byte{"new": pattern(2), "old": key}})
			_, _, err = c.Open(doc, here)
			quiet(t, err)
			_, err = credcipher.StaticKey(key)
			quiet(t, err)
		}
	})
	t.Run("ids", func(t *testing.T) {
		for id, good := range map[string]bool{
			"a": true, strings.Repeat("a", 128): true, "arn:aws:kms:eu/1_2~3@4+5=6,7.8-9": true, "AZaz09": true,
			"": false, strings.Repeat("a", 129): false, "a b": false, `a"b`: false, `a\b`: false, "ü": false, "a\n": false,
			"<": false, "a`": false, "[": false, "{": false, ";": false, "!": false, "\x7f": false,
		} {
			c := strict(t, ring{primary: id, keys: map[string][]byte{id: pattern(1)}})
			doc, err := c.Seal(secret, here)
			require.Equal(t, good, err == nil, id)
			if good {
				_, info, err := c.Open(doc, here)
				require.NoError(t, err)
				require.Equal(t, id, info.KeyID)
			}
		}
	})
	t.Run("the keyring's slice is left alone", func(t *testing.T) {
		require.Equal(t, pattern(1), oldRing.keys["old"])
	})
}

// TestKeysAreCopied: whoever gave a key may clear it.
func TestKeysAreCopied(t *testing.T) {
	key, legacyKey := pattern(2), pattern(9)
	k, err := credcipher.StaticKey(key)
	require.NoError(t, err)
	c := newCipher(t, credcipher.Config{Keyring: k, LegacyKey: legacyKey})
	doc := sealed(t, c, secret, here)
	clear(key)
	clear(legacyKey)
	for _, doc := range []string{string(doc), legacyDoc} {
		_, _, err = c.Open([]byte(doc), here)
		require.NoError(t, err)
	}
}

var errFlaky = errors.New("no answer")

type failingLookup struct{ ring }

func (failingLookup) LookupKey(string) ([]byte, error) { return nil, errFlaky }

func TestStaticKey(t *testing.T) {
	k, err := credcipher.StaticKey(pattern(1))
	require.NoError(t, err)
	again, err := credcipher.StaticKey(pattern(1))
	require.NoError(t, err)
	other, err := credcipher.StaticKey(pattern(2))
	require.NoError(t, err)
	id, key, err := k.PrimaryKey()
	require.NoError(t, err)
	require.Equal(t, pattern(1), key)
	require.Regexp(t, "^[0-9a-f]{16}$", id)
	clear(key)
	key, err = k.LookupKey(id)
	require.NoError(t, err)
	require.Equal(t, pattern(1), key, "what it gives is a copy")
	clear(key)
	idAgain, key, _ := again.PrimaryKey()
	require.Equal(t, id, idAgain)
	require.Equal(t, pattern(1), key)
	idOther, _, _ := other.PrimaryKey()
	require.NotEqual(t, id, idOther)
	_, err = k.LookupKey(idOther)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestNewNamesEveryWrongField(t *testing.T) {
	c, err := credcipher.New(credcipher.Config{Policy: 3, LegacyKey: pattern(1)[:31]})
	require.Nil(t, c)
	quiet(t, err)
	for _, field := range []string{"Keyring", "Policy", "LegacyKey"} {
		require.ErrorContains(t, err, "Config."+field)
	}
	_, err = credcipher.New(credcipher.Config{Keyring: newRing, Policy: credcipher.Migrate})
	require.ErrorContains(t, err, "Config.Marker")
	for _, key := range [][]byte{{}, append(pattern(1), 1), make([]byte, 32)} {
		_, err = credcipher.New(credcipher.Config{Keyring: newRing, LegacyKey: key})
		require.ErrorContains(t, err, "Config.LegacyKey")
	}
}

func TestAbsenceRefuses(t *testing.T) {
	doc := sealed(t, strict(t, newRing), secret, here)
	for name, c := range map[string]*credcipher.Cipher{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Seal(secret, here)
			quiet(t, err)
			_, _, err = c.Open(doc, here)
			quiet(t, err)
			_, _, err = c.Open(secret, here)
			quiet(t, err)
			_, err = c.SealFields(secret, []string{"/token"}, here)
			quiet(t, err)
			_, _, err = c.OpenFields(secret, []string{"/token"}, here)
			quiet(t, err)
			_, err = c.Reseal(t.Context(), nil, nil, nil)
			quiet(t, err)
		})
	}
	t.Run("a place without a name", func(t *testing.T) {
		for _, p := range []credcipher.Policy{credcipher.RequireSealed, credcipher.Migrate, credcipher.InsecurePlaintext} {
			m := &memoryMarker{}
			c := newCipher(t, credcipher.Config{Keyring: newRing, Policy: p, Marker: m})
			for _, b := range []credcipher.Binding{nil, {}} {
				got, err := c.Seal(secret, b)
				quiet(t, err)
				require.Nil(t, got)
				got, _, err = c.Open(doc, b)
				quiet(t, err)
				require.Nil(t, got)
				_, err = c.SealFields(secret, []string{"/token"}, b)
				quiet(t, err)
				_, _, err = c.OpenFields(secret, []string{"/token"}, b)
				quiet(t, err)
			}
			require.Empty(t, m.places)
		}
	})
	t.Run("an empty document", func(t *testing.T) {
		for _, p := range []credcipher.Policy{credcipher.RequireSealed, credcipher.Migrate, credcipher.InsecurePlaintext} {
			c := newCipher(t, credcipher.Config{Keyring: newRing, Policy: p, Marker: &memoryMarker{}})
			for _, doc := range [][]byte{nil, {}} {
				got, info, err := c.Open(doc, here)
				refused(t, credcipher.ErrMalformed, got, info, err)
				_, err = credcipher.Inspect(doc)
				require.ErrorIs(t, err, credcipher.ErrMalformed)
			}
		}
	})
}

func TestKeysAreNotPrinted(t *testing.T) {
	k, err := credcipher.StaticKey(pattern(0x61))
	require.NoError(t, err)
	config := credcipher.Config{Keyring: k, LegacyKey: pattern(0x61)}
	c := newCipher(t, config)
	m, err := credcipher.NewFileMarker(filepath.Join(t.TempDir(), "marks"), k)
	require.NoError(t, err)
	d := openDir(t, t.TempDir(), credcipher.DirConfig{Cipher: c})
	n := 0
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o"} {
		for _, v := range []any{k, config, &config, c, *c, struct{ k credcipher.Keyring }{k}, struct{ c *credcipher.Cipher }{c}, m, d} {
			text := strings.ToLower(fmt.Sprintf(verb, v))
			for _, leak := range []string{"aaaaaaaa", "61616161", "97 97 97", "0x61, 0x61, 0x61", "141 141 141"} {
				require.NotContains(t, text, leak, "%s of %T", verb, v)
			}
			n++
		}
	}
	require.Equal(t, 81, n)
	text, err := json.Marshal(config)
	require.NoError(t, err)
	require.JSONEq(t, `{"policy":"require-sealed"}`, string(text))
}

func TestManyGoroutines(t *testing.T) {
	c := newCipher(t, credcipher.Config{Keyring: bothRing, Policy: credcipher.Migrate, Marker: &memoryMarker{}})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			plaintext := fmt.Appendf(nil, "%d", g)
			for range 50 {
				doc, err := c.Seal(plaintext, here)
				if err != nil {
					t.Error(err)
					return
				}
				if got, _, err := c.Open(doc, here); err != nil || !bytes.Equal(got, plaintext) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestFIPS runs the round trip of every kind of envelope where nothing but FIPS 140-3 approved services is allowed.
func TestFIPS(t *testing.T) {
	const role = "CREDCIPHER_FIPS_CHILD"
	if os.Getenv(role) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFIPS$", "-test.v")
		cmd.Env = append(os.Environ(), role+"=1", "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "in FIPS mode", "the child did nothing")
		return
	}
	require.Panics(t, func() { sha1.Sum(nil) }, "GODEBUG had no effect")
	k, err := credcipher.StaticKey(pattern(1))
	require.NoError(t, err)
	m, err := credcipher.NewFileMarker(t.TempDir()+"/marks", k)
	require.NoError(t, err)
	c := newCipher(t, credcipher.Config{Keyring: k, Policy: credcipher.Migrate, Marker: m, LegacyKey: pattern(9)})
	got, _, err := c.Open(sealed(t, c, secret, here), here)
	require.NoError(t, err)
	require.Equal(t, secret, got)
	fields, err := c.SealFields(secret, []string{"/token"}, here)
	require.NoError(t, err)
	got, _, err = c.OpenFields(fields, []string{"/token"}, here)
	require.NoError(t, err)
	require.Equal(t, secret, got)
	got, _, err = c.Open([]byte(legacyDoc), here)
	require.NoError(t, err)
	require.Equal(t, []byte("old"), got)
	t.Log("in FIPS mode")
}

// derive is FORMAT.md's derivation, for tests that build envelopes by hand.
func derive(t testing.TB, key, salt []byte, context string) (oneUse, commitment []byte) {
	t.Helper()
	okm := hkdfKey(t, key, salt, context)
	return okm[:32], okm[32:]
}

func blobOf(t testing.TB, doc []byte) []byte {
	t.Helper()
	var e struct {
		Encrypted struct {
			Blob string `json:"blob"`
		} `json:"_encrypted"`
	}
	require.NoError(t, json.Unmarshal(doc, &e))
	blob, err := base64.RawURLEncoding.Strict().DecodeString(e.Encrypted.Blob)
	require.NoError(t, err)
	return blob
}

func docOf(keyID string, blob []byte) []byte {
	return fmt.Appendf(nil, `{"_encrypted":{"v":2,"alg":"HKDF-SHA256-KC-A256GCM","kid":"%s","blob":"%s"}}`, keyID, base64.RawURLEncoding.EncodeToString(blob))
}

// contextOf is FORMAT.md's context.
func contextOf(kind byte, keyID, pointer string, b credcipher.Binding) string {
	lp := func(s string) string { return string([]byte{0, 0, byte(len(s) >> 8), byte(len(s))}) + s }
	out := "merlon credcipher 2" + string(kind) + lp("HKDF-SHA256-KC-A256GCM") + lp(keyID) + lp(pointer) + string([]byte{0, 0, 0, byte(len(b))})
	for _, p := range b {
		out += lp(p)
	}
	return out
}

func digestOf(b credcipher.Binding) []byte {
	lp := func(s string) string { return string([]byte{0, 0, byte(len(s) >> 8), byte(len(s))}) + s }
	out := "merlon credcipher 2M" + lp("HKDF-SHA256-KC-A256GCM") + lp("") + lp("") + string([]byte{0, 0, 0, byte(len(b))})
	for _, p := range b {
		out += lp(p)
	}
	sum := sha256.Sum256([]byte(out))
	return sum[:]
}
