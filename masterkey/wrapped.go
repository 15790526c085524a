// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Wrapper encrypts under a key that this program does not hold: a cloud KMS, Vault's transit engine, a TPM. A
// *secrets.Keeper of gocloud.dev is one as it is. Decrypt must refuse what was altered.
type Wrapper interface {
	Encrypt(ctx context.Context, plaintext []byte) ([]byte, error)
	Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error)
}

// Wrapped keeps in the inner source only what w made of the keys. Before anything is stored, w must have decrypted it
// again, and it must not hold the keys in the clear. An error of w is never ErrNotFound.
func Wrapped(w Wrapper, inner Source) Source {
	return &wrapped{wrapper: w, inner: inner, gate: new(gate)}
}

type wrapped struct {
	wrapper Wrapper
	inner   Source
	gate    *gate
	limit   time.Duration
}

func (w *wrapped) Name() string { return "wrapped+" + nameOf(w.inner) }

// Format prints the name, because a Wrapper may hold its key in its fields.
func (w *wrapped) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, w.Name()) }

func (w *wrapped) Load(ctx context.Context) ([]byte, error) {
	if w.wrapper == nil || w.inner == nil {
		return nil, &fault{kind: ErrUnavailable, text: "Wrapped needs a Wrapper and an inner source"}
	}
	data, err := w.inner.Load(ctx)
	if err != nil {
		return nil, err
	}
	lines, err := unframe("wrapped", data)
	if err != nil || len(lines) != 1 {
		return nil, &fault{kind: ErrCorrupt, text: "that is no wrapped key", cause: err}
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(lines[0])
	if err != nil {
		return nil, &fault{kind: ErrCorrupt, text: "that is no wrapped key"}
	}
	return w.decrypt(ctx, sealed)
}

func (w *wrapped) Store(ctx context.Context, data []byte) error {
	sealed, err := w.encrypt(ctx, data)
	if err != nil {
		return err
	}
	return w.inner.Store(ctx, sealed)
}

func (w *wrapped) create(ctx context.Context, data []byte) error {
	sealed, err := w.encrypt(ctx, data)
	if err != nil {
		return err
	}
	return create(ctx, w.inner, sealed)
}

func (w *wrapped) encrypt(ctx context.Context, data []byte) ([]byte, error) {
	if w.wrapper == nil || w.inner == nil {
		return nil, &fault{kind: ErrUnavailable, text: "Wrapped needs a Wrapper and an inner source"}
	}
	sealed, err := w.gate.through(ctx, w.limit, func(ctx context.Context) ([]byte, error) { return w.wrapper.Encrypt(ctx, data) })
	if err != nil {
		return nil, notAbsent(err, "the wrapper does not encrypt")
	}
	again, err := w.decrypt(ctx, sealed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) || holds(sealed, data) {
		return nil, &fault{kind: ErrUnavailable, text: "what the wrapper made does not keep the key; nothing was stored"}
	}
	return frame("wrapped", []string{base64.StdEncoding.EncodeToString(sealed)}), nil
}

func (w *wrapped) decrypt(ctx context.Context, sealed []byte) ([]byte, error) {
	data, err := w.gate.through(ctx, w.limit, func(ctx context.Context) ([]byte, error) { return w.wrapper.Decrypt(ctx, sealed) })
	if err != nil {
		return nil, notAbsent(err, "the wrapper does not decrypt")
	}
	return data, nil
}

// holds tells whether any whole line of the keys' text can be read in the sealed form.
func holds(sealed, data []byte) bool {
	for line := range bytes.Lines(data) {
		if bytes.Contains(sealed, bytes.TrimSpace(line)) {
			return true
		}
	}
	return false
}

// notAbsent is for a step that failed after something was found to be stored: whatever it says, the key is not absent.
func notAbsent(err error, text string) error {
	f := verdict("", err)
	if f.kind == ErrNotFound {
		return &fault{kind: ErrUnavailable, text: text, cause: errors.New(f.text)}
	}
	return &fault{kind: f.kind, text: text, cause: err}
}

func nameOf(s Source) string {
	if s == nil {
		return "nil"
	}
	return s.Name()
}
