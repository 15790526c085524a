// SPDX-License-Identifier: Apache-2.0

//go:build race

package envallow_test

const raceEnabled = true
