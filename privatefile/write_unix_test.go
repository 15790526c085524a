// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

func TestUmaskDoesNotMatter(t *testing.T) {
	for _, mask := range []int{0o000, 0o022, 0o077, 0o177, 0o277, 0o777} {
		for _, old := range []fs.FileMode{0, 0o600, 0o644, 0o666, 0o400} { // 0: none
			t.Run(fmt.Sprintf("%04o over %v", mask, old), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "f")
				if old != 0 {
					put(t, path, "old", old)
				}
				umask(t, mask)
				require.NoError(t, privatefile.Write(path, []byte("new"), privatefile.Config{}))
				want(t, path, "new", 0o600)
				if old != 0 {
					return
				}
				require.NoError(t, privatefile.Create(path+"c", []byte("new"), privatefile.Config{}))
				want(t, path+"c", "new", 0o600)
				f, _, err := privatefile.OpenAppend(path+"a", privatefile.Config{})
				require.NoError(t, err)
				require.NoError(t, f.Close())
				want(t, path+"a", "", 0o600)
				require.Len(t, names(t, dir), 3)
			})
		}
	}
	umask(t, 0o022)
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "old", 0o644)
	require.NoError(t, os.WriteFile(path, []byte("new"), 0o600))
	want(t, path, "new", 0o644) // os.WriteFile: the mode is for new files only
}

func TestWriteLeavesAnOpenReaderTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "old", 0o644)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, privatefile.Write(path, []byte("new"), privatefile.Config{}))
	b := make([]byte, 10)
	n, err := f.Read(b)
	require.NoError(t, err)
	require.Equal(t, "old", string(b[:n]))
}

func TestEmptyContent(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string][]byte{"nil": nil, "empty": {}} {
		path := filepath.Join(dir, name)
		require.NoError(t, privatefile.Create(path, data, privatefile.Config{}))
		require.NoError(t, privatefile.Write(path, data, privatefile.Config{}))
		got, _, err := privatefile.Read(path, privatefile.Config{})
		require.NoError(t, err)
		require.NotNil(t, got, "nil is for errors")
		require.Empty(t, got)
	}
}

func TestLongestNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("n", 255))
	require.NoError(t, privatefile.Write(path, []byte("x"), privatefile.Config{}))
	want(t, path, "x", 0o600)
	err := privatefile.Write(path+"n", []byte("x"), privatefile.Config{})
	require.ErrorIs(t, err, syscall.ENAMETOOLONG)
	require.Len(t, names(t, dir), 1)
}

func TestCreateLeavesWhateverIsThere(t *testing.T) {
	for name, object := range objects(t) {
		t.Run(name, func(t *testing.T) {
			base, err := os.MkdirTemp("", "pf")
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(base) })
			path, outside := filepath.Join(base, "f"), filepath.Join(base, "o")
			put(t, outside, content, 0o600)
			object.make(path, outside)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			err = privatefile.Create(path, []byte("new"), privatefile.Config{AllowHardlinks: true})
			require.ErrorIs(t, err, privatefile.Exists)
			require.ErrorIs(t, err, fs.ErrExist)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
			want(t, outside, content, 0o600)
			require.Len(t, names(t, base), 2)
		})
	}
}

// TestCreateHasOneWinner lets many create at once; the loser of each round reads the winner's whole file at once.
func TestCreateHasOneWinner(t *testing.T) {
	dir := t.TempDir()
	const rounds, creators = 20, 8
	for round := range rounds {
		path := filepath.Join(dir, fmt.Sprint("key", round))
		var wg sync.WaitGroup
		var won, bad atomic.Int64
		start := make(chan struct{})
		for i := range creators {
			data := bytes.Repeat([]byte{byte('a' + i)}, 50_000+i)
			wg.Go(func() {
				<-start
				err := privatefile.Create(path, data, privatefile.Config{})
				got, _, rerr := privatefile.Read(path, privatefile.Config{})
				whole := rerr == nil && len(got) == 50_000+int(got[0]-'a') && bytes.Count(got, got[:1]) == len(got)
				switch {
				case !whole:
					bad.Add(1)
				case err == nil && bytes.Equal(got, data):
					won.Add(1)
				case !errors.Is(err, fs.ErrExist):
					bad.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
		require.Zero(t, bad.Load())
	}
	require.Len(t, names(t, dir), rounds)
}

// The naive way to be first looks and then writes: it has several winners, or a loser sees half a file.
func TestCreateNaivelyHasSeveralWinners(t *testing.T) {
	dir := t.TempDir()
	for round := range 2000 {
		path := filepath.Join(dir, fmt.Sprint("key", round))
		var wg sync.WaitGroup
		var won atomic.Int64
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-start
				if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && os.WriteFile(path, []byte("x"), 0o600) == nil {
					won.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() > 1 {
			return
		}
	}
	t.Fatal("the race that Create is for did not happen here, so that the test above shows nothing")
}

func TestLinkNewIsTheSamePromise(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	put(t, from, "mine", 0o600)
	require.NoError(t, privatefile.LinkNew(dir, "from", "to"))
	want(t, to, "mine", 0o600)
	require.Equal(t, []string{"to"}, names(t, dir))

	put(t, from, "late", 0o600)
	require.ErrorIs(t, privatefile.LinkNew(dir, "from", "to"), fs.ErrExist)
	want(t, to, "mine", 0o600)

	require.NoError(t, os.Remove(to))
	require.NoError(t, os.Symlink(filepath.Join(dir, "nothing"), to))
	require.ErrorIs(t, privatefile.LinkNew(dir, "from", "to"), fs.ErrExist)
	require.Equal(t, []string{"from", "to"}, names(t, dir))
}

func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, privatefile.Write(path, bytes.Repeat([]byte{'a'}, 100_000), privatefile.Config{}))
	var stop atomic.Bool
	var reads atomic.Int64
	var readers, writers sync.WaitGroup
	readErrs := make(chan error, 2)
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				data, _, err := privatefile.Read(path, privatefile.Config{})
				if err == nil && bytes.Count(data, data[:1]) != len(data) {
					err = errors.New("a mixed file")
				}
				if err != nil {
					readErrs <- err
					return
				}
				reads.Add(1)
			}
		})
	}
	errs := make([]error, 8)
	for i := range errs {
		writers.Go(func() {
			for n := range 10 {
				errs[i] = errors.Join(errs[i], privatefile.Write(path, bytes.Repeat([]byte{byte('a' + i)}, 100_000>>(n%3)), privatefile.Config{}))
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Empty(t, readErrs)
	require.Positive(t, reads.Load())
	require.Equal(t, []string{"f"}, names(t, dir))
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	dead := func() string {
		name, die, err := privatefile.NewTemp(dir)
		require.NoError(t, err)
		die()
		return name
	}
	living, die, err := privatefile.NewTemp(dir)
	require.NoError(t, err)
	want(t, filepath.Join(dir, living), "", 0o600)
	dead()
	dead()
	require.Len(t, temps(t, dir), 3)
	require.NoError(t, privatefile.Write(path, []byte("x"), privatefile.Config{}))
	require.Equal(t, []string{living}, temps(t, dir), "a living writer keeps its file")
	dead()
	require.ErrorIs(t, privatefile.Create(path, []byte("x"), privatefile.Config{}), fs.ErrExist)
	require.Equal(t, []string{living}, temps(t, dir), "a Create that loses sweeps too")
	die()
	require.NoError(t, privatefile.Create(path+"2", []byte("x"), privatefile.Config{}))
	require.Empty(t, temps(t, dir))
}

// Whoever may write in the folder can use our names: nothing is removed, followed or waited for because of that.
func TestSweepOnlyTakesFiles(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "dir"), filepath.Join(base, "outside")
	require.NoError(t, os.Mkdir(dir, 0o700))
	put(t, outside, content, 0o600)
	at := func(name string) string { return filepath.Join(dir, ".privatefile-"+name+".tmp") }
	require.NoError(t, os.Symlink(outside, at("link")))
	require.NoError(t, os.Mkdir(at("folder"), 0o700))
	require.NoError(t, syscall.Mkfifo(at("fifo"), 0o600))
	put(t, filepath.Join(dir, ".privatefile-backup"), content, 0o600)
	put(t, filepath.Join(dir, "f.tmp"), content, 0o600)
	start := time.Now()
	require.NoError(t, privatefile.Write(filepath.Join(dir, "f"), []byte("x"), privatefile.Config{}))
	require.Less(t, time.Since(start), 5*time.Second)
	require.Equal(t, []string{
		".privatefile-backup", ".privatefile-fifo.tmp", ".privatefile-folder.tmp", ".privatefile-link.tmp", "f", "f.tmp",
	}, names(t, dir))
	want(t, outside, content, 0o600)
}

func TestSweepOfAFullFolder(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		put(t, filepath.Join(dir, fmt.Sprint("other", i)), "", 0o600)
		if i%10 == 0 {
			put(t, filepath.Join(dir, fmt.Sprintf(".privatefile-%d.tmp", i)), "", 0o600)
		}
	}
	require.Len(t, temps(t, dir), 100)
	require.NoError(t, privatefile.Write(filepath.Join(dir, "f"), nil, privatefile.Config{}))
	require.Empty(t, temps(t, dir))
	require.Len(t, names(t, dir), 1001)
}

// Between making its temporary file and locking it a writer looks dead. Sweepers that never rest must not hurt it.
func TestSweepersDoNotHurtWriters(t *testing.T) {
	dir := t.TempDir()
	var stop atomic.Bool
	var sweepers, writers sync.WaitGroup
	for range 3 {
		sweepers.Go(func() {
			for !stop.Load() {
				if err := privatefile.Sweep(dir); err != nil {
					panic(err)
				}
			}
		})
	}
	errs := make([]error, 3)
	each := 100
	if testing.Short() {
		each = 20
	}
	for i := range errs {
		writers.Go(func() {
			for n := range each {
				path := filepath.Join(dir, fmt.Sprint(i, n%5))
				if err := privatefile.Write(path, []byte("x"), privatefile.Config{}); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	sweepers.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Empty(t, temps(t, dir))
	require.Len(t, names(t, dir), 15)
}
