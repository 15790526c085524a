// SPDX-License-Identifier: Apache-2.0

// Package noncecache measures merlon's noncecache beside the caches that nonces are kept in today.
package noncecache

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	gocache "github.com/patrickmn/go-cache"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/noncecache"
)

const (
	window = 20 * time.Minute
	live   = 1_000_000
)

// A memory accepts a digest that it has not seen.
type memory interface{ accept(digest [32]byte) bool }

// ours has a clock that goes on by one message's share of Window at each, so that each newcomer meets one that expires.
type ours struct {
	*noncecache.Cache
	now   time.Time
	pace  time.Duration
	names []string
}

func newOurs(entries int) *ours {
	o := &ours{now: time.Now(), pace: window / time.Duration(entries)}
	for i := range 10_000 {
		o.names = append(o.names, "device-"+strconv.Itoa(i))
	}
	var err error
	o.Cache, err = noncecache.New(noncecache.Config{
		Window: window, Capacity: entries + entries/20, Floor: o.now.Add(-time.Hour), Now: func() time.Time { return o.now },
	})
	if err != nil {
		panic(err)
	}
	return o
}

func (o *ours) accept(digest [32]byte) bool {
	o.now = o.now.Add(o.pace)
	return o.Add(digest)
}

func (o *ours) check(principal string, message []byte) bool {
	o.now = o.now.Add(o.pace)
	_, err := o.Check(principal, o.now, message)
	return err == nil
}

type otterCache struct {
	*otter.Cache[[32]byte, struct{}]
}

func newOtter(entries int) memory {
	return otterCache{otter.Must(&otter.Options[[32]byte, struct{}]{
		MaximumSize: entries, ExpiryCalculator: otter.ExpiryCreating[[32]byte, struct{}](window),
	})}
}

func (c otterCache) accept(digest [32]byte) bool {
	_, set := c.SetIfAbsent(digest, struct{}{})
	return set
}

// lru needs a lock of its own, because it can't add if absent.
type lru struct {
	mu sync.Mutex
	*expirable.LRU[[32]byte, struct{}]
}

func newLRU(entries int) memory {
	return &lru{LRU: expirable.NewLRU[[32]byte, struct{}](entries, nil, window)}
}

func (c *lru) accept(digest [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Contains(digest) {
		return false
	}
	c.LRU.Add(digest, struct{}{})
	return true
}

type ttl struct {
	*ttlcache.Cache[[32]byte, struct{}]
}

func newTTL(entries int) memory {
	return ttl{ttlcache.New(ttlcache.WithCapacity[[32]byte, struct{}](uint64(entries)),
		ttlcache.WithTTL[[32]byte, struct{}](window), ttlcache.WithDisableTouchOnHit[[32]byte, struct{}]())}
}

func (c ttl) accept(digest [32]byte) bool {
	_, seen := c.GetOrSet(digest, struct{}{})
	return !seen
}

type goCache struct{ *gocache.Cache }

func newGoCache(int) memory { return goCache{gocache.New(window, 0)} }

func (c goCache) accept(digest [32]byte) bool {
	return c.Cache.Add(string(digest[:]), nil, window) == nil
}

type contender struct {
	name string
	open func(entries int) memory
	memory
}

// digest is the n-th of a series.
func digest(series byte, n int) [32]byte {
	var seed [9]byte
	seed[0] = series
	binary.LittleEndian.PutUint64(seed[1:], uint64(n))
	return sha256.Sum256(seed[:])
}

// Subject inserts into memories that hold a million entries.
func Subject() (measure.Subject, error) {
	contenders := []contender{
		{"noncecache", func(n int) memory { return newOurs(n) }, nil},
		{"otter v2", newOtter, nil},
		{"expirable+mutex", newLRU, nil},
		{"ttlcache", newTTL, nil},
		{"go-cache", newGoCache, nil},
	}
	note := "| memory | replays accepted of 1000 after a flood | bytes an entry | CPU ns an insert | p99.99 of an insert |\n|---|---:|---:|---:|---:|\n"
	var inserts, logins []measure.Entry
	for i := range contenders {
		c := &contenders[i]
		replays, bytes := flood(c.open), 0.0
		c.memory, bytes = fill(c.open)
		cpu, tail := latency(c.memory)
		note += fmt.Sprintf("| %s | %d | %.1f | %.0f | %v |\n", c.name, replays, bytes, cpu, tail)

		next := 0
		inserts = append(inserts, measure.Entry{Name: c.name, Run: func(n int) {
			for range n {
				next++
				var d [32]byte // spread as a digest is, without the time to make one
				binary.BigEndian.PutUint64(d[:], uint64(next)*0x9e3779b97f4a7c15)
				binary.BigEndian.PutUint64(d[24:], uint64(next))
				if !c.accept(d) {
					panic(c.name + " refuses what is new")
				}
			}
		}})
	}

	checked, message, n := newOurs(live), make([]byte, 128), 0
	login := func() (string, []byte) {
		n++
		binary.LittleEndian.PutUint64(message, uint64(n))
		return checked.names[n*7919%len(checked.names)], message
	}
	for range live {
		if !checked.check(login()) {
			return measure.Subject{}, fmt.Errorf("noncecache refuses what is new: %+v", checked.Stats())
		}
	}
	logins = append(logins, measure.Entry{Name: "noncecache", Run: func(n int) {
		for range n {
			if !checked.check(login()) {
				panic("noncecache refuses what is new")
			}
		}
	}})
	for _, c := range contenders[1:] {
		logins = append(logins, measure.Entry{Name: c.name, Run: func(n int) {
			for range n {
				principal, message := login()
				h := sha256.New()
				var key [32]byte
				io.WriteString(h, principal)
				h.Write(message)
				h.Sum(key[:0])
				if !c.accept(key) {
					panic(c.name + " refuses what is new")
				}
			}
		}})
	}

	bars := []measure.Bar{measure.Faster(4, "otter v2"), measure.Faster(4, "expirable+mutex"), measure.Allocs(0)}
	return measure.Subject{
		Name: "noncecache",
		Jobs: []measure.Job{
			{Name: "insert a digest beside 1M", Entries: inserts, Bars: bars},
			{Name: "insert a message of 128 bytes beside 1M", Entries: logins, Bars: bars[2:]},
		},
		Note: func(w io.Writer) error {
			_, err := fmt.Fprint(w, note, "\nThe flood is of twice the capacity; go-cache has none and grows. Bars: no replay, 48 bytes, 50 µs on an idle machine.\n")
			return err
		},
	}, nil
}

// flood shows 1000 messages, then twice the capacity of others, then the 1000 again, and counts those accepted twice.
func flood(open func(int) memory) (replays int) {
	const capacity = 65_536
	m := open(capacity)
	accept := m.accept
	if o, ok := m.(*ours); ok {
		at, signed := o.now, map[[32]byte]time.Time{}
		o.pace = 0
		accept = func(d [32]byte) bool { // each of another principal, which is the worst flood for us
			if _, ok := signed[d]; !ok {
				at = at.Add(time.Millisecond)
				signed[d], o.now = at, at
			}
			_, err := o.Check(string(d[:8]), signed[d], d[:])
			return err == nil
		}
	}
	for i := range 1000 {
		accept(digest('v', i))
	}
	for i := range 2 * capacity {
		accept(digest('f', i))
	}
	for i := range 1000 {
		if accept(digest('v', i)) {
			replays++
		}
	}
	return replays
}

// fill inserts a million and tells what memory one took.
func fill(open func(int) memory) (m memory, bytes float64) {
	before := heap()
	m = open(live)
	for i := range live {
		m.accept(digest('a', i))
	}
	return m, float64(heap()-before) / live
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// latency inserts 300,000 more, and tells the CPU time of one, collection of garbage included, and the slow tail.
func latency(m memory) (cpu float64, tail time.Duration) {
	const n = 300_000
	digests := make([][32]byte, n)
	took := make([]time.Duration, n)
	for i := range digests {
		digests[i] = digest('b', i)
	}
	before := cpuTime()
	for i, d := range digests {
		start := time.Now()
		m.accept(d)
		took[i] = time.Since(start)
	}
	cpu = float64(cpuTime()-before) / n
	slices.Sort(took)
	return cpu, took[n-n/10_000]
}
