// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

func bindFile(file string) credcipher.Binding { return credcipher.Binding{"store", file} }

// A store is a directory of documents under the old key.
type store struct {
	t     testing.TB
	dir   string
	root  *os.Root
	files []string
}

func newStore(t testing.TB) *store {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return &store{t: t, dir: dir, root: root}
}

func (s *store) put(file string, doc []byte) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Dir(filepath.Join(s.dir, file)), 0o700))
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, file), doc, 0o600))
}

func (s *store) add(file string, doc []byte) {
	s.t.Helper()
	s.put(file, doc)
	s.files = append(s.files, file)
}

func (s *store) get(file string) []byte {
	s.t.Helper()
	doc, err := os.ReadFile(filepath.Join(s.dir, file))
	require.NoError(s.t, err)
	return doc
}

func (s *store) reseal(c *credcipher.Cipher) (credcipher.ResealReport, error) {
	return c.Reseal(s.t.Context(), s.root, s.files, bindFile)
}

// names lists what lies in the directory and its folders.
func (s *store) names() (names []string) {
	s.t.Helper()
	require.NoError(s.t, fs.WalkDir(s.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	return names
}

func (s *store) report(want, got credcipher.ResealReport) {
	s.t.Helper()
	require.Empty(s.t, cmp.Diff(want, got, cmpopts.IgnoreUnexported(want)))
}

func whole(t testing.TB, k ring, file string, plaintext string) []byte {
	t.Helper()
	return sealed(t, strict(t, k), []byte(plaintext), bindFile(file))
}

func inFields(t testing.TB, k ring, file, doc string, pointers ...string) []byte {
	t.Helper()
	out, err := strict(t, k).SealFields([]byte(doc), pointers, bindFile(file))
	require.NoError(t, err)
	return out
}

func TestReseal(t *testing.T) {
	s := newStore(t)
	s.add("whole.json", append(whole(t, oldRing, "whole.json", `{"n":1.50}`), " \n"...))
	s.add("sub/fields.json", inFields(t, oldRing, "sub/fields.json", ` {"a":"1" , "l":[{"b~/":2.0}],"rest":[1,{"x":null}]} `, "/a", "/l/0/b~0~1"))
	mixed := inFields(t, oldRing, "mixed.json", `{"a":1,"b":2}`, "/a")
	mixed, err := strict(t, newRing).SealFields(mixed, []string{"/b"}, bindFile("mixed.json"))
	require.NoError(t, err)
	s.add("mixed.json", mixed)
	s.add("array.json", inFields(t, oldRing, "array.json", `[["x"]]`, "/0/0"))
	s.add("current.json", whole(t, newRing, "current.json", "x"))
	s.add("v1.json", []byte(legacy("v1")))
	current := s.get("current.json")
	require.NoError(t, os.Chmod(filepath.Join(s.dir, "whole.json"), 0o640))

	var progress []credcipher.ResealProgress
	c := newCipher(t, credcipher.Config{Keyring: bothRing, LegacyKey: pattern(9), Progress: func(p credcipher.ResealProgress) { progress = append(progress, p) }})
	report, err := s.reseal(c)
	require.NoError(t, err)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 8}, Resealed: 5}, report)
	n, err := report.StillUsed("old")
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = report.StillUsed("new")
	require.NoError(t, err)
	require.Equal(t, 8, n)
	require.Equal(t, []credcipher.ResealProgress{
		{File: "array.json", Done: 1, Total: 6, Resealed: true},
		{File: "current.json", Done: 2, Total: 6},
		{File: "mixed.json", Done: 3, Total: 6, Resealed: true},
		{File: "sub/fields.json", Done: 4, Total: 6, Resealed: true},
		{File: "v1.json", Done: 5, Total: 6, Resealed: true},
		{File: "whole.json", Done: 6, Total: 6, Resealed: true},
	}, progress)

	// The old key and the legacy key are gone, and everything still says the same.
	alone := strict(t, newRing)
	got, _, err := alone.Open(s.get("whole.json"), bindFile("whole.json"))
	require.NoError(t, err)
	require.Equal(t, `{"n":1.50}`, string(got))
	got, _, err = alone.OpenFields(s.get("sub/fields.json"), []string{"/a", "/l/0/b~0~1"}, bindFile("sub/fields.json"))
	require.NoError(t, err)
	require.Equal(t, ` {"a":"1" , "l":[{"b~/":2.0}],"rest":[1,{"x":null}]} `, string(got))
	got, _, err = alone.OpenFields(s.get("mixed.json"), []string{"/a", "/b"}, bindFile("mixed.json"))
	require.NoError(t, err)
	require.Equal(t, `{"a":1,"b":2}`, string(got))
	require.Equal(t, oneField.FindAllString(string(mixed), -1)[0], oneField.FindAllString(string(s.get("mixed.json")), -1)[1], "the field that needed nothing")
	got, _, err = alone.Open(s.get("v1.json"), bindFile("v1.json"))
	require.NoError(t, err)
	require.Equal(t, "v1", string(got))
	require.Equal(t, current, s.get("current.json"))
	requireMode(t, 0o640, filepath.Join(s.dir, "whole.json"))
	require.Len(t, s.names(), len(s.files), "nothing stays beside the files")

	// Again: there is nothing to do, and it counts all the same.
	before := map[string][]byte{}
	for _, f := range s.files {
		before[f] = s.get(f)
	}
	report, err = s.reseal(c)
	require.NoError(t, err)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 8}}, report)
	for _, f := range s.files {
		require.Equal(t, before[f], s.get(f))
	}
}

// TestResealLeaves: a file that does not open stays as it is, the others move, and the count is honest.
func TestResealLeaves(t *testing.T) {
	flipped := func(doc []byte) []byte {
		blob := blobOf(t, doc)
		blob[len(blob)-1] ^= 1
		return docOf("old", blob)
	}
	lost := ring{primary: "lost", keys: map[string][]byte{"lost": pattern(7)}}
	rows := []struct {
		why     string
		doc     []byte
		want    error
		keyIDs  map[string]int
		counted bool
	}{
		{"changed", flipped(whole(t, oldRing, "bad.json", "x")), credcipher.ErrTampered, map[string]int{"old": 1}, true},
		{"of another file", whole(t, oldRing, "other.json", "x"), credcipher.ErrWrongKeyOrContext, map[string]int{"old": 1}, true},
		{"of a lost key", whole(t, lost, "bad.json", "x"), credcipher.ErrUnknownKey, map[string]int{"lost": 1}, true},
		{"plaintext", []byte(`{"token":"visible-marker"}`), credcipher.ErrPlaintext, nil, true},
		{"empty", nil, credcipher.ErrMalformed, nil, false},
		{"half an envelope", whole(t, oldRing, "bad.json", "x")[:50], credcipher.ErrMalformed, nil, false},
		{"version 1 without its key", []byte(legacyDoc), credcipher.ErrUnknownKey, map[string]int{"": 1}, true},
		{"fields of another file", inFields(t, oldRing, "other.json", `{"a":1,"b":2}`, "/a", "/b"), credcipher.ErrWrongKeyOrContext, map[string]int{"old": 2}, true},
		{"one field malformed", bytes.Replace(inFields(t, oldRing, "bad.json", `{"a":1,"b":2}`, "/a", "/b"), []byte(`"kid"`), []byte(`"KID"`), 1), credcipher.ErrMalformed, map[string]int{"old": 1}, false},
		{"one field under a lost key", inFields(t, lost, "bad.json", string(inFields(t, oldRing, "bad.json", `{"a":1,"b":2}`, "/a")), "/b"), credcipher.ErrUnknownKey, map[string]int{"old": 1, "lost": 1}, true},
		{"a field twice", []byte(strings.Replace(string(inFields(t, oldRing, "bad.json", `{"a":1,"b":2}`, "/a")), `"b":2`, `"a":`+oneFieldOld(t), 1)), credcipher.ErrMalformed, map[string]int{"old": 1}, false},
		{"fields in broken JSON", inFields(t, oldRing, "bad.json", `{"a":1,"b":2}`, "/a")[1:], credcipher.ErrMalformed, nil, false},
		{"a pointer of 4097 bytes", []byte(`{"` + strings.Repeat("x", 4096) + `":` + oneFieldOld(t) + `}`), credcipher.ErrMalformed, nil, false},
	}
	for _, r := range rows {
		t.Run(r.why, func(t *testing.T) {
			s := newStore(t)
			s.add("a.json", whole(t, oldRing, "a.json", "x"))
			s.add("bad.json", r.doc)
			s.add("c.json", whole(t, oldRing, "c.json", "x"))
			report, err := s.reseal(strict(t, bothRing))
			require.ErrorIs(t, err, r.want)
			require.ErrorContains(t, err, "bad.json")
			quiet(t, err)
			require.Equal(t, string(r.doc), string(s.get("bad.json")))
			want := map[string]int{"new": 2}
			for id, n := range r.keyIDs {
				want[id] += n
			}
			s.report(credcipher.ResealReport{KeyIDs: want, Resealed: 2, Failed: []string{"bad.json"}}, report)
			n, err := report.StillUsed("old")
			require.Equal(t, r.counted, err == nil)
			require.Equal(t, r.keyIDs["old"], n)
			require.Len(t, s.names(), 3)
		})
	}
	require.Len(t, rows, 13)
	_, err := credcipher.ResealReport{}.StillUsed("old")
	quiet(t, err)
}

func oneFieldOld(t testing.TB) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(inFields(t, oldRing, "bad.json", `{"a":9}`, "/a")), `{"a":`), "}")
}

func TestResealLongestPointer(t *testing.T) {
	s := newStore(t)
	name := strings.Repeat("~", 2047) // two bytes each in a pointer, and the slash
	s.add("a.json", inFields(t, oldRing, "a.json", `{"`+name+`":1}`, "/"+strings.Repeat("~0", 2047)))
	_, err := s.reseal(strict(t, bothRing))
	require.NoError(t, err)
}

// TestResealPointersTogether: a document with a long name over many fields spells it out for each.
func TestResealPointersTogether(t *testing.T) {
	field := oneFieldOld(t)
	for n, want := range map[int]error{4096: credcipher.ErrWrongKeyOrContext, 4097: credcipher.ErrMalformed} { // of 4096 bytes each
		var doc bytes.Buffer
		fmt.Fprintf(&doc, `{"%s":{`, strings.Repeat("x", 4090))
		for i := range n {
			fmt.Fprintf(&doc, `"%04d":%s,`, i, field)
		}
		doc.Truncate(doc.Len() - 1)
		doc.WriteString("}}")
		s := newStore(t)
		s.add("a.json", doc.Bytes())
		_, err := s.reseal(strict(t, bothRing))
		require.ErrorIs(t, err, want)
	}
}

// TestResealIsLinear: time, memory and the error for a hostile document stay within a small multiple of its size.
func TestResealIsLinear(t *testing.T) {
	size := 4 << 20
	if raceEnabled {
		size = 1 << 18
	}
	cost := func(doc string) (time.Duration, uint64) {
		s := newStore(t)
		s.add("a.json", []byte(doc))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		_, err := s.reseal(strict(t, bothRing))
		spent := time.Since(began)
		runtime.ReadMemStats(&after)
		quiet(t, err)
		require.Less(t, len(err.Error()), 10_000)
		return spent, after.TotalAlloc - before.TotalAlloc
	}
	flat, _ := cost(`{"a":"` + strings.Repeat("x", size) + `"}`)
	nested, allocated := cost(`{"a":` + strings.Repeat(`{"_encrypted":0,"x":`, 900) + `"` + strings.Repeat("x", size) + `"` + strings.Repeat("}", 901))
	require.Less(t, nested, 50*flat+time.Second, "each envelope in another one is read again")
	require.Less(t, allocated, uint64(10*size)+1<<20)
	_, allocated = cost(`{"` + strings.Repeat("p", 4000) + `":[` + strings.Repeat(`{"_encrypted":0},`, size/17) + `0]}`)
	require.Less(t, allocated, uint64(20*size)+64<<20, "each pointer is spelt out")
	_, allocated = cost(`[` + strings.Repeat(`{"_encrypted":0},`, size/17) + `0]`)
	require.Less(t, allocated, uint64(100*size)+1<<20)
}

func TestResealTakesPlainFilesOnly(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.json")
	for why, make := range map[string]func(s *store, path string) error{
		"a link": func(s *store, path string) error { s.put("target", s.get("a.json")); return os.Symlink("target", path) },
		"a link outside": func(s *store, path string) error {
			return errors.Join(os.WriteFile(outside, s.get("a.json"), 0o600), os.Symlink(outside, path))
		},
		"a second name": func(s *store, path string) error {
			s.put("target", s.get("a.json"))
			return os.Link(filepath.Join(s.dir, "target"), path)
		},
		"a FIFO":      func(s *store, path string) error { return mkfifo(path) },
		"a directory": func(s *store, path string) error { return os.Mkdir(path, 0o700) },
		"nothing":     func(s *store, path string) error { return nil },
		"too large a file": func(s *store, path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 90<<20))
		},
	} {
		t.Run(why, func(t *testing.T) {
			s := newStore(t)
			s.add("a.json", whole(t, oldRing, "a.json", "x"))
			s.add("z.json", whole(t, oldRing, "z.json", "x"))
			require.NoError(t, make(s, filepath.Join(s.dir, "m.json")))
			s.files = append(s.files, "m.json")
			before, _ := os.Lstat(filepath.Join(s.dir, "m.json"))
			report, err := s.reseal(strict(t, bothRing))
			quiet(t, err)
			after, _ := os.Lstat(filepath.Join(s.dir, "m.json"))
			require.Equal(t, before != nil, after != nil)
			if before != nil {
				require.True(t, os.SameFile(before, after))
			}
			s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 2}, Resealed: 2, Failed: []string{"m.json"}}, report)
			_, err = report.StillUsed("old")
			require.Error(t, err)
		})
	}
	s := newStore(t)
	s.files = []string{"../outside.json"}
	_, err := s.reseal(strict(t, bothRing))
	quiet(t, err)
}

func TestResealArguments(t *testing.T) {
	s := newStore(t)
	c := strict(t, bothRing)
	_, err := c.Reseal(t.Context(), nil, nil, bindFile)
	quiet(t, err)
	_, err = c.Reseal(t.Context(), s.root, nil, nil)
	quiet(t, err)
	report, err := c.Reseal(t.Context(), s.root, nil, bindFile)
	require.NoError(t, err)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{}}, report)

	t.Run("a place without a name", func(t *testing.T) {
		s := newStore(t)
		s.add("a.json", whole(t, oldRing, "a.json", "x"))
		s.add("v1.json", []byte(legacyDoc))
		c := newCipher(t, credcipher.Config{Keyring: bothRing, LegacyKey: pattern(9)})
		report, err := c.Reseal(t.Context(), s.root, s.files, func(file string) credcipher.Binding {
			if file == "v1.json" {
				return nil
			}
			return bindFile(file)
		})
		quiet(t, err)
		require.Equal(t, legacyDoc, string(s.get("v1.json")))
		s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 1, "": 1}, Resealed: 1, Failed: []string{"v1.json"}}, report)
	})
	t.Run("a file twice counts once", func(t *testing.T) {
		s := newStore(t)
		s.add("a.json", whole(t, oldRing, "a.json", "x"))
		s.files = append(s.files, "a.json")
		report, err := s.reseal(c)
		require.NoError(t, err)
		s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 1}, Resealed: 1}, report)
	})
	t.Run("cancelled", func(t *testing.T) {
		s := newStore(t)
		for i := range 4 {
			file := fmt.Sprintf("%d.json", i)
			s.add(file, whole(t, oldRing, file, "x"))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("enough")
		c := newCipher(t, credcipher.Config{Keyring: bothRing, Progress: func(p credcipher.ResealProgress) {
			if p.Done == 2 {
				cancel(stop)
			}
		}})
		report, err := c.Reseal(ctx, s.root, s.files, bindFile)
		require.ErrorIs(t, err, stop)
		require.ErrorContains(t, err, "2 of 4")
		s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 2}, Resealed: 2}, report)
		_, err = report.StillUsed("old")
		require.Error(t, err)
	})
	t.Run("the keyring fails", func(t *testing.T) {
		s := newStore(t)
		s.add("a.json", whole(t, oldRing, "a.json", "x"))
		before := s.get("a.json")
		down := bothRing
		down.err = errFlaky
		_, err := s.reseal(strict(t, down))
		require.ErrorIs(t, err, errFlaky)
		require.Equal(t, before, s.get("a.json"))
	})
}

func TestResealMigrates(t *testing.T) {
	s := newStore(t)
	s.add("plain.json", []byte(`{"token":"visible-marker"}`))
	s.add("text", []byte("visible-marker"))
	s.add("whole.json", whole(t, newRing, "whole.json", "x"))
	s.add("fields.json", inFields(t, oldRing, "fields.json", `{"a":1,"b":2}`, "/a"))
	s.add("stripped.json", []byte(`{"token":"evil"}`))
	m := &memoryMarker{places: []string{"store|stripped.json"}}
	report, err := s.reseal(migrating(t, bothRing, m))
	require.ErrorIs(t, err, credcipher.ErrDowngrade)
	require.ErrorContains(t, err, "stripped.json")
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 4}, Resealed: 3, Failed: []string{"stripped.json"}}, report)
	require.Equal(t, []string{"store|stripped.json", "store|fields.json|#/a", "store|plain.json", "store|text", "store|whole.json"}, m.places)
	require.Equal(t, `{"token":"evil"}`, string(s.get("stripped.json")))
	alone := strict(t, newRing)
	got, _, err := alone.Open(s.get("plain.json"), bindFile("plain.json"))
	require.NoError(t, err)
	require.Equal(t, `{"token":"visible-marker"}`, string(got))
	got, _, err = alone.OpenFields(s.get("fields.json"), []string{"/a"}, bindFile("fields.json"))
	require.NoError(t, err)
	require.Equal(t, `{"a":1,"b":2}`, string(got))

	t.Run("a marker that fails is an error, and what was sealed stays sealed", func(t *testing.T) {
		s := newStore(t)
		s.add("plain.json", []byte(`{"token":"x"}`))
		report, err := s.reseal(migrating(t, newRing, &memoryMarker{writeErr: errFlaky}))
		require.ErrorIs(t, err, errFlaky)
		quiet(t, err)
		_, err = report.StillUsed("old")
		require.Error(t, err)
		_, _, err = alone.Open(s.get("plain.json"), bindFile("plain.json"))
		require.NoError(t, err)
	})
	t.Run("a keyring that fails leaves the plaintext", func(t *testing.T) {
		s := newStore(t)
		s.add("plain.json", []byte(`{"token":"x"}`))
		report, err := s.reseal(migrating(t, ring{err: errFlaky}, &memoryMarker{}))
		require.ErrorIs(t, err, errFlaky)
		require.Equal(t, `{"token":"x"}`, string(s.get("plain.json")))
		s.report(credcipher.ResealReport{KeyIDs: map[string]int{}, Failed: []string{"plain.json"}}, report)
	})
	t.Run("the list of a file marker moves and counts too", func(t *testing.T) {
		s := newStore(t)
		path := filepath.Join(s.dir, "marks")
		rotated := &atomic.Bool{}
		_, err := credcipher.NewFileMarker(path, rotating{rotated})
		require.NoError(t, err)
		m, err := credcipher.OpenFileMarker(path, rotating{rotated})
		require.NoError(t, err)
		s.add("a.json", whole(t, oldRing, "a.json", "x"))
		rotated.Store(true)
		report, err := s.reseal(migrating(t, bothRing, m))
		require.NoError(t, err)
		s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 2}, Resealed: 1}, report)
		m, err = credcipher.OpenFileMarker(path, newRing)
		require.NoError(t, err, "without the old key")
		marked, err := m.Sealed(bindFile("a.json"))
		require.NoError(t, err)
		require.True(t, marked)

		report, err = s.reseal(newCipher(t, credcipher.Config{Keyring: bothRing, Marker: m}))
		require.NoError(t, err)
		s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 2}}, report)
		require.NoError(t, os.Remove(path))
		report, err = s.reseal(newCipher(t, credcipher.Config{Keyring: bothRing, Marker: m}))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = report.StillUsed("old")
		require.Error(t, err)
	})
}

// rotating is a Keyring whose primary key changes.
type rotating struct{ rotated *atomic.Bool }

func (r rotating) PrimaryKey() (string, []byte, error) {
	if r.rotated.Load() {
		return bothRing.PrimaryKey()
	}
	return oldRing.PrimaryKey()
}

func (r rotating) LookupKey(id string) ([]byte, error) { return bothRing.LookupKey(id) }

func TestResealUnderInsecurePlaintextWritesNoPlaintext(t *testing.T) {
	s := newStore(t)
	s.add("plain.json", []byte("x"))
	s.add("whole.json", whole(t, oldRing, "whole.json", "x"))
	report, err := s.reseal(newCipher(t, credcipher.Config{Keyring: bothRing, Policy: credcipher.InsecurePlaintext}))
	require.NoError(t, err)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 1}, Resealed: 1, Plaintext: []string{"plain.json"}}, report)
	require.Equal(t, "x", string(s.get("plain.json")))
	_, _, err = strict(t, newRing).Open(s.get("whole.json"), bindFile("whole.json"))
	require.NoError(t, err)
}

func TestResealReportsPlaintextCopies(t *testing.T) {
	s := newStore(t)
	s.add("creds.json", whole(t, oldRing, "creds.json", "x"))
	s.add("sub/deep.json", whole(t, oldRing, "sub/deep.json", "x"))
	copies := []string{"#creds.json#", ".creds.json.swp", "creds.json-2024", "creds.json.2024.bak", "creds.json.bak", "creds.json_old", "creds.json~", "sub/deep.json copy"}
	for _, name := range copies {
		s.put(name, []byte(`{"token":"x"}`))
	}
	s.put("creds.json.sealed", whole(t, oldRing, "elsewhere", "x"))
	s.put("creds.json.fields", inFields(t, oldRing, "elsewhere", `{"a":1}`, "/a"))
	s.put("creds.json.empty", nil)
	s.put("other.json", []byte("x"))
	s.put("creds.jsonx", []byte("x"))
	s.put("sub/creds.json.bak", []byte("x"))
	require.NoError(t, os.Symlink("other.json", filepath.Join(s.dir, "creds.json.link")))
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "creds.json.d"), 0o700))
	report, err := s.reseal(strict(t, bothRing))
	require.NoError(t, err)
	s.report(credcipher.ResealReport{KeyIDs: map[string]int{"new": 2}, Resealed: 2, Plaintext: copies}, report)
}

// TestResealSeesALateWrite: a writer that comes between reading and replacing is not overwritten.
func TestResealSeesALateWrite(t *testing.T) {
	s := newStore(t)
	s.add("a.json", whole(t, oldRing, "a.json", "old content"))
	late := whole(t, newRing, "a.json", "late content")
	k := &hookedRing{ring: bothRing, at: 2, hook: func() { s.put("a.json", late) }}
	_, err := s.reseal(strict(t, k))
	quiet(t, err)
	require.Equal(t, late, s.get("a.json"))
	require.Len(t, s.names(), 1)
}

// hookedRing calls a hook when the primary key is asked for the nth time.
type hookedRing struct {
	ring
	at   int
	hook func()
}

func (k *hookedRing) PrimaryKey() (string, []byte, error) {
	if k.at--; k.at == 0 {
		k.hook()
	}
	return k.ring.PrimaryKey()
}

// TestResealVerifies: what cannot be opened again does not take the file's place.
func TestResealVerifies(t *testing.T) {
	s := newStore(t)
	s.add("a.json", whole(t, oldRing, "a.json", "x"))
	before := s.get("a.json")
	// The ring gives one key to seal under and another one to open with.
	keys := map[string][]byte{"old": pattern(1), "new": pattern(2)}
	k := &hookedRing{ring: ring{primary: "new", keys: keys}, at: 3, hook: func() { keys["new"] = pattern(3) }}
	_, err := s.reseal(strict(t, k))
	require.ErrorIs(t, err, credcipher.ErrWrongKeyOrContext)
	require.Equal(t, before, s.get("a.json"))
	require.Len(t, s.names(), 1, "a failed run leaves nothing behind")
}

// TestResealWithReaders: who reads meanwhile finds whole envelopes, and two runs at once do no harm.
func TestResealWithReaders(t *testing.T) {
	s := newStore(t)
	for i := range 40 {
		file := fmt.Sprintf("%02d.json", i)
		s.add(file, whole(t, oldRing, file, file))
	}
	both := strict(t, bothRing)
	stop := make(chan struct{})
	var reads atomic.Int64
	var readers, runs sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				file := s.files[i%len(s.files)]
				doc, err := os.ReadFile(filepath.Join(s.dir, file))
				if err != nil {
					t.Error(err)
					return
				}
				if got, _, err := both.Open(doc, bindFile(file)); err != nil || string(got) != file {
					t.Error(file, err)
				}
				reads.Add(1)
			}
		})
	}
	for range 2 {
		runs.Go(func() { _, _ = both.Reseal(t.Context(), s.root, s.files, bindFile) })
	}
	runs.Wait()
	close(stop)
	readers.Wait()
	report, err := s.reseal(both)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"new": 40}, report.KeyIDs)
	require.Greater(t, reads.Load(), int64(40))
	require.Len(t, s.names(), 40)
}

// TestResealKilled kills a process that moves files from key to key, at random moments. Every file opens, with its
// mode, and the next run ends the work and leaves nothing beside the files.
func TestResealKilled(t *testing.T) {
	const role = "CREDCIPHER_RESEAL_CHILD"
	const n = 30
	if dir := os.Getenv(role); dir != "" {
		root, err := os.OpenRoot(dir)
		require.NoError(t, err)
		var files []string
		for i := range n {
			files = append(files, fmt.Sprintf("%02d.json", i))
		}
		fmt.Println("begun")
		for i := 0; ; i++ {
			k := bothRing
			k.primary = []string{"new", "old"}[i%2]
			_, err := strict(t, k).Reseal(t.Context(), root, files, bindFile)
			require.NoError(t, err)
		}
	}
	s := newStore(t)
	for i := range n {
		file := fmt.Sprintf("%02d.json", i)
		if i%2 == 0 {
			s.add(file, whole(t, oldRing, file, file))
		} else {
			s.add(file, inFields(t, oldRing, file, `{"a":"`+file+`"}`, "/a"))
		}
		require.NoError(t, os.Chmod(filepath.Join(s.dir, file), 0o640))
	}
	both := strict(t, bothRing)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestResealKilled$")
		cmd.Env = append(os.Environ(), role+"="+s.dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = out.Read(make([]byte, 5))
		require.NoError(t, err)
		time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		for i, file := range s.files {
			var got []byte
			if i%2 == 0 {
				got, _, err = both.Open(s.get(file), bindFile(file))
			} else {
				got, _, err = both.OpenFields(s.get(file), []string{"/a"}, bindFile(file))
			}
			require.NoError(t, err)
			require.Contains(t, string(got), file)
			requireMode(t, 0o640, filepath.Join(s.dir, file))
		}
	}
	report, err := s.reseal(both)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"new": n}, report.KeyIDs)
	require.Len(t, s.names(), n)
}
