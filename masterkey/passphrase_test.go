// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	"github.com/merlon-go/merlon/masterkey"
)

// A human types phrases, one for each time that they are asked.
type human struct {
	phrases []string
	asked   int
}

func (h *human) read(context.Context) ([]byte, error) {
	phrase := h.phrases[min(h.asked, len(h.phrases)-1)]
	h.asked++
	return []byte(phrase), nil
}

func TestPassphrase(t *testing.T) {
	h := newHome(t)
	user := &human{phrases: []string{"correct horse"}}
	source := masterkey.Passphrase(user.read, h.file())
	m := h.open(t, source)
	id, key := primary(t, m)
	require.Equal(t, 1, user.asked, "once for writing and reading back")
	requireNoKey(t, string(read(t, h.path())), key)

	wrong := &human{phrases: []string{"correct horsf", "correct horse"}}
	again := masterkey.Passphrase(wrong.read, h.file())
	_, err := masterkey.Open(t.Context(), h.config(again))
	require.ErrorIs(t, err, masterkey.ErrDenied)
	require.NotErrorIs(t, err, masterkey.ErrNotFound)
	other, err := masterkey.Open(t.Context(), h.config(again))
	require.NoError(t, err, "a second try is a second question")
	got, _ := primary(t, other)
	require.Equal(t, id, got)
	require.Equal(t, 2, wrong.asked)

	// A rotation in one process reaches the other one without a human.
	next, err := m.Stage(t.Context())
	require.NoError(t, err)
	_, err = other.LookupKey(next)
	require.NoError(t, err)
	require.Equal(t, 1, user.asked)
	require.Equal(t, 2, wrong.asked)

	// A changed passphrase: the process that runs says so and does not ask.
	data, err := source.Load(t.Context())
	require.NoError(t, err)
	changed := masterkey.Passphrase((&human{phrases: []string{"battery staple"}}).read, h.file())
	require.NoError(t, changed.Store(t.Context(), data))
	_, err = other.LookupKey(idOf(pattern(1)))
	require.ErrorIs(t, err, masterkey.ErrLocked)
	require.Equal(t, 2, wrong.asked)
	got, _ = primary(t, h.open(t, changed))
	require.Equal(t, id, got)
}

func TestPassphraseThatIsNone(t *testing.T) {
	for name, read := range map[string]func(context.Context) ([]byte, error){
		"empty":                         func(context.Context) ([]byte, error) { return nil, nil },
		"no answer":                     func(context.Context) ([]byte, error) { return nil, errOther },
		"kept in a place that has none": func(context.Context) ([]byte, error) { return nil, masterkey.ErrNotFound },
	} {
		h := newHome(t)
		for range 2 {
			_, err := masterkey.Open(t.Context(), h.config(masterkey.Passphrase(read, h.file())))
			require.Error(t, err, name)
			require.NotErrorIs(t, err, masterkey.ErrNotFound, name)
			require.NoFileExists(t, h.path(), name)
		}
	}
}

func TestHumansHaveLongerThanTheTimeoutAndNotThanTheContext(t *testing.T) {
	h := newHome(t)
	slow := func(ctx context.Context) ([]byte, error) {
		select {
		case <-time.After(150 * time.Millisecond):
			return []byte("typed slowly"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c := h.config(masterkey.Passphrase(slow, h.file()))
	c.Timeout = 100 * time.Millisecond
	_, err := masterkey.Open(t.Context(), c)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Sources = []masterkey.Source{masterkey.Passphrase(slow, h.file())}
	_, err = masterkey.Open(ctx, c)
	require.ErrorIs(t, err, masterkey.ErrUnavailable)
}

// TestHumanWhoDoesNotAnswer: reading from a terminal cannot be interrupted, and neither ignores nor holds up the rest.
func TestHumanWhoDoesNotAnswer(t *testing.T) {
	h := newHome(t)
	var prompts atomic.Int64
	typed := make(chan []byte)
	source := masterkey.Passphrase(func(context.Context) ([]byte, error) { prompts.Add(1); return <-typed, nil }, h.file())
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		_, err := masterkey.Open(ctx, h.config(source))
		cancel()
		require.ErrorIs(t, err, masterkey.ErrUnavailable)
		require.NotErrorIs(t, err, masterkey.ErrNotFound)
		require.Less(t, time.Since(start), time.Second)
	}
	require.EqualValues(t, 1, prompts.Load(), "one prompt, however often it is tried")
	other := newHome(t)
	other.state = h.state
	other.open(t) // Dir is not locked meanwhile

	phrase := []byte("at last")
	typed <- phrase
	require.Eventually(t, func() bool { return bytes.Equal(phrase, make([]byte, len(phrase))) }, 5*time.Second, 10*time.Millisecond)
}

func TestPassphraseIsCleared(t *testing.T) {
	phrase := []byte("correct horse")
	h := newHome(t)
	h.open(t, masterkey.Passphrase(func(context.Context) ([]byte, error) { return phrase, nil }, h.file()))
	require.Equal(t, make([]byte, len("correct horse")), phrase)
}

// TestEveryChangeUnderAPassphrase: with the checksum made right again, as somebody who attacks would.
func TestEveryChangeUnderAPassphrase(t *testing.T) {
	h := newHome(t)
	user := &human{phrases: []string{"correct horse"}}
	h.open(t, masterkey.Passphrase(user.read, h.file()))
	lines := strings.Split(string(read(t, h.path())), "\n")
	require.Len(t, lines, 6)
	inner := &memory{}
	source := masterkey.Passphrase(user.read, inner)
	try := func(params, check, sealed string) error {
		inner.kept = framed("passphrase", params+"\n"+check+"\n"+sealed+"\n")
		_, err := source.Load(t.Context())
		return err
	}
	require.NoError(t, try(lines[1], lines[2], lines[3]))
	flip := func(s string, i int) string {
		b := []byte(s)
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
		return string(b)
	}
	salt := strings.Index(lines[1], "salt=") + len("salt=")
	require.ErrorIs(t, try(flip(lines[1], salt), lines[2], lines[3]), masterkey.ErrLocked)
	_, err := masterkey.Passphrase(user.read, inner).Load(t.Context())
	require.ErrorIs(t, err, masterkey.ErrDenied, "the same, for a process that starts")
	require.ErrorIs(t, try(lines[1], flip(lines[2], 0), lines[3]), masterkey.ErrDenied)
	require.ErrorIs(t, try(lines[1], "", lines[3]), masterkey.ErrDenied)
	for _, i := range []int{0, len(lines[3]) / 2, len(lines[3]) - 5} {
		require.ErrorIs(t, try(lines[1], lines[2], flip(lines[3], i)), masterkey.ErrCorrupt)
	}
	require.ErrorIs(t, try(lines[1], lines[2], ""), masterkey.ErrCorrupt)
	require.ErrorIs(t, try(lines[1], lines[2], "!"), masterkey.ErrCorrupt)
	require.ErrorIs(t, try(lines[1], lines[2], lines[3]+"\nmore"), masterkey.ErrCorrupt)
	_, err = masterkey.Passphrase(user.read, &memory{kept: ringOf(0, pattern(1))}).Load(t.Context())
	require.ErrorIs(t, err, masterkey.ErrCorrupt, "plain keys under a passphrase")
	requireNoKey(t, err.Error(), pattern(1))
}

// TestKDFParameters: the stored text asks for memory and time, and its writer may be hostile.
func TestKDFParameters(t *testing.T) {
	salt := base64.RawStdEncoding.EncodeToString(pattern(1)[:16])
	for _, row := range []struct {
		params  string
		allowed bool
	}{
		{"argon2id t=1 m=19456 p=1 salt=" + salt, true},
		{"argon2id t=10 m=19456 p=16 salt=" + salt, true},
		{"argon2id t=1 m=262144 p=1 salt=" + salt, true},
		{"pbkdf2-sha256 i=600000 salt=" + salt, true},
		{"argon2id t=0 m=19456 p=1 salt=" + salt, false},
		{"argon2id t=11 m=19456 p=1 salt=" + salt, false},
		{"argon2id t=1 m=19455 p=1 salt=" + salt, false},
		{"argon2id t=1 m=262145 p=1 salt=" + salt, false},
		{"argon2id t=1 m=4294967295 p=1 salt=" + salt, false},
		{"argon2id t=4294967295 m=19456 p=1 salt=" + salt, false},
		{"argon2id t=1 m=19456 p=0 salt=" + salt, false},
		{"argon2id t=1 m=19456 p=17 salt=" + salt, false},
		{"argon2id t=1 m=19456 p=256 salt=" + salt, false},
		{"argon2id t=1 m=19456 p=257 salt=" + salt, false},
		{"argon2id t=+1 m=19456 p=1 salt=" + salt, false},
		{"argon2id t=01 m=19456 p=1 salt=" + salt, false},
		{"argon2id t=1  m=19456 p=1 salt=" + salt, false},
		{"argon2id t=1 m=19456 p=1 salt=" + salt + " ", false},
		{"argon2id t=1 m=19456 p=1 salt=" + salt[:20], false},
		{"argon2id t=1 m=19456 p=1 salt=" + salt[:21] + "!", false},
		{"argon2id t=1 m=19456 p=1 salt=", false},
		{"argon2i t=1 m=19456 p=1 salt=" + salt, false},
		{"pbkdf2-sha256 i=599999 salt=" + salt, false},
		{"pbkdf2-sha256 i=10000001 salt=" + salt, false},
		{"pbkdf2-sha256 i=9223372036854775807 salt=" + salt, false},
		{"pbkdf2-sha256 i=-1 salt=" + salt, false},
		{"pbkdf2-sha256 i=600000 salt=" + salt[:20], false},
		{"pbkdf2-sha1 i=600000 salt=" + salt, false},
		{"", false},
	} {
		asked := false
		read := func(context.Context) ([]byte, error) { asked = true; return nil, errOther }
		inner := &memory{kept: framed("passphrase", row.params+"\nAAAA\nAAAA\n")}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := masterkey.Passphrase(read, inner).Load(t.Context())
		runtime.ReadMemStats(&after)
		require.Equal(t, row.allowed, asked, row.params)
		if row.allowed {
			require.ErrorIs(t, err, errOther, row.params)
			continue
		}
		require.ErrorIs(t, err, masterkey.ErrCorrupt, row.params)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), row.params)
	}
}

// TestPassphraseForm derives with x/crypto and the standard library alone, by the words of the documentation.
func TestPassphraseForm(t *testing.T) {
	h := newHome(t)
	h.open(t, masterkey.Passphrase((&human{phrases: []string{"correct horse"}}).read, h.file()))
	lines := strings.Split(string(read(t, h.path())), "\n")
	var t1, m1 uint32
	var p1 uint8
	var text string
	_, err := fmt.Sscanf(lines[1], "argon2id t=%d m=%d p=%d salt=%s", &t1, &m1, &p1, &text)
	require.NoError(t, err)
	require.Equal(t, []any{uint32(3), uint32(64 << 10), uint8(4)}, []any{t1, m1, p1}, "RFC 9106, section 4, second choice")
	salt, err := base64.RawStdEncoding.DecodeString(text)
	require.NoError(t, err)
	require.Len(t, salt, 16)
	key := argon2.IDKey([]byte("correct horse"), salt, t1, m1, p1, 32)
	check, err := hkdf.Expand(sha256.New, key, "merlon passphrase check", 32)
	require.NoError(t, err)
	require.Equal(t, base64.RawStdEncoding.EncodeToString(check), lines[2])
}

// TestFIPS runs this program again in each mode, since the mode is fixed when a process starts.
func TestFIPS(t *testing.T) {
	if testing.Short() {
		t.Skip("derives a dozen keys")
	}
	argon := newHome(t)
	argon.open(t, masterkey.Passphrase((&human{phrases: []string{"x"}}).read, argon.file()))
	for mode, want := range map[string]string{"off": "argon2id", "on": "pbkdf2-sha256", "only": "pbkdf2-sha256"} {
		h := newHome(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperFIPS$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode, "MERLON_STATE="+h.state, "MERLON_KEYS="+h.keys, "MERLON_ARGON="+argon.keys)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "--- PASS: TestHelperFIPS", mode)
		require.Contains(t, string(read(t, h.path())), want+" ", mode)
	}
}

func TestHelperFIPS(t *testing.T) {
	h := home{os.Getenv("MERLON_STATE"), os.Getenv("MERLON_KEYS")}
	if h.state == "" {
		return // this is the child's part of TestFIPS
	}
	source := func(dir string) masterkey.Source {
		return masterkey.Passphrase((&human{phrases: []string{"x"}}).read, masterkey.File(dir, "master.key"))
	}
	m := h.open(t, source(h.keys))
	id, _ := primary(t, m)
	_, err := m.Stage(t.Context())
	require.NoError(t, err)
	got, _ := primary(t, h.open(t, source(h.keys)))
	require.Equal(t, id, got)
	_, err = source(os.Getenv("MERLON_ARGON")).Load(t.Context())
	if fips140.Enforced() {
		require.ErrorIs(t, err, masterkey.ErrDenied)
	} else {
		require.NoError(t, err, "a process in mode on can still read, to change the passphrase")
	}
}

func FuzzPassphraseText(f *testing.F) {
	salt := base64.RawStdEncoding.EncodeToString(make([]byte, 16))
	f.Add("argon2id t=3 m=65536 p=4 salt="+salt, "AAAA", "AAAA")
	f.Add("pbkdf2-sha256 i=600000 salt="+salt, "", "!")
	f.Fuzz(func(t *testing.T, params, check, sealed string) {
		asked := errOther
		source := masterkey.Passphrase(func(context.Context) ([]byte, error) { return nil, asked },
			&memory{kept: framed("passphrase", params+"\n"+check+"\n"+sealed+"\n")})
		data, err := source.Load(t.Context())
		require.Nil(t, data)
		require.NotErrorIs(t, err, masterkey.ErrNotFound)
		require.Error(t, err)
	})
}

// FuzzKeys: whatever text opens is the one text of these keys, so no two texts stand for one ring.
func FuzzKeys(f *testing.F) {
	f.Add(ringOf(0, pattern(1)))
	f.Add(ringOf(1, pattern(1), pattern(2)))
	f.Add([]byte("primary x\nkey x y\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kept := range [][]byte{text, framed("masterkey", string(text))} {
			_ = os.Remove(dir + "/masterkey.state")
			m, err := masterkey.Open(t.Context(), masterkey.Config{Dir: dir, Sources: []masterkey.Source{&memory{kept: kept}}, NoGenerate: true})
			if err != nil {
				if kept != nil {
					require.ErrorIs(t, err, masterkey.ErrCorrupt)
				}
				continue
			}
			ids, err := m.KeyIDs()
			require.NoError(t, err)
			primary, _, err := m.PrimaryKey()
			require.NoError(t, err)
			var keys [][]byte
			at := -1
			for i, id := range ids {
				k, err := m.LookupKey(id)
				require.NoError(t, err)
				keys = append(keys, k)
				if id == primary {
					at = i
				}
			}
			require.Equal(t, string(bytes.TrimSuffix(kept, []byte("\n"))), string(bytes.TrimSuffix(ringOf(at, keys...), []byte("\n"))))
		}
	})
}

func FuzzGivenKey(f *testing.F) {
	f.Add(strings.Repeat("0f", 32))
	f.Add(base64.StdEncoding.EncodeToString(pattern(1)))
	f.Fuzz(func(t *testing.T, text string) {
		data, err := masterkey.Env(func(string) string { return text }, "K").Load(t.Context())
		if err != nil {
			require.Nil(t, data)
			return
		}
		s := strings.TrimSpace(text)
		require.Contains(t, []int{43, 44, 64}, len(s))
	})
}
