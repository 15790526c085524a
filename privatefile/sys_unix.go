// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hasModes: files have permission bits here.
const hasModes = true

const (
	// O_NONBLOCK so that a FIFO without a writer does not hold us up, O_NOCTTY so that no terminal becomes ours.
	flagsRead   = unix.O_RDONLY | flagsAll
	flagsAppend = unix.O_WRONLY | unix.O_APPEND | flagsAll
	flagsTemp   = unix.O_RDWR | flagsAll
	flagsNew    = unix.O_CREAT | unix.O_EXCL
	flagsAll    = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
)

// handle is an open file.
type handle int

func open(path string, flags int) (handle, error) { return openAt(unix.AT_FDCWD, path, flags) }

func openAt(dir int, path string, flags int) (handle, error) {
	fd, err := again(func() (int, error) { return unix.Openat(dir, path, flags, 0o600) })
	switch err {
	case nil:
		return handle(fd), nil
	case unix.ELOOP, unix.EMLINK: // FreeBSD says EMLINK
		return 0, &Error{Reason: Symlink, Err: err}
	case unix.ENXIO, unix.EISDIR, unix.EOPNOTSUPP: // a FIFO nobody reads, a folder, a socket
		return 0, &Error{Reason: NotRegular, Err: err}
	}
	return 0, err
}

// again repeats a call that a signal interrupted.
func again[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

func geteuid() int { return unix.Geteuid() }

func (h handle) close() { unix.Close(int(h)) }

func (h handle) stat() (status, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(h), &st); err != nil {
		return status{}, err
	}
	return statusOf(&st), nil
}

func statusOf(st *unix.Stat_t) status {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	default:
		mode |= fs.ModeIrregular
	}
	if st.Mode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if st.Mode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if st.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return status{
		mode:     mode,
		owner:    int(st.Uid),
		links:    uint64(st.Nlink),
		size:     st.Size,
		modified: st.Mtim.Nano(),
	}
}

func (h handle) chmod(mode fs.FileMode) error { return unix.Fchmod(int(h), uint32(mode.Perm())) }

func (h handle) read(b []byte) (int, error) {
	return again(func() (int, error) { return unix.Read(int(h), b) })
}

func (h handle) write(b []byte) (int, error) {
	return again(func() (int, error) { return unix.Write(int(h), b) })
}

const errLocked = unix.EWOULDBLOCK

func (h handle) lock() error { return unix.Flock(int(h), unix.LOCK_EX|unix.LOCK_NB) }

// file gives h to the os package. O_NONBLOCK was for open alone.
func (h handle) file(name string) (*os.File, error) {
	if err := unix.SetNonblock(int(h), false); err != nil {
		h.close()
		return nil, err
	}
	return os.NewFile(uintptr(h), name), nil
}

// folder is an open folder; names in it are single elements, so that nothing above it matters any more.
type folder struct{ *os.File }

// openFolder opens a folder; "" is the working directory, as in filepath.Split.
func openFolder(path string) (folder, error) {
	if path == "" {
		path = "."
	}
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return folder{f}, err
}

func (d folder) close() { d.Close() }

func (d folder) open(name string, flags int) (handle, error) {
	return openAt(int(d.Fd()), name, flags)
}

func (d folder) stat(name string) (status, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return status{}, err
	}
	return statusOf(&st), nil
}

func (d folder) remove(name string) error { return unix.Unlinkat(int(d.Fd()), name, 0) }

func (d folder) replace(from, to string) error {
	err := unix.Renameat(int(d.Fd()), from, int(d.Fd()), to)
	switch err {
	case unix.EBUSY:
		return &Error{Reason: Busy, Err: err}
	case unix.EISDIR:
		return &Error{Reason: NotRegular, Err: err}
	}
	return err
}

// moveNew gives from the name to, unless something has it.
func (d folder) moveNew(from, to string) error {
	err := renameNoReplace(int(d.Fd()), from, to)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.ENOTSUP: // NFS has no such rename, but link(2)
		return d.linkNew(from, to)
	}
	return err
}

func (d folder) linkNew(from, to string) error {
	if err := unix.Linkat(int(d.Fd()), from, int(d.Fd()), to, 0); err != nil {
		return err
	}
	return d.remove(from)
}

// sync makes the names in the folder durable, where the file system knows how: some network file systems say EINVAL.
func (d folder) sync() error {
	err := d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

func (d folder) each(do func(name string)) { eachName(d.File, do) }

func plainName(string) bool { return true }

const maxLinks = 40 // as the kernel

// checkParents walks from the root to dir and refuses the first folder or link that somebody else may exchange. Each
// element was judged before the next is looked up, so that nobody but us and root can have moved what was judged. It
// gives dir without links, for a link that changes its mind between the walk and the opening.
func checkParents(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		dir = wd + "/" + dir
	}
	at, links, us := "/", 0, geteuid()
	if _, err := checkParent(at, us); err != nil {
		return "", err
	}
	for rest := dir; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at) // at holds no links
			continue
		}
		next := filepath.Join(at, name)
		link, err := checkParent(next, us)
		if err != nil {
			return "", err
		}
		if !link {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &Error{Reason: UnsafeParent, Parent: next, Err: unix.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = target + "/" + rest
	}
	if links > 0 {
		if err := sameFolder(dir, at); err != nil {
			return "", err
		}
	}
	return strings.TrimSuffix(at, "/") + "/", nil
}

// sameFolder finds the links whose text is not where they lead: those of procfs into another mount namespace, such as
// /proc/PID/root of a container (proc_pid_root(5)).
func sameFolder(asked, walked string) error {
	a, err := os.Stat(asked)
	if err != nil {
		return err
	}
	b, err := os.Stat(walked)
	if err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		return &Error{Reason: UnsafeParent, Parent: asked, Err: errors.New("a link on the way does not lead where it says")}
	}
	return nil
}

// checkParent judges one folder or link on the way.
func checkParent(path string, us int) (link bool, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false, err
	}
	s := statusOf(&st)
	link = s.mode&fs.ModeSymlink != 0
	if s.owner != us && s.owner != 0 {
		return link, &Error{Reason: UnsafeParent, Parent: path, Err: fmt.Errorf("it belongs to user %d", s.owner)}
	}
	if link { // its mode means nothing
		return true, nil
	}
	if !s.mode.IsDir() {
		return false, unix.ENOTDIR
	}
	if s.mode&0o022 != 0 && s.mode&fs.ModeSticky == 0 {
		return false, &Error{Reason: UnsafeParent, Parent: path, Mode: bits(s.mode)}
	}
	return false, nil
}
