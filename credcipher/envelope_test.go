// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

// legacyDoc holds "old" under pattern(9).
var legacyDoc = legacy("old")

func legacy(plaintext string) string {
	block, err := aes.NewCipher(pattern(9))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	out := aead.Seal(nil, nil, []byte(plaintext), nil)
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`{"_encrypted":true,"payload":{"v":1,"iv":%q,"ct":%q,"tag":%q}}`, b64(out[:12]), b64(out[12:len(out)-16]), b64(out[len(out)-16:]))
}

func hkdfKey(t testing.TB, key, salt []byte, info string) []byte {
	t.Helper()
	okm, err := hkdf.Key(sha256.New, key, salt, info, 64)
	require.NoError(t, err)
	return okm
}

// TestEveryBitFlip changes each bit of an envelope and wants the error that belongs to the part it hits.
func TestEveryBitFlip(t *testing.T) {
	c := strict(t, bothRing)
	for _, size := range []int{0, 1, 2, 100} {
		doc := sealed(t, c, bytes.Repeat([]byte("p"), size), here)
		typed := 0
		for i := range doc {
			for bit := range 8 {
				changed := bytes.Clone(doc)
				changed[i] ^= 1 << bit
				got, info, err := c.Open(changed, here)
				require.Error(t, err, "byte %d bit %d", i, bit)
				require.Nil(t, got)
				require.Zero(t, info)
				require.True(t, strings.HasPrefix(err.Error(), "credcipher: "))
				for _, sentinel := range sentinels {
					if errors.Is(err, sentinel) {
						typed++
					}
				}
			}
		}
		require.Equal(t, 8*len(doc), typed, "each error matches one sentinel")

		blob := blobOf(t, doc)
		for i := range blob {
			want := credcipher.ErrWrongKeyOrContext // salt and commitment
			if i >= 64 {
				want = credcipher.ErrTampered // nonce, ciphertext, tag
			}
			for bit := range 8 {
				changed := bytes.Clone(blob)
				changed[i] ^= 1 << bit
				got, info, err := c.Open(docOf("new", changed), here)
				refused(t, want, got, info, err)
			}
		}
	}
}

// TestEveryCut takes bytes away at the end, at the front and in the middle.
func TestEveryCut(t *testing.T) {
	for _, p := range []credcipher.Policy{credcipher.RequireSealed, credcipher.InsecurePlaintext} {
		c := newCipher(t, credcipher.Config{Keyring: newRing, Policy: p})
		doc := sealed(t, strict(t, newRing), []byte("0123456789"), here)
		for i := range doc {
			docs := [][]byte{doc[:i:i], slices.Delete(bytes.Clone(doc), i, i+1)}
			if i > 0 {
				docs = append(docs, doc[i:])
			}
			for _, cut := range docs {
				if p == credcipher.InsecurePlaintext && !bytes.Contains(cut, []byte("_encrypted")) {
					continue // nothing in it tells that it was an envelope
				}
				got, _, err := c.Open(cut, here)
				require.Error(t, err, "%s", cut)
				require.Nil(t, got)
			}
		}
	}
}

// TestSalamander: one ciphertext that AES-GCM opens under two keys. The naive opener is run in the same test.
func TestSalamander(t *testing.T) {
	salt := bytes.Repeat([]byte{7}, 32)
	context := contextOf('D', "shared", "", here)
	key1, commitment1 := derive(t, pattern(1), salt, context)
	key2, commitment2 := derive(t, pattern(2), salt, context)
	require.NotEqual(t, commitment1, commitment2)
	sealedTwice := salamander(t, key1, key2, []byte(context))

	naive := func(key []byte) []byte {
		plaintext, err := gcm(t, key).Open(nil, nil, sealedTwice, []byte(context))
		require.NoError(t, err, "the salamander is none")
		return plaintext
	}
	require.NotEqual(t, naive(key1), naive(key2), "AES-GCM opens it under both keys, to two texts")

	first := strict(t, ring{primary: "shared", keys: map[string][]byte{"shared": pattern(1)}})
	second := strict(t, ring{primary: "shared", keys: map[string][]byte{"shared": pattern(2)}})
	doc := docOf("shared", slices.Concat(salt, commitment1, sealedTwice))
	_, _, err := first.Open(doc, here)
	require.NoError(t, err)
	got, info, err := second.Open(doc, here)
	refused(t, credcipher.ErrWrongKeyOrContext, got, info, err)
}

// salamander makes nonce, ciphertext and tag of one block that is chosen so that the tags under both keys are equal:
// tag = L*H + C*H^2 + A(H) + E(J0), solved for C (Dodis, Grubbs, Ristenpart, Woodage, CRYPTO 2018).
func salamander(t *testing.T, key1, key2, aad []byte) []byte {
	t.Helper()
	nonce := bytes.Repeat([]byte{5}, 12)
	type side struct{ h, rest element }
	of := func(key []byte) side {
		block, err := aes.NewCipher(key)
		require.NoError(t, err)
		var hash, mask [16]byte
		block.Encrypt(hash[:], make([]byte, 16))
		block.Encrypt(mask[:], append(slices.Clone(nonce), 0, 0, 0, 1))
		h := load(hash[:])
		var a element
		padded := append(slices.Clone(aad), make([]byte, (16-len(aad)%16)%16)...)
		for chunk := range slices.Chunk(padded, 16) {
			a = a.add(load(chunk)).mul(h)
		}
		var length [16]byte
		binary.BigEndian.PutUint64(length[:8], uint64(len(aad))*8)
		binary.BigEndian.PutUint64(length[8:], 16*8)
		return side{h, a.mul(h).mul(h).add(load(length[:]).mul(h)).add(load(mask[:]))}
	}
	one, two := of(key1), of(key2)
	squares := one.h.mul(one.h).add(two.h.mul(two.h))
	c := one.rest.add(two.rest).mul(squares.inverse())
	tag := c.mul(one.h).mul(one.h).add(one.rest)
	return slices.Concat(nonce, c.bytes(), tag.bytes())
}

// An element of GF(2^128) as GCM writes it: the first bit is the coefficient of x^0.
type element struct{ hi, lo uint64 }

func load(b []byte) element {
	return element{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (e element) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, e.hi), e.lo)
}

func (e element) add(f element) element { return element{e.hi ^ f.hi, e.lo ^ f.lo} }

func (e element) mul(f element) (z element) {
	for i := range 128 {
		if i < 64 && e.hi>>(63-i)&1 == 1 || i >= 64 && e.lo>>(127-i)&1 == 1 {
			z = z.add(f)
		}
		carry := f.lo & 1
		f = element{f.hi >> 1, f.lo>>1 | f.hi<<63}
		if carry == 1 {
			f.hi ^= 0xe1 << 56
		}
	}
	return z
}

// inverse is e to the power of 2^128-2.
func (e element) inverse() element {
	z, square := element{hi: 1 << 63}, e
	for range 127 {
		square = square.mul(square)
		z = z.mul(square)
	}
	return z
}

// TestVectors opens the files of testdata/vectors, which testdata/credcipher.py made.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.txt")
	require.NoError(t, err)
	counts := map[string]int{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			head, doc, ok := bytes.Cut(raw, []byte("\n\n"))
			require.True(t, ok)
			var expect, pointer string
			var plaintext, master []byte
			var binding credcipher.Binding
			for line := range strings.SplitSeq(string(head), "\n") {
				name, value, _ := strings.Cut(line, ": ")
				switch name {
				case "expect":
					expect = value
				case "master":
					b, err := hex.DecodeString(value)
					require.NoError(t, err)
					master = pattern(b[0])
				case "binding":
					require.NoError(t, json.Unmarshal([]byte(value), &binding))
				case "pointer":
					pointer = value
				case "plaintext":
					plaintext, err = hex.DecodeString(value)
					require.NoError(t, err)
				default:
					t.Fatalf("unknown header %q", name)
				}
			}
			counts[expect]++
			long := "arn:aws:kms:eu-west-1:1/" + strings.Repeat("a", 104)
			c := newCipher(t, credcipher.Config{
				Keyring:   ring{primary: "sample", keys: map[string][]byte{"sample": master, long: master}},
				LegacyKey: pattern(9),
			})
			var got []byte
			var info credcipher.Info
			if pointer == "" {
				got, info, err = c.Open(doc, binding)
			} else {
				got, info, err = c.OpenFields(doc, []string{pointer}, binding)
			}
			if expect == "opened" {
				require.NoError(t, err)
				require.True(t, info.Sealed)
				if pointer != "" {
					start, end := bytes.Index(doc, []byte(`{"_encrypted"`)), bytes.Index(doc, []byte("}}"))+2
					plaintext = slices.Concat(doc[:start], plaintext, doc[end:])
				}
				require.True(t, bytes.Equal(plaintext, got))
				return
			}
			require.Contains(t, sentinels, expect)
			require.ErrorIs(t, err, sentinels[expect])
			require.Nil(t, got)
			quiet(t, err)
			if !strings.HasPrefix(filepath.Base(file), "v1_") {
				refused(t, sentinels[expect], got, info, err)
			}
		})
	}
	require.GreaterOrEqual(t, counts["opened"], 13)
	require.GreaterOrEqual(t, counts["malformed"], 20)
	require.GreaterOrEqual(t, counts["wrong-key-or-context"], 10)
	require.GreaterOrEqual(t, counts["tampered"], 5)
	require.GreaterOrEqual(t, counts["unsupported"], 3)
}

// python runs the second implementation, which shares no code with this package.
func python(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	const interpreter = "/usr/bin/python3" // Debian's, for which python3-cryptography is
	if err := exec.Command(interpreter, "-c", "import cryptography").Run(); err != nil {
		const reason = "needs /usr/bin/python3 and python3-cryptography"
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	cmd := exec.Command(interpreter, append([]string{"testdata/credcipher.py"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}

type pythonRow struct {
	Doc       string             `json:"doc,omitempty"`
	Plaintext string             `json:"plaintext"`
	Key       string             `json:"key"`
	KeyID     string             `json:"kid"`
	Kind      string             `json:"kind"`
	Binding   credcipher.Binding `json:"binding"`
	Pointer   string             `json:"pointer"`
}

// TestSecondOpener seals here and opens there, and the other way round.
func TestSecondOpener(t *testing.T) {
	c := strict(t, newRing)
	key := hex.EncodeToString(pattern(2))
	var seal, open bytes.Buffer
	var want []string
	var places []credcipher.Binding
	for i, size := range []int{0, 1, 2, 3, 15, 16, 17, 100, 1000, 70_000} {
		plaintext := bytes.Repeat([]byte{byte(i), 0xff, '"'}, size)
		for _, b := range []credcipher.Binding{here, {"Größe", "", "\x00"}, {strings.Repeat("long", 1000)}} {
			row := pythonRow{Plaintext: hex.EncodeToString(plaintext), Key: key, KeyID: "new", Kind: "D", Binding: b}
			require.NoError(t, json.NewEncoder(&seal).Encode(row))
			row.Doc = string(sealed(t, c, plaintext, b))
			require.NoError(t, json.NewEncoder(&open).Encode(row))
			want, places = append(want, row.Plaintext), append(places, b)
		}
	}
	fields, err := c.SealFields([]byte(`{"a/b":[1.50]}`), []string{"/a~1b/0"}, here)
	require.NoError(t, err)
	value := string(fields[len(`{"a/b":[`) : len(fields)-len(`]}`)])
	require.NoError(t, json.NewEncoder(&open).Encode(pythonRow{Doc: value, Key: key, KeyID: "new", Kind: "F", Binding: here, Pointer: "/a~1b/0"}))
	require.NoError(t, json.NewEncoder(&open).Encode(pythonRow{Doc: value, Key: key, KeyID: "new", Kind: "D", Binding: here}))

	opened := strings.Split(strings.TrimSuffix(string(python(t, open.Bytes(), "open")), "\n"), "\n")
	require.Equal(t, append(slices.Clone(want), hex.EncodeToString([]byte("1.50")), "refused"), opened)

	docs := strings.Split(strings.TrimSuffix(string(python(t, seal.Bytes(), "seal")), "\n"), "\n")
	require.Len(t, docs, len(want))
	for i, doc := range docs {
		got, _, err := c.Open([]byte(doc), places[i])
		require.NoError(t, err)
		require.Equal(t, want[i], hex.EncodeToString(got))
	}
}

// TestVectorsAreGenerated: the files are what the generator writes, no more and no less.
func TestVectorsAreGenerated(t *testing.T) {
	dir := t.TempDir()
	python(t, nil, "vectors", dir)
	fresh, err := os.ReadDir(dir)
	require.NoError(t, err)
	kept, err := os.ReadDir("testdata/vectors")
	require.NoError(t, err)
	require.Len(t, kept, len(fresh))
	for _, e := range fresh {
		want, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join("testdata/vectors", e.Name()))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), e.Name())
	}
}

func TestLegacy(t *testing.T) {
	c := newCipher(t, credcipher.Config{Keyring: newRing, LegacyKey: pattern(9)})
	for _, plaintext := range []string{"", "old", `{"token":"sample"}`, strings.Repeat("x", 1000)} {
		got, info, err := c.Open([]byte(legacy(plaintext)), here)
		require.NoError(t, err)
		require.NotNil(t, got)
		require.Equal(t, plaintext, string(got))
		require.Equal(t, credcipher.Info{Sealed: true, NeedsReseal: true}, info)
		h, err := credcipher.Inspect([]byte(legacy(plaintext)))
		require.NoError(t, err)
		require.Equal(t, credcipher.Header{Version: 1, Size: len(plaintext)}, h)
	}
	t.Run("without its key", func(t *testing.T) {
		got, info, err := strict(t, newRing).Open([]byte(legacyDoc), here)
		refused(t, credcipher.ErrUnknownKey, got, info, err)
	})
	t.Run("under another key it cannot be told from a changed one", func(t *testing.T) {
		c := newCipher(t, credcipher.Config{Keyring: newRing, LegacyKey: pattern(8)})
		got, _, err := c.Open([]byte(legacyDoc), here)
		require.ErrorIs(t, err, credcipher.ErrWrongKeyOrContext)
		require.ErrorIs(t, err, credcipher.ErrTampered)
		require.Nil(t, got)
	})
	t.Run("in a field", func(t *testing.T) {
		got, info, err := c.OpenFields([]byte(`{"a":`+legacyDoc+`}`), []string{"/a"}, here)
		refused(t, credcipher.ErrUnsupported, got, info, err)
	})
	t.Run("every bit", func(t *testing.T) {
		for i := range legacyDoc {
			for bit := range 8 {
				changed := []byte(legacyDoc)
				changed[i] ^= 1 << bit
				got, _, err := c.Open(changed, here)
				require.Error(t, err, "%s", changed)
				require.Nil(t, got)
			}
		}
	})
	for name, row := range map[string]struct {
		doc  string
		want error
	}{
		"payload first":         {`{"payload":` + payload(legacyDoc) + `,"_encrypted":true}`, nil},
		"no payload":            {`{"_encrypted":true}`, credcipher.ErrMalformed},
		"false":                 {strings.Replace(legacyDoc, "true", "false", 1), credcipher.ErrMalformed},
		"twice":                 {strings.Replace(legacyDoc, `{"_encrypted":true`, `{"_encrypted":true,"_encrypted":true`, 1), credcipher.ErrMalformed},
		"payload twice":         {legacyDoc[:len(legacyDoc)-1] + `,"payload":` + payload(legacyDoc) + `}`, credcipher.ErrMalformed},
		"payload of version 2":  {strings.Replace(legacyDoc, `"v":1`, `"v":2`, 1), credcipher.ErrUnsupported},
		"version 1.0":           {strings.Replace(legacyDoc, `"v":1`, `"v":1.0`, 1), credcipher.ErrMalformed},
		"version as text":       {strings.Replace(legacyDoc, `"v":1`, `"v":"1"`, 1), credcipher.ErrMalformed},
		"a member of payload":   {strings.Replace(legacyDoc, `"v":1`, `"v":1,"aad":""`, 1), credcipher.ErrMalformed},
		"no version":            {strings.Replace(legacyDoc, `"v":1,`, "", 1), credcipher.ErrMalformed},
		"version 1 and 2":       {string(docOf("new", nil)[:len(docOf("new", nil))-1]) + `,"payload":` + payload(legacyDoc) + `}`, credcipher.ErrMalformed},
		"a sibling":             {legacyDoc[:len(legacyDoc)-1] + `,"token":"evil"}`, credcipher.ErrMalformed},
		"only a payload member": {`{"payload":` + payload(legacyDoc) + `}`, credcipher.ErrPlaintext},
	} {
		t.Run(name, func(t *testing.T) {
			got, info, err := c.Open([]byte(row.doc), here)
			if row.want == nil {
				require.NoError(t, err)
				require.Equal(t, "old", string(got))
				return
			}
			refused(t, row.want, got, info, err)
		})
	}
}

func payload(doc string) string {
	_, after, _ := strings.Cut(doc, `"payload":`)
	return after[:len(after)-1]
}

func TestInspect(t *testing.T) {
	doc := sealed(t, strict(t, newRing), secret, here)
	h, err := credcipher.Inspect(doc)
	require.NoError(t, err)
	require.Equal(t, credcipher.Header{Version: 2, Algorithm: "HKDF-SHA256-KC-A256GCM", KeyID: "new", Size: len(secret)}, h)
	h, err = credcipher.Inspect(docOf("new", make([]byte, 92)))
	require.NoError(t, err)
	require.Zero(t, h.Size)
	_, err = credcipher.Inspect(docOf("new", make([]byte, 91)))
	require.ErrorIs(t, err, credcipher.ErrMalformed)
	_, err = credcipher.Inspect([]byte(`{"_encrypted":true,"payload":{"v":1,"iv":"","ct":"====","tag":""}}`))
	require.ErrorIs(t, err, credcipher.ErrMalformed, "a size below zero")
	_, err = credcipher.Inspect(secret)
	require.ErrorIs(t, err, credcipher.ErrPlaintext)
	_, err = credcipher.Inspect([]byte(`{"_encrypted":{"v":3}}`))
	require.ErrorIs(t, err, credcipher.ErrUnsupported)
}

// wycheproof reads one of testdata/wycheproof_*.txt, which say where they are from: number, result and comment of each
// row, then so many binary values.
func wycheproof(t *testing.T, file string, values int, row func(name string, valid bool, v [][]byte)) (n int) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, columns, 3+values)
		require.Contains(t, []string{"valid", "invalid"}, columns[1])
		v := make([][]byte, values)
		for i := range v {
			v[i], err = hex.DecodeString(columns[3+i])
			require.NoError(t, err)
		}
		row(columns[0]+" "+columns[2], columns[1] == "valid", v)
		n++
	}
	return n
}

// TestWycheproofGCM plays all rows with keys of 256 bits. Those without additional data go through Open as documents of
// version 1; nonces of other lengths than 12 bytes are malformed there, whatever the row says. Additional data only the
// cipher itself can be given, since a document makes its own.
func TestWycheproofGCM(t *testing.T) {
	var opened, forged, otherNonce, withData int
	n := wycheproof(t, "wycheproof_aes_256_gcm.txt", 6, func(name string, valid bool, v [][]byte) {
		key, iv, aad, msg, ct, tag := v[0], v[1], v[2], v[3], v[4], v[5]
		require.Len(t, tag, 16, name)
		if len(aad) > 0 {
			withData++
			aead, err := credcipher.NewGCM(key)
			require.NoError(t, err)
			sealed := slices.Concat(iv, ct, tag)
			got, err := aead.Open(nil, nil, sealed, aad)
			require.True(t, valid, "a row of another kind: %s", name)
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(msg, got), name)
			got, err = aead.Open(nil, nil, sealed, nil)
			require.Error(t, err, name)
			require.Nil(t, got)
			return
		}
		b64 := base64.StdEncoding.EncodeToString
		doc := fmt.Sprintf(`{"_encrypted":true,"payload":{"v":1,"iv":%q,"ct":%q,"tag":%q}}`, b64(iv), b64(ct), b64(tag))
		got, _, err := newCipher(t, credcipher.Config{Keyring: newRing, LegacyKey: key}).Open([]byte(doc), here)
		switch {
		case len(iv) != 12:
			otherNonce++
			require.ErrorIs(t, err, credcipher.ErrMalformed, name)
		case valid:
			opened++
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(msg, got), name)
			return
		default:
			forged++
			require.ErrorIs(t, err, credcipher.ErrTampered, name)
		}
		require.Nil(t, got)
	})
	require.Equal(t, []int{105, 21, 27, 39, 18}, []int{n, opened, forged, otherNonce, withData})
}

// TestWycheproofHKDF plays the valid rows of at least 32 bytes on the derivation of an envelope, which takes 64: the
// first half is the key, seen through what it seals, the second the commitment.
func TestWycheproofHKDF(t *testing.T) {
	commitments := 0
	n := wycheproof(t, "wycheproof_hkdf_sha256.txt", 4, func(name string, _ bool, v [][]byte) {
		ikm, salt, info, okm := v[0], v[1], v[2], v[3]
		derived, commitment, err := credcipher.Derive(ikm, salt, info)
		require.NoError(t, err, name)
		got, err := gcm(t, okm[:32]).Open(nil, nil, derived.Seal(nil, nil, []byte(name), nil), nil)
		require.NoError(t, err, name)
		require.Equal(t, name, string(got))
		if len(okm) == 64 {
			commitments++
			require.Equal(t, okm[32:], commitment[:], name)
		}
	})
	require.Equal(t, []int{65, 26}, []int{n, commitments})
}

// openByHand and sealByHand are FORMAT.md for key id "new".
func openByHand(t *testing.T, doc []byte, kind byte, b credcipher.Binding) []byte {
	t.Helper()
	blob := blobOf(t, doc)
	context := contextOf(kind, "new", "", b)
	key, commitment := derive(t, pattern(2), blob[:32], context)
	require.Equal(t, commitment, blob[32:64])
	plaintext, err := gcm(t, key).Open(nil, nil, blob[64:], []byte(context))
	require.NoError(t, err)
	return plaintext
}

func sealByHand(t *testing.T, master []byte, kind byte, b credcipher.Binding, plaintext string) []byte {
	t.Helper()
	salt := bytes.Repeat([]byte{6}, 32)
	context := contextOf(kind, "new", "", b)
	key, commitment := derive(t, master, salt, context)
	return docOf("new", slices.Concat(salt, commitment, gcm(t, key).Seal(nil, nil, []byte(plaintext), []byte(context))))
}

func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	return aead
}
