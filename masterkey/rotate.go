// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Stage adds a new key, which every process can look up from now on and none seals with. It refuses with ErrReadOnly
// where the key comes from Env or SystemdCredential.
func (m *Manager) Stage(ctx context.Context) (id string, err error) {
	fresh := randomKey()
	err = m.rotate(ctx, KeyStaged, fresh.id, func(r *ring) (*ring, error) { return r.with(fresh) })
	if err != nil {
		return "", err
	}
	return fresh.id, nil
}

// Promote makes the key of that id the primary one, with which every process seals within a second. The others stay
// and can be looked up. It also takes back an earlier Promote.
func (m *Manager) Promote(ctx context.Context, id string) error {
	return m.rotate(ctx, KeyPromoted, id, func(r *ring) (*ring, error) { return r.promoting(id) })
}

// Retire removes a key for ever. It asks stillUsed how many things are sealed under it, once no process seals with it
// any more, which takes half a second; unless the answer is 0 and no error, it refuses with ErrInUse
// or that error. A nil stillUsed refuses, and so does the primary key. credcipher's Reseal counts: its report's KeyIDs.
//
// No other process rotates meanwhile: stillUsed is called with Config.Dir locked, and must not rotate itself.
func (m *Manager) Retire(ctx context.Context, id string, stillUsed func(id string) (int, error)) error {
	if stillUsed == nil {
		return errors.New("masterkey: Retire needs a stillUsed function; without a count nothing is retired")
	}
	return m.rotate(ctx, KeyRetired, id, func(r *ring) (*ring, error) {
		next, err := r.without(id)
		if err != nil {
			return nil, err
		}
		if err := settled(ctx); err != nil {
			return nil, err
		}
		n, err := stillUsed(id)
		if err != nil {
			return nil, fmt.Errorf("masterkey: key %s stays, because what is sealed under it could not be counted: %w", id, err)
		}
		if n != 0 {
			return nil, &fault{"", ErrInUse, fmt.Sprintf("key %s stays: %d things are sealed under it; reseal them first", id, n), nil}
		}
		return next, nil
	})
}

// settled waits until every process has noticed what the state file says. It does not ask when that was written: the
// file may be dated by another machine's clock.
func settled(ctx context.Context) error {
	select {
	case <-time.After(2 * freshness):
		return nil
	case <-ctx.Done():
		return late(ctx)
	}
}

// rotate changes the stored keys under the lock, from what is stored now.
func (m *Manager) rotate(ctx context.Context, kind EventKind, id string, change func(*ring) (*ring, error)) error {
	if m == nil || m.home == nil {
		return errNoManager
	}
	l, err := acquire(ctx, m.dir, m.timeout)
	if err != nil {
		return err
	}
	defer l.release()
	ctx = holding(ctx, l)
	old, raw, err := m.fetch(ctx)
	if err != nil {
		return err
	}
	// A step that ended between its two writes is finished first, or the others would not know of it during the next one.
	if now := markerOf(m.home.Name(), old); !bytes.Equal(raw, now.encode()) {
		if _, err := writeMarker(m.dir, now); err != nil {
			return err
		}
	}
	next, err := change(old)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return late(ctx)
	}
	if err := m.home.Store(ctx, next.encode()); err != nil {
		return storeFault(m.home, err, next)
	}
	if err := readBack(ctx, m.home, next); err != nil {
		// It cannot keep this one; what it kept before is what all data need.
		return errors.Join(err, m.home.Store(ctx, old.encode()))
	}
	raw, err = writeMarker(m.dir, markerOf(m.home.Name(), next))
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.now.Store(&view{ring: next, marker: raw, at: time.Now()})
	m.mu.Unlock()
	m.emit(kind, m.home, id)
	return nil
}
