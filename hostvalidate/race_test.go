// SPDX-License-Identifier: Apache-2.0

//go:build race

package hostvalidate_test

const underRace = true
