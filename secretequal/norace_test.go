// SPDX-License-Identifier: Apache-2.0

//go:build !race

package secretequal_test

const raceEnabled = false
