// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// unverified is empty: the mode's group bits are the mask of a POSIX access control list, so nothing escapes the mode.
const unverified = ""

// listsOthers says whether the file's access control list lets users or groups beside the owner and the file's group read.
func (h handle) listsOthers() bool {
	list := make([]byte, 1024) // 127 entries; ERANGE for more, which is an answer too
	n, err := unix.Fgetxattr(int(h), "system.posix_acl_access", list)
	switch err {
	case nil:
		return namesOthers(list[:n])
	case unix.ENODATA, unix.ENOTSUP:
		return false
	}
	return true
}

// namesOthers looks for ACL_USER (2) and ACL_GROUP (8) with the right to read (4), in the kernel's form of a list: a
// version, 2, and then entries of tag, rights and id (include/uapi/linux/posix_acl_xattr.h). The mask is not looked
// at: the caller knows it from the mode. What is not understood names others.
func namesOthers(list []byte) bool {
	if len(list)%8 != 4 || binary.LittleEndian.Uint32(list) != 2 {
		return true
	}
	for e := list[4:]; len(e) > 0; e = e[8:] {
		tag, rights := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:])
		if (tag == 2 || tag == 8) && rights&4 != 0 {
			return true
		}
	}
	return false
}
