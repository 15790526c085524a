// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// TPM encrypts so that only this machine's TPM can decrypt. A TPM seals 128 bytes at most, so it seals a key of its own
// for each message, and that key encrypts the message with AES-256-GCM.
type TPM struct {
	mu  sync.Mutex // a TPM takes one command at a time
	tpm transport.TPMCloser
}

// sealedByTPM is what Encrypt gives, as JSON.
type sealedByTPM struct {
	Public, Private []byte // of the sealed object (TPM 2.0 Library, part 2, TPM2B_PUBLIC and TPM2B_PRIVATE)
	Ciphertext      []byte
}

func openTPM(path string) (*TPM, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	open := linuxtpm.Open
	if info.Mode()&os.ModeSocket != 0 {
		open = linuxudstpm.Open // swtpm
	}
	tpm, err := open(path)
	if err != nil {
		return nil, err
	}
	return &TPM{tpm: tpm}, nil
}

// Close gives the TPM back.
func (t *TPM) Close() error { return t.tpm.Close() }

// Encrypt is for masterkey.Wrapped.
func (t *TPM) Encrypt(_ context.Context, plaintext []byte) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	root, flush, err := t.root()
	if err != nil {
		return nil, err
	}
	defer flush()
	object, err := tpm2.Create{
		ParentHandle: tpm2.NamedHandle{Handle: root.ObjectHandle, Name: root.Name},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type:    tpm2.TPMAlgKeyedHash,
			NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{
				FixedTPM: true, FixedParent: true, UserWithAuth: true, NoDA: true,
			},
		}),
	}.Execute(t.tpm, session(root, tpm2.AESEncryption(128, tpm2.EncryptIn)))
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealedByTPM{
		Public:     tpm2.Marshal(object.OutPublic),
		Private:    tpm2.Marshal(object.OutPrivate),
		Ciphertext: aead.Seal(nil, nil, plaintext, nil),
	})
}

// Decrypt is for masterkey.Wrapped. What was altered, or sealed by another TPM, is an error.
func (t *TPM) Decrypt(_ context.Context, ciphertext []byte) ([]byte, error) {
	var sealed sealedByTPM
	if err := json.Unmarshal(ciphertext, &sealed); err != nil {
		return nil, errors.New("that was not sealed by a TPM")
	}
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](sealed.Public)
	if err != nil {
		return nil, err
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](sealed.Private)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	root, flush, err := t.root()
	if err != nil {
		return nil, err
	}
	defer flush()
	object, err := tpm2.Load{
		ParentHandle: tpm2.NamedHandle{Handle: root.ObjectHandle, Name: root.Name},
		InPublic:     *public,
		InPrivate:    *private,
	}.Execute(t.tpm)
	if err != nil {
		return nil, err
	}
	defer tpm2.FlushContext{FlushHandle: object.ObjectHandle}.Execute(t.tpm)
	key, err := tpm2.Unseal{
		ItemHandle: tpm2.NamedHandle{Handle: object.ObjectHandle, Name: object.Name},
	}.Execute(t.tpm, session(root, tpm2.AESEncryption(128, tpm2.EncryptOut)))
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key.OutData.Buffer)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed.Ciphertext, nil)
}

// root makes the storage root key, which is the same whenever the same TPM makes it.
func (t *TPM) root() (root *tpm2.CreatePrimaryResponse, flush func(), err error) {
	root, err = tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(t.tpm)
	if err != nil {
		return nil, nil, err
	}
	return root, func() { tpm2.FlushContext{FlushHandle: root.ObjectHandle}.Execute(t.tpm) }, nil
}

// session encrypts a key on its way between processor and TPM, which on many boards is a bus that can be listened to.
func session(root *tpm2.CreatePrimaryResponse, encryption tpm2.AuthOption) tpm2.Session {
	public, err := root.OutPublic.Contents()
	if err != nil {
		public = &tpm2.TPMTPublic{} // makes the session fail, and the call with it
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, encryption, tpm2.Salted(root.ObjectHandle, *public))
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
