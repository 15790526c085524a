// SPDX-License-Identifier: Apache-2.0

package devicekey

import "crypto/ed25519"

const MaxFile = maxFile

var (
	Encode = encode
	Decode = decode
	Plain  = plain
	Put    = put
)

// Opened is the private key that k keeps open, or nil.
func Opened(k *Key) (private ed25519.PrivateKey) {
	k.cache.use(func(p ed25519.PrivateKey) { private = p })
	return private
}
