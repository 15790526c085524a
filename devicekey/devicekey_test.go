// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/devicekey"
	"github.com/merlon-go/merlon/privatefile"
)

var (
	ctx     = context.Background()
	message = []byte("message")
	plain   = crypto.Hash(0)
)

// start gives a new key of a new vault, and what its file holds.
func start(t testing.TB) (k *devicekey.Key, path string, v *vault, doc []byte) {
	path, v = filepath.Join(t.TempDir(), "device.key"), newVault(t)
	k, err := devicekey.Generate(ctx, path, v)
	require.NoError(t, err)
	return k, path, v, content(t, path)
}

func content(t testing.TB, path string) []byte {
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	return doc
}

// refused requires an Error of that Reason, whose text is for an operator and tells nothing.
func refused(t testing.TB, want devicekey.Reason, err error, note ...any) *devicekey.Error {
	t.Helper()
	var e *devicekey.Error
	require.ErrorAs(t, err, &e, note...)
	require.Equal(t, want, e.Reason, note...)
	require.ErrorIs(t, err, want, note...)
	require.True(t, strings.HasPrefix(err.Error(), "devicekey: "), err.Error())
	require.Equal(t, want == devicekey.Missing, errors.Is(err, fs.ErrNotExist), note...)
	require.Equal(t, want == devicekey.Exists, errors.Is(err, fs.ErrExist), note...)
	return e
}

// sound requires that k signs for its public key, and that its ID is the one of that.
func sound(t testing.TB, k *devicekey.Key) {
	t.Helper()
	public := k.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(public)
	require.Equal(t, hex.EncodeToString(sum[:]), k.ID())
	for _, m := range [][]byte{nil, message, bytes.Repeat(message, 1000)} {
		signature, err := k.Sign(rand.Reader, m, plain)
		require.NoError(t, err)
		require.True(t, ed25519.Verify(public, m, signature))
	}
}

func names(t testing.TB, path string) (all []string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestOneIdentityForLife(t *testing.T) {
	k, path, v, doc := start(t)
	sound(t, k)
	require.Equal(t, []string{"device.key"}, names(t, path))
	if runtime.GOOS != "windows" {
		st, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), st.Mode())
	}
	for range 2 {
		again, err := devicekey.Load(ctx, path, v)
		require.NoError(t, err)
		require.Equal(t, k.ID(), again.ID())
		require.Equal(t, k.Public(), again.Public())
		sound(t, again)
	}
	moved := filepath.Join(t.TempDir(), "other name")
	require.NoError(t, os.Rename(path, moved))
	again, err := devicekey.Load(ctx, moved, v)
	require.NoError(t, err)
	require.Equal(t, k.ID(), again.ID())
	require.Equal(t, doc, content(t, moved))
	sound(t, k) // what was loaded needs its file no more
}

func TestPublicIsACopy(t *testing.T) {
	k, _, _, _ := start(t)
	clear(k.Public().(ed25519.PublicKey))
	sound(t, k)
}

// makers are the two that make a file.
func makers(t testing.TB) map[string]func(path string, p devicekey.Protector) (*devicekey.Key, error) {
	pem := pkcs8(t, newSeed())
	return map[string]func(string, devicekey.Protector) (*devicekey.Key, error){
		"Generate": func(path string, p devicekey.Protector) (*devicekey.Key, error) {
			return devicekey.Generate(ctx, path, p)
		},
		"Import": func(path string, p devicekey.Protector) (*devicekey.Key, error) {
			return devicekey.Import(ctx, path, pem, p)
		},
	}
}

func TestNothingIsReplaced(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"another identity":     func(p string) error { _, err := devicekey.Generate(ctx, p, newVault(t)); return err },
		"an empty file":        func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"a damaged file":       func(p string) error { return os.WriteFile(p, []byte("{"), 0o644) },
		"a folder":             func(p string) error { return os.Mkdir(p, 0o700) },
		"a link to nothing":    func(p string) error { return os.Symlink(filepath.Join(t.TempDir(), "planted"), p) },
		"a link to a file":     func(p string) error { return os.Symlink("/dev/null", p) },
		"a link to its folder": func(p string) error { return os.Symlink(filepath.Dir(p), p) },
	} {
		for maker, make := range makers(t) {
			t.Run(maker+" over "+name, func(t *testing.T) {
				if runtime.GOOS == "windows" && strings.Contains(name, "link") {
					t.Skip("a link takes a privilege there")
				}
				path := filepath.Join(t.TempDir(), "device.key")
				require.NoError(t, put(path))
				before, err := os.Lstat(path)
				require.NoError(t, err)
				text, _ := os.ReadFile(path)

				v := newVault(t)
				k, err := make(path, v)
				refused(t, devicekey.Exists, err)
				require.Nil(t, k)
				require.Zero(t, v.asked.Load(), "the passphrase was asked for nothing")

				after, err := os.Lstat(path)
				require.NoError(t, err)
				require.Equal(t, before.Mode(), after.Mode())
				now, _ := os.ReadFile(path)
				require.Equal(t, text, now)
				require.Len(t, names(t, path), 1)
			})
		}
	}
}

func TestFirstStartOfMany(t *testing.T) {
	path, v := filepath.Join(t.TempDir(), "device.key"), newVault(t)
	var mu sync.Mutex
	var won []string
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			k, err := devicekey.Generate(ctx, path, v)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, k.ID())
			} else if !errors.Is(err, devicekey.Exists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k, err := devicekey.Load(ctx, path, v)
	require.NoError(t, err)
	require.Equal(t, []string{k.ID()}, won)
}

// TestMain is also the main of the processes that TestFirstStartOfManyProcesses and TestFIPS start.
func TestMain(m *testing.M) {
	path := os.Getenv("DEVICEKEY_TEST_PATH")
	if path == "" {
		os.Exit(m.Run())
	}
	var p devicekey.Protector = malleable{}
	if words := os.Getenv("DEVICEKEY_TEST_PHRASE"); words != "" {
		p = phrase(words)
	}
	k, err := devicekey.Generate(ctx, path, p)
	if err == nil {
		_, err = k.Sign(nil, message, plain)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Print(k.ID())
	os.Exit(0)
}

// child is a process that generates the key at path.
func child(t testing.TB, path string, env ...string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), "DEVICEKEY_TEST_PATH="+path), env...)
	return cmd
}

func TestFirstStartOfManyProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	var mu sync.Mutex
	var won []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out, err := child(t, path).Output()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, string(out))
			}
		})
	}
	wg.Wait()
	require.Len(t, won, 1)
	k, err := devicekey.Load(ctx, path, malleable{})
	require.NoError(t, err)
	require.Equal(t, won[0], k.ID())
}

func TestMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	_, err := devicekey.Load(ctx, path, newVault(t))
	refused(t, devicekey.Missing, err)
	require.Empty(t, names(t, path), "Load makes nothing")
	for maker, make := range makers(t) {
		_, err := make(filepath.Join(path, "no such folder", "device.key"), newVault(t))
		refused(t, devicekey.Missing, err, maker)
	}
	require.Empty(t, names(t, path))
}

// TestEveryChangeOfTheFile also runs under a Protector without authentication: the public key decides.
func TestEveryChangeOfTheFile(t *testing.T) {
	for name, p := range map[string]devicekey.Protector{"authenticated": newVault(t), "malleable": malleable{}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "device.key")
			k, err := devicekey.Generate(ctx, path, p)
			require.NoError(t, err)
			doc := content(t, path)
			sound(t, k)

			var changed [][]byte
			for i := range len(doc) * 8 {
				d := bytes.Clone(doc)
				d[i/8] ^= 1 << (i % 8)
				changed = append(changed, d)
			}
			for i := range doc {
				changed = append(changed, doc[:i], slices.Delete(bytes.Clone(doc), i, i+1))
				for _, b := range []string{" ", "\n", "=", "A"} {
					changed = append(changed, slices.Insert(bytes.Clone(doc), i, []byte(b)...))
				}
			}
			changed = append(changed, append(bytes.Clone(doc), '\n'), append(bytes.Clone(doc), doc...), bytes.ToUpper(doc))
			require.Greater(t, len(changed), 1000)
			every := 1
			if testing.Short() {
				every = 13 // has no common divisor with the bits of a byte
			}
			for i := 0; i < len(changed); i += every {
				d := changed[i]
				if bytes.Equal(d, doc) { // a doubled letter lost or won is the same text
					continue
				}
				require.NoError(t, os.WriteFile(path, d, 0o600))
				_, err := devicekey.Load(ctx, path, p)
				var e *devicekey.Error
				require.ErrorAs(t, err, &e, "%q", d)
				require.Contains(t, []devicekey.Reason{devicekey.Malformed, devicekey.Mismatch, devicekey.ProtectorFailed}, e.Reason)
				require.NotErrorIs(t, err, fs.ErrNotExist)
				require.True(t, bytes.Equal(d, content(t, path)), "the file is left as it is")
			}
		})
	}
}

func TestWhatIsNoKeyFile(t *testing.T) {
	_, path, v, doc := start(t)
	members := func(edit func(m map[string]any)) []byte {
		var m map[string]any
		require.NoError(t, json.Unmarshal(doc, &m))
		edit(m)
		d, err := json.Marshal(m)
		require.NoError(t, err)
		return append(d, '\n')
	}
	for name, d := range map[string][]byte{
		"empty":                nil,
		"null":                 []byte("null\n"),
		"an empty object":      []byte("{}\n"),
		"another version":      bytes.Replace(doc, []byte(`:1,`), []byte(`:2,`), 1),
		"another algorithm":    bytes.Replace(doc, []byte("Ed25519"), []byte("Ed448"), 1),
		"members sorted":       members(func(map[string]any) {}),
		"a member more":        bytes.Replace(doc, []byte(`,"public"`), []byte(`,"x":1,"public"`), 1),
		"a member twice":       bytes.Replace(doc, []byte(`,"sealed"`), []byte(`,"public":"AA==","sealed"`), 1),
		"a member less":        doc[:bytes.Index(doc, []byte(`,"sealed"`))],
		"no end of line":       bytes.TrimSpace(doc),
		"CRLF":                 bytes.Replace(doc, []byte("\n"), []byte("\r\n"), 1),
		"a byte order mark":    append([]byte("\xef\xbb\xbf"), doc...),
		"a short public key":   devicekey.Encode(make([]byte, 31), []byte("x")),
		"a long public key":    devicekey.Encode(make([]byte, 33), []byte("x")),
		"the key in the clear": pkcs8(t, newSeed()),
		"zeros":                make([]byte, len(doc)),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, d, 0o600))
			_, err := devicekey.Load(ctx, path, v)
			refused(t, devicekey.Malformed, err)
			require.True(t, bytes.Equal(d, content(t, path)))
		})
	}
}

func TestPartsOfTwoKeys(t *testing.T) {
	k1, path, v, doc1 := start(t)
	path2 := filepath.Join(t.TempDir(), "second.key")
	_, err := devicekey.Generate(ctx, path2, v)
	require.NoError(t, err)
	public1, sealed1, err := devicekey.Decode(doc1)
	require.NoError(t, err)
	public2, sealed2, err := devicekey.Decode(content(t, path2))
	require.NoError(t, err)
	for _, d := range [][]byte{devicekey.Encode(public1, sealed2), devicekey.Encode(public2, sealed1)} {
		require.NoError(t, os.WriteFile(path, d, 0o600))
		_, err := devicekey.Load(ctx, path, v)
		refused(t, devicekey.ProtectorFailed, err)
	}
	// The whole file of another key is that key: its ID tells.
	require.NoError(t, os.WriteFile(path, devicekey.Encode(public2, sealed2), 0o600))
	other, err := devicekey.Load(ctx, path, v)
	require.NoError(t, err)
	require.NotEqual(t, k1.ID(), other.ID())
}

// TestPlantedInTheClear: a Protector that also takes plaintext, as a cipher does that still migrates, must not let an
// attacker plant a key of his own.
func TestPlantedInTheClear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	seed := newSeed()
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	require.NoError(t, os.WriteFile(path, devicekey.Encode(public, seed), 0o600))
	_, err := devicekey.Load(ctx, path, glasses()["as it is"])
	refused(t, devicekey.Exposed, err)
}

func TestFilesThatAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes and links are privatefile's to test there")
	}
	for _, row := range []struct {
		name string
		do   func(path, aside string) error
		want privatefile.Reason
	}{
		{"a symbolic link", func(p, a string) error { return errors.Join(os.Rename(p, a), os.Symlink(a, p)) }, privatefile.Symlink},
		{"a link to nothing", func(p, a string) error { return errors.Join(os.Remove(p), os.Symlink(a, p)) }, privatefile.Symlink},
		{"a second name", os.Link, privatefile.Hardlinked},
		{"a folder", func(p, _ string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, privatefile.NotRegular},
		{"writable for others", func(p, _ string) error { return os.Chmod(p, 0o666) }, privatefile.Tainted},
		{"64 GiB", func(p, _ string) error { return os.Truncate(p, 64<<30) }, privatefile.TooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			k, path, v, doc := start(t)
			aside := filepath.Join(t.TempDir(), "aside")
			require.NoError(t, row.do(path, aside))
			_, err := devicekey.Load(ctx, path, v)
			refused(t, devicekey.FileRefused, err)
			require.ErrorIs(t, err, row.want)
			err = k.Rewrap(ctx, newVault(t))
			refused(t, devicekey.FileRefused, err)
			require.ErrorIs(t, err, row.want)
			for _, p := range []string{path, aside} {
				if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && row.want != privatefile.TooLarge {
					require.Equal(t, doc, content(t, p))
				}
			}
			sound(t, k)
		})
	}
}

func TestAFileThatOthersCouldRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes there")
	}
	_, path, v, _ := start(t)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err := devicekey.Load(ctx, path, v)
	require.NoError(t, err)
	st, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode())
}

// TestLargestFile: a Protector's sealed bytes may fill the file to the last byte, and not one more.
func TestLargestFile(t *testing.T) {
	empty := len(devicekey.Encode(make([]byte, 32), nil))
	room := (devicekey.MaxFile - empty) / 4 * 3
	for extra, fits := range map[int]bool{0: true, 1: false} {
		v := newVault(t)
		padding := 0
		v.protect = func(sealed []byte) ([]byte, error) {
			padding = room + extra - len(sealed)
			return append(sealed, make([]byte, padding)...), nil
		}
		cut := trimmer{v, &padding}
		path := filepath.Join(t.TempDir(), "device.key")
		k, err := devicekey.Generate(ctx, path, cut)
		if fits {
			require.NoError(t, err)
			require.Greater(t, len(content(t, path)), devicekey.MaxFile-4)
			_, err = devicekey.Load(ctx, path, cut)
			require.NoError(t, err)
			sound(t, k)
			continue
		}
		refused(t, devicekey.FileRefused, err)
		require.ErrorIs(t, err, privatefile.TooLarge)
		require.Empty(t, names(t, path))

		k, path, _, doc := start(t)
		err = k.Rewrap(ctx, cut)
		refused(t, devicekey.FileRefused, err)
		require.ErrorIs(t, err, privatefile.TooLarge)
		require.Equal(t, doc, content(t, path))
		sound(t, k)
	}
}

// TestWhatWasWrittenIsReadBack: the answer is for what lies there, whatever the writer said.
func TestWhatWasWrittenIsReadBack(t *testing.T) {
	_, path, _, doc := start(t)
	silent := func(string, []byte, privatefile.Config) error { return nil }
	require.NoError(t, devicekey.Put(silent, path, doc))
	refused(t, devicekey.OtherKey, devicekey.Put(silent, path, doc[1:]))
	refused(t, devicekey.Missing, devicekey.Put(silent, path+".other", doc))
	refused(t, devicekey.FileRefused, devicekey.Put(silent, filepath.Dir(path), doc))
}

// trimmer takes off what was put behind the sealed bytes.
type trimmer struct {
	*vault
	padding *int
}

func (p trimmer) Unprotect(ctx context.Context, sealed []byte, binding []string) ([]byte, error) {
	return p.vault.Unprotect(ctx, sealed[:len(sealed)-*p.padding], binding)
}

func TestSignOptions(t *testing.T) {
	k, _, v, _ := start(t)
	public := k.Public().(ed25519.PublicKey)
	sum := make([]byte, 64)
	for _, opts := range []crypto.SignerOpts{
		plain, crypto.SHA512, &ed25519.Options{}, &ed25519.Options{Context: "gateway"},
		&ed25519.Options{Hash: crypto.SHA512, Context: "gateway"},
	} {
		signature, err := k.Sign(nil, sum, opts)
		require.NoError(t, err)
		o, ok := opts.(*ed25519.Options)
		if !ok {
			o = &ed25519.Options{Hash: opts.HashFunc()}
		}
		require.NoError(t, ed25519.VerifyWithOptions(public, sum, signature, o))
	}
	asked := v.asked.Load()
	signature, err := k.Sign(nil, message, nil)
	refused(t, devicekey.BadOptions, err)
	require.Nil(t, signature)
	require.Equal(t, asked, v.asked.Load(), "it was refused before the Protector was asked")
	for _, cached := range []bool{false, true} {
		if cached {
			k.CacheFor(1 << 40)
			sound(t, k)
		}
		for _, opts := range []crypto.SignerOpts{crypto.SHA256, crypto.SHA512, &ed25519.Options{Context: strings.Repeat("x", 256)}} {
			signature, err := k.Sign(nil, message, opts)
			require.Nil(t, signature)
			refused(t, devicekey.BadOptions, err)
		}
	}
}

func TestNoKey(t *testing.T) {
	for _, k := range []*devicekey.Key{nil, {}} {
		require.Nil(t, k.Public())
		require.Empty(t, k.ID())
		k.Lock()
		k.CacheFor(1)
		_, err := k.Sign(nil, message, plain)
		refused(t, devicekey.NoKey, err)
		_, err = k.ExportOpenSSH(ctx, message)
		refused(t, devicekey.NoKey, err)
		refused(t, devicekey.NoKey, k.Rewrap(ctx, newVault(t)))
		require.Equal(t, "devicekey()", fmt.Sprint(k))
	}
}

func TestNothingIsPrinted(t *testing.T) {
	seed := newSeed()
	path, v := filepath.Join(t.TempDir(), "device.key"), newVault(t)
	k, err := devicekey.Import(ctx, path, pkcs8(t, seed), v)
	require.NoError(t, err)
	k.CacheFor(1 << 40)
	sound(t, k)
	require.NotNil(t, devicekey.Opened(k))
	var out strings.Builder
	for _, flags := range []string{"", "+", "#", " "} {
		for _, verb := range "vsqxXd" {
			text := fmt.Sprintf("%"+flags+string(verb), k)
			require.Equal(t, "devicekey("+k.ID()+")", text)
			fmt.Fprintf(&out, "%"+flags+string(verb), struct{ inner *devicekey.Key }{k})
		}
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("started", "key", k)
	slog.New(slog.NewTextHandler(&out, nil)).Info("started", "key", k)
	text, err := json.Marshal(map[string]any{"key": k})
	require.NoError(t, err)
	out.Write(text)
	requireHidden(t, []byte(out.String()), seed)
	require.NotContains(t, walk(k), string(seed[:8]))
}

// requireHidden looks for the seed in every form that a careless program gives it.
func requireHidden(t testing.TB, doc, seed []byte) {
	t.Helper()
	require.NotContains(t, string(doc), string(seed[:8]))
	require.NotContains(t, string(doc), string(seed[24:]))
	require.NotContains(t, strings.ToLower(string(doc)), hex.EncodeToString(seed[:8]))
	require.NotContains(t, string(doc), fmt.Sprint(seed[:8])[1:20])
	for i := range 3 {
		require.NotContains(t, string(doc), base64.StdEncoding.EncodeToString(seed[i:i+12]))
	}
}
