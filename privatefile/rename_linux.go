// SPDX-License-Identifier: Apache-2.0

package privatefile

import "golang.org/x/sys/unix"

func renameNoReplace(dir int, from, to string) error {
	return unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
}

func (h handle) sync() error { return unix.Fsync(int(h)) }
