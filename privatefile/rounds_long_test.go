// SPDX-License-Identifier: Apache-2.0

//go:build unix && long

package privatefile_test

const killRounds = 10_000
