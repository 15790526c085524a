// SPDX-License-Identifier: Apache-2.0

// Command credcipher points a library that writes its own files at a folder in which everything is sealed, and moves the
// folder to a new key.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/merlon-go/merlon/credcipher"
)

// files is what a chat library wants of its store: it keeps a session, writes it often, and renames it into place.
type files interface {
	fs.FS
	Write(name string, data []byte) error
	Rename(oldName, newName string) error
	Remove(name string) error
}

// login stands for such a library. It knows nothing of sealing.
func login(store files, session []byte) error {
	if err := store.Write("session.json.new", session); err != nil {
		return err
	}
	return store.Rename("session.json.new", "session.json")
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	path, err := os.MkdirTemp("", "credcipher-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(path)
	session := []byte(`{"noiseKey":"` + rand.Text() + `"}`)

	// The library used to write plaintext. Migrate seals what is there when it is read, and remembers it.
	if err := os.WriteFile(filepath.Join(path, "old.json"), session, 0o600); err != nil {
		return err
	}
	keys, err := newRing()
	if err != nil {
		return err
	}
	markerPath := path + ".marker"
	defer os.Remove(markerPath)
	marker, err := credcipher.NewFileMarker(markerPath, keys)
	if err != nil {
		return err
	}
	cipher, err := credcipher.New(credcipher.Config{Keyring: keys, Policy: credcipher.Migrate, Marker: marker})
	if err != nil {
		return err
	}
	dir, err := credcipher.OpenDir(path, credcipher.DirConfig{Cipher: cipher, Binding: credcipher.Binding{"chat"}})
	if err != nil {
		return err
	}
	defer dir.Close()

	if err := login(dir, session); err != nil {
		return err
	}
	for _, name := range []string{"session.json", "old.json"} {
		read, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		resting, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			return err
		}
		fmt.Printf("%s: the library reads its session: %v; it lies there readable: %v\n",
			name, bytes.Equal(read, session), bytes.Contains(resting, session))
	}

	if err := keys.rotate(); err != nil {
		return err
	}
	report, err := dir.Reseal(context.Background())
	if err != nil {
		return err
	}
	left, err := report.StillUsed(keys.old())
	if err != nil {
		return err
	}
	fmt.Printf("after the rotation: %d files moved, %d left under the old key\n", report.Resealed, left)

	// Somebody puts a document of his own where an envelope was.
	if err := os.WriteFile(filepath.Join(path, "session.json"), []byte(`{"noiseKey":"mine"}`), 0o600); err != nil {
		return err
	}
	_, err = fs.ReadFile(dir, "session.json")
	fmt.Println("plaintext in the place of an envelope:", err)
	return nil
}

// ring holds keys in memory, for this program's life. A service uses a *masterkey.Manager.
type ring struct{ keys []credcipher.Keyring }

func newRing() (*ring, error) {
	r := new(ring)
	return r, r.rotate()
}

func (r *ring) rotate() error {
	key := make([]byte, 32)
	rand.Read(key)
	k, err := credcipher.StaticKey(key)
	if err != nil {
		return err
	}
	r.keys = append([]credcipher.Keyring{k}, r.keys...)
	return nil
}

func (r *ring) old() string {
	id, _, _ := r.keys[len(r.keys)-1].PrimaryKey() // a StaticKey has one
	return id
}

// PrimaryKey gives the newest key.
func (r *ring) PrimaryKey() (string, []byte, error) { return r.keys[0].PrimaryKey() }

// LookupKey gives any of the keys.
func (r *ring) LookupKey(id string) (key []byte, err error) {
	for _, k := range r.keys {
		if key, err = k.LookupKey(id); err == nil {
			return key, nil
		}
	}
	return nil, err
}
