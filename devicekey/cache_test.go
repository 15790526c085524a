// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/devicekey"
)

// sign signs once and says how often the vault was asked for it.
func sign(t testing.TB, k *devicekey.Key, v *vault) int64 {
	before := v.asked.Load()
	_, err := k.Sign(nil, message, plain)
	require.NoError(t, err)
	return v.asked.Load() - before
}

func TestEachSignAsks(t *testing.T) {
	k, _, v, _ := start(t)
	for _, d := range []time.Duration{0, -1, math.MinInt64} {
		for range 3 {
			require.EqualValues(t, 1, sign(t, k, v))
			require.Nil(t, devicekey.Opened(k))
		}
		k.CacheFor(d)
	}
}

func TestCacheEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _, v, _ := start(t)
		const period = time.Minute
		k.CacheFor(period)
		require.EqualValues(t, 1, sign(t, k, v))
		open := devicekey.Opened(k)
		require.NotNil(t, open)
		for range 3 {
			require.Zero(t, sign(t, k, v))
			time.Sleep(period/3 - 1) // use does not prolong it
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		require.Zero(t, sign(t, k, v))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Nil(t, devicekey.Opened(k), "no Sign is needed for it to end")
		require.Equal(t, make([]byte, 64), []byte(open), "and it is cleared")
		require.EqualValues(t, 1, sign(t, k, v))
		require.Zero(t, sign(t, k, v))
		k.Lock()
	})
}

func TestLockForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _, v, _ := start(t)
		k.CacheFor(time.Hour)
		sign(t, k, v)
		open := devicekey.Opened(k)
		k.Lock()
		k.Lock()
		require.Nil(t, devicekey.Opened(k))
		require.Equal(t, make([]byte, 64), []byte(open))

		// The first timer must not end what was opened after it.
		time.Sleep(30 * time.Minute)
		require.EqualValues(t, 1, sign(t, k, v))
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		require.Zero(t, sign(t, k, v))

		k.CacheFor(2 * time.Hour)
		require.Nil(t, devicekey.Opened(k), "a new period begins with nothing")
		require.EqualValues(t, 1, sign(t, k, v))
		k.CacheFor(0)
		require.EqualValues(t, 1, sign(t, k, v))
		require.EqualValues(t, 1, sign(t, k, v))
	})
}

// TestLockHoldsForASignUnderWay: after Lock has returned nothing is kept, not even by a Sign that began before it.
func TestLockHoldsForASignUnderWay(t *testing.T) {
	k, _, v, _ := start(t)
	k.CacheFor(time.Hour)
	for name, forget := range map[string]func(){"Lock": k.Lock, "CacheFor": func() { k.CacheFor(time.Hour) }} {
		inside, release := make(chan struct{}), make(chan struct{})
		v.wait = func(context.Context) error { close(inside); <-release; return nil }
		done := make(chan error)
		go func() { _, err := k.Sign(nil, message, plain); done <- err }()
		<-inside
		forget()
		close(release)
		require.NoError(t, <-done)
		require.Nil(t, devicekey.Opened(k), name)
	}
}

// TestBurst: many Signs at once are one question when the key may be kept, and one at a time when not.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _, v, _ := start(t)
		v.wait = func(context.Context) error { time.Sleep(time.Second); return nil }
		burst := func() int64 {
			before := v.asked.Load()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if _, err := k.Sign(nil, message, plain); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return v.asked.Load() - before
		}
		require.EqualValues(t, 8, burst())
		require.EqualValues(t, 1, v.highest.Load())
		k.CacheFor(time.Hour)
		require.EqualValues(t, 1, burst())
		k.Lock()
	})
}

func TestSignBesideLock(t *testing.T) {
	k, _, _, _ := start(t)
	k.CacheFor(time.Microsecond)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				k.Lock()
				sound(t, k)
			}
		})
	}
	wg.Wait()
}
