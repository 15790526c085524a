// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
)

// TestStoredForm pins the form by an encoder that shares no code, so that a released file opens for ever.
func TestStoredForm(t *testing.T) {
	a, b, c := pattern(1), pattern(2), pattern(3)
	good := ringOf(1, a, b, c)
	require.Less(t, len(ringOf(0, twelve()...)), 1024, "the most keys in one item of a keychain")
	for _, row := range []struct {
		name string
		text []byte
		ok   bool
	}{
		{"three keys, the second is primary", good, true},
		{"without the last newline, as tools pass secrets on", bytes.TrimSuffix(good, []byte("\n")), true},
		{"one key", ringOf(0, b), true},
		{"twelve keys", ringOf(11, append(twelve()[:11], b)...), true},
		{"thirteen keys", ringOf(12, append(twelve(), b)...), false},
		{"nothing", nil, false},
		{"no key", ringOf(0), false},
		{"no primary key", ringOf(9, a, b), false},
		{"a key twice", ringOf(0, b, a, a), false},
		{"keys without a primary line", framed("masterkey", "key "+idOf(b)+" "+base64.RawURLEncoding.EncodeToString(b)+"\n"), false},
		{"an id that another key has", framed("masterkey", "primary "+idOf(a)+"\nkey "+idOf(a)+" "+base64.RawURLEncoding.EncodeToString(b)+"\n"), false},
		{"a primary id in capitals", framed("masterkey", "primary "+strings.ToUpper(idOf(b))+"\nkey "+idOf(b)+" "+base64.RawURLEncoding.EncodeToString(b)+"\n"), false},
		{"a key of 31 bytes", framed("masterkey", "primary "+idOf(b)+"\nkey "+idOf(b)+" "+base64.RawURLEncoding.EncodeToString(b[:31])+"\n"), false},
		{"base64 with bits that count for nothing", bytes.ReplaceAll(ringOf(0, b), []byte(base64.RawURLEncoding.EncodeToString(b)), []byte(base64.RawURLEncoding.EncodeToString(b)[:42]+"9")), false},
		{"a short key line", framed("masterkey", "primary "+idOf(b)+"\nkey \n"), false},
		{"a line of something else", framed("masterkey", "primary "+idOf(b)+"\nkey "+idOf(b)+" "+base64.RawURLEncoding.EncodeToString(b)+"\nmore\n"), false},
		{"Windows line ends", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), false},
		{"a newline more", append(bytes.Clone(good), '\n'), false},
		{"twice", append(bytes.Clone(good), good...), false},
		{"another version", bytes.Replace(good, []byte("merlon-masterkey 1"), []byte("merlon-masterkey 2"), 1), false},
		{"another kind", framed("wrapped", string(good[19:len(good)-72])), false},
		{"the bare key in hex, as the original project kept it", []byte(hex.EncodeToString(b)), false},
	} {
		m, err := masterkey.Open(t.Context(), newHome(t).config(&memory{kept: row.text}))
		if !row.ok {
			if row.text != nil {
				require.ErrorIs(t, err, masterkey.ErrCorrupt, row.name)
				requireNoKey(t, err.Error(), b)
			}
			continue
		}
		require.NoError(t, err, row.name)
		id, key := primary(t, m)
		require.Equal(t, idOf(b), id, row.name)
		require.Equal(t, b, key, row.name)
	}
}

func twelve() [][]byte {
	var keys [][]byte
	for i := range 12 {
		keys = append(keys, bytes.Repeat([]byte{byte(i), 1}, 16))
	}
	return keys
}

// TestEveryChangeOfAKeyFile: each byte, each length. None gives another key, none is replaced.
func TestEveryChangeOfAKeyFile(t *testing.T) {
	h := newHome(t)
	h.open(t)
	good := read(t, h.path())
	n := 0
	refused := func(name string, bad []byte) {
		require.NoError(t, os.WriteFile(h.path(), bad, 0o600))
		_, err := masterkey.Open(t.Context(), h.config())
		require.ErrorIs(t, err, masterkey.ErrCorrupt, name)
		require.Equal(t, bad, read(t, h.path()), name)
		n++
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		refused(fmt.Sprint("byte ", i), bad)
		if i < len(good)-1 {
			refused(fmt.Sprint("length ", i), good[:i])
		}
	}
	refused("too large", bytes.Repeat([]byte("A"), 16<<10+1))
	require.Greater(t, n, 300)
	require.NoError(t, os.WriteFile(h.path(), good, 0o600))
	h.open(t)
}

func TestFileIsRefusedAndLeftAsItIs(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(h home) error
		want error
	}{
		{"others may read it", func(h home) error { return os.Chmod(h.path(), 0o644) }, masterkey.ErrDenied},
		{"others may write it", func(h home) error { return os.Chmod(h.path(), 0o602) }, masterkey.ErrDenied},
		{"its group may read it", func(h home) error { return os.Chmod(h.path(), 0o640) }, masterkey.ErrDenied},
		{"a second name", func(h home) error { return os.Link(h.path(), h.path()+"2") }, masterkey.ErrDenied},
		{"a link", func(h home) error {
			return errors.Join(os.Rename(h.path(), h.path()+"2"), os.Symlink(h.path()+"2", h.path()))
		}, masterkey.ErrDenied},
		{"a link to nothing (nextlevelbuilder/goclaw#1201)", func(h home) error {
			return errors.Join(os.Remove(h.path()), os.Symlink(h.path()+"2", h.path()))
		}, masterkey.ErrDenied},
		{"a folder", func(h home) error { return errors.Join(os.Remove(h.path()), os.Mkdir(h.path(), 0o700)) }, masterkey.ErrDenied},
		{"a folder on the way that others may write", func(h home) error { return os.Chmod(h.keys, 0o777) }, masterkey.ErrDenied},
		{"it is gone", func(h home) error { return os.Remove(h.path()) }, masterkey.ErrNotFound},
		{"the folder is a file", func(h home) error {
			return errors.Join(os.RemoveAll(h.keys), os.WriteFile(h.keys, nil, 0o600))
		}, masterkey.ErrUnavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHome(t)
			h.open(t)
			require.NoError(t, row.do(h))
			before, _ := os.Lstat(h.path())
			for range 2 {
				_, err := h.file().Load(t.Context())
				require.ErrorIs(t, err, row.want)
				require.True(t, strings.HasPrefix(err.Error(), "masterkey: "), err)
				_, err = masterkey.Open(t.Context(), h.config())
				require.ErrorIs(t, err, row.want)
			}
			after, _ := os.Lstat(h.path())
			if before == nil {
				require.Nil(t, after)
				return
			}
			require.Equal(t, before.Mode(), after.Mode())
			require.Equal(t, before.ModTime(), after.ModTime())
		})
	}
}

func TestFileModesAndNames(t *testing.T) {
	h := newHome(t)
	h.keys = filepath.Join(h.keys, "made", "too")
	h.open(t)
	for path, want := range map[string]os.FileMode{h.path(): 0o600, h.keys: 0o700 | os.ModeDir, filepath.Dir(h.keys): 0o700 | os.ModeDir} {
		st, err := os.Stat(path)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, want, st.Mode(), path)
		}
	}
	odd := newHome(t)
	odd.keys = filepath.Join(odd.keys, "a \"folder\"\nkey x")
	id, _ := primary(t, odd.open(t))
	again, _ := primary(t, odd.open(t))
	require.Equal(t, id, again, "whatever its name, the state file has one line for it")

	for _, row := range [][2]string{{"", "k"}, {h.keys, ""}, {h.keys, "."}, {h.keys, ".."}, {h.keys, "a/b"}, {h.keys, "../k"}} {
		s := masterkey.File(row[0], row[1])
		_, err := s.Load(t.Context())
		require.ErrorIs(t, err, masterkey.ErrDenied)
		require.ErrorIs(t, s.Store(t.Context(), []byte("x")), masterkey.ErrDenied)
		_, err = masterkey.Open(t.Context(), newHome(t).config(s))
		require.ErrorIs(t, err, masterkey.ErrDenied)
	}
}

func TestGivenKeys(t *testing.T) {
	key := pattern(1)
	key[0], key[1] = 0xfb, 0xff // letters in which the two alphabets of base64 differ
	odd := bytes.Clone(key)
	for _, row := range []struct {
		name, text string
		want       error // nil: the key
		raw        bool  // a credential of these bytes is the key itself
	}{
		{"hex", hex.EncodeToString(key), nil, false},
		{"hex in capitals", strings.ToUpper(hex.EncodeToString(key)), nil, false},
		{"base64", base64.StdEncoding.EncodeToString(key), nil, false},
		{"base64, no padding", base64.RawStdEncoding.EncodeToString(key), nil, false},
		{"base64url", base64.URLEncoding.EncodeToString(key), nil, false},
		{"base64url, no padding", base64.RawURLEncoding.EncodeToString(key), nil, false},
		{"blanks around it, as files end", " " + hex.EncodeToString(key) + "\r\n", nil, false},
		{"unset", "", masterkey.ErrNotFound, false},
		{"blank", " \n", masterkey.ErrCorrupt, false},
		{"31 bytes in hex", hex.EncodeToString(key[:31]), masterkey.ErrCorrupt, false},
		{"33 bytes in hex", hex.EncodeToString(append(odd, 1)), masterkey.ErrCorrupt, false},
		{"31 bytes in base64", base64.StdEncoding.EncodeToString(key[:31]), masterkey.ErrCorrupt, false},
		{"padding that is too much", base64.RawStdEncoding.EncodeToString(key) + "==", masterkey.ErrCorrupt, false},
		{"64 letters that are no hex", strings.Repeat("xy", 32), masterkey.ErrCorrupt, false},
		{"a placeholder", "REPLACE" + "_ME", masterkey.ErrCorrupt, false},
		{"all zeros", strings.Repeat("00", 32), masterkey.ErrCorrupt, false},
		{"one byte again and again", strings.Repeat("ab", 32), masterkey.ErrCorrupt, false},
		{"the bytes themselves", string(key), masterkey.ErrCorrupt, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "cred"), []byte(row.text), 0o400))
			get := func(name string) string {
				return map[string]string{"MASTER_KEY": row.text, "CREDENTIALS_DIRECTORY": dir}[name]
			}
			for _, s := range []masterkey.Source{masterkey.Env(get, "MASTER_KEY"), masterkey.SystemdCredential(get, "cred")} {
				want := row.want
				if s.Name() == "systemd-credential:cred" {
					if row.raw {
						want = nil
					}
					if row.text == "" {
						want = masterkey.ErrCorrupt // the file is there
					}
				}
				m, err := masterkey.Open(t.Context(), newHome(t).config(s))
				if want == masterkey.ErrNotFound {
					_, err = s.Load(t.Context()) // Open goes on to say that nothing can be generated there
				}
				if want != nil {
					require.ErrorIs(t, err, want, s.Name())
					requireNoKey(t, err.Error(), key)
					continue
				}
				require.NoError(t, err, s.Name())
				id, got := primary(t, m)
				require.Equal(t, key, got)
				require.Equal(t, idOf(key), id)
				_, err = m.Stage(t.Context())
				require.ErrorIs(t, err, masterkey.ErrReadOnly)
				require.ErrorIs(t, s.Store(t.Context(), nil), masterkey.ErrReadOnly)
				ids, err := m.KeyIDs()
				require.NoError(t, err)
				require.Equal(t, []string{id}, ids)
			}
		})
	}
}

func TestCredentialThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	credential := func(dir, name string) error {
		_, err := masterkey.SystemdCredential(func(string) string { return dir }, name).Load(t.Context())
		return err
	}
	require.ErrorIs(t, credential("", "cred"), masterkey.ErrNotFound)
	require.ErrorIs(t, credential(dir, "cred"), masterkey.ErrNotFound)
	require.ErrorIs(t, credential(filepath.Join(dir, "none"), "cred"), masterkey.ErrNotFound)
	for _, name := range []string{"", ".", "..", "../x", "a/b"} {
		err := credential(dir, name)
		require.Error(t, err)
		require.NotErrorIs(t, err, masterkey.ErrNotFound)
	}
	require.ErrorIs(t, credential("relative", "cred"), masterkey.ErrDenied)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "loose"), []byte(hex.EncodeToString(pattern(1))), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(dir, "loose"), 0o644))
	require.ErrorIs(t, credential(dir, "loose"), masterkey.ErrDenied)
	require.NoError(t, os.Chmod(filepath.Join(dir, "loose"), 0o440))
	require.NoError(t, credential(dir, "loose"))
}

func TestNilDependenciesRefuse(t *testing.T) {
	phrase := func(context.Context) ([]byte, error) { return []byte("x"), nil }
	for _, s := range []masterkey.Source{
		masterkey.Env(nil, "K"), masterkey.Env(os.Getenv, ""), masterkey.SystemdCredential(nil, "K"),
		masterkey.Passphrase(nil, &memory{}), masterkey.Passphrase(phrase, nil),
		masterkey.Wrapped(nil, &memory{}), masterkey.Wrapped(pad{}, nil),
	} {
		_, err := s.Load(t.Context())
		require.ErrorIs(t, err, masterkey.ErrUnavailable)
		require.Error(t, s.Store(t.Context(), []byte("x")))
		_, err = masterkey.Open(t.Context(), newHome(t).config(s))
		require.Error(t, err)
		require.NotErrorIs(t, err, masterkey.ErrNotFound)
	}
	require.Nil(t, masterkey.Bounded(nil))
}

// panics is a Source that does, with a nil dereference where no value is given.
func panics(value any) *memory {
	return &memory{wait: func(context.Context, string) {
		if value == nil {
			value = *(*any)(nil)
		}
		panic(value)
	}}
}

// TestPanics: the calls run in goroutines of the package, where no other code could recover.
func TestPanics(t *testing.T) {
	stored := string(ringOf(0, pattern(1)))
	wrapper := pad{encrypt: func([]byte) ([]byte, error) { panic(stored) }}
	for _, s := range []masterkey.Source{panics(stored), masterkey.Wrapped(wrapper, &memory{})} {
		c := newHome(t).config(s)
		for range 2 { // the source and Dir are free again
			_, err := masterkey.Open(t.Context(), c)
			require.ErrorIs(t, err, masterkey.ErrUnavailable)
			require.NotErrorIs(t, err, masterkey.ErrNotFound)
			requireNoKey(t, fmt.Sprintf("%v %+v %#v", err, err, err), pattern(1))
		}
	}
	_, err := masterkey.Bounded(panics(nil)).Load(t.Context())
	require.ErrorContains(t, err, "nil pointer", "whoever wrote the source needs to know")
}

// pad is a Wrapper that anybody could read, with faults.
type pad struct{ encrypt, decrypt func([]byte) ([]byte, error) }

func xor(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0x5a
	}
	return out
}

func (p pad) Encrypt(_ context.Context, b []byte) ([]byte, error) {
	if p.encrypt != nil {
		return p.encrypt(b)
	}
	return xor(b), nil
}

func (p pad) Decrypt(_ context.Context, b []byte) ([]byte, error) {
	if p.decrypt != nil {
		return p.decrypt(b)
	}
	return xor(b), nil
}

func TestWrapped(t *testing.T) {
	h := newHome(t)
	m := h.open(t, masterkey.Wrapped(pad{}, h.file()))
	id, key := primary(t, m)
	stored := read(t, h.path())
	requireNoKey(t, string(stored), key)
	next, err := m.Stage(t.Context())
	require.NoError(t, err)
	again := h.open(t, masterkey.Wrapped(pad{}, h.file()))
	got, _ := primary(t, again)
	require.Equal(t, id, got)
	_, err = again.LookupKey(next)
	require.NoError(t, err)

	stored = read(t, h.path())
	plain := ringOf(0, pattern(1))
	for _, row := range []struct {
		name string
		w    pad
		want error
		text []byte // in the file; nil: what was stored
	}{
		{"it is denied", pad{decrypt: func([]byte) ([]byte, error) { return nil, masterkey.ErrDenied }}, masterkey.ErrDenied, nil},
		{"it fails", pad{decrypt: func([]byte) ([]byte, error) { return nil, errOther }}, errOther, nil},
		{"its own key is not found, which is no absence of ours", pad{decrypt: func([]byte) ([]byte, error) { return nil, masterkey.ErrNotFound }}, masterkey.ErrUnavailable, nil},
		{"it gives something else", pad{decrypt: func([]byte) ([]byte, error) { return []byte("x"), nil }}, masterkey.ErrCorrupt, nil},
		{"it gives nothing", pad{decrypt: func([]byte) ([]byte, error) { return nil, nil }}, masterkey.ErrCorrupt, nil},
		{"the file is cut", pad{}, masterkey.ErrCorrupt, stored[:len(stored)/2]},
		{"the file holds plain keys", pad{}, masterkey.ErrCorrupt, plain},
		{"the file holds two", pad{}, masterkey.ErrCorrupt, framed("wrapped", "QUJD\nQUJD\n")},
		{"the file holds no base64", pad{}, masterkey.ErrCorrupt, framed("wrapped", "QUJ\n")},
	} {
		text := row.text
		if text == nil {
			text = stored
		}
		require.NoError(t, os.WriteFile(h.path(), text, 0o600))
		_, err := masterkey.Open(t.Context(), h.config(masterkey.Wrapped(row.w, h.file())))
		require.ErrorIs(t, err, row.want, row.name)
		require.NotErrorIs(t, err, masterkey.ErrNotFound, row.name)
		require.Equal(t, text, read(t, h.path()), row.name)
	}
}

func TestWrapperThatWouldLoseOrShowTheKeyStoresNothing(t *testing.T) {
	same := func(b []byte) ([]byte, error) { return b, nil }
	for name, w := range map[string]pad{
		"it does not encrypt":               {encrypt: same, decrypt: same},
		"it encrypts only what comes first": {encrypt: func(b []byte) ([]byte, error) { return append(xor(b[:40]), b[40:]...), nil }, decrypt: func(b []byte) ([]byte, error) { return append(xor(b[:40]), b[40:]...), nil }},
		"it cannot decrypt":                 {decrypt: func([]byte) ([]byte, error) { return nil, errOther }},
		"it decrypts to something else":     {decrypt: func(b []byte) ([]byte, error) { return append(xor(b), ' '), nil }},
		"it cannot encrypt":                 {encrypt: func([]byte) ([]byte, error) { return nil, errOther }},
		"it cannot encrypt, and repeats":    {encrypt: func(b []byte) ([]byte, error) { return nil, fmt.Errorf("bad input %s", b) }},
	} {
		h := newHome(t)
		_, err := masterkey.Open(t.Context(), h.config(masterkey.Wrapped(w, h.file())))
		require.Error(t, err, name)
		require.NotRegexp(t, `key [0-9a-f]{16} `, err.Error(), name)
		require.NoFileExists(t, h.path(), name)
	}
}

// TestHangs: a source that ignores its context costs the deadline, one goroutine in its life, and no key.
func TestHangs(t *testing.T) {
	forever := func(context.Context, string) { select {} }
	for name, make := range map[string]func(*memory) masterkey.Source{
		"a source": func(m *memory) masterkey.Source { return masterkey.Bounded(m) },
		"under a passphrase": func(m *memory) masterkey.Source {
			return masterkey.Passphrase(func(context.Context) ([]byte, error) { return []byte("x"), nil }, masterkey.Bounded(m))
		},
		"under a wrapper": func(m *memory) masterkey.Source { return masterkey.Wrapped(pad{}, masterkey.Bounded(m)) },
	} {
		t.Run(name, func(t *testing.T) {
			var c masterkey.Config
			took := time.Hour
			for range 10 { // a machine that is busy may be late, but not ten times
				c = newHome(t).config(make(&memory{wait: forever}))
				c.Timeout = 100 * time.Millisecond
				start := time.Now()
				_, err := masterkey.Open(t.Context(), c)
				took = min(took, time.Since(start))
				require.ErrorIs(t, err, masterkey.ErrUnavailable)
				require.ErrorContains(t, err, "100ms")
				if took < c.Timeout+50*time.Millisecond {
					break
				}
			}
			require.Less(t, took, c.Timeout+50*time.Millisecond)
			before := runtime.NumGoroutine()
			start := time.Now()
			for range 1000 {
				_, err := masterkey.Open(t.Context(), c)
				require.ErrorIs(t, err, masterkey.ErrUnavailable)
			}
			require.Less(t, time.Since(start), 5*time.Second, "each was refused at once")
			require.LessOrEqual(t, runtime.NumGoroutine(), before)
		})
	}
}

func TestTimeoutIsThreeSecondsUnlessSaid(t *testing.T) {
	h := newHome(t)
	for given, want := range map[time.Duration]time.Duration{0: 3 * time.Second, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			c := h.config(&memory{wait: func(context.Context, string) { <-end }})
			c.Timeout = given
			start := time.Now()
			_, err := masterkey.Open(t.Context(), c)
			require.ErrorIs(t, err, masterkey.ErrUnavailable)
			require.Equal(t, want+20*time.Millisecond, time.Since(start), "and the moment in which it may heed its context")
		})
	}
}

func TestHangEndsAndTheSourceWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{kept: []byte("content"), wait: func(context.Context, string) { time.Sleep(10 * time.Second) }}
		b := masterkey.Bounded(s)
		require.Equal(t, "memory", b.Name())
		require.Same(t, b, masterkey.Bounded(b))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Load(ctx)
		require.ErrorIs(t, err, masterkey.ErrUnavailable)
		start := time.Now()
		_, err = b.Load(t.Context())
		require.ErrorIs(t, err, masterkey.ErrUnavailable, "it still hangs")
		require.Zero(t, time.Since(start))
		time.Sleep(9 * time.Second)
		got, err := b.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, "content", string(got))
		loads, _ := s.counts()
		require.Equal(t, 2, loads)

		// Slow is not stuck: the second of two callers waits for its turn.
		for range 2 {
			go func() { _, _ = b.Load(t.Context()) }()
		}
		synctest.Wait()
		start = time.Now()
		require.NoError(t, b.Store(t.Context(), []byte("x")))
		require.LessOrEqual(t, time.Since(start), 30*time.Second)
		time.Sleep(time.Minute)
	})
}

// TestLateStoreKeepsTheLock: what hangs may still land, and must not do so on top of another process's key.
func TestLateStoreKeepsTheLock(t *testing.T) {
	h := newHome(t)
	release := make(chan struct{})
	s := &memory{wait: func(_ context.Context, what string) {
		if what == "store" {
			<-release
		}
	}}
	c := h.config(s)
	c.Timeout = 50 * time.Millisecond
	_, err := masterkey.Open(t.Context(), c)
	require.ErrorIs(t, err, masterkey.ErrUnavailable)

	another := h.config(&memory{name: "another"})
	another.Timeout = 50 * time.Millisecond
	start := time.Now()
	_, err = masterkey.Open(t.Context(), another)
	require.ErrorIs(t, err, masterkey.ErrUnavailable)
	require.ErrorContains(t, err, "another process")
	require.GreaterOrEqual(t, time.Since(start), 300*time.Millisecond, "six calls of the other process")
	close(release)
	require.Eventually(t, func() bool { _, err := masterkey.Open(t.Context(), c); return err == nil }, 5*time.Second, 10*time.Millisecond)
}
