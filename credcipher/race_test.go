// SPDX-License-Identifier: Apache-2.0

//go:build race

package credcipher_test

const raceEnabled = true
