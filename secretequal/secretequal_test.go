// SPDX-License-Identifier: Apache-2.0

package secretequal_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/secretequal"
)

// ways lists every way to ask this package whether presented is secret. New's and NewSet's refusal counts as a no.
var ways = []struct {
	name string
	ask  func(secret, presented []byte) bool
}{
	{"Equal", secretequal.Equal},
	{"EqualString", func(secret, presented []byte) bool {
		return secretequal.EqualString(string(secret), string(presented))
	}},
	{"Match", func(secret, presented []byte) bool {
		v, _ := secretequal.New(secret)
		return v.Match(presented)
	}},
	{"MatchString", func(secret, presented []byte) bool {
		v, _ := secretequal.New(secret)
		return v.MatchString(string(presented))
	}},
	{"Set.Match", func(secret, presented []byte) bool {
		id, ok := trio(secret).Match(presented)
		return answer(id, ok)
	}},
	{"Set.MatchString", func(secret, presented []byte) bool {
		id, ok := trio(secret).MatchString(string(presented))
		return answer(id, ok)
	}},
}

// trio puts the secret between two others.
func trio(secret []byte) *secretequal.Set {
	s, _ := secretequal.NewSet(map[string][]byte{"a": []byte(rand.Text()), "it": secret, "z": []byte(rand.Text())})
	return s
}

// answer fails what a Set must never say: a wrong id, or an id without a match.
func answer(id string, ok bool) bool {
	if ok && id != "it" || !ok && id != "" {
		panic(fmt.Sprintf("id %q with %v", id, ok))
	}
	return ok
}

func TestMatch(t *testing.T) {
	token := "k" + strings.ToLower(rand.Text() + rand.Text())[:42]
	other := "K" + token[1:]
	// naive is an implementation found in real services that lets the row's presented value in.
	rows := []struct {
		name, secret, presented string
		want                    bool
		naive                   func(secret, presented string) bool
	}{
		{"the right secret", token, token, true, nil},
		{"one byte", "!", "!", true, nil},
		{"bytes that are not text", "\x00\xff\xfe", "\x00\xff\xfe", true, nil},
		{"nothing presented against no secret", "", "", false, constantTimeCompare},
		{"nothing presented", token, "", false, strings.HasPrefix},
		{"something presented against no secret", "", token, false, comparesAsFarAsSecret},
		{"the first half", token, token[:21], false, strings.HasPrefix},
		{"the last byte missing", token, token[:42], false, strings.HasPrefix},
		{"the first byte missing", token, token[1:], false, strings.HasSuffix},
		{"one byte more", token, token + "x", false, comparesAsFarAsSecret},
		{"the secret twice", token, token + token, false, comparesAsFarAsSecret},
		{"a zero byte more", token, token + "\x00", false, padsWithZeros},
		{"a zero byte, where C would stop", "a\x00b", "a\x00c", false, comparesAsC},
		{"a line end more", token, token + "\n", false, trimsSpace},
		{"a blank before", token, " " + token, false, trimsSpace},
		{"another letter case", token, other, false, strings.EqualFold},
		{"the Kelvin sign for K", "K", "\u212a", false, strings.EqualFold},
		{"the long s for s", "s", "\u017f", false, strings.EqualFold},
		{"the replacement character for invalid UTF-8", "\xff", "\ufffd", false, comparesRunes},
		{"the first byte of two swapped with the second", "ab", "ba", false, comparesAsABag},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, way := range ways {
				require.Equal(t, row.want, way.ask([]byte(row.secret), []byte(row.presented)), way.name)
			}
			if !row.want {
				require.True(t, row.naive(row.secret, row.presented), "naive code refuses it too: the row shows nothing")
			}
		})
	}
}

func constantTimeCompare(secret, presented string) bool {
	return subtle.ConstantTimeCompare([]byte(presented), []byte(secret)) == 1
}

func comparesAsFarAsSecret(secret, presented string) bool {
	return strings.HasPrefix(presented, secret)
}

func trimsSpace(secret, presented string) bool { return strings.TrimSpace(presented) == secret }

func padsWithZeros(secret, presented string) bool {
	n := max(len(secret), len(presented))
	pad := func(s string) string { return s + strings.Repeat("\x00", n-len(s)) }
	return pad(presented) == pad(secret)
}

func comparesAsC(secret, presented string) bool {
	secret, _, _ = strings.Cut(secret, "\x00")
	presented, _, _ = strings.Cut(presented, "\x00")
	return presented == secret
}

func comparesRunes(secret, presented string) bool {
	return string([]rune(presented)) == string([]rune(secret))
}

func comparesAsABag(secret, presented string) bool {
	var bag byte
	for _, b := range []byte(secret + presented) {
		bag ^= b
	}
	return bag == 0 && len(secret) == len(presented)
}

// TestEveryByteCounts flips each bit of secrets around the block size of the hash and of its padding.
func TestEveryByteCounts(t *testing.T) {
	flips := 0
	for _, n := range []int{1, 32, 55, 56, 63, 64, 65, 127, 128, 129} {
		secret := make([]byte, n)
		rand.Read(secret)
		v, err := secretequal.New(secret)
		require.NoError(t, err)
		s := trio(secret)
		require.True(t, v.Match(secret))
		for bit := range n * 8 {
			wrong := bytes.Clone(secret)
			wrong[bit/8] ^= 1 << (bit % 8)
			_, ok := s.Match(wrong)
			require.False(t, ok || v.Match(wrong) || secretequal.Equal(secret, wrong), "bit %d of %d bytes", bit, n)
			flips++
		}
	}
	require.Equal(t, 720*8, flips)
}

func TestMaxLen(t *testing.T) {
	longest := bytes.Repeat([]byte("4k"), secretequal.MaxLen/2)
	over := append(bytes.Clone(longest), 'x')
	for _, way := range ways {
		require.True(t, way.ask(longest, longest), way.name)
		require.False(t, way.ask(over, over), way.name)
		require.False(t, way.ask(longest, over), way.name)
		require.False(t, way.ask(over, longest), way.name)
	}
}

// TestWorkTellsNothing is the rough part of TestTiming, for every run: the two questions of a row differ in one thing
// about the secret, and naive code works several times as long for one of them as for the other.
func TestWorkTellsNothing(t *testing.T) {
	long := bytes.Repeat([]byte("4k"), secretequal.MaxLen/2)
	wrongAt := func(i int) []byte {
		b := bytes.Clone(long)
		b[i] ^= 1
		return b
	}
	type question struct{ secret, presented []byte }
	for _, row := range []struct {
		name  string
		asked [2]question
		naive func(secret, presented []byte) bool
	}{
		{
			"the first byte wrong, or the last",
			[2]question{{long, wrongAt(0)}, {long, wrongAt(len(long) - 1)}},
			func(secret, presented []byte) bool {
				for i := range presented {
					if presented[i] != secret[i] {
						return false
					}
				}
				return true
			},
		},
		{
			"a secret as long as what is presented, or shorter",
			[2]question{{wrongAt(0), long}, {wrongAt(0)[1:], long}},
			func(secret, presented []byte) bool { return subtle.ConstantTimeCompare(presented, secret) == 1 },
		},
		{
			"a short secret, or a long one",
			[2]question{{long[:1], []byte("?")}, {long, []byte("?")}},
			func(secret, presented []byte) bool { return sha256.Sum256(presented) == sha256.Sum256(secret) },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var naive, verifier, set, equal [2]func()
			for i, q := range row.asked {
				v, err := secretequal.New(q.secret)
				require.NoError(t, err)
				s := trio(q.secret)
				naive[i] = func() { row.naive(q.secret, q.presented) }
				verifier[i] = func() { v.Match(q.presented) }
				set[i] = func() { s.Match(q.presented) }
				equal[i] = func() { secretequal.Equal(q.secret, q.presented) }
			}
			requireSameWork(t, naive, map[string][2]func(){"Verifier": verifier, "Set": set, "Equal": equal})
		})
	}
}

// TestSetWorksTheSame asks which entry matches, and whether each entry costs a hash.
func TestSetWorksTheSame(t *testing.T) {
	const n = 200
	secrets, byID := make([][]byte, n), map[string][]byte{}
	for i := range secrets {
		secrets[i] = []byte(rand.Text())
		byID[fmt.Sprintf("%03d", i)] = secrets[i]
	}
	many, err := secretequal.NewSet(byID)
	require.NoError(t, err)
	var naive, ours [2]func()
	for i, presented := range [][]byte{secrets[0], secrets[n-1]} {
		naive[i] = func() {
			_ = slices.IndexFunc(secrets, func(secret []byte) bool { return subtle.ConstantTimeCompare(secret, presented) == 1 })
		}
		ours[i] = func() { many.Match(presented) }
	}
	requireSameWork(t, naive, map[string][2]func(){"the first entry, or the last": ours})

	wrong := make([]byte, secretequal.MaxLen)
	one, err := secretequal.NewSet(map[string][]byte{"it": secrets[0]})
	require.NoError(t, err)
	few := map[string][]byte{}
	for i, secret := range secrets[:8] {
		few[fmt.Sprint(i)] = secret
	}
	eight, err := secretequal.NewSet(few)
	require.NoError(t, err)
	for i, entries := range []int{1, 8} {
		naive[i] = func() {
			for _, secret := range secrets[:entries] {
				_ = sha256.Sum256(wrong) == sha256.Sum256(secret)
			}
		}
	}
	ours = [2]func(){func() { one.Match(wrong) }, func() { eight.Match(wrong) }}
	requireSameWork(t, naive, map[string][2]func(){"one entry, or eight": ours})
}

// requireSameWork wants naive to need at least twice as long for one of its two questions, and ours not.
func requireSameWork(t *testing.T, naive [2]func(), ours map[string][2]func()) {
	const limit = 2.0 // what is looked for is a multiple: TestTiming looks closer
	apart := func(f [2]func()) float64 {
		best := [2]time.Duration{time.Hour, time.Hour}
		for range 100 {
			for i := range f {
				start := time.Now()
				for range 8 { // reading the clock takes as long as a short comparison
					f[i]()
				}
				best[i] = min(best[i], time.Since(start))
			}
		}
		return float64(max(best[0], best[1])) / float64(min(best[0], best[1]))
	}
	require.Greater(t, apart(naive), limit, "naive code is not caught: the row shows nothing")
	for name, f := range ours {
		require.Less(t, apart(f), limit, name)
	}
}

// TestOverlongIsNotRead presents 16 MiB, which takes some milliseconds to hash or to compare.
func TestOverlongIsNotRead(t *testing.T) {
	secret := []byte(rand.Text())
	v, err := secretequal.New(secret)
	require.NoError(t, err)
	s := trio(secret)
	long := make([]byte, 16<<20)
	copy(long, secret)
	text := string(long)
	for name, ask := range map[string]func() bool{
		"Match":           func() bool { return v.Match(long) },
		"MatchString":     func() bool { return v.MatchString(text) },
		"Set.Match":       func() bool { _, ok := s.Match(long); return ok },
		"Set.MatchString": func() bool { _, ok := s.MatchString(text); return ok },
		"Equal":           func() bool { return secretequal.Equal(secret, long) },
		"EqualString":     func() bool { return secretequal.EqualString(string(secret), text) },
	} {
		require.False(t, ask(), name)
		require.Less(t, fastest(ask), fastest(func() bool { return v.Match(long[:secretequal.MaxLen]) }), name)
	}
	reading := fastest(func() bool { return bytes.Equal(long, bytes.Clone(long)) })
	require.Greater(t, reading, 100*time.Microsecond, "16 MiB are too little to tell whether they were read")
}

func fastest(f func() bool) time.Duration {
	best := time.Hour
	for range 10 {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}

func TestNewRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		secret []byte
		want   error
	}{
		{"nil", nil, secretequal.ErrEmptySecret},
		{"empty", []byte{}, secretequal.ErrEmptySecret},
		{"one byte over the limit", make([]byte, secretequal.MaxLen+1), secretequal.ErrLongSecret},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, err := secretequal.New(row.secret)
			require.Nil(t, v)
			require.ErrorIs(t, err, row.want)
		})
	}
}

func TestNewSetRefuses(t *testing.T) {
	var (
		good  = []byte(rand.Text())
		other = []byte(rand.Text())
		long  = make([]byte, secretequal.MaxLen+1)
	)
	for _, row := range []struct {
		name    string
		secrets map[string][]byte
		want    []error
	}{
		{"an empty secret", map[string][]byte{"a": good, "b": {}}, []error{secretequal.ErrEmptySecret}},
		{"a nil secret", map[string][]byte{"b": nil}, []error{secretequal.ErrEmptySecret}},
		{"a secret over the limit", map[string][]byte{"a": good, "b": long}, []error{secretequal.ErrLongSecret}},
		{"an empty id", map[string][]byte{"": good, "a": other}, nil},
		{"one secret under two ids", map[string][]byte{"a": good, "b": other, "c": good}, nil},
		{
			"several faults, all of them named", map[string][]byte{"": {}, "b": long},
			[]error{secretequal.ErrEmptySecret, secretequal.ErrLongSecret},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := secretequal.NewSet(row.secrets)
			require.Nil(t, s)
			require.Error(t, err)
			for range 20 {
				_, again := secretequal.NewSet(row.secrets)
				require.Equal(t, err, again, "the error depends on the order of the map")
			}
			for _, want := range row.want {
				require.ErrorIs(t, err, want)
			}
			for line := range strings.Lines(err.Error()) {
				require.True(t, strings.HasPrefix(line, "secretequal: "), line)
				require.NotContains(t, line, string(good))
			}
		})
	}
	_, err := secretequal.NewSet(map[string][]byte{"": {}, "b": long})
	require.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), 3)
}

// TestAbsenceRefuses asks what was never made, or failed to be made and was used all the same.
func TestAbsenceRefuses(t *testing.T) {
	failed, err := secretequal.New(nil)
	require.Error(t, err)
	empty, err := secretequal.NewSet(nil)
	require.NoError(t, err)
	for _, presented := range [][]byte{nil, {}, []byte("x"), make([]byte, 32), make([]byte, secretequal.MaxLen)} {
		for _, v := range []*secretequal.Verifier{nil, failed, {}} {
			require.False(t, v.Match(presented))
			require.False(t, v.MatchString(string(presented)))
		}
		for _, s := range []*secretequal.Set{nil, {}, empty} {
			id, ok := s.Match(presented)
			require.False(t, ok)
			require.Empty(t, id)
			id, ok = s.MatchString(string(presented))
			require.False(t, ok)
			require.Empty(t, id)
		}
	}
}

func TestSetTellsWho(t *testing.T) {
	secrets := map[string][]byte{}
	for i := range 20 {
		secrets[fmt.Sprint("client ", i)] = []byte(rand.Text())
	}
	s, err := secretequal.NewSet(secrets)
	require.NoError(t, err)
	for want, secret := range secrets {
		id, ok := s.Match(secret)
		require.True(t, ok)
		require.Equal(t, want, id)
	}
	_, ok := s.MatchString(rand.Text())
	require.False(t, ok)
}

func TestRotation(t *testing.T) {
	before, after := []byte(rand.Text()), []byte(rand.Text())
	during, err := secretequal.NewSet(map[string][]byte{"2026-10": before, "2026-11": after})
	require.NoError(t, err)
	id, ok := during.Match(before)
	require.True(t, ok)
	require.Equal(t, "2026-10", id)
	id, ok = during.Match(after)
	require.True(t, ok)
	require.Equal(t, "2026-11", id)

	done, err := secretequal.NewSet(map[string][]byte{"2026-11": after})
	require.NoError(t, err)
	_, ok = done.Match(before)
	require.False(t, ok)
	_, ok = done.Match(after)
	require.True(t, ok)
}

// TestCallersKeepTheirSlices: what the caller does to them later changes nothing, and nothing is written to them.
func TestCallersKeepTheirSlices(t *testing.T) {
	text := rand.Text()
	secret, presented := []byte(text), []byte(text)
	secrets := map[string][]byte{"it": secret}
	v, err := secretequal.New(secret)
	require.NoError(t, err)
	s, err := secretequal.NewSet(secrets)
	require.NoError(t, err)
	require.True(t, v.Match(presented))
	require.True(t, secretequal.Equal(secret, presented))
	require.Equal(t, text, string(secret))
	require.Equal(t, text, string(presented))

	clear(secret)
	clear(secrets)
	require.True(t, v.MatchString(text))
	require.False(t, v.Match(secret))
	id, ok := s.MatchString(text)
	require.True(t, ok)
	require.Equal(t, "it", id)
}

// TestTagsAreKeyed: whoever sees one server's tag, or hashes a dictionary, recognises nothing at another.
func TestTagsAreKeyed(t *testing.T) {
	secret := []byte(rand.Text())
	seen := map[[32]byte]bool{}
	for range 100 {
		v, err := secretequal.New(secret)
		require.NoError(t, err)
		tags := secretequal.TagsOf(v)
		require.Len(t, tags, 1)
		seen[tags[0]] = true
	}
	require.Len(t, seen, 100)

	v, _ := secretequal.New(secret)
	w, _ := secretequal.New(secret)
	require.False(t, reflect.DeepEqual(v, w))
}

func TestCopiesAreTheSame(t *testing.T) {
	secret := []byte(rand.Text())
	v, err := secretequal.New(secret)
	require.NoError(t, err)
	verifier, set := *v, *trio(secret)
	require.True(t, verifier.Match(secret))
	_, ok := set.Match(secret)
	require.True(t, ok)
}

func TestConcurrentUse(t *testing.T) {
	secret := []byte(rand.Text())
	v, err := secretequal.New(secret)
	require.NoError(t, err)
	s := trio(secret)
	var wg sync.WaitGroup
	faults := make(chan error, 8)
	for g := range cap(faults) {
		wg.Go(func() {
			for i := range 500 {
				presented, right := secret, (g+i)%2 == 0
				if !right {
					presented = fmt.Appendf(nil, "%s%d", secret, i)
				}
				id, ok := s.Match(presented)
				if v.Match(presented) != right || ok != right || right != (id == "it") {
					faults <- errors.New("a wrong answer")
					return
				}
			}
		})
	}
	wg.Wait()
	close(faults)
	for err := range faults {
		require.NoError(t, err)
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	secret := []byte(rand.Text())
	text, wrong, long := string(secret), []byte("wrong"), make([]byte, secretequal.MaxLen)
	v, err := secretequal.New(secret)
	require.NoError(t, err)
	s := trio(secret)
	for name, f := range map[string]func(){
		"Match":           func() { v.Match(secret) },
		"Match, wrong":    func() { v.Match(wrong) },
		"Match, longest":  func() { v.Match(long) },
		"MatchString":     func() { v.MatchString(text) },
		"Set.Match":       func() { s.Match(secret) },
		"Set.MatchString": func() { s.MatchString(text) },
		"Equal":           func() { secretequal.Equal(secret, wrong) },
		"EqualString":     func() { secretequal.EqualString(text, text) },

		"Match, from the caller's stack":     func() { v.Match([]byte(text)) },
		"Set.Match, from the caller's stack": func() { s.Match([]byte(text)) },
		"Equal, from the caller's stack":     func() { secretequal.Equal([]byte(text), []byte(text)) },

		"MatchString, from the caller's stack":     func() { v.MatchString(string(secret)) },
		"Set.MatchString, from the caller's stack": func() { s.MatchString(string(secret)) },
		"EqualString, from the caller's stack":     func() { secretequal.EqualString(string(secret), string(secret)) },
	} {
		require.Zero(t, testing.AllocsPerRun(1000, f), name)
	}
}
