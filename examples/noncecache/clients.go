// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/merlon-go/merlon/noncecache"
)

const prefix = "login:"

// goRedis is the store for users of github.com/redis/go-redis.
func goRedis(client goredis.UniversalClient) noncecache.Store {
	return noncecache.RedisStore(prefix, func(ctx context.Context, key string, ttl time.Duration) (bool, error) {
		return client.SetNX(ctx, key, "", ttl).Result()
	})
}

// useRueidis is the store for users of github.com/redis/rueidis.
func useRueidis(client rueidis.Client) noncecache.Store {
	return noncecache.RedisStore(prefix, func(ctx context.Context, key string, ttl time.Duration) (bool, error) {
		err := client.Do(ctx, client.B().Set().Key(key).Value("").Nx().Ex(ttl).Build()).Error()
		if rueidis.IsRedisNil(err) { // the key exists
			return false, nil
		}
		return err == nil, err
	})
}

// redigo is the store for users of github.com/gomodule/redigo.
func redigo(pool *redis.Pool) noncecache.Store {
	return noncecache.RedisStore(prefix, func(ctx context.Context, key string, ttl time.Duration) (bool, error) {
		conn, err := pool.GetContext(ctx)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		reply, err := redis.DoContext(conn, ctx, "SET", key, "", "NX", "EX", int(ttl.Seconds()))
		return reply != nil, err
	})
}

// open connects to the address with each of the three clients.
func open(address string) (stores map[string]noncecache.Store, done func(), err error) {
	one := goredis.NewClient(&goredis.Options{Addr: address})
	two, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	if err != nil {
		return nil, nil, errors.Join(err, one.Close())
	}
	three := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", address)
	}}
	done = func() {
		two.Close()
		_ = errors.Join(one.Close(), three.Close()) // nothing is left to write
	}
	return map[string]noncecache.Store{"go-redis": goRedis(one), "rueidis": useRueidis(two), "redigo": redigo(three)}, done, nil
}
