// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unprotected is the same service with the guards that are usually written: each is one line, and each lets attacks
// through. It exists to be attacked.
func unprotected(c config) (*service, error) {
	var edited settings
	text, err := os.ReadFile(filepath.Join(c.State, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &edited)
	}
	if err != nil {
		return nil, err
	}
	token, session := string(c.Token), string(c.Session)
	return &service{config: c, settings: edited, guards: guards{
		requests: func(next http.Handler) http.Handler { return next },
		caller: func(presented string) (string, bool) {
			switch presented {
			case token:
				return "api", true
			case session:
				return "page", true
			}
			return "", false
		},
		child: func(cmd *exec.Cmd, overrides map[string]string) error {
			for name, value := range overrides {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			return nil
		},
		store:   plainFiles(filepath.Join(c.State, "credentials")),
		device:  plainKey(filepath.Join(c.State, "device.key")).id,
		rotate:  func(context.Context) error { return errors.New("there is no key to rotate") },
		release: func() error { return nil },
	}}, nil
}

// plainFiles is a folder of credentials as they are.
type plainFiles string

func (dir plainFiles) ReadFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(dir), name))
}

func (dir plainFiles) Write(name string, data []byte) error {
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(string(dir), name), data, 0o600)
}

// plainKey is the file of a device key as it is. A key that cannot be used is replaced, so that the service starts.
type plainKey string

func (path plainKey) id() (string, error) {
	text, _ := os.ReadFile(string(path))
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != ed25519.SeedSize {
		seed = make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		if err := os.WriteFile(string(path), []byte(hex.EncodeToString(seed)), 0o600); err != nil {
			return "", err
		}
	}
	return deviceID(seed), nil
}
