// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"

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
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, k.ID(), passphrase)
	if err != nil {
		return nil, refuse(BadMaterial, nil) // unreachable: the key is an Ed25519 one and crypto/rand does not fail
	}
	return pem.EncodeToMemory(block), nil
}

// plain parses what Import takes. The parsers' errors are left out: they may tell what they found.
func plain(text []byte) (ed25519.PrivateKey, error) {
	text = bytes.TrimSpace(text)
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 || !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		return nil, refuse(BadMaterial, nil)
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
	switch key := parsed.(type) {
	case ed25519.PrivateKey: // PKCS#8
		private = key
	case *ed25519.PrivateKey: // OpenSSH
		private = *key
	default:
		return nil, refuse(BadMaterial, nil)
	}
	if err := halves(block, private); err != nil {
		clear(private)
		return nil, err
	}
	return private, nil
}

// halves refuses a public half that is not private's own, wherever the format keeps one. The parsers look at none.
func halves(block *pem.Block, private ed25519.PrivateKey) error {
	own := ed25519.NewKeyFromSeed(private[:ed25519.SeedSize])
	defer clear(own)
	public := own[ed25519.SeedSize:]
	if block.Type == "OPENSSH PRIVATE KEY" {
		// Outside, in the private section, and behind the seed (OpenSSH's PROTOCOL.key).
		if bytes.Count(block.Bytes, public) != 3 {
			return refuse(BadMaterial, nil)
		}
		return nil
	}
	var key struct { // RFC 5958, section 2
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
		Attributes asn1.RawValue  `asn1:"optional,tag:0"`
		PublicKey  asn1.BitString `asn1:"optional,tag:1"`
	}
	rest, err := asn1.Unmarshal(block.Bytes, &key)
	defer clear(key.PrivateKey)
	given := key.PublicKey.Bytes
	if err != nil || len(rest) > 0 || given != nil && !bytes.Equal(given, public) {
		return refuse(BadMaterial, nil)
	}
	return nil
}
