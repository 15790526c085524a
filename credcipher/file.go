// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// readRegular reads a plain file that has one name. A link may lead to a file of somebody else's choice, and a second
// name would keep the old content when the first is replaced.
func readRegular(root *os.Root, name string) ([]byte, fs.FileInfo, error) {
	f, info, err := openRegular(root, name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if links(info) > 1 {
		return nil, nil, fmt.Errorf("%q has %d names (hard links)", name, links(info))
	}
	doc, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, nil, err
	}
	return doc, info, nil
}

// openRegular opens a plain file without following a link. A name that leads elsewhere between the two looks at it has
// been replaced, by a link or by the next version of the file, so it looks again.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	for range 100 {
		named, err := root.Lstat(name)
		if err != nil {
			return nil, nil, err
		}
		if !named.Mode().IsRegular() {
			return nil, nil, fmt.Errorf("%q is not a plain file", name)
		}
		f, err := root.OpenFile(name, os.O_RDONLY|noBlock, 0)
		if err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		if err == nil && os.SameFile(named, info) {
			return f, info, nil
		}
		f.Close()
	}
	return nil, nil, fmt.Errorf("%q is replaced again and again", name)
}

// create makes a new file of mode 0600. What a crash leaves of it is no envelope.
func create(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(root, filepath.Dir(name))); err != nil {
		return errors.Join(err, root.Remove(name))
	}
	return nil
}

// replace puts data in the place of name in one step: a reader, or whoever looks after a crash, finds the old content
// or the new. If old is given, mode and owner of it are kept, and a file that is no longer that one is left alone. check
// is given what can be read from the new file before it takes its place. The step is durable after syncDir.
func replace(root *os.Root, name string, data []byte, old fs.FileInfo, check func([]byte) error) (err error) {
	f, temp, err := createTemp(root, filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() {
		f.Close() // on the way out of a success there is nothing left to be written
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if old != nil {
		if err := keepOwner(f, old); err != nil {
			return fmt.Errorf("keep the owner: %w", err)
		}
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return fmt.Errorf("keep the mode: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if check != nil {
		written, err := io.ReadAll(io.NewSectionReader(f, 0, int64(len(data))+1))
		if err != nil {
			return err
		}
		if err := check(written); err != nil {
			return fmt.Errorf("verify what was written: %w", err)
		}
	}
	if old != nil {
		now, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if !os.SameFile(now, old) || now.Size() != old.Size() || !now.ModTime().Equal(old.ModTime()) {
			return fmt.Errorf("%q was changed meanwhile; run again", name)
		}
	}
	if runtime.GOOS == "windows" {
		f.Close() // an open file cannot be renamed there
	}
	return root.Rename(temp, name)
}

const tempSuffix = ".credcipher-tmp"

// createTemp makes a file that sweep knows, and holds the lock that keeps sweep away from it.
func createTemp(root *os.Root, dir string) (*os.File, string, error) {
	for {
		var random [8]byte
		rand.Read(random[:])
		temp := filepath.Join(dir, "."+hex.EncodeToString(random[:])+tempSuffix)
		f, err := root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, "", err
		}
		if tryLock(f) && stillNamed(root, temp, f) {
			return f, temp, nil
		}
		f.Close() // a sweep came between creation and lock
	}
}

func isTemp(name string) bool {
	middle, ok := strings.CutSuffix(name, tempSuffix)
	return ok && len(middle) == 17 && middle[0] == '.'
}

// sweep removes the files that writers left in dir when they were killed. The files of a living writer are locked.
func sweep(root *os.Root, dir string) error {
	entries, err := readDir(root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isTemp(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := root.OpenFile(name, os.O_RDONLY|noBlock, 0)
		if err != nil {
			continue // gone meanwhile
		}
		if abandoned(f) {
			err = root.Remove(name)
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func readDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadDir(-1)
}

// lockFile locks the file of that name against other processes, wherever it is replaced meanwhile. A holder has it for
// the time of one write.
func lockFile(root *os.Root, name string) (unlock func(), err error) {
	const patience = 2 * time.Second
	const step = 10 * time.Millisecond
	for range patience / step {
		if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
			return nil, errors.Join(err, fmt.Errorf("%q is not a plain file", name))
		}
		f, err := root.OpenFile(name, os.O_RDONLY|noBlock, 0)
		if err != nil {
			return nil, err
		}
		if tryLock(f) && stillNamed(root, name, f) {
			return func() { f.Close() }, nil
		}
		f.Close()
		time.Sleep(step)
	}
	return nil, fmt.Errorf("%q has been locked by another process for %v", name, patience)
}

func stillNamed(root *os.Root, name string, f *os.File) bool {
	open, err1 := f.Stat()
	named, err2 := root.Lstat(name)
	return err1 == nil && err2 == nil && os.SameFile(open, named)
}
