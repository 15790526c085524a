// SPDX-License-Identifier: Apache-2.0

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

// reason is what a program would put into its log and metrics.
func reason(err error) string {
	var e *privatefile.Error
	if !errors.As(err, &e) {
		return "none"
	}
	return e.Reason.String()
}

func folder() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// A Secret that the kubelet mounts: root's, readable for the pod's group, under a name that is a link.
func ExampleConfig_kubernetes() {
	secret := privatefile.Config{Owner: privatefile.SelfOrRoot, AllowGroupRead: true}
	_, _, err := privatefile.Read("/var/run/secrets/example/..data/token", secret)
	fmt.Println(reason(err)) // there is no such mount here
	// Output:
	// missing
}

// Several processes start at once, and one key shall come of it.
func ExampleCreate() {
	dir, remove := folder()
	defer remove()
	path := filepath.Join(dir, "key")
	for _, process := range []string{"first", "second"} {
		err := privatefile.Create(path, []byte("key of the "+process), privatefile.Config{})
		if err != nil && !errors.Is(err, fs.ErrExist) {
			log.Fatal(err)
		}
		key, _, err := privatefile.Read(path, privatefile.Config{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s has the %s\n", process, key)
	}
	// Output:
	// first has the key of the first
	// second has the key of the first
}

func ExampleOpenAppend() {
	dir, remove := folder()
	defer remove()
	f, _, err := privatefile.OpenAppend(filepath.Join(dir, "audit.log"), privatefile.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, "started")
	st, _ := f.Stat()
	fmt.Println(st.Size())
	// Output:
	// 8
}
