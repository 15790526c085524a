// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
)

func unused(string) (int, error) { return 0, nil }

func TestRotation(t *testing.T) {
	h := newHome(t)
	m, other := h.open(t), h.open(t)
	first, firstKey := primary(t, m)

	second, err := m.Stage(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	id, _ := primary(t, m)
	require.Equal(t, first, id, "a staged key seals nothing")
	secondKey, err := other.LookupKey(second)
	require.NoError(t, err, "and every process can read with it")
	require.NotEqual(t, firstKey, secondKey)

	require.NoError(t, m.Promote(t.Context(), second))
	id, key := primary(t, m)
	require.Equal(t, second, id)
	require.Equal(t, secondKey, key)
	require.Eventually(t, func() bool { id, _, err := other.PrimaryKey(); return err == nil && id == second }, time.Second, 10*time.Millisecond)
	for _, m := range []*masterkey.Manager{m, other, h.open(t)} {
		got, err := m.LookupKey(first)
		require.NoError(t, err)
		require.Equal(t, firstKey, got)
		ids, err := m.KeyIDs()
		require.NoError(t, err)
		require.Equal(t, []string{first, second}, ids)
	}

	asked := ""
	require.NoError(t, m.Retire(t.Context(), first, func(id string) (int, error) { asked = id; return 0, nil }))
	require.Equal(t, first, asked)
	for _, m := range []*masterkey.Manager{m, h.open(t)} {
		_, err := m.LookupKey(first)
		require.ErrorIs(t, err, fs.ErrNotExist)
		id, key := primary(t, m)
		require.Equal(t, second, id)
		require.Equal(t, secondKey, key)
	}
}

func TestRotationIsRefused(t *testing.T) {
	h := newHome(t)
	m := h.open(t)
	first, _ := primary(t, m)
	second, err := m.Stage(t.Context())
	require.NoError(t, err)
	stored, state := read(t, h.path()), read(t, filepath.Join(h.state, "masterkey.state"))
	for _, row := range []struct {
		name string
		do   func() error
		want error
	}{
		{"promote an unknown key", func() error { return m.Promote(t.Context(), idOf(pattern(1))) }, fs.ErrNotExist},
		{"promote nothing", func() error { return m.Promote(t.Context(), "") }, fs.ErrNotExist},
		{"retire an unknown key", func() error { return m.Retire(t.Context(), idOf(pattern(1)), unused) }, fs.ErrNotExist},
		{"retire the primary key", func() error { return m.Retire(t.Context(), first, unused) }, nil},
		{"retire what one thing uses", func() error { return m.Retire(t.Context(), second, func(string) (int, error) { return 1, nil }) }, masterkey.ErrInUse},
		{"retire what is counted below nothing", func() error { return m.Retire(t.Context(), second, func(string) (int, error) { return -1, nil }) }, masterkey.ErrInUse},
		{"retire what cannot be counted", func() error { return m.Retire(t.Context(), second, func(string) (int, error) { return 0, errOther }) }, errOther},
		{"retire what nobody counts", func() error { return m.Retire(t.Context(), second, nil) }, nil},
		{"a context that is over", func() error { _, err := m.Stage(over(t)); return err }, context.Canceled},
		{"a context that ends while it is counted", func() error {
			ctx, cancel := context.WithCancel(t.Context())
			return m.Retire(ctx, second, func(string) (int, error) { cancel(); return 0, nil })
		}, context.Canceled},
	} {
		err := row.do()
		require.Error(t, err, row.name)
		require.Regexp(t, "^masterkey: ", err.Error(), row.name)
		if row.want != nil {
			require.ErrorIs(t, err, row.want, row.name)
		}
		require.Equal(t, stored, read(t, h.path()), row.name)
		require.Equal(t, state, read(t, filepath.Join(h.state, "masterkey.state")), row.name)
	}
}

func over(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestTwelveKeysAreTheMost(t *testing.T) {
	m := newHome(t).open(t, &memory{})
	first, _ := primary(t, m)
	for range 11 {
		_, err := m.Stage(t.Context())
		require.NoError(t, err)
	}
	_, err := m.Stage(t.Context())
	require.Error(t, err)
	ids, err := m.KeyIDs()
	require.NoError(t, err)
	require.Len(t, ids, 12)
	require.NoError(t, m.Promote(t.Context(), ids[5]))
	require.NoError(t, m.Retire(t.Context(), first, unused))
	require.NoError(t, m.Retire(t.Context(), ids[11], unused))
	id, _ := primary(t, m)
	require.Equal(t, ids[5], id, "taking keys away before and behind the primary one leaves it primary")
	_, err = m.Stage(t.Context())
	require.NoError(t, err)
}

func TestStoreThatLosesTheRingGetsTheOldOneBack(t *testing.T) {
	s := &memory{}
	h := newHome(t)
	m := h.open(t, s)
	id, key := primary(t, m)
	s.save = func(m *memory, data []byte) error { // takes at most one key, and says nothing
		m.kept = slices.Clone(data[:min(len(data), 170)])
		if len(data) == len(ringOf(0, key)) {
			m.kept = slices.Clone(data)
		}
		return nil
	}
	_, err := m.Stage(t.Context())
	require.ErrorIs(t, err, masterkey.ErrCorrupt)
	again, key2 := primary(t, h.open(t, s))
	require.Equal(t, id, again)
	require.Equal(t, key, key2)

	s.save = func(*memory, []byte) error { return errOther }
	_, err = m.Stage(t.Context())
	require.ErrorIs(t, err, errOther)
	again, _ = primary(t, m)
	require.Equal(t, id, again)
}

// TestKilledBetweenSourceAndState: each step of a rotation is two writes.
func TestKilledBetweenSourceAndState(t *testing.T) {
	h := newHome(t)
	m := h.open(t)
	state := filepath.Join(h.state, "masterkey.state")
	first, _ := primary(t, m)
	var second string
	for _, step := range []func() error{
		func() (err error) { second, err = m.Stage(t.Context()); return err },
		func() error { return m.Promote(t.Context(), second) },
		func() error { return m.Retire(t.Context(), first, unused) },
	} {
		before := read(t, state)
		require.NoError(t, step())
		after := read(t, state)
		require.NoError(t, os.WriteFile(state, before, 0o600))
		restarted := h.open(t)
		require.Equal(t, after, read(t, state), "the next start puts the state right")
		want, _ := primary(t, m)
		got, _ := primary(t, restarted)
		require.Equal(t, want, got)
	}
}

// TestPrimaryKeyIsNotStale: who goes on sealing under a key that is retired loses what it seals.
func TestPrimaryKeyIsNotStale(t *testing.T) {
	h := newHome(t)
	s := &memory{}
	m, other := h.open(t, s), h.open(t, s)
	second, err := m.Stage(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Promote(t.Context(), second))
	s.mu.Lock()
	s.load = func(*memory) ([]byte, error) { return nil, masterkey.ErrLocked }
	s.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	_, _, err = other.PrimaryKey()
	require.ErrorIs(t, err, masterkey.ErrLocked, "the primary key is another now, and cannot be had")
	loads, _ := s.counts()
	for range 100 {
		_, _, err = other.PrimaryKey()
		require.ErrorIs(t, err, masterkey.ErrLocked)
	}
	after, _ := s.counts()
	require.LessOrEqual(t, after-loads, 1, "the answer is kept for a while")
	s.mu.Lock()
	s.load = nil
	s.mu.Unlock()
	require.Eventually(t, func() bool { id, _, err := other.PrimaryKey(); return err == nil && id == second }, 2*time.Second, 20*time.Millisecond)

	require.NoError(t, os.Remove(filepath.Join(h.state, "masterkey.state")))
	time.Sleep(300 * time.Millisecond)
	_, _, err = other.PrimaryKey()
	require.Error(t, err, "without the state file nobody knows")
	_, err = other.LookupKey(second)
	require.NoError(t, err, "reading goes on")
}

// TestRotationWhileOthersRun: readers and writers in other Managers, as in other processes, lose nothing.
func TestRotationWhileOthersRun(t *testing.T) {
	h := newHome(t)
	m := h.open(t)
	var sealed sync.Map // id -> how many things are sealed under it
	var failed, reads atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		worker := h.open(t)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id, key, err := worker.PrimaryKey()
				if !assert.NoError(t, err) {
					failed.Add(1)
					return
				}
				n, _ := sealed.LoadOrStore(id, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				sealed.Range(func(id, n any) bool { // reads all that anybody sealed
					if n.(*atomic.Int64).Load() == 0 {
						return true
					}
					got, err := worker.LookupKey(id.(string))
					if err != nil && n.(*atomic.Int64).Load() == 0 {
						return true // resealed and retired in between
					}
					if !assert.NoError(t, err) {
						failed.Add(1)
					}
					_ = got
					reads.Add(1)
					return true
				})
				_ = key
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range 3 {
		old, _ := primary(t, m)
		next, err := m.Stage(t.Context())
		require.NoError(t, err)
		require.NoError(t, m.Promote(t.Context(), next))
		require.NoError(t, m.Retire(t.Context(), old, func(id string) (int, error) {
			n, _ := sealed.LoadOrStore(id, new(atomic.Int64)) // reseals; from here on nobody may seal under it
			n.(*atomic.Int64).Store(0)
			time.Sleep(50 * time.Millisecond)
			return int(n.(*atomic.Int64).Load()), nil
		}), "somebody sealed under a key that was no longer the primary one")
	}
	close(stop)
	wg.Wait()
	require.Zero(t, failed.Load())
	require.Greater(t, reads.Load(), int64(500))
}

// TestRetireWaitsUntilEveryProcessHasNoticedThePromotion: half a second, whatever the clock says, which may be another
// machine's.
func TestRetireWaitsUntilEveryProcessHasNoticedThePromotion(t *testing.T) {
	h := newHome(t)
	m := h.open(t, &memory{})
	state := filepath.Join(h.state, "masterkey.state")
	for _, row := range []struct {
		name string
		age  time.Duration
	}{
		{"just promoted", 0},
		{"dated an hour ago, by a file server whose clock is behind", time.Hour},
		{"dated in an hour, before the clock was set back", -time.Hour},
	} {
		id, err := m.Stage(t.Context())
		require.NoError(t, err)
		at := time.Now().Add(-row.age)
		require.NoError(t, os.Chtimes(state, at, at))
		start := time.Now()
		var waited time.Duration
		require.NoError(t, m.Retire(t.Context(), id, func(string) (int, error) { waited = time.Since(start); return 0, nil }))
		require.GreaterOrEqual(t, waited, 500*time.Millisecond, row.name)
		require.Less(t, waited, 2*time.Second, row.name)
	}
	id, err := m.Stage(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = m.Retire(ctx, id, func(string) (int, error) { panic("it was not waited for") })
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestPromoteWithoutItsSecondWriteIsFinishedBeforeTheNextStep: the keys are stored, the answer is lost, and the state file
// tells nobody. Whoever retired the old key then would do so while others seal under it.
func TestPromoteWithoutItsSecondWriteIsFinishedBeforeTheNextStep(t *testing.T) {
	h := newHome(t)
	s := &memory{}
	m, other := h.open(t, s), h.open(t, s)
	first, _ := primary(t, m)
	second, err := m.Stage(t.Context())
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	primary(t, other) // it has seen the second key
	s.mu.Lock()
	s.save = func(m *memory, data []byte) error { m.kept = slices.Clone(data); return errOther }
	s.mu.Unlock()
	require.ErrorIs(t, m.Promote(t.Context(), second), errOther)
	s.mu.Lock()
	s.save = nil
	s.mu.Unlock()
	require.NoError(t, m.Retire(t.Context(), first, func(string) (int, error) {
		id, _ := primary(t, other)
		require.Equal(t, second, id, "another process would seal under a key that is about to go")
		return 0, nil
	}))
}

// TestSlowAnswerIsOldWhenItComes: while a source, or a human with a passphrase, takes its time, the key may be retired.
func TestSlowAnswerIsOldWhenItComes(t *testing.T) {
	h := newHome(t)
	s := &memory{}
	m := h.open(t, s)
	var asked, answer chan struct{}
	slow := &memory{load: func(*memory) ([]byte, error) {
		s.mu.Lock()
		data := slices.Clone(s.kept)
		s.mu.Unlock()
		if asked != nil {
			close(asked)
			asked = nil
			<-answer
		}
		return data, nil
	}}
	replace := func() {
		old, _ := primary(t, m)
		next, err := m.Stage(t.Context())
		require.NoError(t, err)
		require.NoError(t, m.Promote(t.Context(), next))
		require.NoError(t, m.Retire(t.Context(), old, unused))
	}
	var late *masterkey.Manager
	for _, row := range []struct {
		name string
		look func() (string, error)
	}{
		{"at the start", func() (string, error) {
			var err error
			if late, err = masterkey.Open(context.Background(), h.config(slow)); err != nil {
				return "", err
			}
			id, _, err := late.PrimaryKey()
			return id, err
		}},
		{"when another process rotated", func() (string, error) { id, _, err := late.PrimaryKey(); return id, err }},
	} {
		if late != nil {
			replace() // there is something to load
			time.Sleep(300 * time.Millisecond)
		}
		asked, answer = make(chan struct{}), make(chan struct{})
		began := asked
		type result struct {
			id  string
			err error
		}
		got := make(chan result, 1)
		go func() { id, err := row.look(); got <- result{id, err} }()
		<-began
		replace()
		close(answer)
		r := <-got
		require.NoError(t, r.err, row.name)
		now, _ := primary(t, m)
		require.Equal(t, now, r.id, "%s: it seals under a key that is retired", row.name)
	}
}
