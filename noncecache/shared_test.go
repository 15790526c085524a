// SPDX-License-Identifier: Apache-2.0

package noncecache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/noncecache"
)

type storeFunc func(ctx context.Context, digest [32]byte, until time.Time) (bool, error)

func (f storeFunc) PutIfAbsent(ctx context.Context, digest [32]byte, until time.Time) (bool, error) {
	return f(ctx, digest, until)
}

// memory is a Store that works.
type memory struct{ sync.Map }

func (m *memory) PutIfAbsent(ctx context.Context, digest [32]byte, _ time.Time) (bool, error) {
	_, loaded := m.LoadOrStore(digest, true)
	return !loaded, ctx.Err()
}

func TestShared(t *testing.T) {
	ctx := context.Background()
	check := func(s *noncecache.Shared, principal, message string) (noncecache.Verdict, error) {
		v, err := s.Check(ctx, principal, noon, []byte(message))
		agree(t, v, err)
		return v, err
	}
	node := func(s noncecache.Store) *noncecache.Shared {
		return noncecache.NewShared(begin(t, noncecache.Config{Capacity: 64}).Cache, s)
	}
	t.Run("a replay to the other node", func(t *testing.T) {
		var m memory
		one, two := node(&m), node(&m)
		for _, step := range []struct {
			node      *noncecache.Shared
			principal string
			want      noncecache.Verdict
		}{{one, "p", fresh}, {two, "p", replay}, {two, "q", fresh}, {one, "q", replay}, {one, "p", replay}} {
			v, _ := check(step.node, step.principal, "m")
			require.Equal(t, step.want, v)
		}
	})
	t.Run("a message shown to many nodes at once", func(t *testing.T) {
		var m memory
		var accepted atomic.Int32
		var crowd sync.WaitGroup
		for range 16 {
			n := node(&m)
			crowd.Go(func() {
				if _, err := n.Check(ctx, "p", noon, []byte("m")); err == nil {
					accepted.Add(1)
				}
			})
		}
		crowd.Wait()
		require.Equal(t, int32(1), accepted.Load())
	})
	t.Run("a store that is down refuses, and uses the message up", func(t *testing.T) {
		down := errors.New("connection refused")
		calls := 0
		n := node(storeFunc(func(context.Context, [32]byte, time.Time) (bool, error) {
			calls++
			return true, down
		}))
		v, err := check(n, "p", "m")
		require.Equal(t, invalid, v)
		require.ErrorIs(t, err, down)
		require.ErrorIs(t, err, invalid)
		v, _ = check(n, "p", "m")
		require.Equal(t, replay, v)
		require.Equal(t, 1, calls)
	})
	t.Run("a fail-over that lost the write (redis#6062)", func(t *testing.T) {
		forgetful := storeFunc(func(context.Context, [32]byte, time.Time) (bool, error) { return true, nil })
		n := node(forgetful)
		v, _ := check(n, "p", "m")
		require.Equal(t, fresh, v)
		v, _ = check(n, "p", "m")
		require.Equal(t, replay, v)
	})
	t.Run("what the local table refuses never reaches the store", func(t *testing.T) {
		n := node(storeFunc(func(context.Context, [32]byte, time.Time) (bool, error) {
			t.Error("asked")
			return true, nil
		}))
		for _, at := range []time.Duration{-window, skew + 1} {
			v, err := n.Check(ctx, "p", noon.Add(at), []byte("m"))
			agree(t, v, err)
		}
	})
	t.Run("the store is told until when", func(t *testing.T) {
		var until time.Time
		n := node(storeFunc(func(_ context.Context, _ [32]byte, u time.Time) (bool, error) {
			until = u
			return true, nil
		}))
		v, err := n.Check(ctx, "p", noon.Add(time.Second), []byte("m"))
		agree(t, v, err)
		require.True(t, until.Equal(noon.Add(time.Second+window+skew)), "FutureSkew more, for a node whose clock is behind")
	})
	t.Run("digests tell principals, messages and nothing else apart", func(t *testing.T) {
		seen := map[[32]byte]bool{}
		count := storeFunc(func(_ context.Context, d [32]byte, _ time.Time) (bool, error) {
			seen[d] = true
			return true, nil
		})
		for range 2 { // two nodes
			n := node(count)
			check(n, "ab", "c")
			check(n, "a", "bc")
			check(n, "", "abc")
		}
		require.Len(t, seen, 3)
	})
	t.Run("absence", func(t *testing.T) {
		var nobody *noncecache.Shared
		for name, s := range map[string]*noncecache.Shared{
			"nil": nobody, "zero": {}, "no store": node(nil), "no cache": noncecache.NewShared(nil, &memory{}),
			"no function": node(noncecache.RedisStore("p:", nil)),
		} {
			v, err := check(s, "p", "m")
			require.Equal(t, invalid, v, name)
			require.Error(t, err)
		}
	})
}

func TestRedisStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type call struct {
			key string
			ttl time.Duration
		}
		var calls []call
		added, failure := true, error(nil)
		type mark struct{}
		ctx := context.WithValue(context.Background(), mark{}, true)
		store := noncecache.RedisStore("prefix:", func(c context.Context, key string, ttl time.Duration) (bool, error) {
			require.Equal(t, ctx, c)
			calls = append(calls, call{key, ttl})
			return added, failure
		})
		digest := [32]byte{0: 0xab, 15: 0xcd, 16: 0xff}
		const key = "prefix:ab0000000000000000000000000000cd"
		now := time.Now()
		for _, row := range []struct{ until, ttl time.Duration }{
			{1, time.Second}, {time.Second, time.Second}, {time.Second + 1, 2 * time.Second}, {window, window},
		} {
			ok, err := store.PutIfAbsent(ctx, digest, now.Add(row.until))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, call{key, row.ttl}, calls[len(calls)-1])
		}
		require.Len(t, calls, 4)

		added = false
		ok, err := store.PutIfAbsent(ctx, digest, now.Add(1))
		require.NoError(t, err)
		require.False(t, ok)

		failure = errors.New("i/o timeout")
		_, err = store.PutIfAbsent(ctx, digest, now.Add(1))
		require.ErrorIs(t, err, failure)

		for _, late := range []time.Duration{0, -1, -time.Hour} {
			ok, err := store.PutIfAbsent(ctx, digest, now.Add(late))
			require.Error(t, err, "a key that lives for no time remembers nothing")
			require.False(t, ok)
		}
		require.Len(t, calls, 6)
		require.True(t, strings.HasPrefix(fmt.Sprint(err), "i/o"))
	})
}
