// SPDX-License-Identifier: Apache-2.0

//go:build long

package noncecache_test

const hostileSteps = 1_000_000_000
