// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

func openDir(t testing.TB, path string, c credcipher.DirConfig) *credcipher.Dir {
	t.Helper()
	if c.Binding == nil {
		c.Binding = credcipher.Binding{"store"}
	}
	d, err := credcipher.OpenDir(path, c)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDir(t *testing.T) {
	s := newStore(t)
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing)})
	require.NoError(t, d.Write("creds.json", secret))
	require.NoError(t, d.Write("keys/pre/1.json", []byte("one")))
	require.NoError(t, d.Write("keys/empty", nil))
	require.NoError(t, fstest.TestFS(d, "creds.json", "keys/pre/1.json", "keys/empty"))
	for _, name := range s.names() {
		require.NotContains(t, string(s.get(name)), "visible-marker")
		_, err := credcipher.Inspect(s.get(name))
		require.NoError(t, err)
		requireMode(t, 0o600, filepath.Join(s.dir, name))
	}
	requireMode(t, fs.ModeDir|0o700, filepath.Join(s.dir, "keys"))
	require.Equal(t, []string{"creds.json", "keys/empty", "keys/pre/1.json"}, s.names())

	got, err := d.ReadFile("creds.json")
	require.NoError(t, err)
	require.Equal(t, secret, got)
	info, err := fs.Stat(d, "creds.json")
	require.NoError(t, err)
	require.EqualValues(t, len(secret), info.Size())

	require.NoError(t, d.Write("creds.json", []byte("second")))
	require.NoError(t, d.Rename("creds.json", "keys/moved.json"))
	_, err = d.ReadFile("creds.json")
	require.ErrorIs(t, err, fs.ErrNotExist)
	got, err = d.ReadFile("keys/moved.json")
	require.NoError(t, err)
	require.Equal(t, "second", string(got))
	require.NoError(t, d.Rename("keys/moved.json", "keys/pre/1.json"), "over another file")
	got, err = d.ReadFile("keys/pre/1.json")
	require.NoError(t, err)
	require.Equal(t, "second", string(got))
	require.NoError(t, d.Rename("keys/pre/1.json", "keys/pre/1.json"), "to itself")
	require.NoError(t, d.Remove("keys/pre/1.json"))
	require.NoError(t, d.Remove("keys/pre"))
	require.ErrorIs(t, d.Remove("keys/pre"), fs.ErrNotExist)
	require.Equal(t, []string{"keys/empty"}, s.names())
}

func TestDirIsBound(t *testing.T) {
	s := newStore(t)
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing)})
	require.NoError(t, d.Write("a", secret))
	s.put("b", s.get("a"))
	_, err := d.ReadFile("b")
	require.ErrorIs(t, err, credcipher.ErrWrongKeyOrContext)
	require.ErrorContains(t, err, "open b: credcipher: ")
	other := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing), Binding: credcipher.Binding{"other"}})
	_, err = other.ReadFile("a")
	require.ErrorIs(t, err, credcipher.ErrWrongKeyOrContext)
	got, _, err := strict(t, newRing).Open(s.get("a"), credcipher.Binding{"store", "a"})
	require.NoError(t, err, "a Dir's files are documents bound to store and name")
	require.Equal(t, secret, got)
}

func TestDirRefusals(t *testing.T) {
	_, err := credcipher.OpenDir(t.TempDir(), credcipher.DirConfig{Backup: "/x"})
	quiet(t, err)
	for _, field := range []string{"Cipher", "Binding", "Backup"} {
		require.ErrorContains(t, err, "DirConfig."+field)
	}
	good := credcipher.DirConfig{Cipher: strict(t, newRing), Binding: credcipher.Binding{"store"}}
	for _, suffix := range []string{"/", "/../x", "a/b", "." + strings.Repeat("a", 16) + ".credcipher-tmp"} {
		bad := good
		bad.Backup = suffix
		_, err = credcipher.OpenDir(t.TempDir(), bad)
		quiet(t, err)
	}
	_, err = credcipher.OpenDir(filepath.Join(t.TempDir(), "missing"), good)
	require.ErrorIs(t, err, fs.ErrNotExist)
	quiet(t, err)
	zero := good
	zero.Cipher = &credcipher.Cipher{}
	_, err = credcipher.OpenDir(t.TempDir(), zero)
	quiet(t, err)

	s := newStore(t)
	s.put("plain", secret)
	require.NoError(t, os.Symlink("plain", filepath.Join(s.dir, "link")))
	d := openDir(t, s.dir, good)
	require.NoError(t, d.Write("dir/file", nil))
	temp := ".0123456789abcdef.credcipher-tmp"
	closed, err := credcipher.OpenDir(s.dir, good)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	n := 0
	for _, r := range []struct {
		d    *credcipher.Dir
		name string
		want error // nil: any
	}{
		{nil, "plain", nil}, {&credcipher.Dir{}, "plain", nil}, {closed, "plain", nil},
		{d, "../plain", fs.ErrInvalid}, {d, "/plain", fs.ErrInvalid}, {d, "", fs.ErrInvalid}, {d, "a//b", fs.ErrInvalid}, {d, "a\x00b", fs.ErrInvalid}, {d, temp, fs.ErrInvalid}, {d, "dir/" + temp, fs.ErrInvalid},
		{d, "dir/file/x", nil},
	} {
		for op, err := range map[string]error{
			"open":     second(r.d.Open(r.name)),
			"readfile": second(r.d.ReadFile(r.name)),
			"stat":     second(r.d.Stat(r.name)),
			"readdir":  second(r.d.ReadDir(r.name)),
			"write":    r.d.Write(r.name, nil),
			"rename":   r.d.Rename(r.name, "new"),
			"rename 2": r.d.Rename("plain", r.name),
			"remove":   r.d.Remove(r.name),
		} {
			require.Error(t, err, "%s %q", op, r.name)
			if r.want != nil {
				require.ErrorIs(t, err, r.want, "%s %q", op, r.name)
			}
			n++
		}
	}
	require.Equal(t, 88, n)
	require.Error(t, (*credcipher.Dir)(nil).Close())
	require.Error(t, second((&credcipher.Dir{}).Reseal(t.Context())))

	require.ErrorIs(t, second(d.ReadFile("plain")), credcipher.ErrPlaintext)
	require.ErrorIs(t, d.Rename("plain", "new"), credcipher.ErrPlaintext)
	require.Error(t, second(d.ReadFile("link")))
	require.Error(t, d.Write("link", nil), "a link is not replaced")
	require.Error(t, d.Write("dir", nil))
	require.Error(t, d.Write(".", nil))
	require.Error(t, second(d.ReadFile("dir")))
	require.Error(t, d.Rename("dir", "dir2"))
	require.Error(t, d.Rename("dir/file", "dir"))
	require.Error(t, d.Remove("dir"), "not empty")
	require.Equal(t, secret, s.get("plain"))
	require.Equal(t, []string{"dir/file", "link", "plain"}, s.names())
	var pathErr *fs.PathError
	require.ErrorAs(t, second(d.ReadFile("missing")), &pathErr)
	require.Equal(t, "missing", pathErr.Path)
}

func second[T any](_ T, err error) error { return err }

func TestDirMigrates(t *testing.T) {
	s := newStore(t)
	s.put("creds.json", secret)
	s.put("sub/keys.json", []byte("keys"))
	require.NoError(t, os.Chmod(filepath.Join(s.dir, "creds.json"), 0o640))
	m := &memoryMarker{}
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, newRing, m)})
	got, err := d.ReadFile("creds.json")
	require.NoError(t, err)
	require.Equal(t, secret, got)
	require.NotContains(t, string(s.get("creds.json")), "visible-marker", "it is sealed in place when it is first read")
	requireMode(t, 0o640, filepath.Join(s.dir, "creds.json"))
	require.Equal(t, []string{"store|creds.json"}, m.places)
	got, err = d.ReadFile("creds.json")
	require.NoError(t, err)
	require.Equal(t, secret, got)

	require.NoError(t, d.Write("new.json", []byte("new")))
	require.Contains(t, m.places, "store|new.json", "a finished write marks its place")
	s.put("creds.json", []byte("evil"))
	s.put("new.json", []byte("evil"))
	require.ErrorIs(t, second(d.ReadFile("creds.json")), credcipher.ErrDowngrade)
	require.ErrorIs(t, second(d.ReadFile("new.json")), credcipher.ErrDowngrade)

	report, err := d.Reseal(t.Context())
	require.ErrorIs(t, err, credcipher.ErrDowngrade)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 1}, Resealed: 1, Failed: []string{"creds.json", "new.json"}}, report)
	got, err = d.ReadFile("sub/keys.json")
	require.NoError(t, err)
	require.Equal(t, "keys", string(got))

	t.Run("a file with sealed fields, or what looks like some, is sealed as a whole", func(t *testing.T) {
		for _, doc := range []string{
			string(inFields(t, newRing, "a", `{"field":1,"token":"visible-marker"}`, "/field")),
			string(inFields(t, oldRing, "a", `{"field":1,"token":"visible-marker"}`, "/field")),
			`{"field":{"_encrypted":"mine"},"token":"visible-marker"}`,
		} {
			s := newStore(t)
			s.put("a", []byte(doc))
			s.put("b", []byte(doc))
			d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, bothRing, &memoryMarker{})})
			first, err := d.ReadFile("a")
			require.NoError(t, err)
			report, err := d.Reseal(t.Context())
			require.NoError(t, err)
			s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 2}, Resealed: 1}, report)
			again, err := d.ReadFile("a")
			require.NoError(t, err)
			moved, err := d.ReadFile("b")
			require.NoError(t, err)
			require.Equal(t, []string{doc, doc, doc}, []string{string(first), string(again), string(moved)})
			require.NotContains(t, string(s.get("a"))+string(s.get("b")), "visible-marker")
		}
	})
	t.Run("a marker that lost its file is an error, and no file that is gone", func(t *testing.T) {
		s := newStore(t)
		s.put("a", secret)
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, newRing, &memoryMarker{readErr: fs.ErrNotExist})})
		report, err := d.Reseal(t.Context())
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Equal(t, []string{"a"}, report.Failed)
	})
	t.Run("a mark that cannot be written gives nothing out", func(t *testing.T) {
		s := newStore(t)
		s.put("a", secret)
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, newRing, &memoryMarker{writeErr: errFlaky})})
		got, err := d.ReadFile("a")
		require.ErrorIs(t, err, errFlaky)
		require.Nil(t, got)
		require.ErrorIs(t, d.Write("b", nil), errFlaky)
	})
	t.Run("a keyring that fails leaves the plaintext", func(t *testing.T) {
		s := newStore(t)
		s.put("a", secret)
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, ring{err: errFlaky}, &memoryMarker{})})
		require.ErrorIs(t, second(d.ReadFile("a")), errFlaky)
		require.ErrorIs(t, d.Write("b", nil), errFlaky)
		require.Equal(t, secret, s.get("a"))
		require.Equal(t, []string{"a"}, s.names())
	})
}

func TestDirBackup(t *testing.T) {
	damage := map[string]func(doc []byte) []byte{
		"flipped": func(doc []byte) []byte {
			blob := blobOf(t, doc)
			blob[70] ^= 1
			return docOf("new", blob)
		},
		"cut":              func(doc []byte) []byte { return doc[:len(doc)/2] },
		"empty":            func([]byte) []byte { return nil },
		"zeros":            func(doc []byte) []byte { return make([]byte, len(doc)) },
		"plaintext":        func([]byte) []byte { return []byte("evil") },
		"of another place": func([]byte) []byte { return sealed(t, strict(t, newRing), []byte("evil"), here) },
	}
	for why, f := range damage {
		t.Run(why, func(t *testing.T) {
			s := newStore(t)
			var fallbacks []string
			config := credcipher.DirConfig{Cipher: strict(t, newRing), Backup: ".bak", OnFallback: func(name string, why error) {
				fallbacks = append(fallbacks, name)
				quiet(t, why)
			}}
			d := openDir(t, s.dir, config)
			require.NoError(t, d.Write("creds.json", []byte("old")))
			require.NoError(t, d.Rename("creds.json", "creds.json.bak"))
			require.NoError(t, d.Write("creds.json", []byte("new content")))
			s.put("creds.json", f(s.get("creds.json")))

			got, err := d.ReadFile("creds.json")
			require.NoError(t, err)
			require.Equal(t, "old", string(got))
			require.Equal(t, []string{"creds.json"}, fallbacks)
			info, err := d.Stat("creds.json")
			require.NoError(t, err)
			require.EqualValues(t, 3, info.Size())
			require.Equal(t, "creds.json", info.Name())

			config.Backup = ""
			require.Error(t, second(openDir(t, s.dir, config).ReadFile("creds.json")), "only if configured")

			s.put("creds.json.bak", []byte("evil backup"))
			require.Error(t, second(d.ReadFile("creds.json")), "a backup in plaintext")
			config.Backup = ".bak"
			config.Cipher = newCipher(t, credcipher.Config{Keyring: newRing, Policy: credcipher.InsecurePlaintext})
			got, _ = openDir(t, s.dir, config).ReadFile("creds.json")
			require.NotEqual(t, "evil backup", string(got), "under no policy")
			require.NoError(t, os.Remove(filepath.Join(s.dir, "creds.json.bak")))
			require.Error(t, second(d.ReadFile("creds.json")), "no backup")
		})
	}
	require.Len(t, damage, 6)

	t.Run("a key that is missing for now is no damage", func(t *testing.T) {
		s := newStore(t)
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, oldRing)})
		require.NoError(t, d.Write("a", []byte("current")))
		newDir := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing), Backup: ".bak"})
		require.NoError(t, newDir.Write("a.bak", []byte("older")))
		require.ErrorIs(t, second(newDir.ReadFile("a")), credcipher.ErrUnknownKey)
		require.NoError(t, newDir.Remove("a"))
		require.ErrorIs(t, second(newDir.ReadFile("a")), fs.ErrNotExist, "nor is a file that is not there")
	})
	t.Run("a backup bound to another name", func(t *testing.T) {
		s := newStore(t)
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing), Backup: ".bak"})
		require.NoError(t, d.Write("a", []byte("current")))
		s.put("a.bak", s.get("a"))
		s.put("a", nil)
		require.ErrorIs(t, second(d.ReadFile("a")), credcipher.ErrMalformed)
	})
	t.Run("under Migrate, where the plaintext is a downgrade", func(t *testing.T) {
		s := newStore(t)
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, newRing, &memoryMarker{}), Backup: "~"})
		require.NoError(t, d.Write("a", []byte("current")))
		require.NoError(t, d.Write("a~", []byte("older")))
		s.put("a", []byte("evil"))
		got, err := d.ReadFile("a")
		require.NoError(t, err)
		require.Equal(t, "older", string(got))
		s.put("a~", []byte("evil"))
		require.ErrorIs(t, second(d.ReadFile("a")), credcipher.ErrDowngrade)
	})
}

func TestDirReseal(t *testing.T) {
	s := newStore(t)
	old := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, oldRing)})
	for i := range 20 {
		require.NoError(t, old.Write(fmt.Sprintf("%d/f", i), []byte("content")))
	}
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, bothRing)})
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			for i := range 20 {
				if err := d.Write(fmt.Sprintf("%d/f", i), fmt.Appendf(nil, "written by %d", g)); err != nil {
					t.Error(err)
				}
				if got, err := d.ReadFile(fmt.Sprintf("%d/f", 19-i)); err != nil || len(got) == 0 {
					t.Error(err)
				}
			}
		})
	}
	report, err := d.Reseal(t.Context())
	wg.Wait()
	require.NoError(t, err)
	require.Equal(t, map[string]int{"new": 20}, report.KeyIDs)
	for i := range 20 {
		got, err := d.ReadFile(fmt.Sprintf("%d/f", i))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(got), "written by"), "a write was lost to Reseal")
	}
	require.Len(t, s.names(), 20)
}

// TestDirResealWhileFilesGo: a file that its library removes or renames meanwhile needs no key any more.
func TestDirResealWhileFilesGo(t *testing.T) {
	s := newStore(t)
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: newCipher(t, credcipher.Config{Keyring: bothRing, Progress: func(p credcipher.ResealProgress) {
		if p.Done == 1 {
			require.NoError(t, os.Remove(filepath.Join(s.dir, "b")))
			require.NoError(t, os.Rename(filepath.Join(s.dir, "c"), filepath.Join(s.dir, "d")))
		}
	}})})
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, d.Write(name, secret))
	}
	report, err := d.Reseal(t.Context())
	require.NoError(t, err)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 1}}, report)
	_, err = report.StillUsed("old")
	require.NoError(t, err)
}

// TestDirMigrationLosesNoWrite: many first readers of one plaintext file and a writer at once.
func TestDirMigrationLosesNoWrite(t *testing.T) {
	for range 20 {
		s := newStore(t)
		s.put("a", []byte("plain"))
		d := openDir(t, s.dir, credcipher.DirConfig{Cipher: migrating(t, newRing, &memoryMarker{})})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if got, err := d.ReadFile("a"); err != nil || string(got) != "plain" && string(got) != "written" {
					t.Error(string(got), err)
				}
			})
		}
		wg.Go(func() {
			if err := d.Write("a", []byte("written")); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		got, err := d.ReadFile("a")
		require.NoError(t, err)
		require.Equal(t, "written", string(got))
	}
}

func TestDirSweepsWhenItIsOpened(t *testing.T) {
	s := newStore(t)
	s.put("sub/."+hex.EncodeToString(bytes.Repeat([]byte{1}, 8))+".credcipher-tmp", []byte("left"))
	s.put("sub/kept", nil)
	openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing)})
	require.Equal(t, []string{"sub/kept"}, s.names())
}

func TestDirFiles(t *testing.T) {
	d := openDir(t, t.TempDir(), credcipher.DirConfig{Cipher: strict(t, newRing)})
	for i := range 3 {
		require.NoError(t, d.Write(fmt.Sprintf("f%d", i), []byte("0123456789")))
	}
	f, err := d.Open("f0")
	require.NoError(t, err)
	_, err = f.(io.Seeker).Seek(5, io.SeekStart)
	require.NoError(t, err)
	rest, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "56789", string(rest))
	require.NoError(t, f.Close())

	dir, err := d.Open(".")
	require.NoError(t, err)
	_, err = dir.Read(nil)
	require.Error(t, err)
	list := dir.(fs.ReadDirFile)
	var sizes []int
	for {
		entries, err := list.ReadDir(2)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		sizes = append(sizes, len(entries))
	}
	require.Equal(t, []int{2, 1}, sizes)
	for _, n := range []int{0, -1} {
		entries, err := list.ReadDir(n)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
}
