// SPDX-License-Identifier: Apache-2.0

package noncecache_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/merlon-go/merlon/noncecache"
)

// This login remembers the signatures it has seen, as text, and drops the oldest when there are too many.
//
//	signature := r.Header.Get("X-Signature")
//	if seen.Contains(signature) {
//		return errReplay
//	}
//	seen.Add(signature, struct{}{}) // a golang-lru cache of 10,000
//	raw, _ := base64.RawURLEncoding.DecodeString(signature)
//	if !ed25519.Verify(device.Key, message, raw) {
//		return errUnauthorized
//	}
//
// It accepts a replay after 10,000 other requests, which nobody has to sign; after a restart; when two arrive at once;
// and with another last letter, of which four bits are not decoded. After it, the same login with a Cache.
func Example() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	cache, err := noncecache.New(noncecache.Config{
		Floor: now.Add(-time.Second), // kept from the last run
		Now:   func() time.Time { return now },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	login := func(device string, signedAt time.Time, signature string) error {
		message := fmt.Appendf(nil, "login:%s:%d", device, signedAt.UnixNano())
		raw, err := base64.RawURLEncoding.DecodeString(signature)
		if err != nil || !ed25519.Verify(public, message, raw) {
			return errors.New("unauthorized")
		}
		_, err = cache.Check(device, signedAt, message)
		return err
	}

	signature := base64.RawURLEncoding.EncodeToString(
		ed25519.Sign(private, fmt.Appendf(nil, "login:%s:%d", "phone", now.UnixNano())))
	other := signature[:len(signature)-1] + string(signature[len(signature)-1]+1) // decodes to the same bytes
	fmt.Println("login:", login("phone", now, signature))
	fmt.Println("replay:", errors.Is(login("phone", now, signature), noncecache.Replay))
	fmt.Println("encoded otherwise:", errors.Is(login("phone", now, other), noncecache.Replay))
	// Output:
	// login: <nil>
	// replay: true
	// encoded otherwise: true
}

func ExampleCache_Check() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	cache, err := noncecache.New(noncecache.Config{Floor: now.Add(-time.Hour), Now: func() time.Time { return now }})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, signedAt := range []time.Time{now, now, now.Add(-time.Hour), now.Add(time.Hour)} {
		verdict, err := cache.Check("phone", signedAt, fmt.Appendf(nil, "login %d", signedAt.Unix()))
		fmt.Printf("%v: %v\n", verdict.String(), err)
	}
	// Output:
	// fresh: <nil>
	// replay: noncecache: replay: the message was accepted before: refuse it; an honest client signs a new one
	// stale: noncecache: stale: the message was signed too long ago: sign a new one; if this goes on, compare the clocks
	// future: noncecache: future: the message is dated too far ahead: compare the clocks, then sign a new one
}

// A planned restart: the server stops, keeps the floor, and starts with it.
func ExampleCache_Floor() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	cache, err := noncecache.New(noncecache.Config{Now: clock, Floor: now.Add(-time.Hour)})
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict, _ := cache.Check("phone", now, []byte("login"))
	fmt.Println("before:", verdict.String())
	kept := cache.Floor().UnixNano() // when no Check runs any more

	now = now.Add(time.Second)
	cache, err = noncecache.New(noncecache.Config{Now: clock, Floor: time.Unix(0, kept)})
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict, _ = cache.Check("phone", now.Add(-time.Second), []byte("login"))
	fmt.Println("replayed:", verdict.String())
	verdict, _ = cache.Check("phone", now, []byte("another login"))
	fmt.Println("new:", verdict.String())
	// Output:
	// before: fresh
	// replayed: stale
	// new: fresh
}

// Messages that don't say when they were signed: each digest once within Window.
func ExampleCache_Add() {
	cache, err := noncecache.New(noncecache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	digest := [32]byte{} // crypto/sha256.Sum256 of what was verified
	fmt.Println(cache.Add(digest), cache.Add(digest))
	// Output: true false
}

// Two nodes and their Redis. The function is all that depends on the client; examples/noncecache has it for three.
func ExampleRedisStore() {
	redis := map[string]bool{} // stands for client.SetNX(ctx, key, "", ttl).Result()
	store := noncecache.RedisStore("login:", func(ctx context.Context, key string, ttl time.Duration) (bool, error) {
		added := !redis[key]
		redis[key] = true
		return added, ctx.Err()
	})
	message, signedAt := []byte("login"), time.Now()
	for range 2 {
		local, err := noncecache.New(noncecache.Config{Floor: signedAt.Add(-time.Hour)})
		if err != nil {
			fmt.Println(err)
			return
		}
		node := noncecache.NewShared(local, store)
		verdict, _ := node.Check(context.Background(), "phone", signedAt, message)
		fmt.Println(verdict.String())
	}
	// Output:
	// fresh
	// replay
}
