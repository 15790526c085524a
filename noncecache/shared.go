// SPDX-License-Identifier: Apache-2.0

package noncecache

import (
	"context"
	"encoding/hex"
	"errors"
	"time"
)

// A Store is a memory that several nodes have in common.
type Store interface {
	// PutIfAbsent stores digest until then at least, and reports whether it was absent, in one atomic step. What it can't
	// tell for sure is an error. It is called by several goroutines.
	PutIfAbsent(ctx context.Context, digest [32]byte, until time.Time) (added bool, err error)
}

// A Shared is a Cache that has a Store in common with other nodes, so that a message which one of them accepted is a
// replay to all. A nil or zero Shared accepts nothing.
//
// Its own Cache comes first. So replays to the same node cost the store nothing, and are refused even if the store
// forgot, as Redis may at a fail-over (it acknowledges a write before its replicas have it). A replay to another node is
// then accepted: if that matters, use a store that doesn't forget. Redis must not evict, either: maxmemory-policy
// noeviction. The nodes' clocks may differ by FutureSkew, since the store is asked to keep that much longer.
type Shared struct {
	local *Cache
	store Store
}

// NewShared returns a Shared. Without a local Cache or a Store it refuses everything.
func NewShared(local *Cache, store Store) *Shared { return &Shared{local, store} }

// Check is like [Cache.Check]. If the store fails the verdict is [Invalid] and the [*Error] holds the store's; the message
// has then been used up at this node, so that the client has to sign a new one.
func (s *Shared) Check(ctx context.Context, principal string, signedAt time.Time, message []byte) (Verdict, error) {
	if s == nil || s.store == nil {
		return Invalid, &Error{}
	}
	v, err := s.local.Check(principal, signedAt, message)
	if err != nil {
		return v, err
	}
	until := signedAt.Round(0).Add(s.local.window).Add(s.local.skew) // Round: the wall's time alone
	added, err := s.store.PutIfAbsent(ctx, hash(nil, principal, message), until)
	if err != nil {
		return Invalid, &Error{Err: err}
	}
	if !added {
		return Replay, &s.local.refusals[Replay]
	}
	return Fresh, nil
}

var (
	errNoRedis = errors.New("noncecache: RedisStore was given no function: pass one that runs SET with NX")
	errLate    = errors.New("noncecache: the message expired before the store was asked: compare the clocks")
)

// RedisStore is a Store on Redis, Valkey or whatever else can set a key if it is absent, through any client. The function
// runs SET key "" NX with that time to live, and reports whether the key was set; a client that answers with nil for a
// key that exists says false, and no error. With github.com/redis/go-redis/v9:
//
//	func(ctx context.Context, key string, ttl time.Duration) (bool, error) {
//		return client.SetNX(ctx, key, "", ttl).Result()
//	}
//
// A key is the prefix and 32 hexadecimal digits. The time to live is in whole seconds, rounded up, and counted by this
// machine's clock.
func RedisStore(prefix string, setNX func(ctx context.Context, key string, ttl time.Duration) (bool, error)) Store {
	return redisStore{prefix, setNX}
}

type redisStore struct {
	prefix string
	setNX  func(ctx context.Context, key string, ttl time.Duration) (bool, error)
}

func (r redisStore) PutIfAbsent(ctx context.Context, digest [32]byte, until time.Time) (bool, error) {
	if r.setNX == nil {
		return false, errNoRedis
	}
	ttl := time.Until(until)
	if ttl <= 0 {
		return false, errLate
	}
	ttl = (ttl + time.Second - 1).Truncate(time.Second)
	return r.setNX(ctx, r.prefix+hex.EncodeToString(digest[:16]), ttl)
}
