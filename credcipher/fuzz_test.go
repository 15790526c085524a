// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/merlon-go/merlon/credcipher"
)

func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) < 50 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, doc, _ := bytes.Cut(raw, []byte("\n\n"))
		f.Add(doc)
	}
}

// FuzzOpen: one document is an envelope, plaintext or refused, the same for every reader. What is taken for plaintext has
// no sentinel that encoding/json would see; what opens is JSON, names its key, and is one object of one member or two.
func FuzzOpen(f *testing.F) {
	seeds(f)
	k := ring{primary: "sample", keys: map[string][]byte{"sample": pattern(1)}}
	strictly := strict(f, k)
	insecure := newCipher(f, credcipher.Config{Keyring: k, Policy: credcipher.InsecurePlaintext, LegacyKey: pattern(9)})
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		got, info, err := insecure.Open(doc, here)
		if !bytes.Equal(before, doc) {
			t.Fatal("the document was changed")
		}
		if err != nil && (got != nil || info != credcipher.Info{}) {
			t.Fatal("something beside an error")
		}
		header, headerErr := credcipher.Inspect(doc)
		var root map[string]json.RawMessage
		isObject := json.Unmarshal(doc, &root) == nil
		claims := false
		for name := range root {
			claims = claims || strings.EqualFold(name, "_encrypted")
		}
		switch {
		case err == nil && !info.Sealed:
			if claims || !bytes.Equal(got, doc) || headerErr == nil {
				t.Fatalf("taken for plaintext: %q", doc)
			}
			if back, err := insecure.Seal(got, here); err != nil || !bytes.Equal(back, doc) {
				t.Fatalf("it cannot be written again: %v", err)
			}
			if out, _, err := strictly.Open(doc, here); err == nil || out != nil {
				t.Fatal("plaintext where an envelope is required")
			}
		case err == nil:
			if !isObject || len(root) != header.Version%2+1 || headerErr != nil || header.Size != len(got) || header.KeyID != info.KeyID {
				t.Fatalf("opened: %q as %+v", doc, header)
			}
		}
	})
}

// FuzzFields: for every document and pointer, what is sealed comes back byte for byte, only the value has changed, and
// encoding/json agrees on what is JSON.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"a":{"b/c~":[1.50,null,"x"]},"z":true}`), "/a/b~1c~0/2")
	f.Add([]byte(`[ {"\u0061":{}} ]`), "/0/a")
	f.Add([]byte(`{"a":1,"A":2}`), "/a")
	f.Add([]byte(`{"":{"":1e-7}}`), "//")
	c := strict(f, newRing)
	f.Fuzz(func(t *testing.T, doc []byte, pointer string) {
		out, err := c.SealFields(doc, []string{pointer}, here)
		if err != nil {
			if out != nil {
				t.Fatal("bytes beside an error")
			}
			return
		}
		if !json.Valid(doc) || !json.Valid(out) {
			t.Fatalf("no JSON: %q", doc)
		}
		back, info, err := c.OpenFields(out, []string{pointer}, here)
		if err != nil || !bytes.Equal(back, doc) || !info.Sealed {
			t.Fatalf("%q became %q: %v", doc, back, err)
		}
		at := 0
		for at < len(doc) && doc[at] == out[at] {
			at++
		}
		rest := 0
		for rest < len(doc)-at && doc[len(doc)-1-rest] == out[len(out)-1-rest] {
			rest++
		}
		if span := oneField.FindIndex(out); span == nil || span[0] > at || span[1] < len(out)-rest {
			t.Fatalf("more than the value has changed: %q to %q", doc, out)
		}
	})
}
