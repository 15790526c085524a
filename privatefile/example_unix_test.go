// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/merlon-go/merlon/privatefile"
)

// Before: the content is used first, the mode is closed afterwards, and the next start finds a file in good order.
// After: the file is refused, now and at each start, until somebody has looked at it.
func Example() {
	dir, remove := folder()
	defer remove()
	path := filepath.Join(dir, "config.json")
	os.WriteFile(path, []byte(`{"admin":"mallory"}`), 0o600)
	os.Chmod(path, 0o666) // since last night

	// Before.
	before := func() []byte {
		data, _ := os.ReadFile(path)
		if st, _ := os.Stat(path); st.Mode().Perm()&0o077 != 0 {
			os.Chmod(path, 0o600)
		}
		return data
	}
	fmt.Printf("before: %s\n", before())

	// After.
	os.Chmod(path, 0o666)
	for range 2 {
		data, report, err := privatefile.Read(path, privatefile.Config{})
		fmt.Println("after:", len(data), "bytes,", reason(err), "tainted:", report.Tainted)
	}
	// Output:
	// before: {"admin":"mallory"}
	// after: 0 bytes, tainted tainted: true
	// after: 0 bytes, tainted tainted: true
}

func ExampleRead() {
	dir, remove := folder()
	defer remove()
	path := filepath.Join(dir, "token")
	os.WriteFile(path, []byte("sample"), 0o600)
	os.Chmod(path, 0o644) // as an editor or a backup leaves it

	data, report, err := privatefile.Read(path, privatefile.Config{CheckParents: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, repaired: %v\n", data, report.Repaired)
	for _, w := range report.Warnings {
		fmt.Println(w)
	}

	os.Symlink(path, path+".link")
	_, _, err = privatefile.Read(path+".link", privatefile.Config{})
	fmt.Println(reason(err))
	_, _, err = privatefile.Read(path+".missing", privatefile.Config{})
	fmt.Println(reason(err), errors.Is(err, fs.ErrNotExist))
	// Output:
	// sample, repaired: true
	// mode was 0644 and is 0600 now: whoever could read the file may have done so
	// symlink
	// missing true
}

func ExampleWrite() {
	dir, remove := folder()
	defer remove()
	path := filepath.Join(dir, "token")
	os.WriteFile(path, []byte("old"), 0o644)

	if err := privatefile.Write(path, []byte("new"), privatefile.Config{}); err != nil {
		log.Fatal(err)
	}
	st, _ := os.Stat(path)
	fmt.Println(st.Mode())

	os.Symlink("/etc/passwd", path+".link")
	err := privatefile.Write(path+".link", []byte("new"), privatefile.Config{})
	fmt.Println(reason(err))
	// Output:
	// -rw-------
	// symlink
}

// A file that something else opened, such as a descriptor that systemd handed over.
func ExampleEnforce() {
	dir, remove := folder()
	defer remove()
	f, err := os.Create(filepath.Join(dir, "state"))
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	f.Chmod(0o640)
	_, err = privatefile.Enforce(f, privatefile.Config{OnLoose: privatefile.Reject})
	fmt.Println(reason(err))
	report, err := privatefile.Enforce(f, privatefile.Config{})
	fmt.Println(report.Repaired, err)
	// Output:
	// loose
	// true <nil>
}
