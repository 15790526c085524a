// SPDX-License-Identifier: Apache-2.0

package privatefile_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const nobody = 65534

// asUser runs do as another user, on a thread of its own: Linux keeps credentials per thread, and the raw call leaves
// the others alone.
func asUser(t *testing.T, uid int, do func()) {
	t.Helper()
	needRoot(t)
	var failed unix.Errno
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so that the thread ends with this goroutine
		unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
		_, _, failed = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid))
		if failed == 0 {
			_, _, failed = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		}
		if failed == 0 {
			do()
		}
	}()
	<-done
	require.Zero(t, failed)
}

// inMounts runs do in a mount namespace of its own.
func inMounts(t *testing.T, do func()) {
	t.Helper()
	needRoot(t)
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err == nil {
			do()
		}
	}()
	<-done
	if err != nil {
		lacking(t, "needs a mount namespace: "+err.Error())
	}
}

// An entry of a POSIX access control list.
type entry struct {
	tag, rights uint16
	id          uint32
}

const (
	aclUserObj, aclUser, aclGroupObj, aclGroup, aclMask, aclOther = 1, 2, 4, 8, 16, 32
	noID                                                          = 1<<32 - 1
)

func acl(entries ...entry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.rights)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// setACL gives a file an access control list, or a folder the default one of what is made in it.
func setACL(t *testing.T, path, kind string, entries ...entry) {
	t.Helper()
	err := unix.Setxattr(path, "system.posix_acl_"+kind, acl(entries...), 0)
	if err == unix.ENOTSUP {
		lacking(t, "needs a file system with access control lists")
	}
	require.NoError(t, err)
}

// lacking skips a test that this machine cannot run, but not on CI, where everything is to be had.
func lacking(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, "needs root")
	}
}

// openDir is a folder that every user can reach, of the given mode.
func openDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "dir")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, mode))
	for up := base; up != filepath.Dir(up); up = filepath.Dir(up) {
		st, err := os.Stat(up)
		require.NoError(t, err)
		if st.Mode().Perm()&0o005 != 0o005 {
			require.NoError(t, os.Chmod(up, 0o755))
		}
	}
	return dir
}
