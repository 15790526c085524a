// SPDX-License-Identifier: Apache-2.0

//go:build race

package noncecache_test

const raceEnabled = true
