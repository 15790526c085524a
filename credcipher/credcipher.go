// SPDX-License-Identifier: Apache-2.0

// Package credcipher seals credentials into self-describing JSON envelopes, so that whoever reads a configuration
// directory, a backup or a disk image learns no secret from it, and whoever edits it is noticed (finding CRIT-02,
// CWE-312, CWE-311, CWE-353).
//
// It usually goes wrong in one of these ways. The first writes the secret as it is. The second encrypts, but writes
// plaintext when the key is missing, and takes plaintext when it reads, so that an attacker replaces the envelope by a
// document of his own. The third authenticates the bytes and forgets the place, so that one file's envelope opens as
// another's.
//
//	os.WriteFile(path, token, 0o600)                              // 1
//	if doc, err := seal(token); err != nil { return token }       // 2
//	gcm.Seal(nil, nonce, token, nil)                              // 3
//
// # Use
//
//	ring, err := credcipher.StaticKey(key) // or a *masterkey.Manager
//	c, err := credcipher.New(credcipher.Config{Keyring: ring})
//	where := credcipher.Binding{"gateway", "telegram.json"}
//	doc, err := c.Seal(token, where)
//	token, info, err := c.Open(doc, where)
//
// # Guarantees
//
//   - Confidentiality and integrity of the plaintext: AES-256-GCM under a key that HKDF-SHA-256 derives for this one
//     envelope from the master key, a random 32-byte salt, the header and the [Binding]. No key is used twice, so no
//     counter is needed and the number of envelopes is not bounded by nonce collisions (NIST SP 800-38D section 8.3).
//   - An envelope opens only under the Binding it was sealed with; the parts are length-prefixed, so ("a", "b") is
//     not ("ab"). It opens under one key only: a 32-byte commitment, which HKDF gives beside the key, is compared in
//     constant time before anything is opened (invisible salamanders, https://eprint.iacr.org/2019/016).
//   - Plaintext where an envelope is required is [ErrPlaintext] under the zero [Policy], and [ErrDowngrade] under
//     [Migrate] where a [Marker] knows that an envelope once was. A damaged envelope is never taken for plaintext.
//   - On an error nothing is returned but the error: no plaintext is written instead, no document is lost. Files are
//     replaced in one step; Reseal reads the new one back and opens it first.
//   - An envelope is parsed by a strict scanner in one linear pass: doubled, unknown, missing or re-cased members,
//     siblings, escapes, other spellings of base64 are [ErrMalformed]. [FORMAT.md] describes it for other programs.
//   - No key is in an error or in what fmt prints of a value of this package, except of a Config that lies in an
//     unexported field.
//   - Only the standard library, and of it only what runs under GODEBUG=fips140=only.
//
// # Not guaranteed
//
//   - Rollback: an older envelope of the same place, put back, is a good envelope; so is an older file of a Marker.
//     Only a number kept where the attacker cannot write catches it: add it to the Binding ("generation", "42"), and
//     what was sealed under 41 is [ErrWrongKeyOrContext].
//   - Removal of a document, and its length: an envelope tells the exact size of its plaintext. Pad first if it
//     matters.
//   - The key: package masterkey obtains and rotates it. Whoever has it reads everything, also what was sealed
//     before. File modes: package privatefile. Memory: Go copies; derived keys are cleared, plaintext is the caller's.
//   - With [Cipher.SealFields], the members around the sealed ones: they stay readable and can be edited.
//   - On Windows and other systems without flock(2), Reseal keeps no owner, what a killed writer left is removed after an
//     hour only, and a file Marker is for one process.
//   - v1 envelopes (Config.LegacyKey) know neither place nor commitment: as long as LegacyKey is set, one of them can
//     be moved over any document. Unset it once Reseal is through.
//
// # Cost
//
// Sealing and opening 1 KiB takes at most 6 times what bare AES-GCM with a fresh key takes, 1 MiB at most 4.5 times;
// base64 is most of the second figure. An envelope is a third larger than its plaintext, plus about 240 bytes.
// Memory is one buffer of the size of the result. See bench/.
//
// [FORMAT.md]: https://github.com/merlon-go/merlon/blob/main/credcipher/FORMAT.md
package credcipher

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// What the functions of this package refuse. Each error they return for a document matches one of these. Of the document
// it shows no more than the version, algorithm and key id in a header, and where a field is.
var (
	// ErrPlaintext: the document is no envelope, and the policy requires one. It may be a leftover from before
	// sealing (run once under Migrate) or an attacker's.
	ErrPlaintext = errors.New("credcipher: plaintext where an envelope is required")
	// ErrDowngrade: the document is plaintext, and an envelope has been opened in its place before. Somebody replaced
	// it: restore the envelope from a backup.
	ErrDowngrade = errors.New("credcipher: plaintext in a place that has been sealed")
	// ErrMalformed: the document claims to be an envelope but is not written as one, or is no JSON where JSON is
	// needed, or lacks the field that a pointer names. It was damaged or edited.
	ErrMalformed = errors.New("credcipher: malformed document")
	// ErrUnknownKey: the keyring has no key of the id that the envelope names. Restore the key; nothing is wrong with
	// the envelope as far as can be seen.
	ErrUnknownKey = errors.New("credcipher: unknown key")
	// ErrWrongKeyOrContext: the keyring has a key of that id, and the envelope was not sealed by it for this Binding.
	// It was moved from another place, or edited, or the key is another one under the same id.
	ErrWrongKeyOrContext = errors.New("credcipher: envelope of another key or another place")
	// ErrTampered: key and place are right, and the ciphertext was changed.
	ErrTampered = errors.New("credcipher: envelope was changed")
	// ErrUnsupported: an envelope of a version or algorithm that this package does not know.
	ErrUnsupported = errors.New("credcipher: unsupported envelope")
)

// MaxPlaintext is the most that one envelope holds, in bytes. It bounds the memory that a hostile file can claim.
const MaxPlaintext = 64 << 20

// maxDocument bounds what is parsed: the base64 of MaxPlaintext, and 64 KiB for the rest and for other white space.
const maxDocument = MaxPlaintext/3*4 + 64<<10

// A Binding names the place of a document, such as store and file: an envelope opens only where it was sealed. Parts
// may hold any bytes. Choose names that survive a move of the whole store: an identifier of the store and a path
// relative to it, not an absolute path. An empty Binding is an error everywhere.
type Binding []string

// Config says how a Cipher works.
type Config struct {
	// Keyring gives the keys. It is required.
	Keyring Keyring `json:"-"`

	// Policy says what plaintext is good for. Zero is RequireSealed, the strictest; the others are weaker.
	Policy Policy `json:"policy"`

	// LegacyKey, 32 bytes, opens envelopes of version 1, which the original project wrote. Nil: they are
	// ErrUnknownKey. Setting it is weaker: v1 envelopes are not bound to a place.
	LegacyKey []byte `json:"-"`

	// Marker remembers where envelopes have been seen. Migrate needs one; other policies do not ask it.
	Marker Marker `json:"-"`

	// Progress is called by Reseal after each file, in order and from the same goroutine. Nil: it is not called.
	Progress func(ResealProgress) `json:"-"`
}

// A Cipher seals and opens documents. It is safe for concurrent use. The zero Cipher and nil refuse everything.
type Cipher struct {
	keyring  func() Keyring
	policy   Policy
	legacy   func() []byte // nil without Config.LegacyKey
	marker   Marker
	progress func(ResealProgress)
}

// New returns a Cipher, or an error that names every wrong field of c.
func New(c Config) (*Cipher, error) {
	var errs []error
	if c.Keyring == nil {
		errs = append(errs, errors.New("credcipher: Config.Keyring is nil; use StaticKey or a masterkey.Manager"))
	}
	if c.Policy > InsecurePlaintext {
		errs = append(errs, fmt.Errorf("credcipher: Config.Policy: %v does not exist", c.Policy))
	}
	if c.LegacyKey != nil && checkKey(c.LegacyKey) != nil {
		errs = append(errs, fmt.Errorf("credcipher: Config.LegacyKey: %w", checkKey(c.LegacyKey)))
	}
	if c.Policy == Migrate && c.Marker == nil {
		errs = append(errs, errors.New("credcipher: Config.Marker is nil; Migrate needs one to notice a downgrade"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	x := &Cipher{keyring: hide(c.Keyring), policy: c.Policy, marker: c.Marker, progress: c.Progress}
	if c.LegacyKey != nil {
		x.legacy = hide(slices.Clone(c.LegacyKey))
	}
	return x, nil
}

// Info says what Open found.
type Info struct {
	Sealed      bool   // an envelope was opened; false: the plaintext lay there as it is
	KeyID       string // names the key in the Keyring; empty for plaintext and for v1
	NeedsReseal bool   // not under the primary key, or v1, or plaintext under Migrate
}

// Seal returns an envelope that holds plaintext and opens only at b. Under InsecurePlaintext it returns a copy of
// plaintext, unless Open would not give that back: what is empty or looks like an envelope is refused.
func (c *Cipher) Seal(plaintext []byte, b Binding) ([]byte, error) {
	if err := c.ready(b); err != nil {
		return nil, err
	}
	if c.policy == InsecurePlaintext {
		if err := checkSize(plaintext); err != nil {
			return nil, err
		}
		if err := notPlaintext(plaintext); err != nil {
			return nil, fmt.Errorf("%w; it could not be told from an envelope if it were written unsealed", err)
		}
		return slices.Clone(plaintext), nil
	}
	key, err := c.primary()
	if err != nil {
		return nil, err
	}
	return key.seal(nil, plaintext, place{document, b, ""})
}

// Open returns the plaintext of a document that was sealed at b. What else it may be depends on the Policy. Under
// Migrate it marks b as sealed before it returns the content of an envelope.
func (c *Cipher) Open(doc []byte, b Binding) ([]byte, Info, error) {
	if err := c.ready(b); err != nil {
		return nil, Info{}, err
	}
	return c.open(doc, place{document, b, ""})
}

// open is Open for a document or for the value of one field.
func (c *Cipher) open(doc []byte, p place) ([]byte, Info, error) {
	e, err := parse(doc)
	if err != nil {
		return nil, Info{}, err
	}
	if e.version == 0 {
		return c.takePlaintext(doc, p)
	}
	plaintext, info, err := c.unseal(e, p)
	if err != nil {
		return nil, Info{}, err
	}
	if c.policy == Migrate {
		if err := c.marker.MarkSealed(p.mark()); err != nil {
			return nil, Info{}, fmt.Errorf("credcipher: mark the place of an envelope: %w", err)
		}
	}
	return plaintext, info, nil
}

// takePlaintext answers for a document that is no envelope.
func (c *Cipher) takePlaintext(doc []byte, p place) ([]byte, Info, error) {
	switch c.policy {
	case InsecurePlaintext:
	case Migrate:
		sealed, err := c.marker.Sealed(p.mark())
		if err != nil {
			return nil, Info{}, fmt.Errorf("credcipher: ask the marker about plaintext: %w", err)
		}
		if sealed {
			return nil, Info{}, ErrDowngrade
		}
	default:
		return nil, Info{}, ErrPlaintext
	}
	return slices.Clone(doc), Info{NeedsReseal: c.policy == Migrate}, nil
}

// unseal opens an envelope, whatever the policy.
func (c *Cipher) unseal(e envelope, p place) ([]byte, Info, error) {
	if e.version == 1 {
		if p.kind != document {
			return nil, Info{}, fmt.Errorf("%w: version 1 in a field", ErrUnsupported)
		}
		if c.legacy == nil {
			return nil, Info{}, fmt.Errorf("%w: an envelope of version 1 needs Config.LegacyKey", ErrUnknownKey)
		}
		plaintext, err := e.openLegacy(c.legacy())
		return plaintext, Info{Sealed: true, NeedsReseal: true}, err
	}
	key, err := c.primary()
	if err != nil {
		return nil, Info{}, err
	}
	info := Info{Sealed: true, KeyID: string(e.keyID)}
	if key.id != info.KeyID {
		info.NeedsReseal = true
		if key, err = c.lookup(info.KeyID); err != nil {
			return nil, Info{}, err
		}
	}
	plaintext, err := key.open(e, p)
	return plaintext, info, err
}

// ready refuses a Cipher that New did not make, and a place without a name.
func (c *Cipher) ready(b Binding) error {
	if c == nil || c.keyring == nil {
		return errors.New("credcipher: this Cipher was not made by New")
	}
	if len(b) == 0 {
		return errors.New("credcipher: the Binding is empty; name the place of the document")
	}
	return nil
}

func (c *Cipher) primary() (masterKey, error) {
	id, secret, err := c.keyring().PrimaryKey()
	if err != nil {
		return masterKey{}, fmt.Errorf("credcipher: the keyring gives no primary key: %w", err)
	}
	return newMasterKey(id, secret)
}

func (c *Cipher) lookup(id string) (masterKey, error) {
	secret, err := c.keyring().LookupKey(id)
	if errors.Is(err, fs.ErrNotExist) {
		return masterKey{}, fmt.Errorf("%w %q: %w", ErrUnknownKey, id, err)
	}
	if err != nil {
		return masterKey{}, fmt.Errorf("credcipher: the keyring does not give key %q: %w", id, err)
	}
	return newMasterKey(id, secret)
}

// Format writes no key, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "credcipher.Config{Policy: %v}", c.Policy)
}
