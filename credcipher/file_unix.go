// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package credcipher

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// noBlock keeps an open from waiting for the writer of a FIFO that took the file's place.
const noBlock = syscall.O_NONBLOCK

// links counts the names of a file.
func links(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}

// keepOwner gives f the owner and group of another file, and fails where we may not.
func keepOwner(f *os.File, old fs.FileInfo) error {
	was, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.ErrUnsupported
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}

// tryLock says whether nobody else holds the lock of f; then we do, until f is closed. A file system without locks
// counts as unlocked.
func tryLock(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) { lockErr = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
	if err != nil {
		return false
	}
	return !errors.Is(lockErr, syscall.EWOULDBLOCK) && !errors.Is(lockErr, syscall.EINTR)
}

// abandoned says whether the writer of f is gone.
func abandoned(f *os.File) bool { return tryLock(f) }

// syncDir makes renames in dir durable. Some network file systems answer EINVAL; there is no more to be had of them.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
