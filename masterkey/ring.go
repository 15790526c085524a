// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const (
	keySize = 32
	idSize  = 16 // hex digits
	// maxKeys keeps a ring in text below 1 KiB, which every keychain takes; Windows refuses more than 2560 bytes.
	maxKeys = 12
	// maxStored is the most that is read from a source, wrapped and sealed forms included.
	maxStored = 16 << 10
)

// A ring is every key of a service, oldest first. It does not change once made: rotation makes another.
type ring struct {
	primary int
	keys    []key
}

type key struct {
	id     string
	secret [keySize]byte
}

// newKey names a key by a derivation from it (RFC 5869), so that a key cannot stand under another one's name. It is the
// name that credcipher.StaticKey gives, so that what was sealed with a fixed key opens when that key moves here.
func newKey(secret [keySize]byte) key {
	id, err := hkdf.Key(sha256.New, secret[:], nil, "merlon credcipher key id", idSize/2)
	if err != nil {
		panic(err) // unreachable: 8 bytes of SHA-256 can be had under every policy
	}
	return key{hex.EncodeToString(id), secret}
}

func randomKey() key {
	var secret [keySize]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	return newKey(secret)
}

func (r *ring) find(id string) (int, bool) {
	i := slices.IndexFunc(r.keys, func(k key) bool { return k.id == id })
	return i, i >= 0
}

func (r *ring) primaryID() string { return r.keys[r.primary].id }

func (r *ring) ids() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

func (r *ring) with(k key) (*ring, error) {
	if len(r.keys) == maxKeys {
		return nil, fmt.Errorf("masterkey: there are %d keys, which is the most; Retire one first", maxKeys)
	}
	return &ring{r.primary, append(slices.Clone(r.keys), k)}, nil
}

func (r *ring) promoting(id string) (*ring, error) {
	i, ok := r.find(id)
	if !ok {
		return nil, unknown(id)
	}
	return &ring{i, r.keys}, nil
}

func (r *ring) without(id string) (*ring, error) {
	i, ok := r.find(id)
	if !ok {
		return nil, unknown(id)
	}
	if i == r.primary {
		return nil, fmt.Errorf("masterkey: key %s is the primary one; Promote another before it is retired", id)
	}
	next := &ring{r.primary, slices.Delete(slices.Clone(r.keys), i, i+1)}
	if i < r.primary {
		next.primary--
	}
	return next, nil
}

// encode is the text that rests in a source:
//
//	merlon-masterkey 1
//	primary 1f2e3d4c5b6a7988
//	key 1f2e3d4c5b6a7988 (32 bytes in 43 letters of unpadded base64url)
//	sha256 (64 hex digits, of all lines before)
func (r *ring) encode() []byte {
	lines := []string{"primary " + r.primaryID()}
	for _, k := range r.keys {
		lines = append(lines, "key "+k.id+" "+base64.RawURLEncoding.EncodeToString(k.secret[:]))
	}
	return frame("masterkey", lines)
}

var errNoRing = errors.New("it holds no key that this package wrote")

// decodeRing takes what encode gives, to the letter, and nothing else. Its errors never repeat the data.
func decodeRing(data []byte) (*ring, error) {
	lines, err := unframe("masterkey", data)
	if err != nil {
		return nil, err
	}
	r := &ring{primary: -1}
	for _, line := range lines[min(1, len(lines)):] {
		text, ok := strings.CutPrefix(line, "key ")
		if !ok || len(text) < idSize+1 || len(r.keys) == maxKeys {
			return nil, errNoRing
		}
		secret, err := base64.RawURLEncoding.Strict().DecodeString(text[idSize+1:])
		if err != nil || len(secret) != keySize {
			return nil, errNoRing
		}
		k := newKey([keySize]byte(secret))
		if _, twice := r.find(k.id); twice || k.id+" " != text[:idSize+1] {
			return nil, errNoRing
		}
		if lines[0] == "primary "+k.id {
			r.primary = len(r.keys)
		}
		r.keys = append(r.keys, k)
	}
	if r.primary < 0 {
		return nil, errNoRing
	}
	return r, nil
}

// frame is the form of everything that this package writes: a line that says what it is, the body, and a checksum.
// The checksum finds what was cut or garbled; it does not authenticate.
func frame(kind string, lines []string) []byte {
	text := "merlon-" + kind + " 1\n"
	for _, line := range lines {
		text += line + "\n"
	}
	sum := sha256.Sum256([]byte(text))
	return []byte(text + "sha256 " + hex.EncodeToString(sum[:]) + "\n")
}

var errDamaged = errors.New("it is empty, cut short, garbled or something else")

// unframe gives the body's lines. The newline at the very end may be missing, since tools that pass a secret on drop it.
func unframe(kind string, data []byte) ([]string, error) {
	if len(data) > maxStored {
		return nil, errDamaged
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) < 2 {
		return nil, errDamaged
	}
	body := lines[1 : len(lines)-1]
	if !bytes.Equal(bytes.TrimSuffix(frame(kind, body), []byte("\n")), bytes.TrimSuffix(data, []byte("\n"))) {
		return nil, errDamaged
	}
	return body, nil
}

func unknown(id string) error {
	return fmt.Errorf("masterkey: no key is named %.40q: %w", id, fs.ErrNotExist)
}

func validID(id string) bool {
	return len(id) == idSize && strings.Trim(id, "0123456789abcdef") == ""
}
