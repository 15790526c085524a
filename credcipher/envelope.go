// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// FORMAT.md is the specification of what this file writes and reads. A change here that reads or writes other bytes
// needs another version number there.
const (
	sentinel  = "_encrypted"
	version   = 2
	algorithm = "HKDF-SHA256-KC-A256GCM"

	beforeID   = `{"_encrypted":{"v":2,"alg":"HKDF-SHA256-KC-A256GCM","kid":"`
	beforeBlob = `","blob":"`
	afterBlob  = `"}}`

	label      = "merlon credcipher 2"
	saltSize   = 32
	commitSize = 32
	nonceSize  = 12
	tagSize    = 16
	overhead   = 92 // the four together
)

// The alphabet needs no escape in JSON and survives programs that rewrite a document around a field.
var b64 = base64.RawURLEncoding.Strict()

// b64v1 is what version 1 used.
var b64v1 = base64.StdEncoding.Strict()

// A kind keeps the envelopes of documents, fields and markers apart, also where their bindings are equal.
type kind byte

const (
	document kind = 'D'
	field    kind = 'F'
	marks    kind = 'M'
)

// A place is what an envelope is bound to, besides its own header.
type place struct {
	kind    kind
	binding Binding
	pointer string // of a field
}

// mark is the place as a Marker sees it. The form of a field is that of RFC 6901 section 6.
func (p place) mark() Binding {
	if p.kind == field {
		return append(slices.Clone(p.binding), "#"+p.pointer)
	}
	return p.binding
}

// context is the header and the place in bytes, each part with its length before it: no two places give the same.
func (p place) context(keyID string) []byte {
	out := append(make([]byte, 0, 256), label...)
	add := func(s string) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	out = append(out, byte(p.kind))
	add(algorithm)
	add(keyID)
	add(p.pointer)
	out = binary.BigEndian.AppendUint32(out, uint32(len(p.binding)))
	for _, s := range p.binding {
		add(s)
	}
	return out
}

// A masterKey is a key of the Keyring with its id.
type masterKey struct {
	id     string
	secret []byte
}

func newMasterKey(id string, secret []byte) (masterKey, error) {
	if !checkKeyID(id) {
		return masterKey{}, fmt.Errorf("credcipher: the keyring's id %.140q is not one; see Keyring", id)
	}
	if err := checkKey(secret); err != nil {
		return masterKey{}, fmt.Errorf("credcipher: key %q of the keyring: %w", id, err)
	}
	return masterKey{id, secret}, nil
}

// derive gives the one-use cipher and the commitment to it. HKDF with SHA-256 is a hash of all its inputs without
// known collisions, so the commitment fixes key, salt, header and place (https://eprint.iacr.org/2022/268).
func (k masterKey) derive(salt, context []byte) (cipher.AEAD, [commitSize]byte, error) {
	var commitment [commitSize]byte
	okm, err := hkdf.Key(sha256.New, k.secret, salt, string(context), keySize+commitSize)
	if err != nil {
		return nil, commitment, fmt.Errorf("credcipher: derive a key: %w", err) // unreachable: 64 bytes of an approved hash
	}
	defer clear(okm)
	copy(commitment[:], okm[keySize:])
	aead, err := newGCM(okm[:keySize])
	return aead, commitment, err
}

// newGCM returns the only GCM that GODEBUG=fips140=only lets encrypt. With 32 bytes it does not fail.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("credcipher: %w", err) // unreachable
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal appends an envelope to dst. It makes room once, encrypts at the far end of it and spreads the ciphertext
// forward as base64.
func (k masterKey) seal(dst, plaintext []byte, p place) ([]byte, error) {
	if err := checkSize(plaintext); err != nil {
		return nil, err
	}
	context := p.context(k.id)
	blobSize := overhead + len(plaintext)
	textSize := b64.EncodedLen(blobSize)
	dst = slices.Grow(dst, len(beforeID)+len(k.id)+len(beforeBlob)+textSize+len(afterBlob))
	dst = append(dst, beforeID...)
	dst = append(dst, k.id...)
	dst = append(dst, beforeBlob...)

	text := dst[len(dst) : len(dst)+textSize]
	blob := text[textSize-blobSize:]
	salt := blob[:saltSize]
	rand.Read(salt) // never fails: https://go.dev/issue/66821
	aead, commitment, err := k.derive(salt, context)
	if err != nil {
		return nil, err
	}
	copy(blob[saltSize:], commitment[:])
	aead.Seal(blob[saltSize+commitSize:saltSize+commitSize], nil, plaintext, context)
	encodeInPlace(text, blob)
	return append(dst[:len(dst)+textSize], afterBlob...), nil
}

func checkSize(plaintext []byte) error {
	if len(plaintext) > MaxPlaintext {
		return fmt.Errorf("credcipher: %d bytes of plaintext are more than MaxPlaintext", len(plaintext))
	}
	return nil
}

// encodeInPlace writes the base64 of blob to text, whose end blob is. What is written never passes what is still to
// be read: text is longer by one byte for each group of three.
func encodeInPlace(text, blob []byte) {
	var chunk [3 << 8]byte
	for len(blob) > 0 {
		n := copy(chunk[:], blob)
		b64.Encode(text, chunk[:n])
		blob, text = blob[n:], text[b64.EncodedLen(n):]
	}
}

// open returns the plaintext of an envelope of version 2, or no bytes.
func (k masterKey) open(e envelope, p place) ([]byte, error) {
	blob, err := decode(b64, e.blob)
	if err != nil || len(blob) < overhead {
		return nil, fmt.Errorf("%w: the blob is not strict base64 of at least %d bytes", ErrMalformed, overhead)
	}
	context := p.context(k.id)
	aead, commitment, err := k.derive(blob[:saltSize], context)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment[:], blob[saltSize:saltSize+commitSize]) != 1 {
		return nil, fmt.Errorf("%w: it names key %q, which gives another commitment", ErrWrongKeyOrContext, k.id)
	}
	sealed := blob[saltSize+commitSize:]
	plaintext, err := aead.Open(sealed[:0], nil, sealed, context)
	if err != nil {
		return nil, ErrTampered
	}
	return slices.Clip(plaintext), nil
}

// decode reads strict base64. encoding/base64 skips line breaks even when Strict, so the length has to fit as well.
func decode(enc *base64.Encoding, text []byte) ([]byte, error) {
	out := make([]byte, enc.DecodedLen(len(text)))
	n, err := enc.Decode(out, text)
	if err != nil {
		return nil, err
	}
	if enc.EncodedLen(n) != len(text) {
		return nil, errors.New("line breaks")
	}
	return out[:n], nil
}

// openLegacy opens an envelope of version 1, which has no binding and no commitment, so that a wrong key looks like a
// change.
func (e envelope) openLegacy(key []byte) ([]byte, error) {
	var sealed []byte
	for _, part := range []struct {
		text []byte
		size int // or any, if negative
	}{{e.iv, nonceSize}, {e.ct, -1}, {e.tag, tagSize}} {
		b, err := decode(b64v1, part.text)
		if err != nil || part.size >= 0 && len(b) != part.size {
			return nil, fmt.Errorf("%w: a part of a version 1 envelope is not strict base64 of its size", ErrMalformed)
		}
		sealed = append(sealed, b...)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w, or %w; version 1 cannot tell", ErrTampered, ErrWrongKeyOrContext)
	}
	if plaintext == nil {
		plaintext = []byte{}
	}
	return plaintext, nil
}

// A Header is what an envelope says of itself to everyone. Nothing has verified it.
type Header struct {
	Version   int    // 1 or 2
	Algorithm string // as the envelope names it; empty in version 1
	KeyID     string // empty in version 1
	Size      int    // of the plaintext, in bytes
}

// Inspect reads the header of an envelope, without a key: for an audit of what is sealed under which key. What is no
// envelope is ErrPlaintext, ErrMalformed or ErrUnsupported.
func Inspect(doc []byte) (Header, error) {
	e, err := parse(doc)
	if err != nil {
		return Header{}, err
	}
	if e.version == 0 {
		return Header{}, ErrPlaintext
	}
	h := Header{Version: version, Algorithm: algorithm, KeyID: string(e.keyID), Size: b64.DecodedLen(len(e.blob)) - overhead}
	if e.version == 1 {
		h = Header{Version: 1, Size: b64v1.DecodedLen(len(e.ct)) - padding(e.ct)}
	}
	if h.Size < 0 {
		return Header{}, fmt.Errorf("%w: its base64 is too short", ErrMalformed)
	}
	return h, nil
}

// padding counts the = at the end.
func padding(text []byte) int {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '=' {
		n++
	}
	return n
}
