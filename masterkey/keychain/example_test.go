// SPDX-License-Identifier: Apache-2.0

package keychain_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
)

// Before: any error of the keychain was answered with a file. After: the answers are told apart. It prints what this
// machine's keychain answers, so there is no output to compare.
func Example() {
	_, err := keychain.New("gateway", "master-key").Load(context.Background())
	switch {
	case errors.Is(err, masterkey.ErrNotFound):
		fmt.Println("there is no key yet")
	case errors.Is(err, masterkey.ErrLocked):
		fmt.Println("log in, or unlock the keyring")
	case errors.Is(err, masterkey.ErrDenied):
		fmt.Println("this program may not read it")
	case err != nil:
		fmt.Println("no keychain answers:", err)
	}
}

// A Source that was not built refuses.
func ExampleNew() {
	var s keychain.Source
	_, err := s.Load(context.Background())
	fmt.Println(errors.Is(err, masterkey.ErrUnavailable), errors.Is(err, masterkey.ErrNotFound))
	fmt.Println(keychain.New("gateway", "master-key").Name())
	// Output:
	// true false
	// keychain:gateway/master-key
}
