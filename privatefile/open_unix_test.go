// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

func TestOpenAppend(t *testing.T) {
	t.Run("makes the file and reports nothing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		f, r, err := privatefile.OpenAppend(path, privatefile.Config{})
		require.NoError(t, err)
		defer f.Close()
		require.Equal(t, path, f.Name())
		require.Empty(t, cmp.Diff(privatefile.Report{Before: 0o600, After: 0o600, Unverified: r.Unverified}, r))
		want(t, path, "", 0o600)
	})
	t.Run("two writers do not overwrite each other, and blocking is as usual", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		var files [2]*os.File
		for i := range files {
			f, _, err := privatefile.OpenAppend(path, privatefile.Config{})
			require.NoError(t, err)
			defer f.Close()
			files[i] = f
			conn, err := f.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, conn.Control(func(fd uintptr) {
				flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
				require.Zero(t, errno)
				require.Zero(t, flags&syscall.O_NONBLOCK)
				require.NotZero(t, flags&syscall.O_APPEND)
				flags, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
				require.Zero(t, errno)
				require.NotZero(t, flags&syscall.FD_CLOEXEC, "a child would hold it, and a dead writer's lock with it")
			}))
		}
		for i := range 10 {
			_, err := files[i%2].WriteString("line\n")
			require.NoError(t, err)
		}
		want(t, path, "line\nline\nline\nline\nline\nline\nline\nline\nline\nline\n", 0o600)
	})
	t.Run("a file that comes and goes is opened or made", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					os.WriteFile(path, nil, 0o600)
					os.Remove(path)
				}
			}
		}()
		for range 300 {
			f, _, err := privatefile.OpenAppend(path, privatefile.Config{})
			require.NoError(t, err)
			f.Close()
		}
		close(stop)
		<-done
	})
}

func TestEnforceLooksAtTheOpenFile(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "f"), filepath.Join(dir, "moved")
	put(t, path, content, 0o644)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.Rename(path, moved))
	put(t, path, "another", 0o644)

	r, err := privatefile.Enforce(f, privatefile.Config{})
	require.NoError(t, err)
	require.True(t, r.Repaired)
	want(t, moved, content, 0o600)
	want(t, path, "another", 0o644) // CVE-2026-32282: chmod by name would have changed this one

	_, err = privatefile.Enforce(f, privatefile.Config{CheckParents: true})
	require.ErrorIs(t, err, privatefile.UnsafeParent)
	require.NoError(t, os.Remove(path))
	_, err = privatefile.Enforce(f, privatefile.Config{CheckParents: true})
	require.ErrorIs(t, err, privatefile.Missing)
	require.NoError(t, os.Rename(moved, path))
	_, err = privatefile.Enforce(f, privatefile.Config{CheckParents: true})
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	_, err = privatefile.Enforce(f, privatefile.Config{})
	require.NoError(t, err, "a file without a name is private")
}

func TestEnforceRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"a folder": dir, "a device": os.DevNull} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			_, err = privatefile.Enforce(f, privatefile.Config{Owner: privatefile.SelfOrRoot, OnLoose: privatefile.Warn})
			require.ErrorIs(t, err, privatefile.NotRegular)
		})
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = privatefile.Enforce(r, privatefile.Config{})
	require.ErrorIs(t, err, privatefile.NotRegular)
}
