// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux && !darwin

package privatefile

import "golang.org/x/sys/unix"

func renameNoReplace(int, string, string) error { return unix.ENOSYS }

func (h handle) sync() error { return unix.Fsync(int(h)) }
