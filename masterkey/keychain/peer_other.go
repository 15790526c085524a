// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin && !windows

package keychain

import "net"

// trusted cannot be told with what this package may import; the package comment says so.
func trusted(net.Conn) error { return nil }
