// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/merlon-go/merlon/credcipher"
	"github.com/merlon-go/merlon/devicekey"
	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
	"github.com/merlon-go/merlon/privatefile"
)

// state is what rests on disk while the service is down: a folder with config.json, the master key (or none, if that is
// in the keychain), the credentials and the device key that it seals.
type state struct {
	settings settings
	keys     *masterkey.Manager
	store    *credcipher.Dir
	device   *devicekey.Key
	sealer   sealer
}

// sealer protects the device key with what protects the credentials.
type sealer struct{ *credcipher.Cipher }

func (s sealer) Protect(_ context.Context, secret []byte, binding []string) ([]byte, error) {
	return s.Seal(secret, binding)
}

func (s sealer) Unprotect(_ context.Context, sealed []byte, binding []string) ([]byte, error) {
	secret, _, err := s.Open(sealed, binding)
	return secret, err
}

// openState opens the folder. Whatever is there and cannot be trusted or opened is an error; only what was never there
// is made.
func openState(ctx context.Context, c config) (*state, error) {
	var s state
	text, _, err := privatefile.Read(filepath.Join(c.State, "config.json"), privatefile.Config{})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.settings); err != nil {
		return nil, err
	}

	// A key in a file is for copies of the rest: a backup, one file that leaks, a disk that was not wiped. Who reads the
	// whole folder has it too, and needs a keychain, or masterkey.Passphrase or Wrapped around the file, to be kept out.
	credentials := filepath.Join(c.State, "credentials")
	source := masterkey.File(filepath.Join(c.State, "keys"), "master.key")
	if c.Keychain {
		source = keychain.New("merlon-gateway", "master-key")
	}
	s.keys, err = masterkey.Open(ctx, masterkey.Config{
		Dir:     filepath.Join(c.State, "keys"),
		Sources: []masterkey.Source{source},
		// If the key is lost while credentials are there, a new key would be of no use to anybody.
		SealedDataExists: func() (bool, error) {
			entries, err := os.ReadDir(credentials)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return len(entries) > 0, err
		},
	})
	if err != nil {
		return nil, err
	}
	cipher, err := credcipher.New(credcipher.Config{Keyring: s.keys, Progress: func(p credcipher.ResealProgress) {
		fmt.Fprintf(c.Log, "rotation: %d of %d files done\n", p.Done, p.Total)
	}})
	if err != nil {
		return nil, err
	}
	s.sealer = sealer{cipher}
	if err := os.MkdirAll(credentials, 0o700); err != nil {
		return nil, err
	}
	s.store, err = credcipher.OpenDir(credentials, credcipher.DirConfig{Cipher: cipher, Binding: credcipher.Binding{"gateway", "credentials"}})
	if err != nil {
		return nil, err
	}

	path := filepath.Join(c.State, "device.key")
	s.device, err = devicekey.Load(ctx, path, s.sealer)
	if errors.Is(err, fs.ErrNotExist) {
		s.device, err = devicekey.Generate(ctx, path, s.sealer)
	}
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return &s, nil
}

// rotate moves everything to a new master key and retires the old ones, also those that an earlier rotation was killed
// over. The service goes on meanwhile.
func (s *state) rotate(ctx context.Context) error {
	id, err := s.keys.Stage(ctx)
	if err != nil {
		return err
	}
	if err := s.keys.Promote(ctx, id); err != nil {
		return err
	}
	moved, err := s.store.Reseal(ctx)
	if err != nil {
		return err
	}
	if err := s.device.Rewrap(ctx, s.sealer); err != nil {
		return err
	}
	ids, err := s.keys.KeyIDs()
	if err != nil {
		return err
	}
	for _, old := range ids {
		if old == id {
			continue
		}
		if err := s.keys.Retire(ctx, old, moved.StillUsed); err != nil {
			return fmt.Errorf("key %s: %w", old, err)
		}
	}
	return nil
}
