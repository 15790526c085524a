// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Read gives the content of a private file. It opens the path once, without following a link at its end and without
// blocking, and does the rest on that descriptor: judge, repair, judge again, read, look whether it changed meanwhile.
// The error is an *[Error]; beside it the content is nil.
func Read(path string, c Config) ([]byte, Report, error) {
	data, r, err := read(path, c)
	if err != nil {
		return nil, r, wrap("read", path, err)
	}
	return data, r, nil
}

func read(path string, c Config) ([]byte, Report, error) {
	at, err := c.admit(path)
	if err != nil {
		return nil, Report{}, err
	}
	h, r, st, err := openPrivate(at.path, flagsRead, c)
	if err != nil {
		return nil, r, err
	}
	defer h.close()
	if st.size > c.maxBytes() {
		return nil, r, refuse(TooLarge, 0)
	}
	// One byte more than it should have: a file of size 0 that has content, as in procfs, is not taken for empty.
	data := make([]byte, st.size+1)
	n := 0
	for n < len(data) {
		m, err := h.read(data[n:])
		if err != nil {
			return nil, r, err
		}
		n += m
		if m == 0 || int64(n) == st.size {
			break
		}
	}
	after, err := h.stat()
	if err != nil {
		return nil, r, err
	}
	if int64(n) != st.size || after.size != st.size || after.modified != st.modified {
		return nil, r, refuse(Changed, 0)
	}
	return data[:n:n], r, nil
}

// OpenAppend opens a private file for writing at its end, such as a log; it makes the file, 0600, if it is missing.
// Lines of several writers do not overwrite each other. MaxBytes does not bound what is appended.
func OpenAppend(path string, c Config) (*os.File, Report, error) {
	f, r, err := openAppend(path, c)
	if err != nil {
		return nil, r, wrap("append", path, err)
	}
	return f, r, nil
}

func openAppend(path string, c Config) (*os.File, Report, error) {
	at, err := c.admit(path)
	if err != nil {
		return nil, Report{}, err
	}
	// Somebody may make or remove the file in between: then the other branch is the right one. Who loses that often
	// is not racing with a sibling but with an attacker.
	for range 100 {
		h, r, _, err := openPrivate(at.path, flagsAppend, c)
		if errors.Is(err, fs.ErrNotExist) {
			h, r, err = openNew(at, c)
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, r, err
		}
		f, err := h.file(path)
		return f, r, err
	}
	return nil, Report{}, refuse(Changed, 0)
}

// openNew makes a file for OpenAppend, and its name durable.
func openNew(at target, c Config) (handle, Report, error) {
	h, err := open(at.path, flagsAppend|flagsNew)
	if err != nil {
		return 0, Report{}, err
	}
	r, _, err := adopt(h, c)
	if err == nil {
		err = syncFolder(at.dir)
	}
	if err != nil {
		h.close()
	}
	return h, r, err
}

func syncFolder(path string) error {
	dir, err := openFolder(path)
	if err == nil {
		defer dir.close()
		err = dir.sync()
	}
	if err != nil {
		return &Error{Reason: NotDurable, Err: bare(err)}
	}
	return nil
}

// Enforce does what Read does before it reads, on an open file: it judges, repairs and judges again, whatever the
// file's name is by now. With CheckParents the file must still be what its name leads to.
func Enforce(f *os.File, c Config) (Report, error) {
	r, err := enforce(f, c)
	if err != nil {
		name := ""
		if f != nil {
			name = f.Name()
		}
		return r, wrap("enforce", name, err)
	}
	return r, nil
}

func enforce(f *os.File, c Config) (r Report, err error) {
	if err := c.validate(); err != nil {
		return Report{}, &Error{Reason: BadConfig, Err: err}
	}
	if c.CheckParents {
		if err := checkAt(f); err != nil {
			return Report{}, err
		}
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return Report{}, err
	}
	closed := conn.Control(func(fd uintptr) { r, _, err = inspect(handle(fd), c) })
	if closed != nil {
		return Report{}, fs.ErrClosed // the only reason there is, but it does not match this by itself
	}
	return r, err
}

// checkAt checks the folders above an open file's name, and that the name still leads to it.
func checkAt(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	dir, name := filepath.Split(f.Name())
	if dir, err = checkParents(dir); err != nil {
		return err
	}
	at, err := os.Lstat(dir + name)
	if err != nil {
		return err
	}
	if !os.SameFile(st, at) {
		return &Error{Reason: UnsafeParent, Parent: f.Name(), Err: errors.New("another file has that name now")}
	}
	return nil
}

// openPrivate opens an admitted path and judges what was opened.
func openPrivate(path string, flags int, c Config) (handle, Report, status, error) {
	h, err := open(path, flags)
	if err != nil {
		return 0, Report{}, status{}, err
	}
	r, st, err := inspect(h, c)
	// Where Create has only link(2), its file has two names for a moment.
	for try := range 5 {
		if !errors.Is(err, Hardlinked) {
			break
		}
		time.Sleep(time.Millisecond << try)
		r, st, err = inspect(h, c)
	}
	if err != nil {
		h.close()
		return 0, r, st, err
	}
	return h, r, st, nil
}

// target is an admitted path, whole and in its two parts; under CheckParents no link is left in it.
type target struct{ path, dir, name string }

// admit judges what can be judged before anything is opened.
func (c Config) admit(path string) (target, error) {
	if err := c.validate(); err != nil {
		return target{}, &Error{Reason: BadConfig, Err: err}
	}
	dir, name := filepath.Split(path)
	// A slash at the end would make open follow a link, whatever its flags.
	if name == "" || name == "." || name == ".." || strings.Contains(path, "\x00") || isTemp(name) || !plainName(name) {
		return target{}, refuse(BadPath, 0)
	}
	if c.CheckParents {
		var err error
		if dir, err = checkParents(dir); err != nil {
			return target{}, err
		}
		path = dir + name
	}
	return target{path, dir, name}, nil
}

// status is what fstat tells.
type status struct {
	mode     fs.FileMode
	owner    int
	links    uint64
	size     int64
	modified int64 // in nanoseconds; only whether it is the same matters
}

// inspect judges an open file, repairs it where that is wanted, and judges it again.
func inspect(h handle, c Config) (Report, status, error) {
	st, err := h.stat()
	if err != nil {
		return Report{}, st, err
	}
	r := Report{Before: bits(st.mode), After: bits(st.mode), Unverified: unverified}
	r.Tainted = st.mode&0o022 != 0
	if reason := st.identity(c); reason != 0 {
		return r, st, refuse(reason, 0)
	}
	keep := c.keep(h, st.mode)
	if r.Tainted && !c.AllowTainted {
		return r, st, refuse(Tainted, r.Before)
	}
	if loose(st.mode, keep) == 0 {
		return r, st, nil
	}
	if r.Tainted {
		r.warn("others could write the file: look at its content before it is trusted")
	}
	switch c.OnLoose {
	case Reject:
		return r, st, refuse(Loose, r.Before)
	case Warn:
		r.warn("mode %04o is more than 0600: chmod 600 it", octal(r.Before))
		return r, st, nil
	}
	if err := h.chmod(st.mode & keep); err != nil {
		return r, st, &Error{Reason: Unrepaired, Mode: r.Before, Err: err}
	}
	if st, err = h.stat(); err != nil {
		return r, st, err
	}
	r.After = bits(st.mode)
	if reason := st.identity(c); reason != 0 {
		return r, st, refuse(reason, 0)
	}
	if loose(st.mode, c.keep(h, st.mode)) != 0 {
		return r, st, refuse(Unrepaired, r.After)
	}
	r.Repaired = true
	r.warn("mode was %04o and is %04o now: whoever could read the file may have done so", octal(r.Before), octal(r.After))
	return r, st, nil
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// adopt makes a file that was just made exactly 0600, from which the umask can only have taken rights.
func adopt(h handle, c Config) (Report, status, error) {
	st, err := h.stat()
	if err != nil {
		return Report{}, st, err
	}
	if hasModes && bits(st.mode) != 0o600 {
		if err := h.chmod(0o600); err != nil && c.OnLoose != Warn {
			return Report{}, st, &Error{Reason: Unrepaired, Err: err}
		}
		if st, err = h.stat(); err != nil {
			return Report{}, st, err
		}
	}
	r := Report{Before: bits(st.mode), After: bits(st.mode), Unverified: unverified}
	if reason := st.identity(c); reason != 0 {
		return r, st, refuse(reason, 0)
	}
	if hasModes && r.After != 0o600 {
		if c.OnLoose != Warn {
			return r, st, refuse(Unrepaired, r.After)
		}
		r.warn("the file system made the new file with mode %04o", octal(r.After))
	}
	return r, st, nil
}

// identity judges what no chmod can mend.
func (st status) identity(c Config) Reason {
	if st.mode&fs.ModeSymlink != 0 {
		return Symlink
	}
	if !st.mode.IsRegular() {
		return NotRegular
	}
	if st.owner != geteuid() && !(st.owner == 0 && c.Owner == SelfOrRoot) {
		return ForeignOwner
	}
	if st.links > 1 && !c.AllowHardlinks { // 0: replaced since it was opened, but whole
		return Hardlinked
	}
	return 0
}

// keep is what a repair leaves of a mode. Where a POSIX access control list names further users or groups, the mode's
// group bits are their mask, not the group's rights (acl(5)), so nothing is left of them.
func (c Config) keep(h handle, mode fs.FileMode) fs.FileMode {
	if c.AllowGroupRead && (mode&0o040 == 0 || !h.listsOthers()) {
		return 0o640
	}
	return 0o600
}

// loose is what others have of a mode beyond keep, and setuid, setgid and sticky, which no data needs.
func loose(mode, keep fs.FileMode) fs.FileMode { return bits(mode) &^ (keep | 0o700) }

func bits(mode fs.FileMode) fs.FileMode {
	return mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

// octal is what chmod(1) calls a mode.
func octal(mode fs.FileMode) uint32 {
	n := uint32(mode.Perm())
	for i, special := range [...]fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if mode&special != 0 {
			n |= 0o1000 << i
		}
	}
	return n
}
