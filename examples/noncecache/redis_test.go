// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/noncecache"
)

// startRedis runs a redis-server until the test ends, or until stop is called.
func startRedis(t *testing.T) (address string, stop func()) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		const reason = "no redis-server: install the Debian package of that name"
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = listener.Addr().String()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	require.NoError(t, listener.Close())

	server := exec.Command(program, "--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	var output bytes.Buffer
	server.Stdout, server.Stderr = &output, &output
	require.NoError(t, server.Start())
	stop = sync.OnceFunc(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	t.Cleanup(stop)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			require.NoError(t, conn.Close())
			return address, stop
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("redis-server does not answer: %s", output.Bytes())
		}
	}
}

func node(t *testing.T, store noncecache.Store) *noncecache.Shared {
	cache, err := noncecache.New(noncecache.Config{Floor: time.Now().Add(-time.Minute)})
	require.NoError(t, err)
	return noncecache.NewShared(cache, store)
}

func TestRedis(t *testing.T) {
	address, stop := startRedis(t)
	stores, done, err := open(address)
	require.NoError(t, err)
	defer done()
	require.Len(t, stores, 3)
	admin := goredis.NewClient(&goredis.Options{Addr: address})
	defer admin.Close()
	ctx := context.Background()

	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			signedAt, message := time.Now(), []byte("login with "+name)
			check := func(s *noncecache.Shared) noncecache.Verdict {
				v, err := s.Check(ctx, "phone", signedAt, message)
				require.Equal(t, v == noncecache.Fresh, err == nil)
				return v
			}
			one := node(t, store)
			require.Equal(t, noncecache.Fresh, check(one))
			require.Equal(t, noncecache.Replay, check(one))
			for other, theirs := range stores {
				require.Equal(t, noncecache.Replay, check(node(t, theirs)), "to a node with %s", other)
			}

			keys, err := admin.Keys(ctx, prefix+"*").Result()
			require.NoError(t, err)
			require.Len(t, keys, 1)
			require.Len(t, keys[0], len(prefix)+32)
			ttl, err := admin.PTTL(ctx, keys[0]).Result()
			require.NoError(t, err)
			require.InDelta(t, 22*time.Minute, ttl, float64(10*time.Second), "Window and FutureSkew")

			require.NoError(t, admin.FlushAll(ctx).Err()) // as a fail-over may
			require.Equal(t, noncecache.Replay, check(one), "the local table stands in front")
			require.Equal(t, noncecache.Fresh, check(node(t, store)), "a non-guarantee")

			var accepted atomic.Int32
			var crowd sync.WaitGroup
			for range 32 {
				n := node(t, store)
				crowd.Go(func() {
					if _, err := n.Check(ctx, "phone", signedAt, []byte("to all at once")); err == nil {
						accepted.Add(1)
					}
				})
			}
			crowd.Wait()
			require.Equal(t, int32(1), accepted.Load())
			require.NoError(t, admin.FlushAll(ctx).Err())
		})
	}

	t.Run("no more room", func(t *testing.T) {
		require.NoError(t, admin.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())
		require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "1").Err())
		for name, store := range stores {
			v, err := node(t, store).Check(ctx, "phone", time.Now(), []byte("full"))
			require.Equal(t, noncecache.Invalid, v, name)
			require.Error(t, err)
		}
		require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "0").Err())
	})

	t.Run("the program", func(t *testing.T) {
		var out bytes.Buffer
		require.NoError(t, run(ctx, &out, address))
		require.Equal(t, 2+3, strings.Count(out.String(), " accepted\n"), out.String())
		require.Equal(t, 2+9, strings.Count(out.String(), ": replay\n")+strings.Count(out.String(), ": stale\n"), out.String())
	})

	t.Run("no server", func(t *testing.T) {
		stop()
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		for name, store := range stores {
			v, err := node(t, store).Check(ctx, "phone", time.Now(), fmt.Append(nil, name))
			require.Equal(t, noncecache.Invalid, v, name)
			require.ErrorIs(t, err, noncecache.Invalid)
		}
	})
}
