// SPDX-License-Identifier: Apache-2.0

// Command privatefile reads a service's token at each of its starts: in good order, after a backup opened it for
// reading, and after somebody opened it for writing and changed it.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/merlon-go/merlon/privatefile"
)

func main() {
	dir, err := os.MkdirTemp("", "service")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "token")

	// The first start makes the token. Of many that start at once one wins, and all read what it wrote.
	for _, process := range []string{"one", "two"} {
		err := privatefile.Create(path, []byte("token of process "+process), privatefile.Config{})
		if err != nil && !errors.Is(err, privatefile.Exists) {
			log.Fatal(err)
		}
		start("process "+process, path)
	}

	must(os.Chmod(path, 0o644))
	start("after a backup, mode 0644", path)

	must(os.Chmod(path, 0o666))
	must(os.WriteFile(path, []byte("token of somebody else"), 0))
	start("after somebody made it 0666", path)
	start("and at the next start", path)

	// The way out is a new token: what lay there proves nothing, and may have been read.
	must(privatefile.Write(path, []byte("token that was rotated"), privatefile.Config{}))
	start("after it was replaced", path)
}

// start is what the service does. It takes no content that others may have written, and goes on with what they may
// only have read.
func start(when, path string) {
	token, report, err := privatefile.Read(path, privatefile.Config{CheckParents: true, MaxBytes: 4096})
	if refused, ok := errors.AsType[*privatefile.Error](err); ok {
		fmt.Printf("%s: refused, %v, mode %04o\n", when, refused.Reason.String(), refused.Mode.Perm())
		return
	}
	fmt.Printf("%s: %s\n", when, token)
	for _, warning := range report.Warnings {
		fmt.Println("  " + warning)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
