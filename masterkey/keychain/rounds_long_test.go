// SPDX-License-Identifier: Apache-2.0

//go:build long

package keychain_test

const rounds = 200
