// SPDX-License-Identifier: Apache-2.0

package privatefile

import "golang.org/x/sys/unix"

func renameNoReplace(dir int, from, to string) error {
	return unix.RenameatxNp(dir, from, dir, to, unix.RENAME_EXCL)
}

// sync asks for the device's cache to be written too, which fsync(2) of macOS does not; os.File.Sync does the same.
func (h handle) sync() error {
	_, err := unix.FcntlInt(uintptr(h), unix.F_FULLFSYNC, 0)
	return err
}
