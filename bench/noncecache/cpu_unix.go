// SPDX-License-Identifier: Apache-2.0

//go:build unix

package noncecache

import (
	"syscall"
	"time"
)

// cpuTime is what this process has used, on all processors.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
