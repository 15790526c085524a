// SPDX-License-Identifier: Apache-2.0

package noncecache

import (
	"encoding/binary"
	"sync"
)

// A shard keeps entries and the accounts that own them, each in a table of fixed size with an index by hash. It is made
// of these ideas:
//
//   - Only the oldest entry of an account is ever forgotten, by pop, which raises the account's floor to it. An account
//     without entries is closed, and leaves its floor to the shard. So nothing is forgotten but under a floor.
//   - Of a newcomer and what would have to be forgotten for it, the older gives way. So a flood of messages that are all
//     signed at one moment raises no floor, but is refused.
//   - Places are handed out in a circle. The next place to be reused is therefore the one that has been taken for
//     longest, and if it has not expired, hardly any has: expiry needs neither timer nor list.
//
// Places are numbered from 1, so that a zero link means none.
type shard struct {
	mu       sync.Mutex
	entries  []entry
	accounts []account
	cells    []cell   // where entries are, by tag: linear probing
	byOwner  []uint16 // the first account of each chain

	taken  uint16 // entries that have been used; the places above are still empty
	hand   uint16 // the entry that was looked at last when room was needed
	opened uint16 // accounts that have been used
	vacant uint16 // the first closed account, chained
	turn   uint16 // the account that was looked at last when an account was needed

	floor slot  // signed at or before this: stale, whoever signed
	high  int64 // the highest signedAt accepted, in Unix nanoseconds

	overQuota, overflow uint64

	_ [64]byte // keeps the neighbour's lock off this one's cache line
}

// An entry is a message that was accepted, or a digest that was added.
type entry struct {
	tag   tag
	at    instant
	owner uint16 // account, or nobody, or pinned
	newer uint16 // next entry of the same account; after the newest comes the oldest
}

const (
	// nobody owns a lone message of a principal whose account was needed for another one.
	nobody = 0
	// pinned marks a digest from Add, which must stay until it has expired.
	pinned = 1<<16 - 1
)

// An account is a principal with at least one entry, as far as one lane of it falls into this shard.
type account struct {
	owner  [8]byte
	floor  instant
	newest uint16
	count  uint16 // of entries
	chain  uint16
}

// A tag tells messages apart. It comes from a keyed hash, so any of its bits will do as an index.
type tag [16]byte

// A cell says where an entry is, and the part of its tag that chose the cell: so another entry is hardly ever looked at.
type cell struct{ hash, place uint16 }

// A slot is 2^15 ns, 33 µs, of signedAt. Floors are whole slots.
type slot int64

func slotOf(nanos int64) slot { return slot(nanos >> 15) }

// An instant is a slot in the 48 bits that every time from 1970 to 2262 fits into, without the padding of an int64.
type instant [3]uint16

func (i instant) slot() slot { return slot(i[0]) | slot(i[1])<<16 | slot(i[2])<<32 }

func (s slot) instant() instant { return instant{uint16(s), uint16(s >> 16), uint16(s >> 32)} }

// A horizon is the first slot in which nothing has expired.
type horizon struct{ signed, added slot }

// newShards makes n shards with room for so many entries each. Half as many accounts are enough: when all are in use and
// one more is needed, a place has just been found, so that not every account can have two entries. One has a lone entry,
// which can do without.
func newShards(n, room int, floor int64) []shard {
	accounts := (room + 1) / 2
	shards := make([]shard, n)
	cells := room + room/3 + 1
	entrySlab, cellSlab := make([]entry, n*(room+1)), make([]cell, n*cells)
	accountSlab, ownerSlab := make([]account, n*(accounts+1)), make([]uint16, n*accounts)
	for i := range shards {
		s := &shards[i]
		s.entries, s.cells = part(entrySlab, i, room+1), part(cellSlab, i, cells)
		s.accounts, s.byOwner = part(accountSlab, i, accounts+1), part(ownerSlab, i, accounts)
		s.floor, s.high = slotOf(floor), floor
	}
	return shards
}

// part is the i-th piece of n elements.
func part[T any](slab []T, i, n int) []T { return slab[i*n : (i+1)*n : (i+1)*n] }

// check looks for the message, and if it is fresh makes room for it.
func (s *shard) check(tag tag, name [8]byte, at int64, quota int, expired horizon) Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(tag) != 0 {
		return Replay
	}
	when, own := slotOf(at), s.account(name)
	if when <= s.floor || own != nobody && when <= s.accounts[own].floor.slot() {
		return Stale
	}
	var place uint16
	if own != nobody && int(s.accounts[own].count) >= quota {
		oldest := s.entries[s.oldest(own)].at.slot()
		if when <= oldest {
			return Stale
		}
		if oldest >= expired.signed {
			s.overQuota++
		}
		place = s.pop(own) // even if it was the only entry: the newcomer keeps the account open
	} else {
		if place = s.room(when, own, expired); place == 0 {
			return Stale
		}
		own = s.open(name) // anew: to make room its last entry may have gone
	}
	s.put(place, entry{tag: tag, at: when.instant(), owner: own})
	if own != nobody {
		s.push(own, place)
	}
	s.high = max(s.high, at)
	return Fresh
}

// add is check for a digest that arrives at the time given.
func (s *shard) add(tag tag, at slot, expired horizon) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.find(tag)
	if place != 0 {
		if s.entries[place].at.slot() >= expired.added {
			return false
		}
		s.unlink(place)
	} else if place = s.room(noFloor, nobody, expired); place == 0 {
		return false
	}
	s.put(place, entry{tag: tag, at: at.instant(), owner: pinned})
	return true
}

// noFloor is the age of a newcomer that no floor can reach.
const noFloor = 1 << 48

// sample is how many entries are looked at for one that has expired, and again for one whose account has most.
const sample = 8

// room finds a place for a newcomer of that age and account. If all are taken it forgets the oldest entry of an account,
// or nothing and gives 0: when the newcomer would fall under the floor that this raises, or everything is pinned.
func (s *shard) room(when slot, own uint16, expired horizon) uint16 {
	last := uint16(len(s.entries) - 1)
	if s.taken < last {
		s.taken++
		return s.taken
	}
	var best victim
	for seen, left := 0, last; seen < sample && left > 0; left-- { // those that were taken longest ago
		s.hand = s.hand%last + 1
		if e := &s.entries[s.hand]; e.owner != pinned {
			v := s.victim(s.hand)
			if v.floor < expired.signed {
				return s.forget(v.place)
			}
			best = best.orRather(v)
			seen++
		} else if e.at.slot() < expired.added {
			s.unlink(s.hand)
			return s.hand
		}
	}
	for i := range sample { // all round the circle, because a flood fills a part of it
		place := uint16((int(s.hand)+i*int(last)/sample)%int(last)) + 1
		if s.entries[place].owner != pinned {
			best = best.orRather(s.victim(place))
		}
	}
	if best.place == 0 || best.floor >= when && (best.count == 1 || s.entries[best.place].owner == own) {
		return 0
	}
	if best.floor >= expired.signed {
		s.overflow++
	}
	return s.forget(best.place)
}

// A victim is an entry that may be forgotten, and what that would cost.
type victim struct {
	place uint16
	count uint16 // of entries that its account has; with 1 the shard's floor is raised, else the account's
	floor slot   // to which it is raised; 0 if it is there already
}

// victim is the oldest entry of the account that owns the given one.
func (s *shard) victim(place uint16) victim {
	v := victim{place, 1, s.entries[place].at.slot()}
	if own := s.entries[place].owner; own != nobody {
		a := &s.accounts[own]
		v = victim{s.oldest(own), a.count, s.entries[s.oldest(own)].at.slot()}
		if a.count == 1 {
			v.floor = max(v.floor, a.floor.slot())
		} else if v.floor <= a.floor.slot() {
			v.floor = 0
		}
	}
	if v.floor <= s.floor {
		v.floor = 0
	}
	return v
}

// orRather chooses the larger account, then the lower floor.
func (v victim) orRather(w victim) victim {
	if v.place == 0 || w.count > v.count || w.count == v.count && w.floor < v.floor {
		return w
	}
	return v
}

// forget makes room of an entry that is the oldest of its account, or nobody's.
func (s *shard) forget(place uint16) uint16 {
	own := s.entries[place].owner
	if own == nobody {
		s.floor = max(s.floor, s.entries[place].at.slot())
		s.unlink(place)
		return place
	}
	s.pop(own)
	if s.accounts[own].count == 0 {
		s.close(own)
	}
	return place
}

// pop takes away the oldest entry of an account and raises the account's floor to it.
func (s *shard) pop(own uint16) uint16 {
	a := &s.accounts[own]
	place := s.oldest(own)
	e := &s.entries[place]
	a.floor = max(a.floor.slot(), e.at.slot()).instant()
	a.count--
	s.entries[a.newest].newer = e.newer
	s.unlink(place)
	return place
}

// push makes an entry the newest of an account.
func (s *shard) push(own, place uint16) {
	a := &s.accounts[own]
	if a.count == 0 {
		s.entries[place].newer = place
	} else {
		s.entries[place].newer = s.oldest(own)
		s.entries[a.newest].newer = place
	}
	a.newest = place
	a.count++
}

func (s *shard) oldest(own uint16) uint16 { return s.entries[s.accounts[own].newest].newer }

// open finds or makes the account of that name. When all are in use, an account with a lone entry and without a floor of
// its own is closed, and the entry stays behind as nobody's.
func (s *shard) open(name [8]byte) uint16 {
	own := s.account(name)
	if own != nobody {
		return own
	}
	last := uint16(len(s.accounts) - 1)
	if s.vacant == 0 && s.opened == last {
		for range last {
			s.turn = s.turn%last + 1
			if a := &s.accounts[s.turn]; a.count == 1 && a.floor.slot() <= s.floor {
				s.entries[a.newest].owner = nobody
				s.close(s.turn)
				break
			}
		}
	}
	switch {
	case s.vacant != 0:
		own = s.vacant
		s.vacant = s.accounts[own].chain
	case s.opened < last:
		s.opened++
		own = s.opened
	default:
		return nobody
	}
	head := &s.byOwner[index(name[:], len(s.byOwner))]
	s.accounts[own] = account{owner: name, chain: *head}
	*head = own
	return own
}

// close gives an account back, and its floor to the shard.
func (s *shard) close(own uint16) {
	a := &s.accounts[own]
	s.floor = max(s.floor, a.floor.slot())
	link := &s.byOwner[index(a.owner[:], len(s.byOwner))]
	for *link != own {
		link = &s.accounts[*link].chain
	}
	*link = a.chain
	*a = account{chain: s.vacant}
	s.vacant = own
}

// account finds the account of that name, or nobody.
func (s *shard) account(name [8]byte) uint16 {
	own := s.byOwner[index(name[:], len(s.byOwner))]
	for own != nobody && s.accounts[own].owner != name {
		own = s.accounts[own].chain
	}
	return own
}

// find gives the place of the entry with that tag, or 0.
func (s *shard) find(tag tag) uint16 {
	hash := tag.hash()
	for i := s.home(hash); s.cells[i].place != 0; i = s.next(i) {
		if c := s.cells[i]; c.hash == hash && s.entries[c.place].tag == tag {
			return c.place
		}
	}
	return 0
}

// put writes an entry and makes it found.
func (s *shard) put(place uint16, e entry) {
	s.entries[place] = e
	i := s.home(e.tag.hash())
	for s.cells[i].place != 0 {
		i = s.next(i)
	}
	s.cells[i] = cell{e.tag.hash(), place}
}

// unlink makes an entry not found. Its place is free.
func (s *shard) unlink(place uint16) {
	i := s.home(s.entries[place].tag.hash())
	for s.cells[i].place != place {
		i = s.next(i)
	}
	// Close the gap: move up what would no more be found behind it.
	for j := s.next(i); s.cells[j].place != 0; j = s.next(j) {
		if home := s.home(s.cells[j].hash); s.steps(home, j) >= s.steps(i, j) {
			s.cells[i], i = s.cells[j], j
		}
	}
	s.cells[i] = cell{}
}

func (t tag) hash() uint16 { return binary.LittleEndian.Uint16(t[:]) }

func (s *shard) home(hash uint16) int { return int(hash) * len(s.cells) >> 16 }

func (s *shard) next(i int) int {
	if i++; i == len(s.cells) {
		return 0
	}
	return i
}

// steps is the way from one cell to another, round the end.
func (s *shard) steps(from, to int) int {
	if to < from {
		to += len(s.cells)
	}
	return to - from
}

// index scales the first 32 bits of a hash to n.
func index(hash []byte, n int) int {
	return int(uint64(binary.LittleEndian.Uint32(hash)) * uint64(n) >> 32)
}

func (s *shard) highest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.high
}

func (s *shard) rewind(limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.high = min(s.high, limit)
	s.floor = min(s.floor, slotOf(limit))
	for i := range s.accounts {
		a := &s.accounts[i]
		a.floor = min(a.floor.slot(), slotOf(limit)).instant()
	}
}

func (s *shard) count(stats *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Held += int(s.taken)
	stats.Bytes += binary.Size(s.entries) + binary.Size(s.accounts) + binary.Size(s.cells) + binary.Size(s.byOwner)
	stats.OverQuota += s.overQuota
	stats.Overflow += s.overflow
}
