// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// unverified is empty: the mode's group bits are the mask of a POSIX access control list, so nothing escapes the mode.
const unverified = ""

// listsOthers says whether the file's access control list names users or groups beside the owner and his group.
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

// namesOthers looks for ACL_USER (2) and ACL_GROUP (8) in the kernel's form of a list: a version, 2, and then entries
// of tag, rights and id (include/uapi/linux/posix_acl_xattr.h). What it does not understand names others.
func namesOthers(list []byte) bool {
	if len(list) < 4 || len(list)%8 != 4 || binary.LittleEndian.Uint32(list) != 2 {
		return true
	}
	for e := list[4:]; len(e) > 0; e = e[8:] {
		if tag := binary.LittleEndian.Uint16(e); tag == 0x02 || tag == 0x08 {
			return true
		}
	}
	return false
}
