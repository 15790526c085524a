// SPDX-License-Identifier: Apache-2.0

package noncecache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/noncecache"
)

// FuzzCheck reads a schedule, four bytes a step, and compares with a model that remembers everything. Nothing may ever be
// accepted twice; and while there has been room for all, and the clock was not set back, the verdict is exactly the
// model's.
func FuzzCheck(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x00\x01\x02\x03"), byte(8), byte(3))
	f.Add([]byte("\x10\x01\x02\x03\xf0\x00\x00\x00\x00\x01\x02\x03\xf1\x00\x00\x00\x00\x01\x02\x03"), byte(1), byte(1))
	f.Add([]byte("\x00\x01\x02\x03\x20\x01\x03\x03\x00\x01\x02\x03\xff\x00\x00\x09\x10\x01\x02\x03"), byte(2), byte(0))
	f.Fuzz(func(t *testing.T, schedule []byte, capacity, quota byte) {
		const window, skew = 16 * time.Second, 4 * time.Second
		now := noon
		config := noncecache.Config{
			Window: window, FutureSkew: skew, Capacity: int(capacity) + 1, PerPrincipal: int(quota) + 1,
			Floor: noon.Add(-time.Hour), Now: func() time.Time { return now },
		}
		cache, err := noncecache.New(config)
		require.NoError(t, err)
		accepted := map[string]bool{}
		exact, highest := true, now
		for ; len(schedule) >= 4; schedule = schedule[4:] {
			op, a, b, c := schedule[0], schedule[1], schedule[2], schedule[3]
			switch {
			case op >= 0xfc: // a planned restart
				config.Floor = cache.Floor()
				cache, err = noncecache.New(config)
				require.NoError(t, err)
				exact = false
				continue
			case op >= 0xf8: // the clock is set
				now = now.Add(time.Duration(int8(c)) * time.Second)
				exact = exact && !now.Before(highest)
			default:
				now = now.Add(time.Duration(op) * time.Millisecond)
			}
			highest = later(highest, now)
			principal := fmt.Sprint(a % 8)
			signed := noon.Add(time.Duration(b)*time.Second + time.Duration(c%4)*time.Millisecond)
			message := fmt.Append(nil, b, c)
			key := principal + " " + string(message)
			v, err := cache.Check(principal, signed, message)
			agree(t, v, err)
			stats := cache.Stats()
			exact = exact && stats.Overflow == 0 && stats.OverQuota == 0
			age := now.Sub(signed)
			want := fresh
			switch {
			case age < -skew:
				want = future
			case age >= window:
				want = stale
			case accepted[key]:
				want = replay
			}
			if want == replay {
				require.NotEqual(t, fresh, v, "accepted twice")
			}
			if exact && !(v == stale && want == fresh && stats.Held > min(int(quota), int(capacity))) {
				require.Equal(t, want, v)
			}
			if v == fresh {
				require.Equal(t, fresh, want)
				accepted[key] = true
			}
		}
	})
}
