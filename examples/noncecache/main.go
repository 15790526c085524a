// SPDX-License-Identifier: Apache-2.0

// Command noncecache accepts signed logins once: on one server, over its restart, and with -redis on several servers,
// whichever client library they use.
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/merlon-go/merlon/noncecache"
)

// A login is what a device sends. The message holds all that counts: the device's name, the time and something random.
type login struct {
	device             string
	signedAt           time.Time
	message, signature []byte
}

func sign(device string, key ed25519.PrivateKey) login {
	signedAt := time.Now()
	message := fmt.Appendf(nil, "login\n%s\n%d\n%s", device, signedAt.UnixNano(), rand.Text())
	return login{device, signedAt, message, ed25519.Sign(key, message)}
}

// checker is a *noncecache.Shared, or a *noncecache.Cache by way of alone.
type checker interface {
	Check(ctx context.Context, principal string, signedAt time.Time, message []byte) (noncecache.Verdict, error)
}

type alone struct{ *noncecache.Cache }

func (a alone) Check(_ context.Context, principal string, signedAt time.Time, message []byte) (noncecache.Verdict, error) {
	return a.Cache.Check(principal, signedAt, message)
}

// accept verifies first. A login that anybody could have made up must not use up the one that it imitates.
func accept(ctx context.Context, seen checker, key ed25519.PublicKey, l login) error {
	if !ed25519.Verify(key, l.message, l.signature) {
		return errors.New("the signature is wrong")
	}
	_, err := seen.Check(ctx, l.device, l.signedAt, l.message)
	return err
}

// takeFloor reads the floor that the last run kept, and removes it: after a crash none is better than an old one.
func takeFloor(path string) (time.Time, error) {
	kept, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil // a blind start: what is signed within FutureSkew from now is refused
	}
	if err == nil && len(kept) != 8 {
		err = errors.New("the floor is not of eight bytes")
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(kept))), os.Remove(path)
}

// keepFloor is for when the server has stopped.
func keepFloor(path string, floor time.Time) error {
	return os.WriteFile(path, binary.BigEndian.AppendUint64(nil, uint64(floor.UnixNano())), 0o600)
}

func main() {
	address := flag.String("redis", "", "share with other servers through this Redis, as host:port")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *address); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, address string) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "noncecache")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "floor")
	if err := keepFloor(path, time.Now()); err != nil { // as a run before this one would have
		return err
	}

	show := func(what string, seen checker, l login) {
		var refusal *noncecache.Error
		switch err := accept(ctx, seen, public, l); {
		case err == nil:
			fmt.Fprintf(out, "%-40s accepted\n", what)
		case errors.As(err, &refusal):
			fmt.Fprintf(out, "%-40s refused: %v\n", what, refusal.Verdict.String())
		default:
			fmt.Fprintf(out, "%-40s refused: %v\n", what, err)
		}
	}
	begin := func() (*noncecache.Cache, error) {
		floor, err := takeFloor(path)
		if err != nil {
			return nil, err
		}
		return noncecache.New(noncecache.Config{Floor: floor})
	}

	cache, err := begin()
	if err != nil {
		return err
	}
	l := sign("phone", private)
	forged := l
	forged.signature = make([]byte, ed25519.SignatureSize)
	show("somebody imitates the login", alone{cache}, forged)
	show("the login", alone{cache}, l)
	show("the same again", alone{cache}, l)

	if err := keepFloor(path, cache.Floor()); err != nil {
		return err
	}
	if cache, err = begin(); err != nil {
		return err
	}
	show("the same after a restart", alone{cache}, l)
	show("another login", alone{cache}, sign("phone", private))
	if address == "" {
		return nil
	}

	stores, done, err := open(address)
	if err != nil {
		return err
	}
	defer done()
	for _, first := range slices.Sorted(maps.Keys(stores)) {
		l := sign("phone", private)
		for _, name := range append([]string{first}, slices.Sorted(maps.Keys(stores))...) {
			local, err := noncecache.New(noncecache.Config{Floor: l.signedAt.Add(-time.Second)})
			if err != nil {
				return err
			}
			show("to a server that uses "+name, noncecache.NewShared(local, stores[name]), l)
		}
	}
	return nil
}
