// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"bytes"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

// An opening is one of the three ways to take a file in: it gives the content that came with no error.
type opening func(t *testing.T, path string, c privatefile.Config) (string, privatefile.Report, error)

func openings() map[string]opening {
	return map[string]opening{
		"read": func(t *testing.T, path string, c privatefile.Config) (string, privatefile.Report, error) {
			data, r, err := privatefile.Read(path, c)
			if err != nil {
				require.Nil(t, data, "content beside an error")
			}
			return string(data), r, err
		},
		"append": func(t *testing.T, path string, c privatefile.Config) (string, privatefile.Report, error) {
			f, r, err := privatefile.OpenAppend(path, c)
			if err != nil {
				require.Nil(t, f, "a file beside an error")
				return "", r, err
			}
			defer f.Close()
			_, err = f.WriteString("+")
			require.NoError(t, err)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			return string(bytes.TrimSuffix(data, []byte("+"))), r, nil
		},
		"enforce": func(t *testing.T, path string, c privatefile.Config) (string, privatefile.Report, error) {
			f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
			require.NoError(t, err)
			defer f.Close()
			r, err := privatefile.Enforce(f, c)
			if err != nil {
				return "", r, err
			}
			data, err := io.ReadAll(f)
			require.NoError(t, err)
			return string(data), r, nil
		},
	}
}

// naive is what the package comment shows.
func naive(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if st, serr := os.Stat(path); serr == nil && st.Mode().Perm()&0o077 != 0 {
		os.Chmod(path, 0o600)
	}
	return data, err
}

func TestModes(t *testing.T) {
	const (
		repair = privatefile.Repair
		reject = privatefile.Reject
		warn   = privatefile.Warn
	)
	allow := func(p privatefile.LoosePolicy) privatefile.Config {
		return privatefile.Config{OnLoose: p, AllowTainted: true}
	}
	group := privatefile.Config{AllowGroupRead: true}
	for _, row := range []struct {
		name   string
		mode   fs.FileMode
		c      privatefile.Config
		reason privatefile.Reason // zero: taken
		after  fs.FileMode
		taint  bool
	}{
		{"private", 0o600, privatefile.Config{}, 0, 0o600, false},
		{"private and read-only", 0o400, privatefile.Config{OnLoose: reject}, 0, 0o400, false},
		{"its owner may run it", 0o700, privatefile.Config{OnLoose: reject}, 0, 0o700, false},
		{"the group may read: closed", 0o640, privatefile.Config{}, 0, 0o600, false},
		{"everybody may read: closed", 0o644, privatefile.Config{}, 0, 0o600, false},
		{"everybody but the group may read: closed", 0o604, privatefile.Config{}, 0, 0o600, false},
		{"read-only for everybody: closed, and no right is added", 0o444, privatefile.Config{}, 0, 0o400, false},
		{"a script for everybody: closed, and no longer one", 0o755, privatefile.Config{}, 0, 0o600, false},
		{"others may only run it: closed", 0o611, privatefile.Config{}, 0, 0o600, false},
		{"setuid: closed", 0o600 | fs.ModeSetuid, privatefile.Config{}, 0, 0o600, false},
		{"setgid: closed", 0o600 | fs.ModeSetgid, privatefile.Config{}, 0, 0o600, false},
		{"sticky: closed", 0o600 | fs.ModeSticky, privatefile.Config{}, 0, 0o600, false},
		{"the group may read, Reject", 0o640, privatefile.Config{OnLoose: reject}, privatefile.Loose, 0o640, false},
		{"others may only run it, Reject", 0o601, privatefile.Config{OnLoose: reject}, privatefile.Loose, 0o601, false},
		{"setuid, Reject", 0o600 | fs.ModeSetuid, privatefile.Config{OnLoose: reject}, privatefile.Loose, 0o600 | fs.ModeSetuid, false},
		{"the group may read, Warn", 0o640, privatefile.Config{OnLoose: warn}, 0, 0o640, false},
		{"setgid, Warn", 0o600 | fs.ModeSetgid, privatefile.Config{OnLoose: warn}, 0, 0o600 | fs.ModeSetgid, false},

		{"the group may write", 0o620, privatefile.Config{}, privatefile.Tainted, 0o620, true},
		{"others may write", 0o602, privatefile.Config{}, privatefile.Tainted, 0o602, true},
		{"everybody may write", 0o666, privatefile.Config{}, privatefile.Tainted, 0o666, true},
		{"everybody may write, Reject", 0o666, privatefile.Config{OnLoose: reject}, privatefile.Tainted, 0o666, true},
		{"everybody may write, Warn", 0o666, privatefile.Config{OnLoose: warn}, privatefile.Tainted, 0o666, true},
		{"everybody may write, allowed: closed", 0o666, allow(repair), 0, 0o600, true},
		{"everybody may write, allowed, Reject", 0o666, allow(reject), privatefile.Loose, 0o666, true},
		{"everybody may write, allowed, Warn", 0o666, allow(warn), 0, 0o666, true},
		{"AllowTainted of a private file", 0o600, allow(reject), 0, 0o600, false},
		{"AllowTainted of a readable file", 0o644, allow(repair), 0, 0o600, false},

		{"a Secret of Kubernetes", 0o440, group, 0, 0o440, false},
		{"a key on NFS", 0o640, group, 0, 0o640, false},
		{"group, nobody reads", 0o600, group, 0, 0o600, false},
		{"group, others too: closed for others", 0o644, group, 0, 0o640, false},
		{"group, which may run it: closed", 0o650, group, 0, 0o640, false},
		{"group, which may run it, Reject", 0o650, privatefile.Config{AllowGroupRead: true, OnLoose: reject}, privatefile.Loose, 0o650, false},
		{"group, which may write", 0o660, group, privatefile.Tainted, 0o660, true},
		{"group, which may write, allowed", 0o660, privatefile.Config{AllowGroupRead: true, AllowTainted: true}, 0, 0o640, true},
	} {
		for op, open := range openings() {
			t.Run(op+"/"+row.name, func(t *testing.T) {
				if op == "append" && row.mode&0o200 == 0 && os.Geteuid() != 0 {
					t.Skip("a file that may not be written")
				}
				path := filepath.Join(t.TempDir(), "f")
				put(t, path, content, row.mode)
				for again := range 2 { // a refusal repairs nothing, so that the second start is refused too
					got, r, err := open(t, path, row.c)
					if row.reason != 0 {
						require.ErrorIs(t, err, row.reason)
						want(t, path, content, row.mode)
					} else {
						require.NoError(t, err)
						st, err := os.Lstat(path)
						require.NoError(t, err)
						require.Equal(t, row.after, st.Mode())
						require.Equal(t, content, got)
					}
					wantReport := privatefile.Report{
						Before: row.mode, After: row.after, Repaired: row.mode != row.after, Tainted: row.taint, Unverified: r.Unverified,
					}
					require.Empty(t, cmp.Diff(wantReport, r, cmpopts.IgnoreFields(r, "Warnings")))
					warnings := 0
					if row.reason == 0 && (row.mode != row.after || row.c.OnLoose == warn && row.mode != 0o600) {
						warnings++
					}
					if row.taint && row.c.AllowTainted {
						warnings++ // of the content, beside the mode's
					}
					require.Len(t, r.Warnings, warnings)
					if again == 0 {
						put(t, path, content, row.mode)
					}
				}
			})
		}
	}
}

func TestTaintedIsRefusedAtEveryStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	put(t, path, content, 0o666)

	got, err := naive(path) // closes the file, and so hides what happened from the next start
	require.NoError(t, err)
	require.Equal(t, content, string(got))
	want(t, path, content, 0o600)

	put(t, path, content, 0o666)
	for range 3 {
		_, r, err := privatefile.Read(path, privatefile.Config{})
		require.ErrorIs(t, err, privatefile.Tainted)
		require.True(t, r.Tainted)
		require.False(t, r.Repaired)
		want(t, path, content, 0o666)
	}
	require.NoError(t, privatefile.Write(path, []byte("ours again"), privatefile.Config{}), "the way out")
	got, _, err = privatefile.Read(path, privatefile.Config{})
	require.NoError(t, err)
	require.Equal(t, "ours again", string(got))
}

// objects are what may lie at a path instead of a private file; outside is left alone by all of them.
func objects(t *testing.T) map[string]struct {
	make   func(path, outside string)
	reason privatefile.Reason
} {
	ok := func(err error) { t.Helper(); require.NoError(t, err) }
	return map[string]struct {
		make   func(path, outside string)
		reason privatefile.Reason
	}{
		"a link to a readable file": {func(path, outside string) { ok(os.Symlink(outside, path)) }, privatefile.Symlink},
		"a link to nothing":         {func(path, outside string) { ok(os.Symlink(outside+"-missing", path)) }, privatefile.Symlink},
		"a link to itself":          {func(path, outside string) { ok(os.Symlink(path, path)) }, privatefile.Symlink},
		"a link to a folder":        {func(path, outside string) { ok(os.Symlink(filepath.Dir(outside), path)) }, privatefile.Symlink},
		"a second name":             {func(path, outside string) { ok(os.Link(outside, path)) }, privatefile.Hardlinked},
		"a folder":                  {func(path, outside string) { ok(os.Mkdir(path, 0o700)) }, privatefile.NotRegular},
		"a FIFO that nobody writes": {func(path, outside string) { ok(syscall.Mkfifo(path, 0o600)) }, privatefile.NotRegular},
		"a socket": {func(path, outside string) {
			l, err := net.Listen("unix", path)
			ok(err)
			t.Cleanup(func() { l.Close() })
		}, privatefile.NotRegular},
	}
}

func TestWhatIsNoFileIsRefusedUnderEveryPolicy(t *testing.T) {
	ops := map[string]func(path string, c privatefile.Config) error{
		"read": func(path string, c privatefile.Config) error {
			data, _, err := privatefile.Read(path, c)
			require.Nil(t, data)
			return err
		},
		"append": func(path string, c privatefile.Config) error {
			f, _, err := privatefile.OpenAppend(path, c)
			require.Nil(t, f)
			return err
		},
		"write": func(path string, c privatefile.Config) error { return privatefile.Write(path, []byte("new"), c) },
	}
	for op, do := range ops {
		for name, object := range objects(t) {
			t.Run(op+"/"+name, func(t *testing.T) {
				base, err := os.MkdirTemp("", "pf") // short: a socket's path has 104 bytes on BSD
				require.NoError(t, err)
				t.Cleanup(func() { os.RemoveAll(base) })
				dir, path, outside := filepath.Join(base, "d"), filepath.Join(base, "d", "f"), filepath.Join(base, "o")
				require.NoError(t, os.Mkdir(dir, 0o700))
				put(t, outside, content, 0o600)
				object.make(path, outside)
				before, err := os.Lstat(path)
				require.NoError(t, err)
				for _, p := range []privatefile.LoosePolicy{privatefile.Repair, privatefile.Reject, privatefile.Warn} {
					start := time.Now()
					err = do(path, privatefile.Config{OnLoose: p, AllowTainted: true, AllowGroupRead: true, Owner: privatefile.SelfOrRoot})
					require.ErrorIs(t, err, object.reason)
					require.NotErrorIs(t, err, fs.ErrNotExist)
					require.Less(t, time.Since(start), 5*time.Second)
				}
				after, err := os.Lstat(path)
				require.NoError(t, err)
				require.True(t, os.SameFile(before, after), "it is still there")
				require.Equal(t, []string{"f"}, names(t, dir), "nothing was made beside it")
				want(t, outside, content, 0o600)
				_, err = os.Lstat(outside + "-missing")
				require.ErrorIs(t, err, fs.ErrNotExist, "nothing was made where the link points")
			})
		}
	}
}

func TestHardlinksByPolicy(t *testing.T) {
	for op, open := range openings() {
		t.Run(op, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			put(t, path, content, 0o600)
			require.NoError(t, os.Link(path, path+".backup"))
			_, r, err := open(t, path, privatefile.Config{})
			require.ErrorIs(t, err, privatefile.Hardlinked)
			require.False(t, r.Tainted)
			require.NoError(t, os.Chmod(path, 0o666))
			_, r, err = open(t, path, privatefile.Config{AllowTainted: true})
			require.ErrorIs(t, err, privatefile.Hardlinked)
			require.True(t, r.Tainted, "said beside the other reason")
			want(t, path, content, 0o666)
			require.NoError(t, os.Chmod(path, 0o600))
			got, _, err := open(t, path, privatefile.Config{AllowHardlinks: true})
			require.NoError(t, err)
			require.Equal(t, content, got)
		})
	}
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, content, 0o600)
	require.NoError(t, os.Link(path, path+".backup"))
	require.NoError(t, privatefile.Write(path, []byte("new"), privatefile.Config{AllowHardlinks: true}))
	want(t, path, "new", 0o600)
	want(t, path+".backup", content, 0o600)
}

// Where Create has only link(2) its file has two names for a moment, which must not look like an attack to a reader.
func TestSecondNameOfANewbornIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, content, 0o600)
	require.NoError(t, os.Link(path, path+".tmp"))
	go func() {
		time.Sleep(3 * time.Millisecond)
		os.Remove(path + ".tmp")
	}()
	got, _, err := privatefile.Read(path, privatefile.Config{})
	require.NoError(t, err)
	require.Equal(t, content, string(got))
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"no file":   filepath.Join(dir, "f"),
		"no folder": filepath.Join(dir, "no", "f"),
	} {
		for _, parents := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				data, _, err := privatefile.Read(path, privatefile.Config{CheckParents: parents})
				require.ErrorIs(t, err, privatefile.Missing)
				require.ErrorIs(t, err, fs.ErrNotExist)
				require.Nil(t, data)
			})
		}
	}
	require.Empty(t, names(t, dir))
	path := filepath.Join(dir, "no", "f")
	require.ErrorIs(t, privatefile.Write(path, nil, privatefile.Config{}), privatefile.Missing)
	require.ErrorIs(t, privatefile.Create(path, nil, privatefile.Config{}), privatefile.Missing)
	_, _, err := privatefile.OpenAppend(path, privatefile.Config{})
	require.ErrorIs(t, err, privatefile.Missing)

	put(t, filepath.Join(dir, "file"), content, 0o600)
	_, _, err = privatefile.Read(filepath.Join(dir, "file", "f"), privatefile.Config{})
	require.ErrorIs(t, err, privatefile.Failed)
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.NotErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, privatefile.Write(filepath.Join(dir, "file", "f"), nil, privatefile.Config{}), syscall.ENOTDIR)
}

func TestMaxBytes(t *testing.T) {
	const standard = 4 << 20
	for _, row := range []struct {
		name string
		max  int64
		size int64
		ok   bool
	}{
		{"empty", 1, 0, true},
		{"at the bound", 100, 100, true},
		{"one over", 100, 101, false},
		{"at the bound of zero", 0, standard, true},
		{"one over the bound of zero", 0, standard + 1, false},
		{"a hole of a terabyte takes no memory", 0, 1 << 40, false},
		{"raised", standard + 1, standard + 1, true},
		{"without a bound", math.MaxInt64, 3, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			put(t, path, "", 0o600)
			require.NoError(t, os.Truncate(path, row.size))
			c := privatefile.Config{MaxBytes: row.max}
			data, _, err := privatefile.Read(path, c)
			if row.ok {
				require.NoError(t, err)
				require.Len(t, data, int(row.size))
				require.Equal(t, len(data), cap(data), "append to it would write beyond what was read")
			} else {
				require.ErrorIs(t, err, privatefile.TooLarge)
			}
			if row.size > standard+1 {
				return
			}
			for op, err := range map[string]error{
				"write":  privatefile.Write(path, make([]byte, row.size), c),
				"create": privatefile.Create(path+"2", make([]byte, row.size), c),
			} {
				if row.ok {
					require.NoError(t, err, op)
				} else {
					require.ErrorIs(t, err, privatefile.TooLarge, op)
				}
			}
		})
	}
}

// What was judged is what is read: the size of one file and the bytes of another never come together.
func TestChangedWhileRead(t *testing.T) {
	for name, change := range map[string]func(f *os.File, i int){
		"cut and grown": func(f *os.File, i int) {
			f.Truncate(0)
			f.WriteAt(bytes.Repeat([]byte{'b'}, 1<<18), 0)
		},
		"written in place": func(f *os.File, i int) {
			f.WriteAt(bytes.Repeat([]byte{"ab"[i%2]}, 1<<18), 0)
			os.Chtimes(f.Name(), time.Time{}, time.Unix(int64(i), 0)) // the clock of some kernels is coarse
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			put(t, path, string(bytes.Repeat([]byte{'b'}, 1<<18)), 0o600)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						change(f, i)
					}
				}
			}()
			defer func() { close(stop); <-done; f.Close() }()
			noticed := false
			for end := time.Now().Add(10 * time.Second); !noticed && time.Now().Before(end); {
				_, _, err := privatefile.Read(path, privatefile.Config{})
				if err != nil {
					require.ErrorIs(t, err, privatefile.Changed)
					noticed = true
				}
			}
			require.True(t, noticed)
		})
	}
}

// Another program of ours that loosens the file again and again: the second look finds it.
func TestRepairThatDoesNotHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, content, 0o644)
	stop, done := make(chan struct{}), make(chan struct{})
	for range 2 {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
					os.Chmod(path, 0o644)
				}
			}
		}()
	}
	defer func() { close(stop); <-done; <-done }()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		data, r, err := privatefile.Read(path, privatefile.Config{})
		if err != nil {
			require.ErrorIs(t, err, privatefile.Unrepaired)
			require.False(t, r.Repaired)
			require.Equal(t, fs.FileMode(0o644), r.After)
			require.Nil(t, data)
			return
		}
	}
	t.Fatal("never noticed")
}

func TestReadAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, content, 0o600)
	n := testing.AllocsPerRun(100, func() {
		if _, _, err := privatefile.Read(path, privatefile.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, n, 2.0, "the path for the kernel, and the content")
}
