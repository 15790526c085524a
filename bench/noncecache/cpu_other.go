// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package noncecache

import "time"

// cpuTime stands in by the time of day, which is more.
func cpuTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
