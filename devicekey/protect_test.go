// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/devicekey"
)

func TestNoProtector(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	for maker, make := range makers(t) {
		_, err := make(path, nil)
		refused(t, devicekey.NoProtector, err, maker)
		_, err = make(path, devicekey.Passphrase(nil))
		require.ErrorIs(t, err, devicekey.NoProtector, maker)
	}
	require.Empty(t, names(t, path))

	k, path, v, doc := start(t)
	_, err := devicekey.Load(ctx, path, nil)
	refused(t, devicekey.NoProtector, err)
	_, err = devicekey.Load(ctx, path, devicekey.Passphrase(nil))
	require.Error(t, err)
	refused(t, devicekey.NoProtector, k.Rewrap(ctx, nil))
	require.Error(t, k.Rewrap(ctx, devicekey.Passphrase(nil)))
	require.Equal(t, doc, content(t, path))
	_, err = devicekey.Load(ctx, path, v)
	require.NoError(t, err)
	sound(t, k)
}

// TestProtectorThatFails: locked, gone or of another key is an error, and never a new identity.
func TestProtectorThatFails(t *testing.T) {
	for name, cause := range map[string]error{
		"locked":                     errLocked,
		"its own file is missing":    &fs.PathError{Op: "open", Path: "/run/passphrase", Err: fs.ErrNotExist},
		"its own file exists twice":  fs.ErrExist,
		"it says that there's no id": fs.ErrNotExist,
		"another device key of its":  &devicekey.Error{Op: "load", Reason: devicekey.Missing, Err: fs.ErrNotExist},
		"it has our words":           errors.Join(devicekey.Exists, devicekey.Missing),
	} {
		t.Run(name, func(t *testing.T) {
			failing := newVault(t)
			failing.protect = func([]byte) ([]byte, error) { return nil, cause }
			failing.wait = func(context.Context) error { return cause }
			empty := filepath.Join(t.TempDir(), "device.key")
			for maker, make := range makers(t) {
				_, err := make(empty, failing)
				refused(t, devicekey.ProtectorFailed, err, maker)
			}
			require.Empty(t, names(t, empty))

			k, path, v, doc := start(t)
			v.wait = failing.wait
			_, err := devicekey.Load(ctx, path, v)
			e := refused(t, devicekey.ProtectorFailed, err)
			require.Equal(t, cause, e.Err)
			require.NotErrorIs(t, err, devicekey.Missing)
			require.NotErrorIs(t, err, devicekey.Exists)
			if cause == errLocked {
				require.ErrorIs(t, err, errLocked)
			}
			var inner *fs.PathError
			if _, ok := cause.(*fs.PathError); ok {
				require.ErrorAs(t, err, &inner)
			}
			_, err = k.Sign(nil, message, plain)
			refused(t, devicekey.ProtectorFailed, err)
			_, err = k.ExportOpenSSH(ctx, message)
			refused(t, devicekey.ProtectorFailed, err)
			refused(t, devicekey.ProtectorFailed, k.Rewrap(ctx, newVault(t)))
			require.Equal(t, doc, content(t, path))
			require.Equal(t, []string{"device.key"}, names(t, path))
			v.wait = nil
			sound(t, k)
		})
	}
	_, path, _, doc := start(t)
	_, err := devicekey.Load(ctx, path, newVault(t))
	refused(t, devicekey.ProtectorFailed, err, "another key")
	require.Equal(t, doc, content(t, path))
}

// TestProtectorThatLies: what comes back is compared, before anything is written and whenever it is used.
func TestProtectorThatLies(t *testing.T) {
	for name, lie := range map[string]func([]byte) []byte{
		"a changed bit":     func(b []byte) []byte { b[31] ^= 1; return b },
		"another seed":      func(b []byte) []byte { return newSeed() },
		"zeros":             func(b []byte) []byte { clear(b); return b },
		"a byte less":       func(b []byte) []byte { return b[:31] },
		"a byte more":       func(b []byte) []byte { return append(b, 0) },
		"with a public key": func(b []byte) []byte { return ed25519.NewKeyFromSeed(b) },
		"nothing":           func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			liar := newVault(t)
			liar.unprotect = func(b []byte) ([]byte, error) { return lie(b), nil }
			empty := filepath.Join(t.TempDir(), "device.key")
			for maker, make := range makers(t) {
				_, err := make(empty, liar)
				refused(t, devicekey.Mismatch, err, maker)
			}
			require.Empty(t, names(t, empty))

			k, path, v, doc := start(t)
			refused(t, devicekey.Mismatch, k.Rewrap(ctx, liar))
			require.Equal(t, doc, content(t, path))
			sound(t, k)
			v.unprotect = liar.unprotect
			_, err := devicekey.Load(ctx, path, v)
			refused(t, devicekey.Mismatch, err)
			signature, err := k.Sign(nil, message, plain)
			refused(t, devicekey.Mismatch, err)
			require.Nil(t, signature)
		})
	}
}

func TestProtectorThatShowsTheSecret(t *testing.T) {
	all := glasses()
	require.GreaterOrEqual(t, len(all), 11)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			empty := filepath.Join(t.TempDir(), "device.key")
			for maker, make := range makers(t) {
				_, err := make(empty, p)
				refused(t, devicekey.Exposed, err, maker)
			}
			require.Empty(t, names(t, empty))
			k, path, _, doc := start(t)
			refused(t, devicekey.Exposed, k.Rewrap(ctx, p))
			require.Equal(t, doc, content(t, path))
			sound(t, k)
		})
	}
}

// TestShortestPartThatIsSeen: what is less than 12 bytes may be there by chance, in a cipher's output too.
func TestShortestPartThatIsSeen(t *testing.T) {
	_, err := devicekey.Generate(ctx, filepath.Join(t.TempDir(), "device.key"), partly(21, 32))
	require.NoError(t, err)
}

// rough is a Protector that keeps none of the rules about slices.
type rough struct{ *vault }

func (p rough) Protect(ctx context.Context, secret []byte, binding []string) ([]byte, error) {
	sealed, err := p.vault.Protect(ctx, secret, binding)
	clear(secret)
	clear(binding)
	return sealed, err
}

func (p rough) Unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	secret, err := p.vault.Unprotect(ctx, sealed, binding)
	clear(sealed)
	clear(binding)
	return secret, err
}

func TestProtectorThatWritesIntoItsArguments(t *testing.T) {
	for _, p := range []devicekey.Protector{rough{newVault(t)}, malleable{}} {
		path := filepath.Join(t.TempDir(), "device.key")
		k, err := devicekey.Generate(ctx, path, p)
		require.NoError(t, err)
		sound(t, k)
		_, err = devicekey.Load(ctx, path, p)
		require.NoError(t, err)
		require.NoError(t, k.Rewrap(ctx, p))
		sound(t, k)
		_, err = devicekey.Load(ctx, path, p)
		require.NoError(t, err)
	}
}

// TestSecretsAreCleared: the slice that Unprotect gave is ours, and does not stay behind.
func TestSecretsAreCleared(t *testing.T) {
	v := newVault(t)
	var given [][]byte
	var fail error
	v.unprotect = func(secret []byte) ([]byte, error) {
		given = append(given, secret)
		return secret, fail
	}
	path := filepath.Join(t.TempDir(), "device.key")
	k, err := devicekey.Generate(ctx, path, v)
	require.NoError(t, err)
	sound(t, k)
	_, err = k.ExportOpenSSH(ctx, message)
	require.NoError(t, err)
	require.NoError(t, k.Rewrap(ctx, v))
	fail = errLocked
	_, err = devicekey.Load(ctx, path, v)
	refused(t, devicekey.ProtectorFailed, err)
	require.Len(t, given, 1+3+1+2+1)
	for _, secret := range given {
		require.Equal(t, make([]byte, 32), secret)
	}
}

type seen struct {
	*vault
	bindings [][]string
	contexts []context.Context
}

func (p *seen) Protect(ctx context.Context, secret []byte, binding []string) ([]byte, error) {
	p.bindings, p.contexts = append(p.bindings, slices.Clone(binding)), append(p.contexts, ctx)
	return p.vault.Protect(ctx, secret, binding)
}

func (p *seen) Unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	p.bindings, p.contexts = append(p.bindings, slices.Clone(binding)), append(p.contexts, ctx)
	return p.vault.Unprotect(ctx, sealed, binding)
}

func TestBindingAndContext(t *testing.T) {
	type mine struct{}
	ctx := context.WithValue(ctx, mine{}, true)
	p := &seen{vault: newVault(t)}
	dir := t.TempDir()
	k, err := devicekey.Generate(ctx, filepath.Join(dir, "a"), p)
	require.NoError(t, err)
	_, err = devicekey.Load(ctx, filepath.Join(dir, "a"), p)
	require.NoError(t, err)
	_, err = k.SignContext(ctx, message, plain)
	require.NoError(t, err)
	_, err = k.ExportOpenSSH(ctx, message)
	require.NoError(t, err)
	require.NoError(t, k.Rewrap(ctx, p))
	require.Len(t, p.bindings, 8)
	for i, b := range p.bindings {
		require.Equal(t, []string{"merlon devicekey 1", "Ed25519", hexOf(k.Public().(ed25519.PublicKey))}, b)
		require.NotNil(t, p.contexts[i].Value(mine{}))
	}
	_, err = devicekey.Generate(ctx, filepath.Join(dir, "b"), p)
	require.NoError(t, err)
	require.NotEqual(t, p.bindings[0], p.bindings[8])
}

func TestContextThatEnded(t *testing.T) {
	k, path, v, doc := start(t)
	asked := v.asked.Load()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	aside := filepath.Join(t.TempDir(), "device.key")
	_, err := devicekey.Generate(ended, aside, v)
	refused(t, devicekey.Interrupted, err)
	require.ErrorIs(t, err, context.Canceled)
	_, err = devicekey.Import(ended, aside, pkcs8(t, newSeed()), v)
	refused(t, devicekey.Interrupted, err)
	require.Empty(t, names(t, aside))
	_, err = devicekey.Load(ended, path, v)
	refused(t, devicekey.Interrupted, err)
	for range 20 { // a select between the two would let some through
		_, err = k.SignContext(ended, message, plain)
		refused(t, devicekey.Interrupted, err)
	}
	_, err = k.ExportOpenSSH(ended, message)
	refused(t, devicekey.Interrupted, err)
	refused(t, devicekey.Interrupted, k.Rewrap(ended, newVault(t)))
	require.Equal(t, doc, content(t, path))
	require.Equal(t, asked, v.asked.Load(), "nobody was asked")
}

func TestWaitForATurnEndsWithItsContext(t *testing.T) {
	k, _, v, _ := start(t)
	inside, release := make(chan struct{}), make(chan struct{})
	v.wait = func(context.Context) error { close(inside); <-release; return nil }
	done := make(chan error)
	go func() { _, err := k.Sign(nil, message, plain); done <- err }()
	<-inside
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err := k.SignContext(short, message, plain)
	refused(t, devicekey.Interrupted, err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(release)
	require.NoError(t, <-done)
	v.wait = nil
	sound(t, k)
}

func TestRewrap(t *testing.T) {
	k, path, old, _ := start(t)
	other, err := devicekey.Load(ctx, path, old)
	require.NoError(t, err)
	for range 3 {
		next := newVault(t)
		require.NoError(t, k.Rewrap(ctx, next))
		require.Equal(t, []string{"device.key"}, names(t, path))
		_, err := devicekey.Load(ctx, path, old)
		refused(t, devicekey.ProtectorFailed, err)
		again, err := devicekey.Load(ctx, path, next)
		require.NoError(t, err)
		require.Equal(t, k.ID(), again.ID())
		sound(t, again)
		sound(t, k)
		old = next
	}
	sound(t, other) // goes on with what it read
}

func TestRewrapUnderTheSameProtectorIsNew(t *testing.T) {
	k, path, v, doc := start(t)
	require.NoError(t, k.Rewrap(ctx, v))
	require.NotEqual(t, doc, content(t, path))
	_, err := devicekey.Load(ctx, path, v)
	require.NoError(t, err)
}

func TestRewrapNeedsItsFile(t *testing.T) {
	k, path, v, doc := start(t)
	require.NoError(t, os.Remove(path))
	refused(t, devicekey.Missing, k.Rewrap(ctx, v), "a deleted identity is not brought back")
	require.Empty(t, names(t, path))

	_, err := devicekey.Generate(ctx, path, v)
	require.NoError(t, err)
	stranger := content(t, path)
	refused(t, devicekey.OtherKey, k.Rewrap(ctx, v))
	require.Equal(t, stranger, content(t, path))

	require.NoError(t, os.WriteFile(path, doc[:40], 0o600))
	refused(t, devicekey.Malformed, k.Rewrap(ctx, v))
	require.Equal(t, doc[:40], content(t, path))
}

func TestRewrapAsksTheOldProtectorWhateverIsCached(t *testing.T) {
	k, path, v, doc := start(t)
	k.CacheFor(time.Hour)
	sound(t, k)
	v.wait = func(context.Context) error { return errLocked }
	sound(t, k)
	refused(t, devicekey.ProtectorFailed, k.Rewrap(ctx, newVault(t)))
	_, err := k.ExportOpenSSH(ctx, message)
	refused(t, devicekey.ProtectorFailed, err)
	require.Equal(t, doc, content(t, path))

	v.wait = nil
	next := newVault(t)
	require.NoError(t, k.Rewrap(ctx, next))
	next.wait = func(context.Context) error { return errLocked }
	_, err = k.Sign(nil, message, plain)
	refused(t, devicekey.ProtectorFailed, err, "what was open under the old Protector is forgotten")
}

// TestRewrapBesideSign: whoever signs meanwhile finds Protector and sealed bytes that belong together.
func TestRewrapBesideSign(t *testing.T) {
	k, path, _, _ := start(t)
	stop, done := make(chan struct{}), make(chan error)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if _, err := k.Sign(nil, message, plain); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	var last *vault
	for range 20 {
		last = newVault(t)
		require.NoError(t, k.Rewrap(ctx, last))
	}
	close(stop)
	for range 4 {
		require.NoError(t, <-done)
	}
	_, err := devicekey.Load(ctx, path, last)
	require.NoError(t, err)
}

func TestSealedBytesAreNotTheSecret(t *testing.T) {
	seed := newSeed()
	path := filepath.Join(t.TempDir(), "device.key")
	_, err := devicekey.Import(ctx, path, pkcs8(t, seed), newVault(t))
	require.NoError(t, err)
	requireHidden(t, content(t, path), seed)
	require.False(t, bytes.Contains(content(t, path), seed[8:16]))
}
