// SPDX-License-Identifier: Apache-2.0

//go:build long

package masterkey_test

const rounds = 10_000
