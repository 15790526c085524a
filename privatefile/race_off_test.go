// SPDX-License-Identifier: Apache-2.0

//go:build !race

package privatefile_test

const raceEnabled = false
