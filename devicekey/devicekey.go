// SPDX-License-Identifier: Apache-2.0

// Package devicekey keeps the Ed25519 key with which a device or service proves who it is, so that a copied file,
// backup or disk image lets nobody sign in its name (finding LOW-01, CWE-312, CWE-522), and a damaged or locked key
// never becomes a new identity (CWE-636).
//
// It usually goes wrong in one of these ways. The key rests as PEM that whoever reads can use, and mode 0600 goes no
// further than this machine's disk. Or the code that meets an error makes a new key, over the old one. Or a format
// without authentication is trusted to name its own public key:
//
//	os.WriteFile(path, pem.EncodeToMemory(block), 0o600)              // the key as it is
//	key, err := load(path); if err != nil { key = generate(path) }    // locked, short, unreadable: a new identity
//	ssh.ParseRawPrivateKeyWithPassphrase(text, phrase)                // AES-CTR: parses with a flipped bit
//
// The last gives the private key away, once it has signed one message with the right and one with the changed public
// half (RUSTSEC-2022-0093).
//
// # Use
//
//	key, err := devicekey.Load(ctx, path, protector)
//	if errors.Is(err, fs.ErrNotExist) { // and nothing else: here a first start
//		key, err = devicekey.Generate(ctx, path, protector)
//	}
//	if err != nil {
//		return err
//	}
//	signature, err := key.Sign(nil, challenge, crypto.Hash(0))
//
// A [Key] is a crypto.Signer, good for x509.CreateCertificate, tls.Certificate and ssh.NewSignerFromSigner. The
// protector is [Passphrase], or a cipher of package credcipher under a master key through this adapter:
//
//	type atRest struct{ *credcipher.Cipher }
//
//	func (c atRest) Protect(_ context.Context, secret []byte, where []string) ([]byte, error) {
//		return c.Seal(secret, where)
//	}
//	func (c atRest) Unprotect(_ context.Context, doc []byte, where []string) ([]byte, error) {
//		secret, _, err := c.Open(doc, where)
//		return secret, err
//	}
//
// # Guarantees
//
//   - The private key is never written but sealed. [Generate], [Import] and [Key.Rewrap] open what they sealed
//     before they write it, read it back afterwards, and refuse a [Protector] whose sealed bytes hold the secret as
//     it is, as hex or as base64; Load refuses a file of that kind too. A nil Protector refuses.
//   - Generate and Import never replace anything, and of many at once, also in many processes, one wins. Rewrap
//     replaces atomically and durably. The file is private and judged as package privatefile does; see there.
//   - Only a missing file matches fs.ErrNotExist. A locked, absent or other Protector, a damaged, loose or linked
//     file is an error with another [Reason], and leaves the file as it is (a mode that let others read is
//     repaired).
//   - Every file has one spelling. The Protector binds the secret to the public key, and the public key is computed
//     from the secret and compared, at Load and before each use: a file that opens is the key that its ID names.
//     With Passphrase or credcipher, every change of a single bit is refused; with another Protector, every one that
//     it notices or that would change the key.
//   - Sign opens the key, uses it and clears it; [Key.CacheFor] keeps it open for a time, [Key.Lock] forgets. A
//     Key opens once at a time: a burst of Signs takes the memory of one derivation, and with CacheFor asks once.
//   - No printer, encoder or logger gets a byte of the private key out of a Key, and no error holds one.
//
// # Not guaranteed
//
//   - Whoever can run code as this user can sign: ask the Protector as we do, or read this process's memory. What
//     Sign clears is its own copies; the runtime's, crypto/ed25519's (until the next garbage collection) and the
//     Protector's remain. A key that must not be copied at all belongs in a TPM or an agent, which are
//     crypto.Signers too.
//   - Which key it is. Whoever may write in the folder can put back an older file, or one of another key under the
//     same Protector: compare [Key.ID] with what you pinned. A deleted file looks like a first start: keep the ID
//     where the peers are, and generate only if they know none.
//   - What is signed. Give every protocol its own prefix; replay is for package noncecache.
//   - Rewrap and the file's other readers: a Key that another process loaded goes on with the sealed bytes it read.
//     Two Rewraps at once: one of the two remains. A copy made before a Rewrap still opens under the old Protector.
//   - A Protector that is a bad cipher: a secret in another disguise is not seen.
//   - A Protector that waits for ever: [Key.SignContext] ends with its context while it waits for its turn, and the
//     Protector must end with it too; Sign, by its shape, has none.
//   - On Windows, what privatefile cannot judge there: access control lists.
//
// # Cost
//
// An open Sign costs what crypto/ed25519 does, and a read lock. One that asks the Protector costs a second scalar
// multiplication more, about twice as much in all, and what the Protector takes: microseconds for credcipher, some
// tenths of a second and 64 MiB for Passphrase. See bench/.
package devicekey

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/merlon-go/merlon/privatefile"
)

// A Key signs for one identity. It is safe for concurrent use. A nil or zero Key has no public key and signs nothing.
// Printed, it shows its ID.
type Key struct {
	path   string
	public ed25519.PublicKey // never written to, and not handed out
	cache  cache

	turn      chan struct{} // holds one element while protector and sealed are in use
	protector Protector
	sealed    []byte
}

// Generate makes a new key in a new file at path, sealed by p. Where anything is already, it fails with [Exists] and
// asks p for nothing. After an error a file is there only if writing it succeeded and syncing or reading it back did
// not; it then holds the key, and Load takes it.
func Generate(ctx context.Context, path string, p Protector) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	rand.Read(seed) // ends the process if it fails
	k, err := create(ctx, path, ed25519.NewKeyFromSeed(seed), p)
	return k, failed("generate", path, err)
}

// create seals private into a new file, and clears it.
func create(ctx context.Context, path string, private ed25519.PrivateKey, p Protector) (*Key, error) {
	defer clear(private)
	if p == nil {
		return nil, refuse(NoProtector, nil)
	}
	if ctx.Err() != nil {
		return nil, refuse(Interrupted, ctx.Err())
	}
	if _, err := os.Lstat(path); err == nil { // privatefile.Create decides; this spares the passphrase
		return nil, refuse(Exists, os.ErrExist)
	}
	sealed, err := protect(ctx, p, private)
	if err != nil {
		return nil, err
	}
	public := private.Public().(ed25519.PublicKey)
	if err := put(privatefile.Create, path, encode(public, sealed)); err != nil {
		return nil, err
	}
	return newKey(path, public, p, sealed), nil
}

// Load reads the key at path and opens it once, to see that p can and that the halves belong together. It changes
// nothing, whatever it finds, but the mode of a file that others could read.
func Load(ctx context.Context, path string, p Protector) (*Key, error) {
	k, err := load(ctx, path, p)
	return k, failed("load", path, err)
}

func load(ctx context.Context, path string, p Protector) (*Key, error) {
	if p == nil {
		return nil, refuse(NoProtector, nil)
	}
	if ctx.Err() != nil {
		return nil, refuse(Interrupted, ctx.Err())
	}
	public, sealed, err := read(path)
	if err != nil {
		return nil, err
	}
	if err := verify(ctx, p, sealed, public); err != nil {
		return nil, err
	}
	return newKey(path, public, p, sealed), nil
}

func newKey(path string, public ed25519.PublicKey, p Protector, sealed []byte) *Key {
	return &Key{path: path, public: public, turn: make(chan struct{}, 1), protector: p, sealed: sealed}
}

func (k *Key) ready() error {
	if k == nil || k.turn == nil {
		return refuse(NoKey, nil)
	}
	return nil
}

// begin waits for this caller's turn, which end ends.
func (k *Key) begin(ctx context.Context) error {
	if ctx.Err() == nil {
		select {
		case k.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	return refuse(Interrupted, ctx.Err())
}

func (k *Key) end() { <-k.turn }

func (k *Key) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	path := ""
	if k != nil {
		path = k.path
	}
	return failed(op, path, err)
}

// Public gives the public key, an ed25519.PublicKey; of a nil or zero Key it is nil.
func (k *Key) Public() crypto.PublicKey {
	if k.ready() != nil {
		return nil
	}
	return append(ed25519.PublicKey(nil), k.public...)
}

// ID is the hex SHA-256 of the raw public key; of a nil or zero Key it is empty.
func (k *Key) ID() string {
	if k.ready() != nil {
		return ""
	}
	sum := sha256.Sum256(k.public)
	return hex.EncodeToString(sum[:])
}

// Format writes the ID and nothing else, whatever the verb.
func (k *Key) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "devicekey(%s)", k.ID()) }

// Sign signs message as crypto/ed25519 does: with crypto.Hash(0) the message itself, with crypto.SHA512 its sum
// (Ed25519ph), with *ed25519.Options also a context. The reader is not used, and may be nil. It is SignContext
// without an end.
func (k *Key) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), message, opts)
}

// SignContext is Sign with a context for the Protector, and for the wait for another Sign that is asking it.
func (k *Key) SignContext(ctx context.Context, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := k.sign(ctx, message, opts)
	return signature, k.failed("sign", err)
}

func (k *Key) sign(ctx context.Context, message []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	if err := k.ready(); err != nil {
		return nil, err
	}
	if opts == nil {
		return nil, refuse(BadOptions, nil)
	}
	do := func(private ed25519.PrivateKey) {
		if signature, err = private.Sign(nil, message, opts); err != nil {
			signature, err = nil, refuse(BadOptions, err)
		}
	}
	if k.cache.use(do) {
		return signature, err
	}
	if err := k.begin(ctx); err != nil {
		return nil, err
	}
	defer k.end()
	if k.cache.use(do) { // whoever was before us has opened it
		return signature, err
	}
	epoch := k.cache.now()
	private, err := unprotect(ctx, k.protector, k.sealed, k.public)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	k.cache.keep(private, epoch)
	do(private)
	return signature, err
}

// Rewrap seals the key by p from now on, here and in its file, which it replaces atomically. With the Protector that
// it has already, it moves the key to that one's current master key: do this after a rotation, before the old master
// key is retired, since what counts a cipher's envelopes does not look into this file. The old Protector must open
// the key once more, whatever is cached, and p must open what it sealed.
//
// The file must still hold this key. After an error it does, under one of the two Protectors, and this Key goes on
// with the old one.
func (k *Key) Rewrap(ctx context.Context, p Protector) error {
	return k.failed("rewrap", k.rewrap(ctx, p))
}

func (k *Key) rewrap(ctx context.Context, p Protector) error {
	if err := k.ready(); err != nil {
		return err
	}
	if p == nil {
		return refuse(NoProtector, nil)
	}
	if err := k.begin(ctx); err != nil {
		return err
	}
	defer k.end()
	public, _, err := read(k.path)
	if err != nil {
		return err
	}
	if !public.Equal(k.public) {
		return refuse(OtherKey, nil)
	}
	private, err := unprotect(ctx, k.protector, k.sealed, k.public)
	if err != nil {
		return err
	}
	defer clear(private)
	sealed, err := protect(ctx, p, private)
	if err != nil {
		return err
	}
	if err := put(privatefile.Write, k.path, encode(k.public, sealed)); err != nil {
		return err
	}
	k.protector, k.sealed = p, sealed
	k.cache.forget()
	return nil
}
