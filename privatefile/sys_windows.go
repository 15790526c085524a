// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

// hasModes: files have none here, and what stands in their place is not looked at.
const (
	hasModes   = false
	unverified = "owner, access control list, folders above"
)

const (
	flagsRead   = 1 << iota // GENERIC_READ
	flagsAppend             // FILE_APPEND_DATA alone: every write goes to the end
	flagsTemp               // also DELETE, so that the name can go while the file is open
	flagsNew                // CREATE_NEW
)

// handle is an open file.
type handle windows.Handle

// open shares everything, as POSIX does; FILE_FLAG_OPEN_REPARSE_POINT opens a link itself, for inspect to refuse.
func open(path string, flags int) (handle, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	access := uint32(windows.GENERIC_READ)
	switch {
	case flags&flagsAppend != 0:
		access = windows.FILE_APPEND_DATA | windows.FILE_READ_ATTRIBUTES | windows.SYNCHRONIZE
	case flags&flagsTemp != 0:
		access |= windows.GENERIC_WRITE | windows.DELETE
	}
	how := uint32(windows.OPEN_EXISTING)
	if flags&flagsNew != 0 {
		how = windows.CREATE_NEW
	}
	h, err := windows.CreateFile(name, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, how, windows.FILE_FLAG_OPEN_REPARSE_POINT|windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	return handle(h), err
}

// geteuid is what each status has for its owner.
func geteuid() int { return 0 }

func (h handle) close() { windows.CloseHandle(windows.Handle(h)) }

func (h handle) stat() (status, error) {
	if kind, err := windows.GetFileType(windows.Handle(h)); err != nil {
		return status{}, err
	} else if kind != windows.FILE_TYPE_DISK { // a pipe, or a device such as NUL
		return status{mode: fs.ModeIrregular}, nil
	}
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(h), &info); err != nil {
		return status{}, err
	}
	st := status{
		links:    uint64(info.NumberOfLinks),
		size:     int64(info.FileSizeHigh)<<32 | int64(info.FileSizeLow),
		modified: info.LastWriteTime.Nanoseconds(),
	}
	switch {
	case info.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0:
		st.mode |= fs.ModeSymlink
	case info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0:
		st.mode |= fs.ModeDir
	}
	return st, nil
}

func (h handle) chmod(fs.FileMode) error { return nil }

func (h handle) listsOthers() bool { return false }

func (h handle) read(b []byte) (int, error) { return windows.Read(windows.Handle(h), b) }

func (h handle) write(b []byte) (int, error) { return windows.Write(windows.Handle(h), b) }

func (h handle) sync() error { return windows.FlushFileBuffers(windows.Handle(h)) }

const errLocked = windows.ERROR_LOCK_VIOLATION

// lock takes a byte far beyond any content, because a lock here also keeps others from reading what it covers.
func (h handle) lock() error {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	return windows.LockFileEx(windows.Handle(h), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
}

func (h handle) file(name string) (*os.File, error) { return os.NewFile(uintptr(h), name), nil }

// folder is a path here: what moves a file through to the disk takes names, not handles.
type folder string

// openFolder takes a folder; "" is the working directory, as in filepath.Split.
func openFolder(path string) (folder, error) {
	if path == "" {
		path = "."
	}
	st, err := os.Stat(path)
	if err == nil && !st.IsDir() {
		err = windows.ERROR_DIRECTORY
	}
	return folder(path), err
}

func (d folder) close() {}

func (d folder) at(name string) string { return filepath.Join(string(d), name) }

func (d folder) open(name string, flags int) (handle, error) { return open(d.at(name), flags) }

func (d folder) stat(name string) (status, error) {
	h, err := open(d.at(name), flagsRead)
	if err != nil {
		return status{}, err
	}
	defer h.close()
	return h.stat()
}

func (d folder) remove(name string) error { return os.Remove(d.at(name)) }

func (d folder) replace(from, to string) error {
	return d.move(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
}

func (d folder) moveNew(from, to string) error {
	return d.move(from, to, windows.MOVEFILE_WRITE_THROUGH)
}

// move tries again for up to two seconds: a scanner or a reader that does not share holds a file for a moment.
func (d folder) move(from, to string, flags uint32) error {
	a, err := windows.UTF16PtrFromString(d.at(from))
	if err != nil {
		return err
	}
	b, err := windows.UTF16PtrFromString(d.at(to))
	if err != nil {
		return err
	}
	for wait := time.Millisecond; ; wait *= 2 {
		err := windows.MoveFileEx(a, b, flags)
		if err != windows.ERROR_ACCESS_DENIED && err != windows.ERROR_SHARING_VIOLATION {
			return err
		}
		if wait > time.Second {
			return &Error{Reason: Busy, Err: err}
		}
		time.Sleep(wait)
	}
}

// sync has nothing left to do after MOVEFILE_WRITE_THROUGH, and folders cannot be flushed here.
func (d folder) sync() error { return nil }

func (d folder) each(do func(name string)) {
	if f, err := os.Open(string(d)); err == nil {
		defer f.Close()
		eachName(f, do)
	}
}

// plainName refuses a device name and a stream of another file ("key:hidden").
func plainName(name string) bool { return filepath.IsLocal(name) && !strings.Contains(name, ":") }

// checkParents looks at nothing: who may change a folder is in its access control list. Report.Unverified says so.
func checkParents(dir string) (string, error) { return dir, nil }
