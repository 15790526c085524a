// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"context"
	"os"
	"sync/atomic"
)

// A lock is held as long as the one who took it or any call that may still write needs it. It ends with the process.
type lock struct {
	file *os.File
	refs atomic.Int32
}

func newLock(f *os.File) *lock {
	l := &lock{file: f}
	l.retain()
	return l
}

func (l *lock) retain() {
	if l != nil {
		l.refs.Add(1)
	}
}

func (l *lock) release() {
	if l != nil && l.refs.Add(-1) == 0 {
		_ = l.file.Close()
	}
}

type heldKey struct{}

// holding tells the calls made under ctx which lock they need.
func holding(ctx context.Context, l *lock) context.Context {
	return context.WithValue(ctx, heldKey{}, l)
}

// heldLock is nil where none is held.
func heldLock(ctx context.Context) *lock {
	l, _ := ctx.Value(heldKey{}).(*lock)
	return l
}
