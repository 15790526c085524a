// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"

	"golang.org/x/crypto/argon2"
)

// Passphrase is a Protector whose key comes from a passphrase by Argon2id, with the second set of parameters that
// RFC 9106, section 4, recommends: 3 passes over 64 MiB, 4 lanes. In FIPS 140 mode it is PBKDF2-HMAC-SHA-256 with
// 600,000 rounds instead, as OWASP's Password Storage Cheat Sheet advises. A nil read refuses everything.
//
// The sealed bytes name the whole set by one byte and hold no number that a hostile file could raise or lower:
// opening takes 64 MiB and a part of a second, once at a time for each Key, and nothing can ask for more. A change
// of the set in a later release gets a new byte; the old ones will be read by every release.
//
// read is called for each Protect and Unprotect, with their context; what it gives is neither kept nor changed, and
// is used byte for byte: a newline at the end counts. An empty passphrase is refused. Generate, Import and Rewrap
// call it twice, so that a prompt confirms itself: two different answers are [WrongPassphrase], and nothing is
// written.
//
// How strong the passphrase is decides over a stolen file; nothing here judges it.
func Passphrase(read func(context.Context) ([]byte, error)) Protector {
	return passphrase{read}
}

type passphrase struct {
	read func(context.Context) ([]byte, error)
}

// The sealed bytes are
//
//	set (1 byte) ‖ salt (16) ‖ commitment (32) ‖ nonce (12) ‖ AES-256-GCM of the secret, and its tag (16)
//
// where HKDF-Expand with SHA-256 makes key ‖ commitment, 32 bytes each, of what the set's derivation makes of
// passphrase and salt. The additional data is all that stands before the nonce, and then each part of the binding
// after its length in four bytes, big-endian.
const (
	setArgon2id = 1
	setPBKDF2   = 2

	saltSize  = 16
	headSize  = 49 // set, salt, commitment
	keySize   = 32
	nonceTag  = 28
	expansion = "merlon devicekey passphrase 1"
)

// Protect implements Protector.
func (p passphrase) Protect(ctx context.Context, secret []byte, binding []string) ([]byte, error) {
	set := byte(setArgon2id)
	if fips140.Enabled() {
		set = setPBKDF2
	}
	header := make([]byte, 1+saltSize, headSize)
	header[0] = set
	rand.Read(header[1:]) // ends the process if it fails
	key, commitment, err := p.derive(ctx, header)
	if err != nil {
		return nil, failed("protect", "", err)
	}
	defer clear(key)
	header = append(header, commitment...)
	return gcm(key).Seal(header, nil, secret, additional(header, binding)), nil
}

// Unprotect implements Protector.
func (p passphrase) Unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	secret, err := p.unprotect(ctx, sealed, binding)
	return secret, failed("unprotect", "", err)
}

func (p passphrase) unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	if len(sealed) < headSize+nonceTag || sealed[0] != setArgon2id && sealed[0] != setPBKDF2 {
		return nil, refuse(Altered, nil)
	}
	header := sealed[:headSize:headSize]
	key, commitment, err := p.derive(ctx, header[:1+saltSize])
	if err != nil {
		return nil, err
	}
	defer clear(key)
	// GCM alone would let whoever writes the file try many passphrases at once, by one ciphertext that opens under each
	// (partitioning oracles, https://eprint.iacr.org/2020/1491).
	if subtle.ConstantTimeCompare(commitment, header[1+saltSize:]) != 1 {
		return nil, refuse(WrongPassphrase, nil)
	}
	secret, err := gcm(key).Open(nil, nil, sealed[headSize:], additional(header, binding))
	if err != nil {
		return nil, refuse(Altered, nil)
	}
	return secret, nil
}

// derive makes key and commitment for a header that names a set and holds a salt.
func (p passphrase) derive(ctx context.Context, header []byte) (key, commitment []byte, err error) {
	if p.read == nil {
		return nil, nil, refuse(NoProtector, nil)
	}
	phrase, err := p.read(ctx)
	if err != nil || len(phrase) == 0 {
		return nil, nil, refuse(NoPassphrase, err)
	}
	if ctx.Err() != nil { // the derivation cannot be stopped once it runs
		return nil, nil, refuse(Interrupted, ctx.Err())
	}
	salt := header[1:]
	var stretched []byte
	if header[0] == setArgon2id {
		stretched = argon2.IDKey(phrase, salt, 3, 64<<10, 4, keySize)
	} else {
		stretched = must(pbkdf2.Key(sha256.New, string(phrase), salt, 600_000, keySize))
	}
	defer clear(stretched)
	both := must(hkdf.Expand(sha256.New, stretched, expansion, 2*keySize))
	return both[:keySize:keySize], both[keySize:], nil
}

// gcm has a random nonce, which is enough for a key that seals one secret.
func gcm(key []byte) cipher.AEAD { return must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key)))) }

// must is for errors about lengths, hashes and kinds of key, which are constants here.
func must[T any](v T, err error) T {
	if err != nil {
		panic("devicekey: " + err.Error())
	}
	return v
}

func additional(header []byte, binding []string) []byte {
	data := bytes.Clone(header)
	for _, part := range binding {
		data = binary.BigEndian.AppendUint32(data, uint32(len(part)))
		data = append(data, part...)
	}
	return data
}
