// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"bytes"
	"crypto/ed25519"
	"sync"
	"time"
)

// CacheFor keeps the private key open for d after Sign has opened it, counted from that moment and not from the last
// use. Zero, as at first, or less: each Sign asks the Protector. More is weaker: for so long whoever can read this
// process's memory finds the key without the Protector. What is open when it is called is forgotten.
//
// The clock is the process's monotonic one, which on most systems stands still while the machine sleeps: call
// [Key.Lock] before it does.
func (k *Key) CacheFor(d time.Duration) {
	if k.ready() == nil {
		k.cache.set(d)
	}
}

// Lock forgets the open private key, also one that a Sign under way is about to keep. The next Sign asks the
// Protector.
func (k *Key) Lock() {
	if k.ready() == nil {
		k.cache.forget()
	}
}

// A cache holds the open private key for a time.
type cache struct {
	mu      sync.RWMutex
	period  time.Duration
	epoch   uint64                    // counts how often the key was forgotten
	private func() ed25519.PrivateKey // nil: none. A func, where printers that walk unexported fields stop
	timer   *time.Timer
}

func (c *cache) set(period time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
	c.period = period
}

func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// drop waits for the mu that users of the key hold, so that it is not cleared in their hands.
func (c *cache) drop() {
	c.epoch++
	if c.private != nil {
		c.timer.Stop()
		clear(c.private())
		c.private = nil
	}
}

// now is the epoch that keep must be given.
func (c *cache) now() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.epoch
}

// keep holds a copy of private, unless somebody said to forget it since epoch.
func (c *cache) keep(private ed25519.PrivateKey, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.period <= 0 || c.epoch != epoch {
		return
	}
	kept := bytes.Clone(private)
	c.private = func() ed25519.PrivateKey { return kept }
	c.timer = time.AfterFunc(c.period, c.forget)
}

// use says whether there was a key to use.
func (c *cache) use(do func(ed25519.PrivateKey)) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.private == nil {
		return false
	}
	do(c.private())
	return true
}
