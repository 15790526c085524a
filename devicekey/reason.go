// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// A Reason says why something was refused. It is an error itself: errors.Is(err, devicekey.Mismatch). Zero is no
// reason.
type Reason uint8

const (
	// NoKey: the Key is nil or zero.
	NoKey Reason = iota + 1
	// NoProtector: the Protector is nil, or is a Passphrase without a func that reads one. Nothing was touched.
	NoProtector
	// Missing: no file is at the path, or for Generate and Import no such folder. It matches fs.ErrNotExist, and
	// nothing else here does: not even a Protector whose own error does.
	Missing
	// Exists: Generate or Import found something at the path. It matches fs.ErrExist.
	Exists
	// FileRefused: the file is no private file of ours, or the system refused. The error holds privatefile's own,
	// which errors.Is and errors.As reach.
	FileRefused
	// Malformed: the file is no key file of this version, or was changed.
	Malformed
	// OtherKey: the file that Rewrap would replace, or that was just written, holds something else by now.
	OtherKey
	// ProtectorFailed: Protect or Unprotect returned an error, which errors.Is and errors.As reach. It may be locked,
	// gone, or of another key; the file is as it was.
	ProtectorFailed
	// Mismatch: what Unprotect gave is not the private key of the public key in the file. One of the two was changed,
	// or the Protector does not give back what it took.
	Mismatch
	// Exposed: the Protector's sealed bytes hold the secret as it is, or as hex or base64 text.
	Exposed
	// BadMaterial: what Import got is not exactly one Ed25519 private key in PEM, PKCS#8 or OpenSSH, whose halves
	// belong together.
	BadMaterial
	// Encrypted: what Import got is encrypted.
	Encrypted
	// BadOptions: Sign got no options, or a hash, context or message length that Ed25519 does not sign.
	BadOptions
	// Interrupted: the context ended first. It matches the context's error.
	Interrupted
	// NoPassphrase: the passphrase is empty or could not be read.
	NoPassphrase
	// WrongPassphrase: the sealed bytes were made with another passphrase, or their salt or commitment was changed.
	WrongPassphrase
	// Altered: the passphrase is right, or was not asked for, and the sealed bytes were changed, cut, or made for
	// another key.
	Altered
)

var reasonNames = [...]string{
	NoKey: "no-key", NoProtector: "no-protector", Missing: "missing", Exists: "exists", FileRefused: "file-refused",
	Malformed: "malformed", OtherKey: "other-key", ProtectorFailed: "protector-failed", Mismatch: "mismatch",
	Exposed: "exposed", BadMaterial: "bad-material", Encrypted: "encrypted", BadOptions: "bad-options",
	Interrupted: "interrupted", NoPassphrase: "no-passphrase", WrongPassphrase: "wrong-passphrase", Altered: "altered",
}

// advice is for the operator: what is wrong and what to do.
var advice = [...]string{
	NoKey:           "there is no key; Load or Generate one",
	NoProtector:     "there is no Protector, and a key is not kept without one; configure one",
	Missing:         "no file is there; if a key should be, restore it before anything generates another",
	Exists:          "something is there, and is left as it is; Load it, or choose another path",
	FileRefused:     "the file was refused",
	Malformed:       "it is no key file, or was changed; restore it from a backup",
	OtherKey:        "the file does not hold this key any more; find out who replaced it, and Load again",
	ProtectorFailed: "the Protector failed, and the file is as it was; unlock or restore what it needs",
	Mismatch:        "the Protector gave back another key than the public one; mend it, or restore the file from a backup",
	Exposed:         "the Protector does not encrypt; configure one that does",
	BadMaterial:     "this is not one Ed25519 private key as PKCS#8 or OpenSSH PEM",
	Encrypted:       "the key is encrypted; take its passphrase off in a private place, as with ssh-keygen -p",
	BadOptions:      "Ed25519 does not sign that; pass crypto.Hash(0) and the message itself",
	Interrupted:     "the context ended before the key was open",
	NoPassphrase:    "the passphrase is empty or could not be read",
	WrongPassphrase: "the passphrase is not the one that it was sealed with; try again, or restore the file from a backup",
	Altered:         "the sealed bytes were changed or belong to another key; restore the file from a backup",
}

func (r Reason) valid() bool { return r != 0 && int(r) < len(reasonNames) }

// String is a stable word for logs and metrics, such as "mismatch".
func (r Reason) String() string {
	if !r.valid() {
		return fmt.Sprintf("Reason(%d)", uint8(r))
	}
	return reasonNames[r]
}

// Error is a sentence for the operator.
func (r Reason) Error() string {
	if !r.valid() {
		return "devicekey: " + r.String()
	}
	return "devicekey: " + advice[r]
}

// MarshalText is String, and an error for a reason that does not exist.
func (r Reason) MarshalText() ([]byte, error) {
	if !r.valid() {
		return nil, fmt.Errorf("devicekey: %v does not exist", r)
	}
	return []byte(reasonNames[r]), nil
}

// UnmarshalText takes what String gives, and nothing else.
func (r *Reason) UnmarshalText(text []byte) error {
	for i, name := range reasonNames {
		if i > 0 && name == string(text) {
			*r = Reason(i)
			return nil
		}
	}
	return fmt.Errorf("devicekey: %q is no Reason", text)
}

// Error is what every function here returns on failure. It holds nothing of a key, a passphrase or a file's content,
// unless the error of a Protector does.
type Error struct {
	Op     string // generate, load, import, sign, rewrap, export; of a Passphrase: protect, unprotect
	Path   string // as the caller gave it; empty for a Passphrase
	Reason Reason
	Err    error // what privatefile, the Protector or the context said, or nil
}

// Error names operation, path, rule and remedy.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "devicekey: %s", e.Op)
	if e.Path != "" {
		fmt.Fprintf(&b, " %q", e.Path)
	}
	fmt.Fprintf(&b, ": %s", strings.TrimPrefix(e.Reason.Error(), "devicekey: "))
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the Reason, and what was behind it.
func (e *Error) Unwrap() []error {
	switch {
	case e.Err == nil:
		return []error{e.Reason}
	case e.Reason == ProtectorFailed:
		return []error{e.Reason, veiled{e.Err}}
	}
	return []error{e.Reason, e.Err}
}

// veiled keeps a Protector's error from speaking about the key file. A program that generates a key when Load says
// fs.ErrNotExist or Missing must not do so because the passphrase's file is gone.
type veiled struct{ error }

func (v veiled) Is(target error) bool {
	switch target {
	case fs.ErrNotExist, fs.ErrExist, Missing, Exists:
		return false
	}
	return errors.Is(v.error, target)
}

func (v veiled) As(target any) bool { return errors.As(v.error, target) }

// refuse makes an Error that failed completes.
func refuse(r Reason, err error) error { return &Error{Reason: r, Err: err} }

// failed says in an error of refuse what was tried on which path. Nil stays nil.
func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	e := err.(*Error)
	e.Op, e.Path = op, path
	return e
}
