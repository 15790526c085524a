// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/merlon-go/merlon/privatefile"
)

// File keeps the keys in the file name in the folder dir, mode 0600; a missing folder is made, mode 0700.
//
// A file that others may read or write, a link, a second name, another owner, and a folder on the way in which others
// may exchange names are ErrDenied: as ssh does, it refuses a key that may be known or planted and leaves it as it is.
// A file that is empty, cut or garbled is ErrCorrupt. Neither is ever replaced. What may not be read is not ErrNotFound.
//
// Whoever reads the file, a backup of it or the disk has the keys; put Passphrase or Wrapped around it against that.
func File(dir, name string) Source {
	return Bounded(file{dir, name, privatefile.Config{OnLoose: privatefile.Reject, MaxBytes: maxStored, CheckParents: true}})
}

type file struct {
	dir, name string
	config    privatefile.Config
}

func (f file) path() string { return filepath.Join(f.dir, f.name) }

func (f file) Name() string { return "file:" + f.path() }

func (f file) check() error {
	if f.dir == "" || f.name == "." || f.name == ".." || filepath.Base(f.name) != f.name {
		return &fault{kind: ErrDenied, text: "File needs a folder and the plain name of a file in it"}
	}
	if strings.EqualFold(f.name, stateName) || strings.EqualFold(f.name, lockName) { // in Config.Dir it would be overwritten
		return &fault{kind: ErrDenied, text: "the name is that of a file of Config.Dir; give the key file another"}
	}
	return nil
}

func (f file) Load(context.Context) ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	data, _, err := privatefile.Read(f.path(), f.config)
	return data, fileFault(err)
}

func (f file) Store(_ context.Context, data []byte) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := privateFolder(f.dir); err != nil {
		return fileFault(err)
	}
	return fileFault(privatefile.Write(f.path(), data, f.config))
}

func (f file) create(_ context.Context, data []byte) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := privateFolder(f.dir); err != nil {
		return fileFault(err)
	}
	return fileFault(privatefile.Create(f.path(), data, f.config))
}

// privateFolder makes what is missing of a folder's path, each 0700 whatever the umask, and durable before it is used.
func privateFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := privateFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	} else if err == nil {
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// fileFault says what a file's state means for the key: only a plainly missing file is a missing key.
func fileFault(err error) error {
	if err == nil {
		return nil
	}
	var refused *privatefile.Error
	if !errors.As(err, &refused) {
		refused = &privatefile.Error{Reason: privatefile.Failed}
	}
	f := &fault{kind: ErrDenied, text: "the file is refused", cause: err}
	switch refused.Reason {
	case privatefile.Missing:
		f.kind, f.text = ErrNotFound, "there is no such file"
	case privatefile.Exists:
		f.kind, f.text = fs.ErrExist, "another process was first"
	case privatefile.TooLarge:
		f.kind, f.text = ErrCorrupt, "that is no key file"
	case privatefile.Changed, privatefile.Busy, privatefile.NotDurable:
		f.kind, f.text = ErrUnavailable, "try again"
	case privatefile.Failed:
		if !errors.Is(err, fs.ErrPermission) {
			f.kind, f.text = ErrUnavailable, "the file cannot be used"
		}
	}
	return f
}
