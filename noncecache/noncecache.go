// SPDX-License-Identifier: Apache-2.0

// Package noncecache accepts a signed message once, so that who overheard it can't send it again: not after a flood of
// other messages, not after a restart, not when the clock was set (finding MED-02, CWE-294).
//
// It replaces a cache of nonces, which forgets when it is full, and takes what it forgot for new:
//
//	if _, seen := lru.Get(nonce); seen { // two requests at once both get here
//		return errReplay
//	}
//	lru.Add(nonce, time.Now()) // evicts the victim's nonce after a flood; empty after a restart
//
// and often keys it on the signature, of which base64 and ECDSA allow several for one message (CWE-347).
//
// # Use
//
//	if !ed25519.Verify(device.Key, message, signature) { // first: see below
//		return errUnauthorized
//	}
//	if _, err := cache.Check(device.ID, signedAt, message); err != nil {
//		return err
//	}
//
// The message is the bytes that were signed, and they hold signedAt, the principal's name and something random. Verify
// before Check, always: a message that anybody may have made up would otherwise use up the one that it imitates. Check
// gives an error for everything but [Fresh]. Keep [Cache.Floor] over a planned restart.
//
// # Guarantees
//
//   - Forgetting never means accepting. What makes room for a newcomer leaves a floor behind, and a message signed at
//     or before its floor is [Stale]. Expiry, overflow and restart only ever raise floors.
//   - Memory is fixed by the Config and holds no pointers. No goroutine is started, nothing expires in bulk, and a call
//     locks one shard, for a bounded number of steps.
//   - A principal over its quota forgets messages of its own, and raises a floor of its own. When all room is taken, the
//     largest of a few principals loses its oldest message before any floor that others share is raised.
//   - A message is kept by when it was signed, not by when it arrived: dated ahead, it is remembered until it expires.
//   - Messages are told apart by 128 bits of SHA-256 under a random key, digests by 128 bits of two keyed hashes. If two
//     collided, the second would be refused.
//   - The wall clock may jump either way and come back. What was accepted is not accepted again.
//   - Absence refuses: a nil or zero Cache, a Shared without a store, a store that fails.
//
// # Not guaranteed
//
//   - That the message is authentic, which is for the signature to show, and for package secretequal or devicekey.
//   - Service under a flood that comes from as many principals as messages. It leaves the shared floor just behind the
//     present, or as far ahead as it may date its messages, and refuses who signed before. Limit it with package
//     authlimit. A principal whose clock is slow by more than the window that is left gets Stale as well.
//   - A restart without a floor while the clock is behind what it was: keep the floor, or wait until the clock is right.
//     Nor one with a floor that was read before the last message was accepted.
//   - Two nodes without a common store: each accepts a message once. See [Shared], and there what a store that forgets,
//     and clocks that differ by more than FutureSkew, cost.
//   - Order. Two fresh messages may arrive in any order; put a counter into them if it matters.
//
// # Cost
//
// Beside a million others, an insert takes less than a quarter of the time that it takes otter v2, ttlcache, or
// golang-lru's expirable under a mutex, and does not allocate; a message costs its SHA-256 on top. An entry takes 48 bytes
// where those take 120 to 300, all of them from the start. After a flood of twice their capacity those accept every
// replay, and a Cache none. A restart without a floor refuses honest clients for FutureSkew.
package noncecache

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"time"
)

// A Config says how long, and how many messages, a Cache remembers. The zero Config is a good start: every field has a
// default.
type Config struct {
	// Window is how old a message may be: one signed Window ago is Stale. Longer is weaker where a message was
	// withheld from the server and can be delivered late, and needs more Capacity. Zero: 20 minutes.
	Window time.Duration

	// FutureSkew is how far ahead of the server's clock a message may be dated. Longer is weaker: a flood may raise
	// floors that far. Zero: 2 minutes.
	FutureSkew time.Duration

	// Capacity is how many messages can be remembered; to refuse none that is within Window, there must be room for
	// all that arrive within Window+FutureSkew. It fixes the memory that New takes, about 45 bytes each. Less than the
	// traffic is never weaker; it shortens the window. Zero: 1,048,576.
	Capacity int

	// PerPrincipal is how many messages of one principal can be remembered, before its next one is paid for with its
	// oldest. From 512 on it is shared out by hash, with some to spare, and so holds approximately. More is weaker: a
	// principal can then crowd out others. Zero: a quarter of Capacity.
	PerPrincipal int

	// Floor is the [Cache.Floor] of the Cache that went before; messages signed until then are Stale. Earlier is
	// weaker: what that Cache accepted in between is accepted again. Zero: unknown, so that FutureSkew from now is
	// the floor, and what honest clients sign in that first time is refused (RFC 8446, section 8.2).
	Floor time.Time

	// Now tells the time. It is called by several goroutines. Nil: time.Now.
	Now func() time.Time
}

// A Cache remembers which messages were accepted. A nil or zero Cache accepts none. It may be used by several goroutines
// at once, and must not be copied.
type Cache struct {
	window, skew time.Duration
	now          func() time.Time
	start        time.Time // with the monotonic reading of Now, if it gives one

	messageKey   [16]byte
	digestKeys   [2]maphash.Seed
	principalKey maphash.Seed

	shards   []shard
	lanes    uint32 // over how many shards a principal is spread; a power of two
	quota    int    // of one principal in one lane
	refusals [Future + 1]Error
}

// longest keeps sums of two durations and a time within int64 nanoseconds.
const longest = 10 * 365 * 24 * time.Hour

// New returns an empty Cache. It fails if a setting is negative or beyond what can be kept, and names each that is.
func New(config Config) (*Cache, error) {
	c := &Cache{
		window:       orDefault(config.Window, 20*time.Minute),
		skew:         orDefault(config.FutureSkew, 2*time.Minute),
		now:          config.Now,
		digestKeys:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		principalKey: maphash.MakeSeed(),
	}
	capacity := orDefault(config.Capacity, 1<<20)
	perPrincipal := orDefault(config.PerPrincipal, (capacity+3)/4)
	if err := errors.Join(
		within("Window", c.window, longest),
		within("FutureSkew", c.skew, longest),
		within("Capacity", capacity, 1<<28),
		within("PerPrincipal", perPrincipal, math.MaxInt),
	); err != nil {
		return nil, err
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.start = c.now()
	rand.Read(c.messageKey[:])
	for v := range c.refusals {
		c.refusals[v].Verdict = Verdict(v)
	}

	shards := powerOfTwo(capacity / 4096)
	room := (capacity + shards - 1) / shards
	c.lanes = uint32(min(shards, powerOfTwo(perPrincipal/256)))
	c.quota = perPrincipal / int(c.lanes)
	if shards > 1 {
		room += spare(room)
	}
	if c.lanes > 1 {
		c.quota += spare(c.quota)
	}
	floor := nanos(config.Floor)
	if config.Floor.IsZero() {
		floor = max(nanos(c.start), 0) + int64(c.skew)
	}
	c.shards = newShards(shards, room, max(floor, 0))
	return c, nil
}

// Check accepts the message of the principal, or tells why not: the error is nil if and only if the verdict is [Fresh],
// and else an [*Error]. A message of another principal is another message. Any principal and message will do, the empty
// ones as well; signedAt is part of neither, so take it from the message.
//
// Check does not allocate, and keeps neither message nor principal.
func (c *Cache) Check(principal string, signedAt time.Time, message []byte) (Verdict, error) {
	if c == nil || c.shards == nil {
		return Invalid, &Error{}
	}
	v := c.check(principal, signedAt, message)
	if v == Fresh {
		return v, nil
	}
	return v, &c.refusals[v]
}

func (c *Cache) check(principal string, signedAt time.Time, message []byte) Verdict {
	clock := c.now()
	now, at := nanos(clock), nanos(signedAt)
	switch {
	case at == never || at-now > int64(c.skew):
		return Future
	case now-at >= int64(c.window):
		return Stale
	}
	sum := hash(c.messageKey[:], principal, message)
	owner := maphash.String(c.principalKey, principal)
	lane := binary.LittleEndian.Uint32(sum[16:]) & (c.lanes - 1)
	var name [8]byte
	binary.LittleEndian.PutUint64(name[:], owner)
	return c.shard(uint32(owner>>32)+lane).check(tag(sum[:16]), name, at, c.quota, c.horizon(clock))
}

// Add reports whether digest is new, for messages that don't say when they were signed: its arrival counts instead. It
// is true at most once within Window, and says nothing about what was added before a restart. Where you can, let the
// client sign a time and use Check, or a challenge of yours.
//
// No floor protects what was added, so nothing of it is forgotten before Window has passed. When there is no room Add is
// false, and Check has that much less; and since Add knows no principals, anyone who may add can fill it.
func (c *Cache) Add(digest [32]byte) bool {
	if c == nil || c.shards == nil {
		return false
	}
	var t tag
	binary.LittleEndian.PutUint64(t[:], maphash.Bytes(c.digestKeys[0], digest[:]))
	binary.LittleEndian.PutUint64(t[8:], maphash.Bytes(c.digestKeys[1], digest[:]))
	clock := c.now()
	return c.shard(binary.LittleEndian.Uint32(t[12:])).add(t, slotOf(c.arrival(clock)), c.horizon(clock))
}

// Floor is what a restart needs as [Config].Floor to refuse all that was accepted, as far as anything has been: the
// highest signedAt that this Cache, or one before it, accepted. Eight bytes will keep it: UnixNano.
//
// Read it when no Check runs any more, and remove it from the disk once it has been used: one that is older than the last
// message accepted, as after a crash, is worse than none.
func (c *Cache) Floor() time.Time {
	if c == nil || c.shards == nil {
		return time.Time{}
	}
	var high int64
	for i := range c.shards {
		high = max(high, c.shards[i].highest())
	}
	return time.Unix(0, high)
}

// Rewind lowers floors that lie more than FutureSkew ahead, for an operator who knows that the clock, or that of the Cache
// that went before, was wrong for a while; Stats().Ahead shows it. Until then messages may be refused as Stale.
//
// What was accepted while the clock was ahead, and has been forgotten since, can be replayed when its time comes.
func (c *Cache) Rewind() {
	if c == nil || c.shards == nil {
		return
	}
	limit := max(nanos(c.now()), 0) + int64(c.skew)
	for i := range c.shards {
		c.shards[i].rewind(limit)
	}
}

// Stats tells how a Cache is doing.
type Stats struct {
	// Held counts messages in memory, with those that expired and that no newcomer has replaced yet.
	Held int
	// Bytes is the memory of the tables, which New took for good.
	Bytes int
	// OverQuota counts messages forgotten before they expired, for the next one of the same principal.
	OverQuota uint64
	// Overflow counts messages forgotten before they expired, for one of any principal. If it grows, Capacity is too
	// small for the traffic, or the traffic is a flood.
	Overflow uint64
	// Ahead is how far Floor is ahead of the clock. More than FutureSkew means that the clock, or that of the Cache
	// that went before, was ahead for a while: see Rewind.
	Ahead time.Duration
}

// Stats looks at one shard after the other; numbers of a busy Cache are those of no single moment.
func (c *Cache) Stats() Stats {
	var stats Stats
	if c == nil || c.shards == nil {
		return stats
	}
	for i := range c.shards {
		c.shards[i].count(&stats)
	}
	stats.Ahead = max(0, c.Floor().Sub(time.Unix(0, nanos(c.now()))))
	return stats
}

// arrival is the time on a clock that nobody sets, if Now gives a monotonic reading: what arrived is kept for Window by it.
func (c *Cache) arrival(now time.Time) int64 {
	return min(max(nanos(c.start)+int64(now.Sub(c.start)), 0), never)
}

func (c *Cache) horizon(now time.Time) horizon {
	return horizon{signed: slotOf(nanos(now) - int64(c.window)), added: slotOf(c.arrival(now) - int64(c.window))}
}

func (c *Cache) shard(n uint32) *shard { return &c.shards[n&uint32(len(c.shards)-1)] }

// hash is SHA-256 over the key, the principal with its length in front, and the message.
func hash(key []byte, principal string, message []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	var buf [128]byte
	n := copy(buf[:], key)
	n += copy(buf[n:], binary.LittleEndian.AppendUint64(buf[n:n], uint64(len(principal))))
	for first := true; first || principal != ""; first = false {
		k := copy(buf[n:], principal)
		h.Write(buf[:n+k])
		principal, n = principal[k:], 0
	}
	h.Write(message)
	h.Sum(sum[:0])
	return sum
}

// never is where time ends for us, in the year 2242: the last second of which UnixNano, and sums with it, are defined.
const never = (1 << 33) * int64(time.Second)

// nanos is t.UnixNano for the time from 1970 until never, the nearer end of that for others, and -1 before it.
func nanos(t time.Time) int64 {
	switch sec := t.Unix(); {
	case sec < 0:
		return -1
	case sec >= 1<<33:
		return never
	}
	return t.UnixNano()
}

func orDefault[T int | time.Duration](v, zero T) T {
	if v == 0 {
		return zero
	}
	return v
}

func within[T int | time.Duration](field string, v, most T) error {
	if v < 0 || v > most {
		return fmt.Errorf("noncecache: Config.%s is %v: set it to 0 for the default, or to at most %v", field, v, most)
	}
	return nil
}

// powerOfTwo is the largest power of two up to n, and at least 1.
func powerOfTwo(n int) int { return 1 << (bits.Len(uint(max(n, 1))) - 1) }

// spare is four standard deviations of what a hash gives to one of many places that get n each (Poisson), so that one
// place in 30,000 is short of room.
func spare(n int) int { return 4 * int(math.Ceil(math.Sqrt(float64(n)))) }
