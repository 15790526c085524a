// SPDX-License-Identifier: Apache-2.0

//go:build !race

package masterkey_test

const raceEnabled = false
