// SPDX-License-Identifier: Apache-2.0

// Package privatefile measures merlon's privatefile beside the os package and the usual libraries for atomic writes.
package privatefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/natefinch/atomic"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/privatefile"
)

// Subject works in a folder below the working directory, since the system's folder for temporary files is often memory.
func Subject() (measure.Subject, error) {
	dir, err := os.MkdirTemp(".", "privatefile-bench-")
	if err != nil {
		return measure.Subject{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return measure.Subject{}, err
	}
	data := bytes.Repeat([]byte("k"), 1024)
	small := filepath.Join(dir, "read")
	if err := os.WriteFile(small, data, 0o600); err != nil {
		return measure.Subject{}, errors.Join(err, os.RemoveAll(dir))
	}
	return measure.Subject{
		Name: "privatefile",
		Jobs: []measure.Job{
			{
				Name:  "read 1 KiB",
				Bytes: 1024,
				Entries: []measure.Entry{
					{Name: "merlon Read", Run: times(func() error {
						_, _, err := privatefile.Read(small, privatefile.Config{})
						return err
					})},
					{Name: "os.ReadFile", Run: times(func() error {
						_, err := os.ReadFile(small)
						return err
					})},
					{Name: "os.ReadFile, os.Stat", Run: times(func() error {
						_, err := os.ReadFile(small)
						_, serr := os.Stat(small)
						return errors.Join(err, serr)
					})},
					{Name: "merlon Read, CheckParents", Run: times(func() error {
						_, _, err := privatefile.Read(small, privatefile.Config{CheckParents: true})
						return err
					})},
				},
				Bars: []measure.Bar{measure.AtMost(0.7, "os.ReadFile"), measure.Allocs(2)},
			},
			{
				Name:  "replace 1 KiB",
				Bytes: 1024,
				Entries: []measure.Entry{
					{Name: "merlon Write", Run: writer(dir, func(path string) error {
						return privatefile.Write(path, data, privatefile.Config{})
					})},
					{Name: "bare: two fsyncs", Run: writer(dir, func(path string) error { return bare(path, data) })},
					{Name: "renameio (one fsync)", Run: writer(dir, func(path string) error {
						return renameio.WriteFile(path, data, 0o600)
					})},
					{Name: "natefinch/atomic (one fsync)", Run: writer(dir, func(path string) error {
						return atomic.WriteFile(path, bytes.NewReader(data))
					})},
					{Name: "os.WriteFile (no fsync)", Run: writer(dir, func(path string) error {
						return os.WriteFile(path, data, 0o600)
					})},
				},
				Bars: []measure.Bar{measure.AtMost(1.15, "bare: two fsyncs")},
			},
		},
		Note: func(w io.Writer) error { return compare(w, dir) },
		Done: func() error { return os.RemoveAll(dir) },
	}, nil
}

func times(do func() error) func(int) {
	return func(n int) {
		for range n {
			if err := do(); err != nil {
				panic(err)
			}
		}
	}
}

// writer gives each entry a folder of its own.
func writer(dir string, write func(path string) error) func(int) {
	own, err := os.MkdirTemp(dir, "write")
	if err != nil {
		panic(err)
	}
	return times(func() error { return write(filepath.Join(own, "f")) })
}

// bare is the least that a durable replacement takes.
func bare(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close(), os.Rename(path+".tmp", path)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// compare shows what is true after each library wrote the new content, in every answer found out here and now.
func compare(w io.Writer, dir string) error {
	fmt.Fprint(w, "| after writing with mode 0600 | over an old 0644 file | to a link that somebody put there | beside a killed writer's temporary file |\n|---|---|---|---|\n")
	for _, lib := range []struct {
		name  string
		write func(path string) error
		stray func(dir string) error // leaves what a writer that was killed before its rename leaves
	}{
		{"merlon Write",
			func(path string) error { return privatefile.Write(path, []byte("new"), privatefile.Config{}) },
			func(dir string) error {
				return os.WriteFile(filepath.Join(dir, ".privatefile-"+strings.Repeat("A", 26)+".tmp"), []byte("secret"), 0o600)
			}},
		{"renameio",
			func(path string) error { return renameio.WriteFile(path, []byte("new"), 0o600) },
			func(dir string) error {
				_, err := renameio.TempFile(dir, filepath.Join(dir, "f"))
				return err
			}},
		{"natefinch/atomic",
			func(path string) error { return atomic.WriteFile(path, strings.NewReader("new")) },
			func(dir string) error {
				f, err := os.CreateTemp(dir, "f") // as it does
				return errors.Join(err, f.Close())
			}},
		{"os.WriteFile",
			func(path string) error { return os.WriteFile(path, []byte("new"), 0o600) },
			func(string) error { return nil }},
	} {
		own, err := os.MkdirTemp(dir, "compare")
		if err != nil {
			return err
		}
		path, link, target := filepath.Join(own, "f"), filepath.Join(own, "link"), filepath.Join(own, "target")
		if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Chmod(path, 0o644), lib.write(path)); err != nil {
			return err
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(target, []byte("theirs"), 0o600), os.Symlink(target, link)); err != nil {
			return err
		}
		linked := "refused"
		if lib.write(link) == nil {
			linked = "replaced"
			if got, err := os.ReadFile(target); err != nil || string(got) != "theirs" {
				linked = "**followed: the target was overwritten**"
			}
		}
		strays, err := os.MkdirTemp(dir, "strays")
		if err != nil {
			return err
		}
		if err := errors.Join(lib.stray(strays), lib.write(filepath.Join(strays, "f"))); err != nil {
			return err
		}
		left, err := os.ReadDir(strays)
		if err != nil {
			return err
		}
		stray := "nothing is left"
		if len(left) > 1 {
			stray = "**it stays**"
		}
		mode := fmt.Sprintf("%04o", st.Mode().Perm())
		if st.Mode().Perm() != 0o600 {
			mode = "**" + mode + "**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", lib.name, mode, linked, stray)
	}
	return nil
}
