// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package privatefile

const unverified = "access control list"

func (h handle) listsOthers() bool { return false }
