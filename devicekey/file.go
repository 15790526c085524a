// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"

	"github.com/merlon-go/merlon/privatefile"
)

// A key file is one line of JSON, with these members in this order, without other white space, and padded standard
// base64; "sealed" is what the Protector gave for the 32 bytes of the seed (RFC 8032, section 5.1.5):
//
//	{"devicekey":1,"algorithm":"Ed25519","public":"BASE64 OF 32 BYTES","sealed":"BASE64"}
//
// Files of version 1 will be read by every release.
const (
	head   = `{"devicekey":1,"algorithm":"Ed25519","public":"`
	middle = `","sealed":"`
	tail   = "\"}\n"
)

// maxFile bounds what is read. A Protector's sealed bytes may be three quarters of it; around 32 bytes an envelope of
// credcipher or of a key service is less than a hundredth.
const maxFile = 64 << 10

// binding is what a Protector must bind the seed to: format, algorithm, public key as hex. Not the path, so that the
// file may be moved.
func binding(public ed25519.PublicKey) []string {
	return []string{"merlon devicekey 1", "Ed25519", hex.EncodeToString(public)}
}

func encode(public ed25519.PublicKey, sealed []byte) []byte {
	doc := base64.StdEncoding.AppendEncode([]byte(head), public)
	doc = base64.StdEncoding.AppendEncode(append(doc, middle...), sealed)
	return append(doc, tail...)
}

// decode takes exactly what encode gives, so that every key has one spelling of its file.
func decode(doc []byte) (public ed25519.PublicKey, sealed []byte, err error) {
	rest, _ := bytes.CutPrefix(doc, []byte(head))
	rest, _ = bytes.CutSuffix(rest, []byte(tail))
	first, second, _ := bytes.Cut(rest, []byte(middle))
	public, errPublic := base64.StdEncoding.AppendDecode(nil, first)
	sealed, errSealed := base64.StdEncoding.AppendDecode(nil, second)
	if errPublic != nil || errSealed != nil || len(public) != ed25519.PublicKeySize ||
		!bytes.Equal(encode(public, sealed), doc) {
		return nil, nil, refuse(Malformed, nil)
	}
	return public, sealed, nil
}

// read gives what the file at path says, before anything of it has been proven.
func read(path string) (public ed25519.PublicKey, sealed []byte, err error) {
	doc, _, err := privatefile.Read(path, privatefile.Config{MaxBytes: maxFile})
	if err != nil {
		return nil, nil, refuseFile(err)
	}
	return decode(doc)
}

// put writes with privatefile.Create or privatefile.Write, and answers for what lies there afterwards.
func put(write func(string, []byte, privatefile.Config) error, path string, doc []byte) error {
	if err := write(path, doc, privatefile.Config{MaxBytes: maxFile}); err != nil {
		return refuseFile(err)
	}
	back, _, err := privatefile.Read(path, privatefile.Config{MaxBytes: maxFile})
	if err != nil {
		return refuseFile(err)
	}
	if !bytes.Equal(back, doc) {
		return refuse(OtherKey, nil)
	}
	return nil
}

func refuseFile(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(Missing, err)
	case errors.Is(err, fs.ErrExist):
		return refuse(Exists, err)
	}
	return refuse(FileRefused, err)
}
