// SPDX-License-Identifier: Apache-2.0

//go:build darwin || windows

package keychain

import (
	"context"
	"errors"
	"os/exec"

	"github.com/zalando/go-keyring"

	"github.com/merlon-go/merlon/masterkey"
)

// Load may outlive its context, which go-keyring does not know; the Source around it does not wait.
func (i item) Load(context.Context) ([]byte, error) {
	text, err := keyring.Get(i.service, i.account)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, masterkey.ErrNotFound
	}
	if err != nil {
		return nil, refusal(err)
	}
	return []byte(text), nil
}

func (i item) Store(_ context.Context, data []byte) error {
	err := keyring.Set(i.service, i.account, string(data))
	if err != nil {
		return refusal(err)
	}
	return nil
}

// refusal reads the exit code of macOS's security, which is the low byte of an OSStatus in SecBase.h.
func refusal(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		switch exit.ExitCode() {
		case 36: // errSecInteractionNotAllowed, -25308
			return &failure{masterkey.ErrLocked, "the keychain is locked, or nobody is there to be asked", err}
		case 51, 128: // errSecAuthFailed, -25293; errSecUserCanceled, -128
			return &failure{masterkey.ErrDenied, "the keychain or its user refused", err}
		}
	}
	return &failure{masterkey.ErrUnavailable, "the keychain does not answer as it should", err}
}
