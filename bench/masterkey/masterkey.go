// SPDX-License-Identifier: Apache-2.0

// Package masterkey measures what merlon's masterkey costs beside the lines that it replaces, and its keychain beside
// go-keyring where a Secret Service runs.
package masterkey

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
)

// Subject works in a folder below the working directory, since the system's folder for temporary files is often memory.
func Subject() (measure.Subject, error) {
	dir, err := os.MkdirTemp(".", "masterkey-bench-")
	if err != nil {
		return measure.Subject{}, err
	}
	s, err := subject(dir)
	if err != nil {
		return measure.Subject{}, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func subject(dir string) (measure.Subject, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return measure.Subject{}, err
	}
	ctx := context.Background()
	config := masterkey.Config{Dir: filepath.Join(dir, "state"), Sources: []masterkey.Source{masterkey.File(dir, "master.key")}}
	keys, err := masterkey.Open(ctx, config)
	if err != nil {
		return measure.Subject{}, err
	}
	id, key, err := keys.PrimaryKey()
	if err != nil {
		return measure.Subject{}, err
	}
	plain := filepath.Join(dir, "plain.key")
	if err := os.WriteFile(plain, []byte(hex.EncodeToString(key)), 0o600); err != nil {
		return measure.Subject{}, err
	}
	var mu sync.RWMutex
	table := map[string][]byte{id: key}
	lookup := func() error {
		mu.RLock()
		defer mu.RUnlock()
		if len(bytes.Clone(table[id])) != len(key) {
			return errors.New("no key")
		}
		return nil
	}
	s := measure.Subject{
		Name: "masterkey",
		Jobs: []measure.Job{
			{
				Name: "the key to seal with",
				Entries: []measure.Entry{
					{Name: "merlon PrimaryKey", Run: times(func() error { _, _, err := keys.PrimaryKey(); return err })},
					{Name: "map under a RWMutex, copy", Run: times(lookup)},
				},
				Bars: []measure.Bar{measure.Allocs(1)},
			},
			{
				Name: "a key by its id",
				Entries: []measure.Entry{
					{Name: "merlon LookupKey", Run: times(func() error { _, err := keys.LookupKey(id); return err })},
					{Name: "map under a RWMutex, copy", Run: times(lookup)},
				},
				Bars: []measure.Bar{measure.Allocs(1)},
			},
			{
				Name: "start with a key file",
				Entries: []measure.Entry{
					{Name: "merlon Open, File", Run: times(func() error { _, err := masterkey.Open(ctx, config); return err })},
					{Name: "os.ReadFile, hex, nothing checked", Run: times(func() error {
						text, err := os.ReadFile(plain)
						if err == nil {
							_, err = hex.DecodeString(string(text))
						}
						return err
					})},
				},
			},
		},
		Done: func() error { return os.RemoveAll(dir) },
	}
	return withKeychain(s)
}

// withKeychain adds the keychain where one answers.
func withKeychain(s measure.Subject) (measure.Subject, error) {
	const service, account = "merlon-bench", "master-key"
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	item := keychain.New(service, account)
	if _, err := item.Load(ctx); err != nil && !errors.Is(err, masterkey.ErrNotFound) {
		s.Note = func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "No keychain answers here, so go-keyring was not compared.")
			return err
		}
		return s, nil
	}
	if err := item.Store(ctx, bytes.Repeat([]byte("k"), 300)); err != nil {
		return s, err
	}
	s.Jobs = append(s.Jobs, measure.Job{
		Name: "read the keychain",
		Entries: []measure.Entry{
			{Name: "merlon keychain", Run: times(func() error { _, err := item.Load(context.Background()); return err })},
			{Name: "go-keyring", Run: times(func() error { _, err := keyring.Get(service, account); return err })},
		},
	})
	done := s.Done
	s.Done = func() error { return errors.Join(keyring.Delete(service, account), done()) }
	return s, nil
}

func times(f func() error) func(int) {
	return func(n int) {
		for range n {
			if err := f(); err != nil {
				panic(err)
			}
		}
	}
}
