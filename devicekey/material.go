// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ssh"
)

// Import takes an unencrypted Ed25519 private key, as PKCS#8 or OpenSSH PEM, into a new sealed file at path, and
// reads that back before it answers. Like [Generate] it replaces nothing, and it does not change its argument.
//
// An encrypted key is refused: opening it is the work of the program that encrypted it. So is whatever is not exactly
// one key, and a key whose public half is not its own.
//
// Afterwards the plaintext is the caller's to remove, see the example. Copies may remain where removing does not
// reach: backups, snapshots, the blocks of a flash drive, an editor's swap file. A key that lay there for long is
// better replaced by a new one.
func Import(ctx context.Context, path string, pem []byte, p Protector) (*Key, error) {
	private, err := plain(pem)
	if err != nil {
		return nil, failed("import", path, err)
	}
	k, err := create(ctx, path, private, p)
	return k, failed("import", path, err)
}

// ExportOpenSSH gives the key as an OpenSSH private key file under passphrase, which ssh, ssh-keygen and ssh-agent
// read. It always asks the Protector. An empty passphrase is refused.
//
// It is for taking the key to such a program and no form to keep it in: the format has no authentication, so that
// whoever can change the file can change the public half unnoticed. Import the key again to keep it.
func (k *Key) ExportOpenSSH(ctx context.Context, passphrase []byte) ([]byte, error) {
	out, err := k.exportOpenSSH(ctx, passphrase)
	return out, k.failed("export", err)
}

func (k *Key) exportOpenSSH(ctx context.Context, passphrase []byte) ([]byte, error) {
	if err := k.ready(); err != nil {
		return nil, err
	}
	if len(passphrase) == 0 {
		return nil, refuse(NoPassphrase, nil)
	}
	if err := k.begin(ctx); err != nil {
		return nil, err
	}
	defer k.end()
	private, err := unprotect(ctx, k.protector, k.sealed, k.public)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	return pem.EncodeToMemory(must(ssh.MarshalPrivateKeyWithPassphrase(private, k.ID(), passphrase))), nil
}

// plain parses what Import takes. The parsers' errors are left out: they may tell what they found.
func plain(text []byte) (ed25519.PrivateKey, error) {
	text = bytes.TrimSpace(text)
	begin := []byte("-----BEGIN ")
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 || !bytes.HasPrefix(text, begin) || bytes.Count(text, begin) > 1 {
		return nil, refuse(BadMaterial, nil) // pem.Decode passes over text and damaged blocks
	}
	defer clear(block.Bytes)
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, refuse(Encrypted, nil)
	}
	parsed, err := ssh.ParseRawPrivateKey(text)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		return nil, refuse(Encrypted, nil)
	}
	var private ed25519.PrivateKey
	exact := exactPKCS8
	switch key := parsed.(type) {
	case ed25519.PrivateKey:
		private = key
	case *ed25519.PrivateKey:
		private, exact = *key, exactOpenSSH
	default:
		return nil, refuse(BadMaterial, nil)
	}
	defer clear(private)
	own := ed25519.NewKeyFromSeed(private[:ed25519.SeedSize])
	if !exact(block.Bytes, own) {
		clear(own)
		return nil, refuse(BadMaterial, nil)
	}
	return own, nil
}

// exactPKCS8 says whether der is own and nothing else, attributes excepted (RFC 5958, section 2). The parser looks at
// no public half and passes over what follows.
func exactPKCS8(der []byte, own ed25519.PrivateKey) bool {
	outer := cryptobyte.String(der)
	var key, secret cryptobyte.String
	if !outer.ReadASN1(&key, asn1.SEQUENCE) || !outer.Empty() ||
		!key.SkipASN1(asn1.INTEGER) || !key.SkipASN1(asn1.SEQUENCE) ||
		!key.ReadASN1(&secret, asn1.OCTET_STRING) || len(secret) != 2+ed25519.SeedSize ||
		!key.SkipOptionalASN1(asn1.Tag(0).ContextSpecific().Constructed()) {
		return false
	}
	public := string(own[ed25519.SeedSize:])
	switch string(key) {
	case "",
		"\x81\x21\x00" + public,
		"\xa1\x23\x03\x21\x00" + public: // by ring before 0.17, https://github.com/briansmith/ring/issues/1464
		return true
	}
	return false
}

// exactOpenSSH says whether key holds own and nothing else, its comment excepted (OpenSSH's PROTOCOL.key). The parser
// compares none of the three public halves, and passes over what follows.
func exactOpenSSH(key []byte, own ed25519.PrivateKey) bool {
	var outer struct {
		Cipher, KDF, KDFOptions string
		Keys                    uint32
		Public, Private         []byte
	}
	var inner struct {
		Check1, Check2  uint32
		Type            string
		Public, Private []byte
		Comment         string
		Padding         []byte `ssh:"rest"`
	}
	public := own[ed25519.SeedSize:]
	return ssh.Unmarshal(bytes.TrimPrefix(key, []byte("openssh-key-v1\x00")), &outer) == nil &&
		ssh.Unmarshal(outer.Private, &inner) == nil &&
		bytes.Equal(outer.Public, must(ssh.NewPublicKey(ed25519.PublicKey(public))).Marshal()) &&
		bytes.Equal(inner.Public, public) &&
		bytes.Equal(inner.Private, own)
}
