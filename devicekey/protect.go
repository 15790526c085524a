// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
)

// A Protector encrypts a secret for rest. Package credcipher with a master key is one, see the example; [Passphrase]
// is another; a cloud's key service or a TPM can be.
//
// Protect returns sealed bytes from which Unprotect makes the secret again, given an equal binding, and nothing
// without it. Both must authenticate the secret and the binding, whose parts may hold any text: join them with their
// lengths. Both are called with the caller's context and may be called by many goroutines. The slices they get are
// neither kept nor changed; what they return belongs to the caller, who clears the secret. An error says locked,
// absent or denied in the Protector's own terms.
type Protector interface {
	Protect(ctx context.Context, secret []byte, binding []string) (sealed []byte, err error)
	Unprotect(ctx context.Context, sealed []byte, binding []string) (secret []byte, err error)
}

// protect seals the seed of private, and opens it again before it answers: a Protector that is set up wrongly must
// not be noticed when it is the only one left that knows the key.
func protect(ctx context.Context, p Protector, private ed25519.PrivateKey) ([]byte, error) {
	public := private[ed25519.SeedSize:]
	seed := private.Seed()
	defer clear(seed)
	sealed, err := p.Protect(ctx, seed, binding(ed25519.PublicKey(public)))
	if err != nil {
		return nil, refuse(ProtectorFailed, err)
	}
	sealed = bytes.Clone(sealed) // it may lie in seed
	if err := verify(ctx, p, sealed, ed25519.PublicKey(public)); err != nil {
		return nil, err
	}
	return sealed, nil
}

// verify opens sealed once and forgets what was inside.
func verify(ctx context.Context, p Protector, sealed []byte, public ed25519.PublicKey) error {
	private, err := unprotect(ctx, p, sealed, public)
	if err != nil {
		return err
	}
	defer clear(private)
	if exposed(sealed, private.Seed()) {
		return refuse(Exposed, nil)
	}
	return nil
}

// unprotect opens sealed. The public half of what it returns is computed and never taken from the file: signing for
// another public key than one's own gives the private key away (RUSTSEC-2022-0093).
func unprotect(ctx context.Context, p Protector, sealed []byte, public ed25519.PublicKey) (ed25519.PrivateKey, error) {
	seed, err := p.Unprotect(ctx, bytes.Clone(sealed), binding(public))
	defer clear(seed)
	if err != nil {
		return nil, refuse(ProtectorFailed, err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, refuse(Mismatch, nil)
	}
	private := ed25519.NewKeyFromSeed(seed)
	if !bytes.Equal(private[ed25519.SeedSize:], public) {
		clear(private)
		return nil, refuse(Mismatch, nil)
	}
	return private, nil
}

// exposed finds a part of the seed in sealed, as bytes, hex or base64. It catches the Protector that is no cipher,
// such as credcipher under a policy that writes plaintext; it is no proof of a good one.
func exposed(sealed, seed []byte) bool {
	defer clear(seed)
	// 12 bytes do not meet by chance (2^-96), and are whole groups of base64, at whatever offset they were encoded.
	const part = 12
	text := make([]byte, 0, hex.EncodedLen(part))
	defer clear(text[:cap(text)])
	lower := bytes.ToLower(sealed)
	for i := range len(seed) - part + 1 {
		p := seed[i : i+part]
		if bytes.Contains(sealed, p) ||
			bytes.Contains(lower, hex.AppendEncode(text, p)) ||
			bytes.Contains(sealed, base64.StdEncoding.AppendEncode(text, p)) ||
			bytes.Contains(sealed, base64.URLEncoding.AppendEncode(text, p)) {
			return true
		}
	}
	return false
}
