// SPDX-License-Identifier: Apache-2.0

package keychain

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// trusted refuses a socket on which another user listens: an abstract name, or one in /tmp, can be taken by anybody
// once its bus is gone, and whoever has it would be sent the key.
func trusted(conn net.Conn) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d listens on the socket of the session bus, not this user or root", peer.Uid)
	}
	return nil
}
