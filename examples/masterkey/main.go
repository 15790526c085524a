// SPDX-License-Identifier: Apache-2.0

// Command masterkey keeps a service's master key in a file that is worth nothing by itself: what lies in it was encrypted
// by a key service, here one of gocloud.dev's, or with -tpm by a TPM.
//
//	go run -C examples ./masterkey
//	go run -C examples ./masterkey -tpm /dev/tpmrm0
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"gocloud.dev/secrets/localsecrets"

	"github.com/merlon-go/merlon/masterkey"
)

func main() {
	device := flag.String("tpm", "", "a TPM's device or socket, to use instead of a key service")
	flag.Parse()
	if err := run(context.Background(), *device); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, device string) error {
	dir, err := os.MkdirTemp("", "masterkey-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	// In production this is secrets.OpenKeeper with a URL such as awskms://, gcpkms://, azurekeyvault:// or
	// hashivault://. Its key is in memory here, so it ends with this program.
	secret, err := localsecrets.NewRandomKey()
	if err != nil {
		return err
	}
	keeper := localsecrets.NewKeeper(secret)
	defer keeper.Close()
	var wrapper masterkey.Wrapper = keeper
	if device != "" {
		tpm, err := openTPM(device)
		if err != nil {
			return err
		}
		defer tpm.Close()
		wrapper = tpm
	}

	for _, start := range []string{"first start", "second start"} {
		keys, err := masterkey.Open(ctx, masterkey.Config{
			Dir:     dir,
			Sources: []masterkey.Source{masterkey.Wrapped(wrapper, masterkey.File(dir, "wrapped.key"))},
			OnEvent: func(e masterkey.Event) { fmt.Printf("%s: %v\n", start, e.Kind) },
		})
		if err != nil {
			return err
		}
		_, key, err := keys.PrimaryKey()
		if err != nil {
			return err
		}
		resting, err := os.ReadFile(dir + "/wrapped.key")
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes, in the file: %v\n", start, len(key), bytes.Contains(resting, key))
	}
	return nil
}
