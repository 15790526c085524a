// SPDX-License-Identifier: Apache-2.0

//go:build dudect

package secretequal_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/secretequal"
)

// The method is that of dudect (Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?, ePrint 2016/1123).
// Two classes of input are timed in random order, and Welch's t-test says whether their times differ; it is taken
// over all samples and over those below a row of percentiles, because a leak may drown in interruptions. The largest
// |t| counts.
const (
	samples = 1_000_000 // of each implementation in each column, both classes together
	batch   = 8         // calls for one sample, since one takes little longer than reading the clock
	leak    = 4.5       // dudect's threshold
)

// An implementation is given a secret once, and asked about presented values by what it returns.
type implementation struct {
	name string
	keep func(secret []byte) (ask func(presented []byte) bool)
}

var implementations = []implementation{
	{"Verifier", func(secret []byte) func([]byte) bool {
		v, err := secretequal.New(secret)
		if err != nil {
			panic(err)
		}
		return v.Match
	}},
	{"Set of 16", func(secret []byte) func([]byte) bool {
		s := setOf16(secret, "9")
		return func(presented []byte) bool { _, ok := s.Match(presented); return ok }
	}},
	{"Equal", func(secret []byte) func([]byte) bool {
		return func(presented []byte) bool { return secretequal.Equal(secret, presented) }
	}},
	{"loop that stops", func(secret []byte) func([]byte) bool {
		return func(presented []byte) bool { return slices.Equal(presented, secret) }
	}},
	{"subtle.ConstantTimeCompare", func(secret []byte) func([]byte) bool {
		return func(presented []byte) bool { return subtle.ConstantTimeCompare(presented, secret) == 1 }
	}},
	{"SHA-256 of both", func(secret []byte) func([]byte) bool {
		return func(presented []byte) bool { return sha256.Sum256(presented) == sha256.Sum256(secret) }
	}},
	{"HMAC of both", func(secret []byte) func([]byte) bool {
		key := []byte(rand.Text())
		mac := func(message []byte) []byte {
			h := hmac.New(sha256.New, key)
			h.Write(message)
			return h.Sum(nil)
		}
		return func(presented []byte) bool { return hmac.Equal(mac(presented), mac(secret)) }
	}},
}

func setOf16(secret []byte, id string) *secretequal.Set {
	secrets := map[string][]byte{}
	for i := range 16 {
		secrets[fmt.Sprintf("%x", i)] = []byte(rand.Text())
	}
	secrets[id] = secret
	s, err := secretequal.NewSet(secrets)
	if err != nil {
		panic(err)
	}
	return s
}

// TestTiming prints |t| for each implementation and for three things that time could tell about a secret. It takes
// some minutes, and needs a machine that does little else:
//
//	go test -tags dudect -run Timing -v -timeout 1h ./secretequal
//
// Two controls guard the result: null, where both classes are one and nothing may be found, and in each column an
// implementation that is known to leak there and must be found.
func TestTiming(t *testing.T) {
	// All come from the allocator in one size, or where they lie would tell their length.
	random := func(n int) []byte { b := make([]byte, 256); rand.Read(b); return b[:n] }
	columns := []struct {
		name     string
		positive string
		draw     func(class int) (secret, presented []byte) // presented is wrong, and of one length
	}{
		{"content: first or last byte wrong", "loop that stops", func(class int) (secret, presented []byte) {
			secret = random(43)
			presented = slices.Clone(secret)
			presented[42*class] ^= 1
			return secret, presented
		}},
		{"equality of length: 43 or 44 for 43", "subtle.ConstantTimeCompare", func(class int) (secret, presented []byte) {
			return random(43 + class), random(43)
		}},
		{"length of the secret: 20 or 120 for 43", "SHA-256 of both", func(class int) (secret, presented []byte) {
			return random(20 + 100*class), random(43)
		}},
		{"length of the secret: 1 or 100 for 128", "SHA-256 of both", func(class int) (secret, presented []byte) {
			return random(1 + 99*class), random(128)
		}},
	}
	for _, column := range columns {
		t.Run(column.name, func(t *testing.T) {
			subjects := []subject{{"null", func(int) func() {
				secret, presented := column.draw(0)
				ask := implementations[0].keep(secret)
				return func() { ask(presented) }
			}}}
			for _, impl := range implementations {
				subjects = append(subjects, subject{impl.name, func(class int) func() {
					secret, presented := column.draw(class)
					ask := impl.keep(secret)
					return func() { ask(presented) }
				}})
			}
			judge(t, subjects, column.positive, "Verifier", "Set of 16", "Equal")
		})
	}
}

// TestTimingOfSet asks the same about which entry of a Set matches: the first or the last.
func TestTimingOfSet(t *testing.T) {
	match := func(id string) func() {
		secret := []byte(rand.Text())
		s := setOf16(secret, id)
		return func() { s.Match(secret) }
	}
	judge(t, []subject{
		{"null", func(int) func() { return match("0") }},
		{"Set of 16", func(class int) func() { return match([]string{"0", "f"}[class]) }},
		{"loop that stops", func(class int) func() {
			tags := make([][32]byte, 16)
			for i := range tags {
				rand.Read(tags[i][:])
			}
			presented := tags[15*class]
			return func() { _ = slices.Index(tags, presented) }
		}},
	}, "loop that stops", "Set of 16")
}

// A subject makes something to time for a class.
type subject struct {
	name string
	make func(class int) func()
}

// judge measures until the null control is quiet, and then wants to see the positive control and no leak in ours.
func judge(t *testing.T, subjects []subject, positive string, ours ...string) {
	for range 3 {
		found := measure(subjects)
		var table strings.Builder
		for _, s := range subjects {
			fmt.Fprintf(&table, "\n%28s  |t| = %.1f", s.name, found[s.name])
		}
		t.Log(table.String())
		if found["null"] >= leak {
			continue
		}
		require.Greater(t, found[positive], 2*leak, "the measurement misses a known leak")
		for _, name := range ours {
			require.Less(t, found[name], leak, name)
		}
		return
	}
	t.Fatal("this machine is too busy: the null control was never quiet")
}

// measure returns the largest |t| of each subject. The subjects take turns, so that all of them see the same noise.
func measure(subjects []subject) map[string]float64 {
	const renew, variants = 200, 8
	times := make([][2][]float64, len(subjects))
	for range samples / renew {
		for i, s := range subjects {
			// Several things to time for each class, made anew now and then, lest what is found is where one of them
			// happens to lie in memory. Both classes are made alike and in random order.
			var cases [2][variants]func()
			for v := range variants {
				class := mathrand.IntN(2)
				cases[class][v], cases[1-class][v] = s.make(class), s.make(1-class)
			}
			for range 2 * variants * variants { // fill pools and caches
				cases[mathrand.IntN(2)][mathrand.IntN(variants)]()
			}
			for range renew {
				class := mathrand.IntN(2)
				call := cases[class][mathrand.IntN(variants)]
				start := time.Now()
				for range batch {
					call()
				}
				times[i][class] = append(times[i][class], float64(time.Since(start)))
			}
		}
	}
	found := map[string]float64{}
	for i, s := range subjects {
		found[s.name] = largest(times[i])
	}
	return found
}

// largest returns the largest |t| over all samples and over those at most as slow as dudect's percentiles.
func largest(times [2][]float64) float64 {
	const crops = 20
	sorted := slices.Sorted(slices.Values(slices.Concat(times[0], times[1])))
	t := math.Abs(welch(times, math.Inf(1)))
	for i := 1; i <= crops; i++ {
		percentile := 1 - math.Pow(0.5, 10*float64(i)/crops)
		t = max(t, math.Abs(welch(times, sorted[int(percentile*float64(len(sorted)-1))])))
	}
	return t
}

// welch returns the t statistic of the two classes' samples that are not above limit.
func welch(times [2][]float64, limit float64) float64 {
	var mean, share [2]float64 // share: variance over count
	for class, all := range times {
		var n, sum, squares float64
		for _, x := range all {
			if x <= limit {
				n++
				sum += x
			}
		}
		mean[class] = sum / n
		for _, x := range all {
			if x <= limit {
				squares += (x - mean[class]) * (x - mean[class])
			}
		}
		share[class] = squares / (n - 1) / n
		if n < 1000 {
			return 0 // too few are left of this class
		}
	}
	return (mean[0] - mean[1]) / math.Sqrt(share[0]+share[1])
}
