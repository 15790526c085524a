// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
)

// DirConfig says how a Dir works.
type DirConfig struct {
	// Cipher seals and opens the files. It is required. Under Migrate each plaintext file is sealed in place when it
	// is first read.
	Cipher *Cipher

	// Binding names the store; each file is bound to it and to its path in the directory. It is required.
	Binding Binding

	// Backup is the suffix that the library gives to its backup copies, such as ".bak". If a file is damaged, replaced
	// by plaintext or bound elsewhere, reading it gives the content of its backup instead, provided that this one is
	// sealed and opens. Empty: there are no backups. Setting it is weaker: whoever can damage a file can thereby
	// roll it back to its backup.
	Backup string

	// OnFallback is told each time that a backup is read instead of a file, and why. Nil: it is not called.
	OnFallback func(name string, why error)
}

// A Dir is a directory in which each file is an envelope. It is for libraries that write their own files: point their
// storage at the methods here, which see plaintext. Names are those of package io/fs. It is safe for concurrent use by
// one process. The zero Dir and nil refuse everything.
type Dir struct {
	root   *os.Root
	config DirConfig
	mu     sync.RWMutex // a reader that migrates must not undo a write
}

// OpenDir opens a directory, which must exist. It removes what writers left there when they were killed.
func OpenDir(path string, c DirConfig) (*Dir, error) {
	var errs []error
	if c.Cipher == nil || c.Cipher.keyring == nil {
		errs = append(errs, errors.New("credcipher: DirConfig.Cipher was not made by New"))
	}
	if len(c.Binding) == 0 {
		errs = append(errs, errors.New("credcipher: DirConfig.Binding is empty; name the store"))
	}
	if c.Backup != "" && !fs.ValidPath("x"+c.Backup) || isTemp(c.Backup) || filepath.Base("x"+c.Backup) != "x"+c.Backup {
		errs = append(errs, fmt.Errorf("credcipher: DirConfig.Backup %.40q is no suffix of a file name", c.Backup))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("credcipher: %w", err)
	}
	c.Binding = slices.Clone(c.Binding)
	d := &Dir{root: root, config: c}
	if err := d.walk(nil); err != nil {
		return nil, errors.Join(fmt.Errorf("credcipher: %w", err), root.Close())
	}
	return d, nil
}

// Close gives the directory back. Everything afterwards is refused.
func (d *Dir) Close() error {
	if d == nil || d.root == nil {
		return fs.ErrInvalid
	}
	return d.root.Close()
}

// walk sweeps each directory and gives each plain file to file, if that is not nil.
func (d *Dir) walk(file func(name string)) error {
	return fs.WalkDir(d.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return sweep(d.root, name)
		}
		if file != nil && e.Type().IsRegular() && !isTemp(path.Base(name)) {
			file(name)
		}
		return nil
	})
}

// bind gives the place of a file.
func (d *Dir) bind(name string) Binding {
	return append(slices.Clone(d.config.Binding), name)
}

// usable refuses a Dir that OpenDir did not make, and names of no file.
func (d *Dir) usable(op, name string) error {
	if d == nil || d.root == nil {
		return &fs.PathError{Op: op, Path: name, Err: errors.New("credcipher: this Dir was not made by OpenDir")}
	}
	if _, err := filepath.Localize(name); err != nil || isTemp(path.Base(name)) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

// ReadFile returns the plaintext of a file. Its errors are of type *fs.PathError.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	plaintext, _, err := d.read(name)
	return plaintext, err
}

// read returns the plaintext of a file and what the file is.
func (d *Dir) read(name string) ([]byte, fs.FileInfo, error) {
	if err := d.usable("open", name); err != nil {
		return nil, nil, err
	}
	d.mu.RLock()
	plaintext, info, found, err := d.open(name)
	d.mu.RUnlock()
	if err == nil && found.NeedsReseal && !found.Sealed {
		plaintext, info, err = d.migrate(name)
	}
	if err != nil && d.config.Backup != "" && damaged(err) {
		if backup, ok := d.openBackup(name + d.config.Backup); ok {
			if d.config.OnFallback != nil {
				d.config.OnFallback(name, err)
			}
			plaintext = backup
			info, err = d.root.Lstat(name)
		}
	}
	if err != nil {
		return nil, nil, pathError("open", name, err)
	}
	return plaintext, plainInfo{info, int64(len(plaintext))}, nil
}

// damaged says that an error is about what lies in a file, not about a key that is missing for now.
func damaged(err error) bool {
	return slices.ContainsFunc([]error{ErrPlaintext, ErrDowngrade, ErrMalformed, ErrWrongKeyOrContext, ErrTampered},
		func(e error) bool { return errors.Is(err, e) })
}

func (d *Dir) open(name string) ([]byte, fs.FileInfo, Info, error) {
	doc, info, err := readRegular(d.root, name)
	if err != nil {
		return nil, nil, Info{}, err
	}
	plaintext, found, err := d.config.Cipher.Open(doc, d.bind(name))
	return plaintext, info, found, err
}

// openBackup opens a file only if it is sealed, whatever the policy.
func (d *Dir) openBackup(name string) ([]byte, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	doc, _, err := readRegular(d.root, name)
	if err != nil {
		return nil, false
	}
	e, err := parse(doc)
	if err != nil || e.version == 0 {
		return nil, false
	}
	plaintext, _, err := d.config.Cipher.unseal(e, place{document, d.bind(name), ""})
	return plaintext, err == nil
}

// migrate reads a file again, alone, and seals it if it still is plaintext.
func (d *Dir) migrate(name string) ([]byte, fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	plaintext, info, found, err := d.open(name)
	if err != nil || found.Sealed {
		return plaintext, info, err
	}
	if _, err := d.config.Cipher.resealFile(d.root, name, d.bind(name), false); err != nil {
		return nil, nil, fmt.Errorf("seal it in place: %w", err)
	}
	if err := d.settle(name); err != nil {
		return nil, nil, err
	}
	info, err = d.root.Lstat(name)
	return plaintext, info, err
}

// settle makes a new envelope durable and marks its place.
func (d *Dir) settle(name string) error {
	if err := syncDir(d.root, path.Dir(name)); err != nil {
		return err
	}
	if c := d.config.Cipher; c.policy == Migrate {
		return c.marker.MarkSealed(d.bind(name))
	}
	return nil
}

// Write seals data into a file, which it makes or replaces in one durable step, with mode 0600. Missing directories are
// made with mode 0700.
func (d *Dir) Write(name string, data []byte) error {
	if err := d.usable("write", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return pathError("write", name, d.write(name, data))
}

func (d *Dir) write(name string, data []byte) error {
	doc, err := d.config.Cipher.Seal(data, d.bind(name))
	if err != nil {
		return err
	}
	if info, err := d.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a plain file", name)
	}
	if err := d.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	if err := replace(d.root, name, doc, nil, nil); err != nil {
		return err
	}
	return d.settle(name)
}

// mkdirAll makes a directory and what is missing above it, each durable in the one above.
func (d *Dir) mkdirAll(name string) error {
	if _, err := d.root.Stat(name); err == nil || name == "." {
		return nil
	}
	above := path.Dir(name)
	return errors.Join(d.mkdirAll(above), d.root.MkdirAll(name, 0o700), syncDir(d.root, above))
}

// Rename gives a file another name, and replaces what has it. It seals the content for its new place, so it is not one
// step: after a crash both files may be there, each with the content. Directories cannot be renamed.
func (d *Dir) Rename(oldName, newName string) error {
	if err := errors.Join(d.usable("rename", oldName), d.usable("rename", newName)); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return pathError("rename", oldName, d.rename(oldName, newName))
}

func (d *Dir) rename(oldName, newName string) error {
	plaintext, _, _, err := d.open(oldName)
	if err != nil || oldName == newName {
		return err
	}
	defer clear(plaintext)
	if err := d.write(newName, plaintext); err != nil {
		return err
	}
	if err := d.root.Remove(oldName); err != nil {
		return err
	}
	return syncDir(d.root, path.Dir(oldName))
}

// Remove removes a file or an empty directory.
func (d *Dir) Remove(name string) error {
	if err := d.usable("remove", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.root.Remove(name); err != nil {
		return err
	}
	return pathError("remove", name, syncDir(d.root, path.Dir(name)))
}

// Reseal moves every file to the primary key, as [Cipher.Reseal] does, but each as a whole; readers and writers of this
// Dir go on meanwhile.
func (d *Dir) Reseal(ctx context.Context) (ResealReport, error) {
	if err := d.usable("reseal", "."); err != nil {
		return ResealReport{}, err
	}
	var files []string
	if err := d.walk(func(name string) { files = append(files, name) }); err != nil {
		return ResealReport{}, fmt.Errorf("credcipher: reseal: %w", err)
	}
	return d.config.Cipher.resealAll(ctx, d.root, files, func(name string) (resealed, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if _, err := d.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return resealed{counted: true}, nil // removed or renamed since it was listed
		}
		return d.config.Cipher.resealFile(d.root, name, d.bind(name), false)
	})
}

// Open opens a file to read its plaintext, or a directory to list it. A Dir is an [fs.FS].
func (d *Dir) Open(name string) (fs.File, error) {
	info, err := d.lstat("open", name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := d.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openDir{info: info, entries: entries}, nil
	}
	plaintext, info, err := d.read(name)
	if err != nil {
		return nil, err
	}
	return &openFile{bytes.NewReader(plaintext), info}, nil
}

func (d *Dir) lstat(op, name string) (fs.FileInfo, error) {
	if err := d.usable(op, name); err != nil {
		return nil, err
	}
	return d.root.Lstat(name)
}

// Stat tells about a file; the size is that of its plaintext, for which it is opened.
func (d *Dir) Stat(name string) (fs.FileInfo, error) {
	info, err := d.lstat("stat", name)
	if err != nil || info.IsDir() {
		return info, err
	}
	plaintext, info, err := d.read(name)
	clear(plaintext)
	return info, err
}

// ReadDir lists a directory in the order of names. Info of an entry is Stat.
func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := d.usable("readdir", name); err != nil {
		return nil, err
	}
	all, err := fs.ReadDir(d.root.FS(), name)
	entries := make([]fs.DirEntry, 0, len(all))
	for _, e := range all {
		if !isTemp(e.Name()) {
			entries = append(entries, entry{e, d, path.Join(name, e.Name())})
		}
	}
	return entries, err
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*fs.PathError); ok {
		err = e.Err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

type entry struct {
	fs.DirEntry
	dir  *Dir
	name string
}

func (e entry) Info() (fs.FileInfo, error) { return e.dir.Stat(e.name) }

// plainInfo is about a file, with the size of its plaintext.
type plainInfo struct {
	fs.FileInfo
	size int64
}

func (p plainInfo) Size() int64 { return p.size }

type openFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fs.FileInfo
	entries []fs.DirEntry
}

func (f *openDir) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openDir) Close() error               { return nil }
func (f *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: errors.New("is a directory")}
}

func (f *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(f.entries) {
		if n > 0 && len(f.entries) == 0 {
			return nil, io.EOF
		}
		n = len(f.entries)
	}
	entries := f.entries[:n]
	f.entries = f.entries[n:]
	return entries, nil
}
