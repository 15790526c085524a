// SPDX-License-Identifier: Apache-2.0

package noncecache_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/noncecache"
)

const (
	invalid = noncecache.Invalid
	fresh   = noncecache.Fresh
	replay  = noncecache.Replay
	stale   = noncecache.Stale
	future  = noncecache.Future

	window = 20 * time.Minute
	skew   = 2 * time.Minute
	ms     = time.Millisecond
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A world is a cache and the clock that it goes by. Times are relative to noon.
type world struct {
	*noncecache.Cache
	t      testing.TB
	now    time.Duration
	config noncecache.Config
}

// begin opens a cache that has been up for long. The zero Config's times are given.
func begin(t testing.TB, config noncecache.Config) *world {
	w := &world{t: t, config: config}
	if w.config.Now == nil {
		w.config.Now = func() time.Time { return noon.Add(w.now) }
	}
	w.restart(noon.Add(-time.Hour))
	return w
}

func (w *world) restart(floor time.Time) {
	w.t.Helper()
	w.config.Floor = floor
	cache, err := noncecache.New(w.config)
	require.NoError(w.t, err)
	w.Cache = cache
}

// show asks for a verdict and looks at what must hold for every answer.
func (w *world) show(principal string, signed time.Duration, message string) noncecache.Verdict {
	w.t.Helper()
	v, err := w.Check(principal, noon.Add(signed), []byte(message))
	agree(w.t, v, err)
	return v
}

func agree(t testing.TB, v noncecache.Verdict, err error) {
	t.Helper()
	if v == fresh {
		require.NoError(t, err)
		return
	}
	var refusal *noncecache.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, v, refusal.Verdict)
	require.ErrorIs(t, err, v)
	require.True(t, strings.HasPrefix(err.Error(), "noncecache: "), err)
}

func TestCheck(t *testing.T) {
	type step struct {
		now, signed time.Duration
		principal   string
		message     string
		want        noncecache.Verdict
	}
	rows := []struct {
		name  string
		steps []step
	}{
		{"a replay at once", []step{{0, 0, "p", "m", fresh}, {0, 0, "p", "m", replay}}},
		{"a replay just before it expires", []step{{0, 0, "p", "m", fresh}, {window - 1, 0, "p", "m", replay}}},
		{"a replay just as it expires", []step{{0, 0, "p", "m", fresh}, {window, 0, "p", "m", stale}}},
		{"a message as old as may be", []step{{window - 1, 0, "p", "m", fresh}}},
		{"a message withheld until Window was over", []step{{window, 0, "p", "m", stale}}},
		{"a message dated ahead as far as may be", []step{{0, skew, "p", "m", fresh}}},
		{"a message dated ahead too far", []step{{0, skew + 1, "p", "m", future}}},
		{"what was dated too far ahead is fresh when its time comes", []step{
			{0, skew + 1, "p", "m", future}, {1, skew + 1, "p", "m", fresh}, {1, skew + 1, "p", "m", replay}}},
		{"what was dated ahead outlives Window from arrival (sourcebot#1395)", []step{
			{0, skew, "p", "m", fresh}, {window + 1, skew, "p", "m", replay},
			{window + skew - 1, skew, "p", "m", replay}, {window + skew, skew, "p", "m", stale}}},
		{"the same message dated otherwise", []step{{0, 0, "p", "m", fresh}, {0, 1, "p", "m", replay}}},
		{"a message of another principal (inji#1000)", []step{
			{0, 0, "p", "m", fresh}, {0, 0, "q", "m", fresh}, {0, 0, "p", "m", replay}, {0, 0, "q", "m", replay}}},
		{"principal and message run together", []step{
			{0, 0, "ab", "c", fresh}, {0, 0, "a", "bc", fresh}, {0, 0, "", "abc", fresh}, {0, 0, "abc", "", fresh}}},
		{"a principal that imitates the length of another", []step{
			{0, 0, "\x01\x00\x00\x00\x00\x00\x00\x00p", "m", fresh},
			{0, 0, "", "\x01\x00\x00\x00\x00\x00\x00\x00pm", fresh}, {0, 0, "p", "m", fresh}}},
		{"long principals that differ at the end", []step{
			{0, 0, strings.Repeat("x", 1000) + "1", "m", fresh}, {0, 0, strings.Repeat("x", 1000) + "2", "m", fresh},
			{0, 0, strings.Repeat("x", 1000) + "1", "m", replay}}},
		{"nothing at all is a message", []step{{0, 0, "", "", fresh}, {0, 0, "", "", replay}}},
		{"the clock set back after expiry", []step{
			{0, 0, "p", "m", fresh}, {25 * time.Minute, 25 * time.Minute, "p", "n", fresh}, {time.Minute, 0, "p", "m", replay}}},
		{"the clock an hour ahead and back", []step{
			{0, 0, "p", "m", fresh}, {time.Hour, time.Hour, "p", "n", fresh}, {0, 0, "p", "m", replay},
			{1, 1, "p", "o", fresh}, {1, time.Hour, "p", "n", future}, {time.Hour, time.Hour, "p", "n", replay}}},
		{"the clock an hour back", []step{{0, 0, "p", "m", fresh}, {-time.Hour, 0, "p", "m", future}, {0, 0, "p", "m", replay}}},
		{"a machine suspended for a day", []step{
			{0, 0, "p", "m", fresh}, {24 * time.Hour, 0, "p", "m", stale}, {24 * time.Hour, 24 * time.Hour, "p", "n", fresh}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := begin(t, noncecache.Config{})
			for i, s := range row.steps {
				w.now = s.now
				require.Equal(t, s.want, w.show(s.principal, s.signed, s.message), "step %d", i)
			}
		})
	}
	require.Len(t, rows, 19)
}

// TestSignedAtOutOfRange: UnixNano wraps round for such times, and would put them anywhere.
func TestSignedAtOutOfRange(t *testing.T) {
	around := func(t time.Time, sign time.Duration) time.Time { // by 2^64 ns
		for range 4 {
			t = t.Add(sign * (1 << 62))
		}
		return t
	}
	w := begin(t, noncecache.Config{})
	for _, row := range []struct {
		name     string
		signedAt time.Time
		want     noncecache.Verdict
	}{
		{"the zero time", time.Time{}, stale},
		{"the epoch", time.Unix(0, 0), stale},
		{"584 years before", around(noon, -1), stale},
		{"584 years after", around(noon, 1), future},
		{"the last second that is understood", time.Unix(1<<33-1, 0), future},
		{"the first that is not", time.Unix(1<<33, 0), future},
		{"the end of time", time.Unix(math.MaxInt64/2, 0), future},
	} {
		v, err := w.Check("p", row.signedAt, []byte(row.name))
		agree(t, v, err)
		require.Equal(t, row.want, v, row.name)
	}
	require.Zero(t, w.Stats().Held)
}

// TestBrokenClock runs where the clock says what it never should. The cache may refuse, and not accept twice.
func TestBrokenClock(t *testing.T) {
	for _, row := range []struct {
		name  string
		clock time.Time
		want  noncecache.Verdict
	}{
		{"the zero time", time.Time{}, stale},
		{"before the epoch", time.Unix(-1, 0), stale},
		{"at the epoch", time.Unix(0, 0), stale},
		{"a machine without a battery", time.Unix(1, 0), stale},
		{"past the end", time.Unix(1<<33, 0), future},
		{"far past the end", time.Unix(1<<40, 0), future},
	} {
		t.Run(row.name, func(t *testing.T) {
			cache, err := noncecache.New(noncecache.Config{Now: func() time.Time { return row.clock }})
			require.NoError(t, err)
			for range 2 {
				v, err := cache.Check("p", row.clock, []byte("m"))
				agree(t, v, err)
				require.Equal(t, row.want, v)
			}
			require.True(t, cache.Add([32]byte{1}))
			require.False(t, cache.Add([32]byte{1}))
		})
	}
}

func TestAbsence(t *testing.T) {
	for name, cache := range map[string]*noncecache.Cache{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				v, err := cache.Check("p", time.Now(), []byte("m"))
				agree(t, v, err)
				require.Equal(t, invalid, v)
			}
			require.False(t, cache.Add([32]byte{}))
			require.True(t, cache.Floor().IsZero(), "as a Config.Floor this is the blind start, which is safe")
			require.Empty(t, cmp.Diff(noncecache.Stats{}, cache.Stats()))
			require.NotPanics(t, cache.Rewind)
		})
	}
}

func TestConfig(t *testing.T) {
	long := 10 * 365 * 24 * time.Hour
	for _, row := range []struct {
		name   string
		config noncecache.Config
		faults []string // names of fields
	}{
		{"zero", noncecache.Config{}, nil},
		{"smallest", noncecache.Config{Window: 1, FutureSkew: 1, Capacity: 1, PerPrincipal: 1}, nil},
		{"longest", noncecache.Config{Window: long, FutureSkew: long, Capacity: 1}, nil},
		{"a quota that is none", noncecache.Config{Capacity: 10, PerPrincipal: math.MaxInt}, nil},
		{"a Window too long", noncecache.Config{Window: long + 1}, []string{"Window"}},
		{"a FutureSkew too long", noncecache.Config{FutureSkew: long + 1}, []string{"FutureSkew"}},
		{"a Capacity too large", noncecache.Config{Capacity: 1<<28 + 1}, []string{"Capacity"}},
		{"a negative Window", noncecache.Config{Window: -1}, []string{"Window"}},
		{"a negative FutureSkew", noncecache.Config{FutureSkew: -1}, []string{"FutureSkew"}},
		{"a negative Capacity", noncecache.Config{Capacity: -1}, []string{"Capacity", "PerPrincipal"}[:1]},
		{"a negative PerPrincipal", noncecache.Config{PerPrincipal: -1}, []string{"PerPrincipal"}},
		{"all at once", noncecache.Config{Window: -1, FutureSkew: -1, Capacity: -1, PerPrincipal: -1},
			[]string{"Window", "FutureSkew", "Capacity", "PerPrincipal"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			cache, err := noncecache.New(row.config)
			if row.faults == nil {
				require.NoError(t, err)
				require.True(t, cache.Add([32]byte{}))
				require.False(t, cache.Add([32]byte{}))
				return
			}
			require.Error(t, err)
			require.Nil(t, cache)
			for _, field := range []string{"Window", "FutureSkew", "Capacity", "PerPrincipal"} {
				require.Equal(t, contains(row.faults, field), strings.Contains(err.Error(), "Config."+field), field)
			}
		})
	}
}

func contains(all []string, s string) bool {
	return strings.Contains(" "+strings.Join(all, " ")+" ", " "+s+" ")
}

// TestDefaults pins what the doc of each field says about zero.
func TestDefaults(t *testing.T) {
	w := begin(t, noncecache.Config{})
	require.Equal(t, fresh, w.show("p", -window+1, "as old as may be"))
	require.Equal(t, stale, w.show("p", -window, "too old"))
	require.Equal(t, fresh, w.show("p", skew, "as far ahead as may be"))
	require.Equal(t, future, w.show("p", skew+1, "too far ahead"))
	for _, capacity := range []int{1, 2, 3, 100, 8191, 8192, 100_000, 1 << 20} {
		w := begin(t, noncecache.Config{Capacity: capacity})
		perEntry := float64(w.Stats().Bytes) / float64(capacity)
		if capacity >= 100 {
			require.Less(t, perEntry, 48.0, "bytes for each of %d", capacity)
		}
	}
	require.Less(t, w.Stats().Bytes, 48<<20)
	require.Greater(t, w.Stats().Bytes, 28<<20)
}

func TestRestart(t *testing.T) {
	t.Run("with the floor: what was accepted is stale, what is signed after it is fresh", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		for i := range 10 {
			require.Equal(t, fresh, w.show("p", time.Duration(i)*time.Second, fmt.Sprint(i)))
		}
		require.True(t, w.Floor().Equal(noon.Add(9*time.Second)), "the highest accepted, to the nanosecond")
		w.now = 9*time.Second + ms
		floor := time.Unix(0, w.Floor().UnixNano()) // the eight bytes
		w.restart(floor)
		for i := range 10 {
			require.Equal(t, stale, w.show("p", time.Duration(i)*time.Second, fmt.Sprint(i)))
		}
		require.Equal(t, fresh, w.show("p", 9*time.Second+ms, "new"))
	})
	t.Run("with the floor, twice: the first floor stays", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		require.Equal(t, fresh, w.show("p", time.Minute, "m"))
		w.restart(w.Floor())
		w.restart(w.Floor())
		require.Equal(t, stale, w.show("p", time.Minute, "m"))
	})
	t.Run("without: nothing is accepted that may have been (GHSA-v2jf-442r-6mjh)", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		require.Equal(t, fresh, w.show("p", 0, "now"))
		require.Equal(t, fresh, w.show("p", skew, "ahead"))
		w.now = 1
		w.restart(time.Time{})
		require.True(t, w.Floor().Equal(noon.Add(skew+1)), "another blind restart must know")
		require.Equal(t, stale, w.show("p", 0, "now"))
		require.Equal(t, stale, w.show("p", skew, "ahead"))
		w.now = skew + 1
		require.Equal(t, stale, w.show("p", skew+1, "honest, in the dead time"))
		require.Equal(t, fresh, w.show("p", skew+1+ms, "honest, after it"))
	})
	t.Run("with the floor of long ago", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		w.restart(time.Unix(-1, 0))
		require.Equal(t, fresh, w.show("p", 0, "m"))
	})
}

// TestFarForwardGlitch: the clock was an hour ahead, and so was a client's.
func TestFarForwardGlitch(t *testing.T) {
	w := begin(t, noncecache.Config{Capacity: 4, PerPrincipal: 4})
	require.Equal(t, fresh, w.show("p", 0, "before"))
	w.now = time.Hour
	require.Equal(t, fresh, w.show("p", time.Hour, "during"))
	w.now = 1
	require.Equal(t, time.Hour-1, w.Stats().Ahead, "it shows")
	require.Equal(t, replay, w.show("p", 0, "before"))
	require.Equal(t, fresh, w.show("p", ms, "after"), "nothing was forgotten, so nothing is refused")

	w.restart(w.Floor())
	require.Equal(t, stale, w.show("p", 2*ms, "after the restart"), "the floor says that anything may have been accepted")
	require.Equal(t, time.Hour-1, w.Stats().Ahead)
	w.Rewind()
	require.Equal(t, skew, w.Stats().Ahead)
	require.True(t, w.Floor().Equal(noon.Add(1+skew)))
	require.Equal(t, stale, w.show("p", skew, "within FutureSkew it stays"))
	w.now = skew + ms
	require.Equal(t, fresh, w.show("p", skew+ms, "rewound"))
	require.Equal(t, replay, w.show("p", skew+ms, "rewound"))
	w.now = time.Hour
	require.Zero(t, w.Stats().Ahead)
	require.Equal(t, fresh, w.show("p", time.Hour, "during"), "the price, as Rewind's doc says")
}

// TestRewindKeepsWhatIsRemembered, and an account's floor comes down as the shard's does.
func TestRewindKeepsWhatIsRemembered(t *testing.T) {
	w := begin(t, noncecache.Config{Capacity: 8, PerPrincipal: 2})
	w.now = time.Hour
	for i := range 4 {
		require.Equal(t, fresh, w.show("p", time.Hour+time.Duration(i)*ms, fmt.Sprint(i)))
	}
	w.now = 0
	require.Equal(t, stale, w.show("p", ms, "honest"), "p is over its quota, by messages an hour ahead")
	w.Rewind()
	w.now = skew + ms
	require.Equal(t, stale, w.show("p", skew+ms, "honest"), "and there is none older to forget for it")
	require.Equal(t, fresh, w.show("q", skew+ms, "honest"))
	w.now = time.Hour
	require.Equal(t, replay, w.show("p", time.Hour+2*ms, "2"))
	require.Equal(t, replay, w.show("p", time.Hour+3*ms, "3"))
}

func TestFlood(t *testing.T) {
	const capacity = 4096
	flood := func(w *world, n int, principal func(int) string, signed func(int) time.Duration) (accepted int) {
		for i := range n {
			if w.show(principal(i), signed(i), fmt.Sprint("flood ", i)) == fresh {
				accepted++
			}
		}
		return accepted
	}
	one := func(int) string { return "evil" }
	sybils := func(i int) string { return fmt.Sprint("sybil ", i) }
	few := func(i int) string { return fmt.Sprint("evil ", i%16) }
	times := map[string]func(int) time.Duration{
		"signed at one moment":     func(int) time.Duration { return time.Second },
		"signed one by one":        func(i int) time.Duration { return time.Second + time.Duration(i)*time.Microsecond*100 },
		"signed in reverse":        func(i int) time.Duration { return 3*time.Second - time.Duration(i)*time.Microsecond*100 },
		"dated ahead":              func(i int) time.Duration { return skew + time.Duration(i)*time.Microsecond*100 },
		"about to expire":          func(i int) time.Duration { return -window + 4*time.Second + time.Duration(i)*time.Microsecond*100 },
		"signed all over a Window": func(i int) time.Duration { return time.Second - time.Duration(i*7919%capacity)*200*ms },
	}
	for by, principal := range map[string]func(int) string{"one": one, "sixteen": few, "as many as messages": sybils} {
		for how, signed := range times {
			t.Run("by "+by+", "+how, func(t *testing.T) {
				w := begin(t, noncecache.Config{Capacity: capacity})
				victims := 0
				for i := range 1000 {
					w.now = time.Duration(i) * ms
					if w.show(fmt.Sprint("victim ", i%100), w.now, fmt.Sprint("victim's ", i)) == fresh {
						victims++
					}
				}
				require.Equal(t, 1000, victims)
				w.now = 3 * time.Second
				flood(w, 4*capacity, principal, signed)
				if by == "one" {
					require.Equal(t, 1000+capacity/4, w.Stats().Held, "a quarter is its quota")
					require.Zero(t, w.Stats().Overflow)
				} else {
					require.Equal(t, capacity, w.Stats().Held)
				}
				for i := range 1000 {
					v := w.show(fmt.Sprint("victim ", i%100), time.Duration(i)*ms, fmt.Sprint("victim's ", i))
					require.NotEqual(t, fresh, v, "a replay of %d", i)
					if by == "one" {
						require.Equal(t, replay, v, "one flooder must not make anything be forgotten but its own")
					}
				}
				w.now = 4 * time.Second
				for i := range 100 {
					v := w.show(fmt.Sprint("victim ", i%100), w.now, fmt.Sprint("honest ", i))
					if by == "as many as messages" && how == "dated ahead" {
						require.Equal(t, stale, v, "a non-guarantee")
						continue
					}
					require.Equal(t, fresh, v, "honest %d", i)
				}
				w.now = window + 2*skew + 10*time.Second
				require.Equal(t, fresh, w.show("evil", w.now, "reformed"))
				require.Equal(t, fresh, w.show("sybil", w.now, "reformed"))
			})
		}
	}
}

// TestQuota has the row at N and the row at N+1.
func TestQuota(t *testing.T) {
	w := begin(t, noncecache.Config{Capacity: 100, PerPrincipal: 10})
	for i := range 10 {
		require.Equal(t, fresh, w.show("p", time.Duration(i)*time.Second, fmt.Sprint(i)))
	}
	require.Equal(t, fresh, w.show("q", -window/2, "old"), "another principal's late message")
	require.Equal(t, stale, w.show("p", 0, "as old as the oldest"))
	require.Equal(t, stale, w.show("p", -time.Second, "older than the oldest"))
	require.Zero(t, w.Stats().OverQuota)
	for i := range 10 {
		require.Equal(t, replay, w.show("p", time.Duration(i)*time.Second, fmt.Sprint(i)), "nothing was forgotten for them")
	}

	require.Equal(t, fresh, w.show("p", 10*time.Second, "10"), "newer than the oldest, which makes room")
	require.Equal(t, uint64(1), w.Stats().OverQuota)
	require.Equal(t, stale, w.show("p", 0, "0"))
	require.Equal(t, stale, w.show("p", 0, "another one"))
	require.Equal(t, replay, w.show("p", time.Second, "1"))
	require.Equal(t, 11, w.Stats().Held, "p's room was used again")
	require.Equal(t, fresh, w.show("q", -window/2+1, "old too"), "p's floor is p's alone")
	require.Equal(t, replay, w.show("q", -window/2, "old"))

	w.now = window + 5*time.Second
	require.Equal(t, fresh, w.show("p", w.now, "later"))
	require.Equal(t, uint64(1), w.Stats().OverQuota, "what had expired is not counted")
	require.Zero(t, w.Stats().Overflow)
}

// TestQuotaOfOne forgets an account's only entry again and again, which must never raise a floor that others share.
func TestQuotaOfOne(t *testing.T) {
	w := begin(t, noncecache.Config{Capacity: 10, PerPrincipal: 1})
	for i := range 100 {
		require.Equal(t, fresh, w.show("p", skew-time.Second+time.Duration(i)*ms, fmt.Sprint(i)))
	}
	require.Equal(t, fresh, w.show("q", 0, "m"))
	require.Equal(t, 2, w.Stats().Held)
	require.Equal(t, uint64(99), w.Stats().OverQuota)
	require.Equal(t, stale, w.show("p", skew-time.Second+98*ms, "98"))
	require.Equal(t, replay, w.show("p", skew-time.Second+99*ms, "99"))
}

// TestCapacity has the row at N and the row at N+1, with as many principals as messages.
func TestCapacity(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 7, 100, 4096} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			w := begin(t, noncecache.Config{Capacity: capacity, PerPrincipal: capacity})
			name := func(i int) (string, time.Duration, string) {
				return fmt.Sprint("p", i), time.Duration(i) * ms, fmt.Sprint(i)
			}
			w.now = skew
			for i := range capacity {
				require.Equal(t, fresh, w.show(name(i)))
			}
			for i := range capacity {
				require.Equal(t, replay, w.show(name(i)))
			}
			require.Equal(t, stale, w.show("late", 0, "as old as the oldest"))
			require.Equal(t, replay, w.show(name(0)))
			require.Zero(t, w.Stats().Overflow)
			require.Equal(t, fresh, w.show(name(capacity)))
			require.Equal(t, uint64(1), w.Stats().Overflow)
			forgotten := 0
			for i := range capacity + 1 {
				switch w.show(name(i)) {
				case stale:
					forgotten++
				case replay:
				default:
					t.Fatal("accepted twice")
				}
			}
			require.Equal(t, 1, forgotten)
			require.Equal(t, capacity, w.Stats().Held)
		})
	}
}

// TestLargestPaysFirst: when all is taken, somebody with few messages keeps them.
func TestLargestPaysFirst(t *testing.T) {
	w := begin(t, noncecache.Config{Capacity: 1000, PerPrincipal: 900})
	for i := range 100 {
		require.Equal(t, fresh, w.show(fmt.Sprint("small ", i), time.Duration(i)*ms, "m"))
	}
	for i := range 900 {
		require.Equal(t, fresh, w.show("large", skew-time.Duration(i)*ms, fmt.Sprint(i)), "dated ahead, newest first")
	}
	w.now = time.Second
	require.Equal(t, fresh, w.show("new", time.Second, "m"))
	require.Equal(t, uint64(1), w.Stats().Overflow)
	require.Equal(t, stale, w.show("large", skew, "0"))
	require.Equal(t, stale, w.show("large", time.Second, "its own floor is in the future now"))
	for i := range 100 {
		require.Equal(t, replay, w.show(fmt.Sprint("small ", i), time.Duration(i)*ms, "m"))
	}
	require.Equal(t, fresh, w.show("new", 0, "late"), "nobody else's floor was raised")
}

// TestAccountsRunOut: more principals than accounts, so that lone entries are nobody's. Nobody's messages are remembered
// as any, expire as any, and the next one of the same principal is counted anew.
func TestAccountsRunOut(t *testing.T) {
	w := begin(t, noncecache.Config{Capacity: 10, PerPrincipal: 2})
	for i := range 10 {
		require.Equal(t, fresh, w.show(fmt.Sprint(i), time.Duration(i)*ms, "first"))
	}
	for i := range 10 {
		require.Equal(t, replay, w.show(fmt.Sprint(i), time.Duration(i)*ms, "first"))
	}
	w.now = time.Second
	for i := range 10 {
		require.Equal(t, fresh, w.show(fmt.Sprint(i), time.Second+time.Duration(i)*ms, "second"))
	}
	for i := range 10 {
		require.NotEqual(t, fresh, w.show(fmt.Sprint(i), time.Duration(i)*ms, "first"))
		require.NotEqual(t, fresh, w.show(fmt.Sprint(i), time.Second+time.Duration(i)*ms, "second"))
	}
	w.now = window + skew
	overflow := w.Stats().Overflow
	for i := range 10 {
		require.Equal(t, fresh, w.show(fmt.Sprint(i), w.now+time.Duration(i)*ms, "third"))
	}
	require.Equal(t, overflow, w.Stats().Overflow, "what has expired is not counted")
}

// TestSteadyTraffic fills the cache for hours with what it was made for. Nothing is ever forgotten too early.
func TestSteadyTraffic(t *testing.T) {
	for _, row := range []struct {
		name       string
		principals int
		jitter     time.Duration
	}{
		{"ten devices", 10, 0},
		{"a thousand devices, out of order", 1000, 30 * time.Second},
		{"each device once", 1 << 30, 30 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := begin(t, noncecache.Config{Capacity: 1400, PerPrincipal: 1400})
			for i := range 20_000 { // 1 a second, so 1200 within Window and 1320 with FutureSkew
				w.now = time.Duration(i) * time.Second
				signed := w.now - time.Duration(i*7919%1000)*row.jitter/1000
				require.Equal(t, fresh, w.show(fmt.Sprint(i%row.principals), signed, fmt.Sprint(i)))
			}
			require.Equal(t, 1400, w.Stats().Held)
			require.Zero(t, w.Stats().Overflow)
			require.Zero(t, w.Stats().OverQuota)
		})
	}
}

// TestLargeCache has many shards and lanes. Hashing is uneven, and Capacity and PerPrincipal hold all the same.
func TestLargeCache(t *testing.T) {
	const capacity = 64 << 10
	w := begin(t, noncecache.Config{Capacity: capacity, PerPrincipal: capacity / 4})
	const large, small = capacity * 9 / 40, capacity * 7 / 10 // seven standard deviations below what there is room for
	for i := range large {
		require.Equal(t, fresh, w.show("large", time.Duration(i)*time.Microsecond, fmt.Sprint(i)))
	}
	for i := range small {
		require.Equal(t, fresh, w.show(fmt.Sprint(i), time.Duration(i)*time.Microsecond, "m"))
	}
	for i := range large {
		require.Equal(t, replay, w.show("large", time.Duration(i)*time.Microsecond, fmt.Sprint(i)))
	}
	stats := w.Stats()
	require.Equal(t, large+small, stats.Held)
	require.Zero(t, stats.Overflow+stats.OverQuota)
	require.True(t, w.Floor().Equal(noon.Add((small-1)*time.Microsecond)))

	w.now = time.Second
	for i := range capacity {
		w.show("large", time.Second+time.Duration(i)*40*time.Microsecond, fmt.Sprint("flood ", i))
	}
	require.InEpsilon(t, capacity/4, w.Stats().Held-small, 0.25, "its quota")
	for i := range small {
		require.Equal(t, replay, w.show(fmt.Sprint(i), time.Duration(i)*time.Microsecond, "m"))
	}
	w.now = time.Hour
	require.Equal(t, fresh, w.show("p", time.Hour, "m"))
	w.now = 0
	require.Equal(t, time.Hour, w.Stats().Ahead)
	w.Rewind()
	require.Equal(t, skew, w.Stats().Ahead)
}

func TestAdd(t *testing.T) {
	digest := func(i int) (d [32]byte) { d[31], d[30] = byte(i), byte(i>>8); return d }
	t.Run("once, all zeros too", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		for i := range 256 {
			require.True(t, w.Add(digest(i)))
		}
		for i := range 256 {
			require.False(t, w.Add(digest(i)))
		}
	})
	t.Run("until Window has passed, by Now", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		require.True(t, w.Add(digest(1)))
		w.now = window - ms
		require.False(t, w.Add(digest(1)))
		w.now = window + ms
		require.True(t, w.Add(digest(1)))
		require.False(t, w.Add(digest(1)))
		require.Equal(t, 1, w.Stats().Held)
		w.now = 2*window - ms
		require.False(t, w.Add(digest(1)), "from its second arrival")
	})
	t.Run("full: refuses, and recovers", func(t *testing.T) {
		w := begin(t, noncecache.Config{Capacity: 100})
		for i := range 100 {
			require.True(t, w.Add(digest(i)))
		}
		require.False(t, w.Add(digest(100)))
		require.Equal(t, stale, w.show("p", 0, "m"))
		for i := range 100 {
			require.False(t, w.Add(digest(i)))
		}
		w.now = window + ms
		require.True(t, w.Add(digest(100)))
		require.Equal(t, fresh, w.show("p", w.now, "m"))
		for i := range 98 {
			require.True(t, w.Add(digest(i)))
		}
		require.Zero(t, w.Stats().Overflow)
	})
	t.Run("a flood of messages makes it forget nothing", func(t *testing.T) {
		w := begin(t, noncecache.Config{Capacity: 100, PerPrincipal: 100})
		for i := range 60 {
			require.True(t, w.Add(digest(i)))
		}
		for i := range 1000 {
			w.now = time.Duration(i) * ms
			require.Equal(t, fresh, w.show(fmt.Sprint("sybil ", i), w.now, "m"))
		}
		for i := range 60 {
			require.False(t, w.Add(digest(i)))
		}
		require.True(t, w.Add(digest(60)), "messages make room, since floors protect them")
		require.NotEqual(t, fresh, w.show("sybil 999", 999*ms, "m"))
	})
	t.Run("a message is no digest", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		d := digest(7)
		require.Equal(t, fresh, w.show("", 0, string(d[:])))
		require.True(t, w.Add(d))
	})
	t.Run("the clock set back", func(t *testing.T) {
		w := begin(t, noncecache.Config{})
		require.True(t, w.Add(digest(1)))
		w.now = -time.Hour
		require.False(t, w.Add(digest(1)))
		require.True(t, w.Add(digest(2)))
		w.now = 0
		require.False(t, w.Add(digest(1)))
	})
}

// TestAddRealClock: with a monotonic clock Window is exact.
func TestAddRealClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, err := noncecache.New(noncecache.Config{Window: time.Minute, Capacity: 10})
		require.NoError(t, err)
		require.True(t, cache.Add([32]byte{1}))
		time.Sleep(time.Minute - time.Nanosecond)
		require.False(t, cache.Add([32]byte{1}))
		time.Sleep(ms)
		require.True(t, cache.Add([32]byte{1}))
	})
}

// TestNoGoroutine: there is nothing to close.
func TestNoGoroutine(t *testing.T) {
	cache, err := noncecache.New(noncecache.Config{})
	require.NoError(t, err)
	require.True(t, cache.Add([32]byte{1}))
	stacks := make([]byte, 1<<20)
	require.NotContains(t, string(stacks[:runtime.Stack(stacks, true)]), "created by github.com/merlon-go/merlon/noncecache.")
}

// TestRace: contains-then-add accepts one message twice, which the naive cache shows.
func TestRace(t *testing.T) {
	rounds := 2000
	if testing.Short() || raceEnabled {
		rounds = 200
	}
	race := func(rounds int, accept func(message []byte) bool) (twice int) {
		for i := range rounds {
			var fresh atomic.Int32
			var ready, start sync.WaitGroup
			start.Add(1)
			for range 8 {
				ready.Go(func() {
					start.Wait()
					if accept(fmt.Append(nil, i)) {
						fresh.Add(1)
					}
				})
			}
			start.Done()
			ready.Wait()
			if fresh.Load() != 1 {
				twice++
			}
		}
		return twice
	}
	w := begin(t, noncecache.Config{})
	require.Zero(t, race(rounds, func(m []byte) bool { _, err := w.Check("p", noon, m); return err == nil }))
	require.Zero(t, race(rounds, func(m []byte) bool { return w.Add([32]byte(append(m, make([]byte, 32)...))) }))

	var seen sync.Map
	require.NotZero(t, race(5, func(m []byte) bool {
		if _, ok := seen.Load(string(m)); ok {
			return false
		}
		time.Sleep(10 * ms) // the time between the two calls, which a naive test never sees
		seen.Store(string(m), true)
		return true
	}))
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := begin(t, noncecache.Config{Capacity: 64})
	message, principal := make([]byte, 500), strings.Repeat("principal ", 100)
	n := byte(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		n++
		message[0] = n
		w.now += time.Second
		_, _ = w.Check(principal, noon.Add(w.now), message)           // fresh
		_, _ = w.Check(principal, noon.Add(w.now), message)           // replay
		_, _ = w.Check(principal, noon.Add(w.now-time.Hour), message) // stale
		_, _ = w.Check(principal, noon.Add(w.now+time.Hour), message) // future
		_, _ = w.Check(principal[n:], noon.Add(w.now), message)
		_ = w.Add([32]byte{n})
	}))
}

func TestVerdict(t *testing.T) {
	all := []noncecache.Verdict{invalid, fresh, replay, stale, future}
	seen := map[string]bool{}
	for _, v := range all {
		text, err := v.MarshalText()
		require.NoError(t, err)
		require.Equal(t, v.String(), string(text))
		var back noncecache.Verdict
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, v, back)
		require.True(t, strings.HasPrefix(v.Error(), "noncecache: "+v.String()+": "))
		seen[v.Error()] = true
	}
	require.Len(t, seen, 5)
	require.Zero(t, invalid)
	require.Equal(t, "verdict(5)", noncecache.Verdict(5).String())
	require.Equal(t, invalid.Error(), noncecache.Verdict(5).Error(), "an unknown verdict refuses")
	_, err := noncecache.Verdict(5).MarshalText()
	require.Error(t, err)
	for _, text := range []string{"", "Fresh", "fresh ", "verdict(5)", "1"} {
		v := stale
		require.Error(t, v.UnmarshalText([]byte(text)), text)
		require.Equal(t, stale, v)
	}
}

// TestErrorsAreApart: what a caller does to an error of one cache must not reach another, nor a verdict.
func TestErrorsAreApart(t *testing.T) {
	one, two := begin(t, noncecache.Config{}), begin(t, noncecache.Config{})
	_, err := one.Check("p", noon.Add(time.Hour), nil)
	var refusal *noncecache.Error
	require.True(t, errors.As(err, &refusal))
	refusal.Verdict = fresh
	v, err := one.Check("p", noon.Add(time.Hour), nil)
	require.Equal(t, future, v)
	require.Error(t, err)
	require.Equal(t, future, two.show("p", time.Hour, ""))
}

// TestFloorStaysOnesOwn: an account with one message left may have a floor far above it, which others must not inherit.
func TestFloorStaysOnesOwn(t *testing.T) {
	t.Run("when accounts run out", func(t *testing.T) {
		w := begin(t, noncecache.Config{Capacity: 10, PerPrincipal: 1})
		require.Equal(t, fresh, w.show("p", skew-ms, "1"))
		require.Equal(t, fresh, w.show("p", skew, "2"))
		for i := range 8 {
			require.Equal(t, fresh, w.show(fmt.Sprint(i), time.Duration(i)*ms, "m"))
		}
	})
	t.Run("when messages are forgotten", func(t *testing.T) {
		w := begin(t, noncecache.Config{Capacity: 3, PerPrincipal: 3})
		require.Equal(t, fresh, w.show("p", skew, "dated ahead"))
		require.Equal(t, fresh, w.show("p", 0, "m"))
		for i := range 20 {
			require.Equal(t, fresh, w.show(fmt.Sprint(i), time.Duration(i+1)*ms, "m"))
		}
		require.NotEqual(t, fresh, w.show("p", skew, "dated ahead"))
	})
}
