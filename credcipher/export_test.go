// SPDX-License-Identifier: Apache-2.0

package credcipher

import "crypto/cipher"

// NewGCM is the cipher of both versions.
var NewGCM = newGCM

// Derive is how version 2 comes from a key to its cipher and commitment.
func Derive(secret, salt, context []byte) (cipher.AEAD, [32]byte, error) {
	return masterKey{secret: secret}.derive(salt, context)
}
