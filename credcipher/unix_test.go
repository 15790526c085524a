// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package credcipher_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

func requireMode(t testing.TB, want fs.FileMode, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode())
}

func TestResealKeepsTheOwner(t *testing.T) {
	uid, gid := 12345, 23456
	if os.Getuid() != 0 { // then only a group that we are in
		uid, gid = os.Getuid(), os.Getgid()
		groups, err := os.Getgroups()
		require.NoError(t, err)
		for _, g := range groups {
			if g != os.Getgid() {
				gid = g
			}
		}
	}
	s := newStore(t)
	s.add("a.json", whole(t, oldRing, "a.json", "x"))
	path := filepath.Join(s.dir, "a.json")
	require.NoError(t, os.Chown(path, uid, gid))
	require.NoError(t, os.Chmod(path, 0o440))
	_, err := s.reseal(strict(t, bothRing))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	require.Equal(t, [2]int{uid, gid}, [2]int{int(st.Uid), int(st.Gid)})
	require.Equal(t, fs.FileMode(0o440), info.Mode())
}

func TestResealSweeps(t *testing.T) {
	s := newStore(t)
	s.add("a.json", whole(t, oldRing, "a.json", "x"))
	temp := func(b byte) string { return "." + hex.EncodeToString(bytes.Repeat([]byte{b}, 8)) + ".credcipher-tmp" }
	s.put(temp(1), []byte("left"))
	s.put(temp(2), nil)
	s.put(temp(3), []byte("alive"))
	s.put("."+strings.Repeat("a", 15)+".credcipher-tmp", []byte("not ours"))
	s.put("x"+strings.Repeat("a", 16)+".credcipher-tmp", []byte("not ours"))
	alive, err := os.Open(filepath.Join(s.dir, temp(3)))
	require.NoError(t, err)
	defer alive.Close()
	require.NoError(t, syscall.Flock(int(alive.Fd()), syscall.LOCK_EX))
	_, err = s.reseal(strict(t, bothRing))
	require.NoError(t, err)
	require.Equal(t, []string{temp(3), "." + strings.Repeat("a", 15) + ".credcipher-tmp", "a.json", "x" + strings.Repeat("a", 16) + ".credcipher-tmp"}, s.names())
}

// TestFileMarkerWaitsForItsLock: whoever holds the file makes the others wait, and not for ever.
func TestFileMarkerWaitsForItsLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	m, err := credcipher.NewFileMarker(path, newRing)
	require.NoError(t, err)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	quiet(t, m.MarkSealed(here))
	marked, err := m.Sealed(here)
	require.NoError(t, err)
	require.False(t, marked)
	require.NoError(t, f.Close())
	require.NoError(t, m.MarkSealed(here))
}

// TestDirFollowsNoLink: a file gives place to a link to an older envelope of it, and back, again and again. Whoever looks
// and then opens, without another look, reads the older one.
func TestDirFollowsNoLink(t *testing.T) {
	s := newStore(t)
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing)})
	require.NoError(t, d.Write("a", []byte("old")))
	s.put("older", s.get("a"))
	require.NoError(t, d.Write("a", secret))
	path := func(name string) string { return filepath.Join(s.dir, name) }
	var stop atomic.Bool
	var swaps atomic.Int64
	var writer sync.WaitGroup
	writer.Go(func() {
		for ; !stop.Load(); swaps.Add(1) {
			err := errors.Join(os.Symlink("older", path("link")), os.Rename(path("a"), path("kept")), os.Rename(path("link"), path("a")),
				os.Rename(path("kept"), path("a")))
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for swaps.Load() < 2000 && !t.Failed() {
		if got, err := d.ReadFile("a"); err == nil && !bytes.Equal(secret, got) {
			t.Error("read through the link")
		}
	}
	stop.Store(true)
	writer.Wait()
}

// TestDirWithAnotherWriter: another process replaces a file over and over; whoever reads finds one version or another.
func TestDirWithAnotherWriter(t *testing.T) {
	s := newStore(t)
	d := openDir(t, s.dir, credcipher.DirConfig{Cipher: strict(t, newRing)})
	require.NoError(t, d.Write("a", secret))
	doc := s.get("a")
	var stop atomic.Bool
	var replaced atomic.Int64
	var writer sync.WaitGroup
	writer.Go(func() {
		for ; !stop.Load(); replaced.Add(1) {
			err := os.WriteFile(filepath.Join(s.dir, "next"), doc, 0o600)
			if err = errors.Join(err, os.Rename(filepath.Join(s.dir, "next"), filepath.Join(s.dir, "a"))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for replaced.Load() < 500 && !t.Failed() {
		if got, err := d.ReadFile("a"); err != nil || !bytes.Equal(secret, got) {
			t.Error(err)
		}
	}
	stop.Store(true)
	writer.Wait()
}
