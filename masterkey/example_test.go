// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/merlon-go/merlon/masterkey"
)

// The start of a service before, and after. What was there before is damaged: power failed while it was written.
func Example() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "master.key")
	_ = os.WriteFile(path, nil, 0o600)

	// Before: whatever is wrong with the key, a new one is made, and all that was sealed is lost.
	key, err := os.ReadFile(path)
	if err != nil || len(key) != 32 {
		fmt.Println("before: made a new key")
	}

	// After: only a key that is certainly absent is made.
	_, err = masterkey.Open(context.Background(), masterkey.Config{
		Dir:     filepath.Join(dir, "state"),
		Sources: []masterkey.Source{masterkey.File(dir, "master.key")},
	})
	fmt.Println("after: damaged:", errors.Is(err, masterkey.ErrCorrupt), "absent:", errors.Is(err, masterkey.ErrNotFound))
	// Output:
	// before: made a new key
	// after: damaged: true absent: false
}

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	config := masterkey.Config{
		Dir:              filepath.Join(dir, "state"),
		Sources:          []masterkey.Source{masterkey.File(filepath.Join(dir, "keys"), "master.key")},
		SealedDataExists: func() (bool, error) { return false, nil }, // such as: is the credential folder empty?
		OnEvent:          func(e masterkey.Event) { fmt.Println(e.Kind) },
	}
	for range 2 {
		keys, err := masterkey.Open(context.Background(), config)
		if err != nil {
			fmt.Println(err)
			return
		}
		id, key, err := keys.PrimaryKey()
		fmt.Println(len(id), len(key), err)
	}

	// The key is lost. No other is made in its place.
	_ = os.RemoveAll(filepath.Join(dir, "keys"))
	_, err := masterkey.Open(context.Background(), config)
	fmt.Println(errors.Is(err, masterkey.ErrNotFound))
	// Output:
	// key-generated
	// 16 32 <nil>
	// key-found
	// 16 32 <nil>
	// source-failed
	// true
}

// A rotation, in whichever process an operator starts it. The others go on reading and writing.
func ExampleManager_Stage() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	keys, err := masterkey.Open(context.Background(), masterkey.Config{
		Dir: filepath.Join(dir, "state"), Sources: []masterkey.Source{masterkey.File(dir, "master.key")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	old, _, _ := keys.PrimaryKey()

	ctx := context.Background()
	id, err := keys.Stage(ctx)
	fmt.Println("staged:", err)
	fmt.Println("promoted:", keys.Promote(ctx, id))

	sealed := 1 // credcipher's ResealReport.KeyIDs[old]
	stillUsed := func(string) (int, error) { return sealed, nil }
	fmt.Println("in use:", errors.Is(keys.Retire(ctx, old, stillUsed), masterkey.ErrInUse))
	sealed = 0 // after Reseal
	fmt.Println("retired:", keys.Retire(ctx, old, stillUsed))
	_, err = keys.LookupKey(old)
	fmt.Println("gone:", errors.Is(err, fs.ErrNotExist))
	// Output:
	// staged: <nil>
	// promoted: <nil>
	// in use: true
	// retired: <nil>
	// gone: true
}

func ExampleEnv() {
	environment := map[string]string{"GATEWAY_KEY": "change" + "-me"}
	get := func(name string) string { return environment[name] } // os.Getenv in a program
	_, err := masterkey.Env(get, "GATEWAY_KEY").Load(context.Background())
	fmt.Println(err)

	environment["GATEWAY_KEY"] = hex.EncodeToString(pattern(1)) // openssl rand -hex 32
	_, err = masterkey.Env(get, "GATEWAY_KEY").Load(context.Background())
	fmt.Println(err)
	// Output:
	// masterkey: a key is 64 hex digits or base64 of 32 bytes
	// <nil>
}

// Changing a passphrase: what the old one opens, the new one seals.
func ExamplePassphrase() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	file := masterkey.File(dir, "master.key")
	typed := func(phrase string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return []byte(phrase), nil } // term.ReadPassword in a program
	}
	ctx := context.Background()
	before := masterkey.Passphrase(typed("correct horse"), file)
	config := masterkey.Config{Dir: filepath.Join(dir, "state"), Sources: []masterkey.Source{before}}
	if _, err := masterkey.Open(ctx, config); err != nil {
		fmt.Println(err)
		return
	}

	data, err := before.Load(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("changed:", masterkey.Passphrase(typed("battery staple"), file).Store(ctx, data))
	_, err = masterkey.Passphrase(typed("correct horse"), file).Load(ctx)
	fmt.Println("the old one:", errors.Is(err, masterkey.ErrDenied))
	// Output:
	// changed: <nil>
	// the old one: true
}

// kms stands for a cloud's key service; a *secrets.Keeper of gocloud.dev has the same two methods.
type kms struct{ pad }

func ExampleWrapped() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	_, err := masterkey.Open(context.Background(), masterkey.Config{
		Dir:     filepath.Join(dir, "state"),
		Sources: []masterkey.Source{masterkey.Wrapped(kms{}, masterkey.File(dir, "master.key"))},
	})
	fmt.Println("under the KMS:", err)

	// A service that denies is no missing key, so no other key is made.
	denies := kms{pad{decrypt: func([]byte) ([]byte, error) { return nil, masterkey.ErrDenied }}}
	_, err = masterkey.Wrapped(denies, masterkey.File(dir, "master.key")).Load(context.Background())
	fmt.Println("denied:", errors.Is(err, masterkey.ErrDenied))
	// Output:
	// under the KMS: <nil>
	// denied: true
}
