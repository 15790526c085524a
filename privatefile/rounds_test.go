// SPDX-License-Identifier: Apache-2.0

//go:build unix && !long

package privatefile_test

// killRounds is how often a child is killed: a hundredth of what the build tag long asks for.
const killRounds = 100
