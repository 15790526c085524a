// SPDX-License-Identifier: Apache-2.0

package noncecache_test

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/noncecache"
)

// A guard is what the hostile schedule attacks: it says whether it accepts a message.
type guard interface {
	accepts(principal string, signedAt time.Time, message []byte) bool
	restart(planned bool)
}

// ours is a Cache of 500 messages, 60 a principal.
type ours struct {
	*noncecache.Cache
	config noncecache.Config
}

func newOurs(now func() time.Time) guard {
	o := &ours{config: noncecache.Config{
		Window: 20 * time.Minute, FutureSkew: 2 * time.Minute, Capacity: 500, PerPrincipal: 60, Now: now,
		Floor: now().Add(-time.Hour),
	}}
	o.open()
	return o
}

func (o *ours) open() {
	cache, err := noncecache.New(o.config)
	if err != nil {
		panic(err)
	}
	o.Cache = cache
}

func (o *ours) accepts(principal string, signedAt time.Time, message []byte) bool {
	v, err := o.Check(principal, signedAt, message)
	if (err == nil) != (v == noncecache.Fresh) {
		panic(fmt.Sprint("verdict and error disagree: ", v, err))
	}
	return err == nil
}

func (o *ours) restart(planned bool) {
	o.config.Floor = time.Time{}
	if planned {
		o.config.Floor = o.Floor()
	}
	o.open()
}

// lru is the cache that this package replaces: of the same capacity, evicting the oldest, expiring by arrival.
type lru struct {
	now   func() time.Time
	order *list.List
	seen  map[string]time.Time
}

func newLRU(now func() time.Time) guard { return &lru{now, list.New(), map[string]time.Time{}} }

func (l *lru) accepts(principal string, signedAt time.Time, message []byte) bool {
	key, now := principal+string(message), l.now()
	age := now.Sub(signedAt)
	if until, ok := l.seen[key]; age >= 20*time.Minute || age < -2*time.Minute || ok && now.Before(until) {
		return false
	}
	l.seen[key] = now.Add(20 * time.Minute)
	if l.order.PushBack(key); l.order.Len() > 500 {
		delete(l.seen, l.order.Remove(l.order.Front()).(string))
	}
	return true
}

func (l *lru) restart(bool) { l.order, l.seen = list.New(), map[string]time.Time{} }

type outcome struct{ fresh, refused, replays, restarts, replayed int }

// siege runs a schedule of new messages, replays, floods, clock jumps of up to an hour either way, and restarts. What was
// accepted twice counts as replayed.
func siege(seed uint64, steps int, open func(now func() time.Time) guard) (out outcome) {
	type shown struct {
		principal string
		signedAt  time.Time
		id        uint64
	}
	random := rand.New(rand.NewPCG(seed, 1))
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	highest := clock
	g := open(func() time.Time { return clock })
	var principals [40]string
	for i := range principals {
		principals[i] = fmt.Sprint("device-", i)
	}
	accepted := make([]shown, 0, 4096)
	var message [8]byte
	show := func(s shown) bool {
		binary.LittleEndian.PutUint64(message[:], s.id)
		return g.accepts(s.principal, s.signedAt, message[:])
	}
	next := func(s shown) {
		s.id = uint64(out.fresh + out.refused)
		if !show(s) {
			out.refused++
			return
		}
		out.fresh++
		if len(accepted) < cap(accepted) {
			accepted = append(accepted, s)
		} else {
			accepted[random.IntN(len(accepted))] = s
		}
	}
	flood, flooder := 0, ""
	for range steps {
		clock = clock.Add(time.Duration(random.Int64N(int64(2 * time.Second))))
		highest = later(highest, clock)
		switch dice := random.IntN(20_000); {
		case flood > 0:
			flood--
			p := flooder
			if p == "" {
				p = fmt.Sprint("sybil-", flood)
			}
			next(shown{principal: p, signedAt: clock.Add(-time.Duration(random.Int64N(int64(time.Minute))))})
		case dice < 10_000 && len(accepted) > 0:
			out.replays++
			if show(accepted[random.IntN(len(accepted))]) {
				out.replayed++
			}
		case dice < 19_970:
			age := time.Duration(random.Int64N(int64(23*time.Minute))) - 2*time.Minute
			if dice%4 != 0 {
				age /= 30
			}
			next(shown{principal: principals[random.IntN(len(principals))], signedAt: clock.Add(-age)})
		case dice < 19_980:
			flood, flooder = 1+random.IntN(1000), principals[0]
			if dice%2 == 0 {
				flooder = ""
			}
		case dice < 19_990:
			clock = clock.Add(time.Duration(random.Int64N(int64(2*time.Hour))) - time.Hour)
			highest = later(highest, clock)
		default:
			out.restarts++
			planned := dice%2 == 0
			if !planned { // only a planned restart may happen while the clock is behind
				clock = highest
			}
			g.restart(planned)
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// TestHostileSchedule is for the package's claim: whatever happens, nothing is accepted twice. Most of a claim's worth is
// how much is still accepted, so that counts too. With
// -tags long -timeout 2h it takes a billion steps.
func TestHostileSchedule(t *testing.T) {
	steps := hostileSteps / 10
	if testing.Short() || raceEnabled {
		steps = 100_000
	}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			out := siege(seed, steps, newOurs)
			require.Zero(t, out.replayed, "replays accepted")
			require.Greater(t, out.fresh, steps/5)
			require.Greater(t, out.replays, steps/4)
			require.Greater(t, out.restarts, steps/5000)
		})
	}
	t.Run("the cache that this replaces accepts replays", func(t *testing.T) {
		require.Greater(t, siege(0, 100_000, newLRU).replayed, 1000)
	})
}

// TestHostileCrowd shows each message from eight goroutines, again and again, while the clock jumps and the cache is
// replaced. It has the shards, lanes and locks of a large cache, and a capacity that is too small for the traffic.
func TestHostileCrowd(t *testing.T) {
	steps := hostileSteps / 5
	if testing.Short() || raceEnabled {
		steps = 200_000
	}
	const (
		goroutines = 8
		pace       = 30 * time.Millisecond // 40,000 messages in a Window, for a Capacity of 16384
	)
	total := steps/8 + steps/20
	fresh := make([]atomic.Uint32, total)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	signed := func(i int) time.Time { return start.Add(time.Duration(i) * pace) }
	var head, jump atomic.Int64
	config := noncecache.Config{Capacity: 16384, PerPrincipal: 8192, Floor: start.Add(-time.Second), Now: func() time.Time {
		return signed(int(head.Load())).Add(time.Duration(jump.Load()))
	}}
	cache, err := noncecache.New(config)
	require.NoError(t, err)
	var running sync.RWMutex // a restart waits for the calls that run

	var crowd sync.WaitGroup
	for g := range goroutines {
		crowd.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 2))
			var message [8]byte
			for range steps / goroutines {
				i := int(head.Load())
				switch dice := random.IntN(100_000); {
				case dice < 12_500:
					i = int(head.Add(1))
				case dice < 50_000:
					i -= random.IntN(16)
				case dice < 99_980:
					i -= random.IntN(60_000)
				case dice < 99_985:
					jump.Store(random.Int64N(int64(2*time.Hour)) - int64(time.Hour))
					continue
				case dice < 99_999:
					jump.Store(0)
					continue
				default:
					running.Lock()
					config.Floor = cache.Floor()
					cache, err = noncecache.New(config)
					running.Unlock()
					continue
				}
				i = max(i, 0)
				binary.LittleEndian.PutUint64(message[:], uint64(i))
				principal := "one of many"
				if i%3 != 0 {
					principal = string(message[:3])
				}
				running.RLock()
				_, refusal := cache.Check(principal, signed(i), message[:])
				running.RUnlock()
				if refusal == nil {
					fresh[i].Add(1)
				}
			}
		})
	}
	crowd.Wait()
	require.NoError(t, err)
	accepted := 0
	for i := range fresh {
		require.LessOrEqual(t, fresh[i].Load(), uint32(1), "message %d was accepted more than once", i)
		accepted += int(fresh[i].Load())
	}
	require.Greater(t, accepted, steps/200, "of %d messages", head.Load())
}
