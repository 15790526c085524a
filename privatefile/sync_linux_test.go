// SPDX-License-Identifier: Apache-2.0

package privatefile_test

import (
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/merlon-go/merlon/privatefile"
)

// answering runs do on a thread where a system call is not made but answered, 0 being success: for one descriptor
// only, or for all if only is negative.
func answering(t *testing.T, call uint32, answer unix.Errno, only int, do func()) {
	t.Helper()
	const number, low = 0, 16 // in struct seccomp_data, as little-endian machines have it
	refuse := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(k, otherwise uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: uint8(otherwise)}
	}
	filter := []unix.SockFilter{load(number), equal(call, 1), refuse, allow}
	if only >= 0 {
		filter = []unix.SockFilter{load(number), equal(call, 3), load(low), equal(uint32(only), 1), refuse, allow}
	}
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the filter ends with the thread
		if failed = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); failed != nil {
			return
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if failed = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); failed == nil {
			do()
		}
	}()
	<-done
	if failed != nil {
		lacking(t, "needs seccomp: "+failed.Error())
	}
}

// nextFD is the number that the next open gives: Write opens the folder first.
func nextFD(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	return fd
}

// Nobody sees whether content reached the disk until the power fails. A disk that refuses shows that it was asked.
func TestDiskThatCannotSync(t *testing.T) {
	for name, op := range map[string]struct {
		do  func(path string) error
		old string // what lies there before
	}{
		"write":  {func(path string) error { return privatefile.Write(path, []byte("new"), privatefile.Config{}) }, "old"},
		"create": {func(path string) error { return privatefile.Create(path, []byte("new"), privatefile.Config{}) }, ""},
	} {
		t.Run(name+", content", func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if op.old != "" {
				put(t, path, op.old, 0o644)
			}
			answering(t, unix.SYS_FSYNC, unix.EIO, -1, func() {
				err := op.do(path)
				require.ErrorIs(t, err, syscall.EIO)
				require.ErrorIs(t, err, privatefile.Failed)
			})
			require.Empty(t, temps(t, dir))
			if op.old == "" {
				require.Empty(t, names(t, dir))
				return
			}
			want(t, path, op.old, 0o644)
		})
		t.Run(name+", folder", func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if op.old != "" {
				put(t, path, op.old, 0o644)
			}
			answering(t, unix.SYS_FSYNC, unix.EIO, nextFD(t), func() {
				err := op.do(path)
				require.ErrorIs(t, err, syscall.EIO)
				require.ErrorIs(t, err, privatefile.NotDurable)
			})
			want(t, path, "new", 0o600)
			require.Equal(t, []string{"f"}, names(t, dir))
		})
	}
	t.Run("append, folder", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		answering(t, unix.SYS_FSYNC, unix.EIO, -1, func() {
			f, _, err := privatefile.OpenAppend(path, privatefile.Config{})
			require.ErrorIs(t, err, privatefile.NotDurable)
			require.Nil(t, f)
		})
		f, _, err := privatefile.OpenAppend(path, privatefile.Config{})
		require.NoError(t, err)
		require.NoError(t, f.Close())
	})
}

// A file system that says yes to chmod and keeps no modes, as some shared folders do.
func TestChmodThatIsIgnored(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, content, 0o644)
	umask(t, 0o377)
	answering(t, unix.SYS_FCHMOD, 0, -1, func() {
		data, r, err := privatefile.Read(path, privatefile.Config{})
		require.ErrorIs(t, err, privatefile.Unrepaired)
		require.False(t, r.Repaired)
		require.Nil(t, data)
		require.ErrorIs(t, privatefile.Write(path, nil, privatefile.Config{}), privatefile.Unrepaired)
		require.ErrorIs(t, privatefile.Create(path+"2", nil, privatefile.Config{}), privatefile.Unrepaired)
		f, _, err := privatefile.OpenAppend(path+"3", privatefile.Config{})
		require.ErrorIs(t, err, privatefile.Unrepaired)
		require.Nil(t, f)
		f, r, err = privatefile.OpenAppend(path+"4", privatefile.Config{OnLoose: privatefile.Warn})
		require.NoError(t, err)
		require.Len(t, r.Warnings, 1)
		require.NoError(t, f.Close())
	})
	require.Empty(t, temps(t, dir))
	want(t, path, content, 0o644)
}
