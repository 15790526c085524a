// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/merlon-go/merlon/credcipher"
)

// exampleKey stands for a key that masterkey gives. Do not make one at each start: what it sealed would be lost.
func exampleKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// Before: the credential lies in the file as it is, and whoever can write there puts another one.
//
//	os.WriteFile("telegram.json", token, 0o600)
//	token, err := os.ReadFile("telegram.json")
//
// After: the file holds an envelope that opens in this place only.
func Example() {
	ring, err := credcipher.StaticKey(exampleKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		fmt.Println(err)
		return
	}
	where := credcipher.Binding{"gateway", "telegram.json"}
	doc, err := c.Seal([]byte(`{"token":"sample"}`), where)
	if err != nil {
		fmt.Println(err)
		return
	}
	plaintext, info, err := c.Open(doc, where)
	fmt.Printf("%s sealed=%v err=%v\n", plaintext, info.Sealed, err)

	_, _, err = c.Open([]byte(`{"token":"the attacker's"}`), where)
	fmt.Println(errors.Is(err, credcipher.ErrPlaintext), err)
	_, _, err = c.Open(doc, credcipher.Binding{"gateway", "slack.json"})
	fmt.Println(errors.Is(err, credcipher.ErrWrongKeyOrContext))
	// Output:
	// {"token":"sample"} sealed=true err=<nil>
	// true credcipher: plaintext where an envelope is required
	// true
}

func ExampleCipher_SealFields() {
	ring, _ := credcipher.StaticKey(exampleKey())
	c, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		fmt.Println(err)
		return
	}
	where := credcipher.Binding{"gateway", "config.json"}
	fields := []string{"/telegram/token"}
	doc, err := c.SealFields([]byte(`{"telegram": {"token": "sample", "retry": 1.50}}`), fields, where)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(regexp.MustCompile(`\{"_encrypted".*?\}\}`).ReplaceAllString(string(doc), "ENVELOPE"))
	plain, _, err := c.OpenFields(doc, fields, where)
	fmt.Println(string(plain), err)
	_, _, err = c.OpenFields([]byte(`{"telegram": {"token": "the attacker's"}}`), fields, where)
	fmt.Println(errors.Is(err, credcipher.ErrPlaintext))
	// Output:
	// {"telegram": {"token": ENVELOPE, "retry": 1.50}}
	// {"telegram": {"token": "sample", "retry": 1.50}} <nil>
	// true
}

// The policy of the configuration file wins; the environment speaks only where the file is silent.
func ExamplePolicyFromEnv() {
	var config struct{ Sealing *credcipher.Policy } // decoded from a file that does not name it
	environment := map[string]string{"GATEWAY_SEALING": "migrate"}
	get := func(name string) string { return environment[name] } // os.Getenv

	policy, err := credcipher.PolicyFromEnv(get, "GATEWAY_SEALING")
	if err != nil {
		fmt.Println(err) // do not start: a misspelt policy is not the default one
		return
	}
	if config.Sealing != nil {
		policy = *config.Sealing
	}
	fmt.Println(policy)

	environment["GATEWAY_SEALING"] = "off"
	_, err = credcipher.PolicyFromEnv(get, "GATEWAY_SEALING")
	fmt.Println(err != nil)
	// Output:
	// migrate
	// true
}

// From a folder of plaintext files to one where plaintext is refused: make the marker once, run Reseal under Migrate,
// remove the copies that it reports, and drop Migrate.
func ExampleCipher_Reseal() {
	dir, err := os.MkdirTemp("", "credentials")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()
	_ = root.WriteFile("telegram.json", []byte(`{"token":"sample"}`), 0o600)
	_ = root.WriteFile("telegram.json.bak", []byte(`{"token":"sample"}`), 0o600)

	ring, _ := credcipher.StaticKey(exampleKey()) // a *masterkey.Manager in a program that rotates
	path := filepath.Join(dir, "sealed-places")
	marker, err := credcipher.OpenFileMarker(path, ring)
	if errors.Is(err, fs.ErrNotExist) {
		marker, err = credcipher.NewFileMarker(path, ring) // the operator's decision; never at each start
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := credcipher.New(credcipher.Config{
		Keyring: ring,
		Policy:  credcipher.Migrate,
		Marker:  marker,
		Progress: func(p credcipher.ResealProgress) {
			fmt.Printf("%d/%d %s resealed=%v err=%v\n", p.Done, p.Total, p.File, p.Resealed, p.Err)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	bind := func(file string) credcipher.Binding { return credcipher.Binding{"gateway", file} }
	report, err := c.Reseal(context.Background(), root, []string{"telegram.json"}, bind)
	fmt.Println(report.Resealed, "resealed, remove", report.Plaintext, err)

	// After a rotation: manager.Retire(ctx, oldID, report.StillUsed)
	n, err := report.StillUsed("an old key's id")
	fmt.Println(n, "still need the old key", err)

	_, _, err = c.Open([]byte(`{"token":"the attacker's"}`), bind("telegram.json"))
	fmt.Println(errors.Is(err, credcipher.ErrDowngrade))
	// Output:
	// 1/1 telegram.json resealed=true err=<nil>
	// 1 resealed, remove [telegram.json.bak] <nil>
	// 0 still need the old key <nil>
	// true
}

// A sessionStore is shaped like a library that keeps its own files: it writes beside, renames, and keeps a backup.
type sessionStore struct {
	files interface {
		fs.ReadFileFS
		Write(name string, data []byte) error
		Rename(oldName, newName string) error
	}
}

func (s sessionStore) Save(creds []byte) error {
	if err := s.files.Write("creds.json.new", creds); err != nil {
		return err
	}
	if err := s.files.Rename("creds.json", "creds.json.bak"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.files.Rename("creds.json.new", "creds.json")
}

func (s sessionStore) Load() ([]byte, error) { return s.files.ReadFile("creds.json") }

// A library that writes its own files is pointed at a Dir.
func ExampleOpenDir() {
	path, err := os.MkdirTemp("", "session")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(path)
	ring, _ := credcipher.StaticKey(exampleKey())
	c, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := credcipher.OpenDir(path, credcipher.DirConfig{
		Cipher:  c,
		Binding: credcipher.Binding{"gateway", "whatsapp"},
		Backup:  ".bak",
		OnFallback: func(name string, why error) {
			fmt.Println(name, "is damaged:", errors.Is(why, credcipher.ErrMalformed))
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dir.Close()

	library := sessionStore{dir}
	fmt.Println(library.Save([]byte("first")), library.Save([]byte("second")))
	onDisk, _ := os.ReadFile(filepath.Join(path, "creds.json"))
	fmt.Println(bytes.Contains(onDisk, []byte("second")))

	_ = os.Truncate(filepath.Join(path, "creds.json"), 100) // a full disk, say
	creds, err := library.Load()
	fmt.Println(string(creds), err)
	// Output:
	// <nil> <nil>
	// false
	// creds.json is damaged: true
	// first <nil>
}

// An older envelope, put back, is a good one, unless the Binding has a generation that is kept where the attacker cannot
// write: a row of a database, a counter of a TPM. Raise it there after the new envelope is written.
func ExampleBinding() {
	ring, _ := credcipher.StaticKey(exampleKey())
	c, err := credcipher.New(credcipher.Config{Keyring: ring})
	if err != nil {
		fmt.Println(err)
		return
	}
	at := func(generation int) credcipher.Binding {
		return credcipher.Binding{"gateway", "telegram.json", "generation", fmt.Sprint(generation)}
	}
	older, _ := c.Seal([]byte("revoked token"), at(41))
	newer, _ := c.Seal([]byte("token"), at(42))
	_, _, err = c.Open(newer, at(42))
	fmt.Println(err)
	_, _, err = c.Open(older, at(42))
	fmt.Println(errors.Is(err, credcipher.ErrWrongKeyOrContext))
	// Output:
	// <nil>
	// true
}

func ExampleInspect() {
	ring, _ := credcipher.StaticKey(bytes.Repeat([]byte{1}, 32))
	c, _ := credcipher.New(credcipher.Config{Keyring: ring})
	doc, _ := c.Seal([]byte("sample"), credcipher.Binding{"gateway", "telegram.json"})
	h, err := credcipher.Inspect(doc)
	fmt.Println(h.Version, h.Algorithm, h.Size, err)
	_, err = credcipher.Inspect([]byte(`{"token":"sample"}`))
	fmt.Println(errors.Is(err, credcipher.ErrPlaintext))
	// Output:
	// 2 HKDF-SHA256-KC-A256GCM 6 <nil>
	// true
}
