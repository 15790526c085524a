// SPDX-License-Identifier: Apache-2.0

package privatefile

// NamesOthers reads an access control list in the kernel's form.
func NamesOthers(list []byte) bool { return namesOthers(list) }
