// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Write replaces the file at path, or makes it, atomically and durably; afterwards it has mode 0600 and is ours. The
// data goes into a temporary file in the same folder, which is synced and takes the name; then the folder is synced.
//
// A file of any mode is replaced, one that others may write too. A link, a folder, a FIFO, a device, another user's
// file, or one with a second name, under which the old secret would live on, is refused. The folder must exist and be
// readable. The error is an *[Error]; after any but [NotDurable] the old content stands.
func Write(path string, data []byte, c Config) error {
	if err := place(path, data, c, false); err != nil {
		return wrap("write", path, err)
	}
	return nil
}

// Create is Write for a path where nothing may be yet: the first writer wins, also between processes, and all others
// get an error that matches fs.ErrExist. Whoever sees the file sees all of it.
func Create(path string, data []byte, c Config) error {
	if err := place(path, data, c, true); err != nil {
		return wrap("create", path, err)
	}
	return nil
}

func place(path string, data []byte, c Config, create bool) error {
	at, err := c.admit(path)
	if err != nil {
		return err
	}
	if int64(len(data)) > c.maxBytes() {
		return refuse(TooLarge, 0)
	}
	dir, err := openFolder(at.dir)
	if err != nil {
		return err
	}
	defer dir.close()
	sweep(dir)
	switch st, err := dir.stat(at.name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case create:
		return &Error{Reason: Exists, Err: fs.ErrExist}
	default:
		if reason := st.identity(c); reason != 0 {
			return refuse(reason, 0)
		}
	}
	temp, h, err := newTemp(dir, c)
	if err != nil {
		return err
	}
	defer h.close() // only now: the lock keeps sweepers away until the file has its name
	if err := fill(h, data); err != nil {
		dir.remove(temp) // if that fails too, the next sweep will do it
		return err
	}
	move := dir.replace
	if create {
		move = dir.moveNew
	}
	if err := move(temp, at.name); err != nil {
		dir.remove(temp)
		return err
	}
	if err := dir.sync(); err != nil {
		return &Error{Reason: NotDurable, Err: bare(err)}
	}
	return nil
}

func fill(h handle, data []byte) error {
	for len(data) > 0 {
		n, err := h.write(data)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return h.sync()
}

const (
	tempPrefix = ".privatefile-"
	tempSuffix = ".tmp"
)

func isTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// newTemp makes an empty, private, locked file. Before it is locked a sweeper may take it for a dead writer's: then it
// is locked by the sweeper, or has lost its name already, and we take another.
func newTemp(dir folder, c Config) (string, handle, error) {
	for range 100 {
		name := tempPrefix + rand.Text() + tempSuffix
		h, err := dir.open(name, flagsTemp|flagsNew)
		if err != nil {
			return "", 0, err
		}
		if h.lock() == errLocked { // on a file system without locks nobody sweeps either
			h.close()
			continue
		}
		_, st, err := adopt(h, c)
		if err == nil && st.links > 0 {
			return name, h, nil
		}
		h.close()
		if err != nil {
			dir.remove(name)
			return "", 0, err
		}
	}
	return "", 0, errors.New("every temporary file was taken away by another process")
}

// sweep removes the temporary files of writers that died. A living one holds a lock on its file. Where that cannot be
// told the file stays; what cannot be removed will be tried again, so that an error would help nobody.
func sweep(dir folder) {
	dir.each(func(name string) {
		if isTemp(name) {
			reap(dir, name)
		}
	})
}

// eachName goes through a folder of any size in small portions.
func eachName(dir *os.File, do func(name string)) {
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			do(name)
		}
		if err != nil {
			return
		}
	}
}

func reap(dir folder, name string) {
	h, err := dir.open(name, flagsTemp)
	if err != nil {
		return
	}
	defer h.close()
	if st, err := h.stat(); err != nil || !st.mode.IsRegular() || st.owner != geteuid() {
		return
	}
	if h.lock() == nil {
		dir.remove(name)
	}
}
