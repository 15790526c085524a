// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package credcipher_test

import (
	"errors"
	"io/fs"
	"testing"
)

func mkfifo(string) error { return errors.ErrUnsupported }

func requireMode(testing.TB, fs.FileMode, string) {} // modes are not kept here
