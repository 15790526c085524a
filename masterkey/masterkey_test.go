// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
)

var errOther = errors.New("another failure")

// TestWhatPermitsANewKey: mistaking "cannot say" for "there is none" loses everything that was sealed.
func TestWhatPermitsANewKey(t *testing.T) {
	nf := masterkey.ErrNotFound
	liar := func(save func(*memory, []byte) error) *memory { return &memory{save: save} }
	for _, row := range []struct {
		name    string
		sources []masterkey.Source
		change  func(*masterkey.Config)
		want    error // nil: generated
		not     error
	}{
		{name: "every source says that there is none", sources: []masterkey.Source{&memory{name: "a"}, &memory{name: "b"}}},
		{name: "it says so inside another error", sources: []masterkey.Source{&memory{load: func(m *memory) ([]byte, error) {
			if m.kept != nil {
				return m.kept, nil
			}
			return nil, fmt.Errorf("lookup: %w", nf)
		}}}},
		{name: "locked", sources: []masterkey.Source{says(masterkey.ErrLocked)}, want: masterkey.ErrLocked, not: nf},
		{name: "denied (nearai/ironclaw#2312)", sources: []masterkey.Source{says(masterkey.ErrDenied)}, want: masterkey.ErrDenied, not: nf},
		{name: "EACCES is not ENOENT (openclaw#75746)", sources: []masterkey.Source{says(fs.ErrPermission)}, want: masterkey.ErrDenied, not: nf},
		{name: "unavailable (databricks/cli#5210)", sources: []masterkey.Source{says(masterkey.ErrUnavailable)}, want: masterkey.ErrUnavailable, not: nf},
		{name: "corrupt", sources: []masterkey.Source{says(masterkey.ErrCorrupt)}, want: masterkey.ErrCorrupt, not: nf},
		{name: "read-only without a key", sources: []masterkey.Source{says(masterkey.ErrReadOnly)}, want: masterkey.ErrReadOnly, not: nf},
		{name: "an error nobody knows", sources: []masterkey.Source{says(errOther)}, want: errOther, not: nf},
		{name: "an error nobody knows counts as unavailable", sources: []masterkey.Source{says(errOther)}, want: masterkey.ErrUnavailable},
		{name: "a file error of the source's own", sources: []masterkey.Source{says(fs.ErrNotExist)}, want: masterkey.ErrUnavailable, not: nf},
		{name: "its own deadline", sources: []masterkey.Source{says(context.DeadlineExceeded)}, want: masterkey.ErrUnavailable, not: nf},
		{name: "not found and locked at once", sources: []masterkey.Source{says(errors.Join(nf, masterkey.ErrLocked))}, want: masterkey.ErrLocked, not: nf},
		{name: "none in the first, locked in the second", sources: []masterkey.Source{&memory{name: "a"}, says(masterkey.ErrLocked)}, want: masterkey.ErrLocked, not: nf},
		{name: "locked in the first, none in the second", sources: []masterkey.Source{says(masterkey.ErrLocked), &memory{name: "b"}}, want: masterkey.ErrLocked, not: nf},
		{name: "nothing and no error (openclaw/gogcli#206)", sources: []masterkey.Source{&memory{load: func(*memory) ([]byte, error) { return nil, nil }}}, want: masterkey.ErrCorrupt, not: nf},
		{name: "an empty environment can keep nothing", sources: []masterkey.Source{masterkey.Env(func(string) string { return "" }, "K")}, want: masterkey.ErrReadOnly},
		{name: "NoGenerate", sources: []masterkey.Source{&memory{}}, change: func(c *masterkey.Config) { c.NoGenerate = true }, want: nf},
		{name: "data are sealed already", sources: []masterkey.Source{&memory{}}, change: func(c *masterkey.Config) { c.SealedDataExists = func() (bool, error) { return true, nil } }, want: nf},
		{name: "nobody knows whether data are sealed", sources: []masterkey.Source{&memory{}}, change: func(c *masterkey.Config) { c.SealedDataExists = func() (bool, error) { return false, errOther } }, want: errOther},
		{name: "no data are sealed", sources: []masterkey.Source{&memory{}}, change: func(c *masterkey.Config) { c.SealedDataExists = func() (bool, error) { return false, nil } }},
		{name: "a store that keeps nothing", sources: []masterkey.Source{liar(func(*memory, []byte) error { return nil })}, want: masterkey.ErrCorrupt, not: nf},
		{name: "a store that keeps no bytes (openclaw/gogcli#206)", sources: []masterkey.Source{liar(func(m *memory, _ []byte) error { m.kept = []byte{}; return nil })}, want: masterkey.ErrCorrupt},
		{name: "a store that keeps half", sources: []masterkey.Source{liar(func(m *memory, d []byte) error { m.kept = d[:len(d)/2]; return nil })}, want: masterkey.ErrCorrupt},
		{name: "a store that has another's key (srelens#207)", sources: []masterkey.Source{liar(func(m *memory, _ []byte) error { m.kept = ringOf(0, pattern(1)); return nil })}, want: masterkey.ErrCorrupt},
		{name: "a store that fails", sources: []masterkey.Source{liar(func(*memory, []byte) error { return errOther })}, want: errOther},
		{name: "a store that fails with not found", sources: []masterkey.Source{liar(func(*memory, []byte) error { return nf })}, want: masterkey.ErrUnavailable, not: nf},
		{name: "a store that fails does not make the next one keep it", sources: []masterkey.Source{&memory{name: "a", save: func(*memory, []byte) error { return masterkey.ErrLocked }}, &memory{name: "b"}}, want: masterkey.ErrLocked},
		{name: "a first source that cannot store", sources: []masterkey.Source{masterkey.Env(func(string) string { return "" }, "K"), &memory{}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newHome(t).config(row.sources...)
			if row.change != nil {
				row.change(&c)
			}
			m, err := masterkey.Open(t.Context(), c)
			if row.want == nil {
				require.NoError(t, err)
				id, key := primary(t, m)
				c.NoGenerate = true
				again, err := masterkey.Open(t.Context(), c)
				require.NoError(t, err)
				id2, key2 := primary(t, again)
				require.Equal(t, id, id2)
				require.Equal(t, key, key2)
				return
			}
			require.ErrorIs(t, err, row.want)
			require.True(t, strings.HasPrefix(err.Error(), "masterkey: "), err)
			if row.not != nil {
				require.NotErrorIs(t, err, row.not)
			}
			require.Nil(t, m)
			for _, s := range row.sources {
				if s, ok := s.(*memory); ok && s.save == nil {
					_, stores := s.counts()
					require.Zero(t, stores, "a key was made")
				}
			}
		})
	}
}

func TestNaiveStartLosesTheKey(t *testing.T) {
	// The lines that the package comment shows, against the first rows above: they make a key although there is one.
	for _, err := range []error{masterkey.ErrLocked, masterkey.ErrUnavailable, fs.ErrPermission} {
		s := says(err)
		s.kept = ringOf(0, pattern(1))
		if _, err := s.Load(t.Context()); err != nil {
			require.NoError(t, s.Store(t.Context(), ringOf(0, pattern(2))))
		}
		require.NotEqual(t, ringOf(0, pattern(1)), s.kept)
	}
}

func TestConfigIsRefused(t *testing.T) {
	good := newHome(t).config()
	for name, change := range map[string]func(*masterkey.Config){
		"Dir":        func(c *masterkey.Config) { c.Dir = "" },
		"Sources":    func(c *masterkey.Config) { c.Sources = nil },
		"Sources[1]": func(c *masterkey.Config) { c.Sources = append(c.Sources, nil) },
		"same name":  func(c *masterkey.Config) { c.Sources = append(c.Sources, c.Sources[0]) },
		"of 0 bytes": func(c *masterkey.Config) { c.Sources = []masterkey.Source{named("")} },
		"of 3073":    func(c *masterkey.Config) { c.Sources = []masterkey.Source{named(strings.Repeat("a", 3073))} },
		"Timeout":    func(c *masterkey.Config) { c.Timeout = -1 },
	} {
		c := good
		change(&c)
		m, err := masterkey.Open(t.Context(), c)
		require.Nil(t, m)
		require.ErrorContains(t, err, name)
	}
	_, err := masterkey.Open(t.Context(), masterkey.Config{Timeout: -1})
	for _, field := range []string{"Dir", "Sources", "Timeout"} {
		require.ErrorContains(t, err, field)
	}
	require.NoDirExists(t, good.Dir)
}

// named is a Source that fmt would print.
type named string

func (n named) Name() string                       { return string(n) }
func (named) Load(context.Context) ([]byte, error) { return ringOf(0, pattern(1)), nil }
func (named) Store(context.Context, []byte) error  { return masterkey.ErrReadOnly }

func TestTheLongestNameIsRemembered(t *testing.T) {
	h := newHome(t)
	for range 2 {
		h.open(t, named(strings.Repeat("\xff", 3072)))
	}
}

// TestKeyFileIsNotAFileOfDir: the state would be written over the key.
func TestKeyFileIsNotAFileOfDir(t *testing.T) {
	for _, name := range []string{"masterkey.state", "masterkey.lock", "Masterkey.State"} {
		h := newHome(t)
		_, err := masterkey.Open(t.Context(), h.config(masterkey.File(h.state, name)))
		require.ErrorIs(t, err, masterkey.ErrDenied)
		require.NoFileExists(t, filepath.Join(h.state, "masterkey.state"))
	}
}

func TestZeroAndNilManagersRefuse(t *testing.T) {
	for _, m := range []*masterkey.Manager{nil, {}} {
		id, key, err := m.PrimaryKey()
		require.Error(t, err)
		require.Empty(t, id)
		require.Nil(t, key)
		key, err = m.LookupKey(idOf(pattern(1)))
		require.Error(t, err)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		require.Nil(t, key)
		_, err = m.KeyIDs()
		require.Error(t, err)
		_, err = m.Stage(t.Context())
		require.Error(t, err)
		require.Error(t, m.Promote(t.Context(), "x"))
		require.Error(t, m.Retire(t.Context(), "x", func(string) (int, error) { return 0, nil }))
		require.NotEmpty(t, fmt.Sprint(m))
	}
}

func TestStateFileHoldsNoSecretAndIsSticky(t *testing.T) {
	keychain := &memory{name: "keychain"}
	h := newHome(t)
	m := h.open(t, keychain, h.file())
	id, key := primary(t, m)
	require.NotNil(t, keychain.kept)
	state := string(read(t, filepath.Join(h.state, "masterkey.state")))
	require.Contains(t, state, id)
	requireNoKey(t, state, key)
	st, err := os.Stat(h.state)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), st.Mode().Perm())

	good := keychain.kept
	file := &memory{name: "file", kept: ringOf(0, pattern(1))}
	for _, row := range []struct {
		name     string
		keychain func(*memory) ([]byte, error)
		want     error
	}{
		{"an outage does not move it to a file", func(*memory) ([]byte, error) { return nil, masterkey.ErrUnavailable }, masterkey.ErrUnavailable},
		{"a lock does not move it to a file", func(*memory) ([]byte, error) { return nil, masterkey.ErrLocked }, masterkey.ErrLocked},
		{"damage does not move it to a file", func(*memory) ([]byte, error) { return good[:20], nil }, masterkey.ErrCorrupt},
		{"a lost key is not replaced by a file's", func(*memory) ([]byte, error) { return nil, masterkey.ErrNotFound }, masterkey.ErrOtherKey},
		{"a planted key is not taken", func(*memory) ([]byte, error) { return ringOf(0, pattern(2)), nil }, masterkey.ErrOtherKey},
	} {
		keychain.load = row.keychain
		before, _ := file.counts()
		_, err := masterkey.Open(t.Context(), h.config(keychain, file))
		require.ErrorIs(t, err, row.want, row.name)
		if row.want != masterkey.ErrOtherKey {
			after, _ := file.counts()
			require.Equal(t, before, after, "%s: the file was asked", row.name)
		}
	}
	keychain.load = nil

	// A file's key does not shadow it either, wherever it stands in the list.
	got, _ := primary(t, h.open(t, file, keychain))
	require.Equal(t, id, got)

	// A key that is in no source is not made anew, although no SealedDataExists says that it is needed.
	keychain.kept = nil
	_, err = masterkey.Open(t.Context(), h.config(keychain, &memory{name: "empty"}))
	require.ErrorIs(t, err, masterkey.ErrNotFound)
	require.ErrorContains(t, err, id)

	// The same key, moved by the operator, is taken, and this is said.
	file.kept = good
	var events []masterkey.Event
	c := h.config(keychain, file)
	c.OnEvent = func(e masterkey.Event) { events = append(events, e) }
	for range 2 {
		m, err = masterkey.Open(t.Context(), c)
		require.NoError(t, err)
		got, _ = primary(t, m)
		require.Equal(t, id, got)
	}
	kinds := []masterkey.EventKind{}
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	require.Empty(t, cmp.Diff([]masterkey.EventKind{masterkey.SourceFailed, masterkey.KeyMoved, masterkey.KeyFound}, kinds))
	require.Equal(t, "file", events[1].Source)
	require.Equal(t, id, events[1].KeyID)
}

func TestStateFileThatWasAlteredRefuses(t *testing.T) {
	h := newHome(t)
	h.open(t)
	path := filepath.Join(h.state, "masterkey.state")
	good := read(t, path)
	other := idOf(pattern(3))
	head, _, _ := strings.Cut(string(good), "primary ")
	_, source, _ := strings.Cut(strings.TrimSpace(head), "\n")
	for name, bad := range map[string][]byte{
		"empty":             {},
		"cut":               good[:len(good)/2],
		"grown":             append(bytes.Clone(good), '\n'),
		"of another kind":   ringOf(0, pattern(3)),
		"no primary key":    framed("masterkey-state", source+"\nprimary \nkey "+other+"\n"),
		"primary unlisted":  framed("masterkey-state", source+"\nprimary "+other+"\nkey "+idOf(pattern(4))+"\n"),
		"ids that are none": framed("masterkey-state", source+"\nprimary x\nkey x\n"),
		"a second source":   framed("masterkey-state", source+"\n"+source+"\nprimary "+other+"\nkey "+other+"\n"),
		"unquoted source":   framed("masterkey-state", "source x\nprimary "+other+"\nkey "+other+"\n"),
		"too large":         bytes.Repeat([]byte("x"), 1<<20),
	} {
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		_, err := masterkey.Open(t.Context(), h.config())
		require.Error(t, err, name)
		require.True(t, strings.HasPrefix(err.Error(), "masterkey: "), err)
		require.Equal(t, bad, read(t, path), name)
	}
	require.NoError(t, os.WriteFile(path, good, 0o600))
	h.open(t)
	require.NoError(t, os.Chmod(path, 0o666))
	_, err := masterkey.Open(t.Context(), h.config())
	require.Error(t, err, "others may have written it")
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink(h.path(), path))
	_, err = masterkey.Open(t.Context(), h.config())
	require.Error(t, err, "a link")
}

func TestEventsTellWithoutKeys(t *testing.T) {
	h := newHome(t)
	var events []masterkey.Event
	c := h.config(masterkey.Env(func(string) string { return "" }, "K"), &memory{})
	c.OnEvent = func(e masterkey.Event) { events = append(events, e) }
	m, err := masterkey.Open(t.Context(), c)
	require.NoError(t, err)
	first, key := primary(t, m)
	second, err := m.Stage(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Promote(t.Context(), second))
	require.NoError(t, m.Retire(t.Context(), first, func(string) (int, error) { return 0, nil }))
	_, err = masterkey.Open(t.Context(), c)
	require.NoError(t, err)

	type short struct {
		Kind       masterkey.EventKind
		Source, ID string
		Failed     bool
	}
	var got []short
	for _, e := range events {
		got = append(got, short{e.Kind, e.Source, e.KeyID, errors.Is(e.Err, masterkey.ErrNotFound)})
		requireNoKey(t, fmt.Sprintf("%v %+v %#v", e, e, e), key)
	}
	require.Empty(t, cmp.Diff([]short{
		{masterkey.KeyGenerated, "memory", first, false},
		{masterkey.KeyStaged, "memory", second, false},
		{masterkey.KeyPromoted, "memory", second, false},
		{masterkey.KeyRetired, "memory", first, false},
		{masterkey.KeyFound, "memory", second, false},
	}, got))
}

// TestWhatIsAFailure: an operator is woken for a source that does not answer or lost the key, not for an empty one.
func TestWhatIsAFailure(t *testing.T) {
	empty, locked := &memory{name: "empty"}, &memory{name: "locked", load: func(*memory) ([]byte, error) { return nil, masterkey.ErrLocked }}
	has := named("has")
	for _, row := range []struct {
		name   string
		start  []masterkey.Source // nil: Dir knows of no key
		then   []masterkey.Source
		events []string
	}{
		{"an empty source before the one with the key", nil, []masterkey.Source{empty, has}, []string{"key-found has"}},
		{"a locked source before the one with the key", nil, []masterkey.Source{locked, has}, []string{"source-failed locked", "key-found has"}},
		{"every source is empty", nil, []masterkey.Source{empty}, []string{}},
		{"the source that Dir knows is empty", []masterkey.Source{has}, []masterkey.Source{empty, lost("has")}, []string{"source-failed has"}},
	} {
		h := newHome(t)
		if row.start != nil {
			h.open(t, row.start...)
		}
		c := h.config(row.then...)
		c.NoGenerate = true
		events := []string{}
		c.OnEvent = func(e masterkey.Event) { events = append(events, e.Kind.String()+" "+e.Source) }
		_, _ = masterkey.Open(t.Context(), c)
		require.Equal(t, row.events, events, row.name)
	}
}

func lost(name string) *memory { return &memory{name: name} }

func TestEventKindText(t *testing.T) {
	n := 0
	for k := masterkey.KeyFound; k <= masterkey.KeysReloaded; k++ {
		text, err := k.MarshalText()
		require.NoError(t, err)
		require.Equal(t, k.String(), string(text))
		var back masterkey.EventKind
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, k, back)
		n++
	}
	require.Equal(t, 8, n)
	for _, k := range []masterkey.EventKind{0, masterkey.KeysReloaded + 1, 255} {
		_, err := k.MarshalText()
		require.Error(t, err)
		require.Equal(t, fmt.Sprintf("EventKind(%d)", uint8(k)), k.String())
	}
	for _, text := range []string{"", "key", "Key-Found", "EventKind(1)"} {
		k := masterkey.KeyMoved
		require.Error(t, k.UnmarshalText([]byte(text)))
		require.Equal(t, masterkey.KeyMoved, k)
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	h := newHome(t)
	phrase := masterkey.Passphrase(func(context.Context) ([]byte, error) { return []byte("a passphrase"), nil }, h.file())
	m := h.open(t, phrase)
	_, key := primary(t, m)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "m", m, "s", phrase)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "m", m, "s", phrase, "in", []any{m, phrase})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&log, verb+verb, m, phrase)
		fmt.Fprintf(&log, verb, struct{ A, B any }{m, phrase})
	}
	requireNoKey(t, log.String(), key)
	require.Contains(t, log.String(), h.path())

	// What the fields of others hold, although they print it not themselves.
	log.Reset()
	for _, s := range []masterkey.Source{masterkey.Bounded(holder{pattern(3)}), masterkey.Wrapped(holder{pattern(3)}, h.file())} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
			fmt.Fprintf(&log, verb, s)
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s)
	}
	requireNoKey(t, log.String(), pattern(3))
	require.Contains(t, log.String(), "wrapped+file:")
}

// holder is a Source and a Wrapper with its key in a field, which it does not show.
type holder struct{ key []byte }

func (holder) Name() string                                    { return "holder" }
func (holder) Load(context.Context) ([]byte, error)            { return nil, masterkey.ErrNotFound }
func (holder) Store(context.Context, []byte) error             { return nil }
func (holder) Encrypt(context.Context, []byte) ([]byte, error) { return nil, errOther }
func (holder) Decrypt(context.Context, []byte) ([]byte, error) { return nil, errOther }
func (holder) Format(f fmt.State, _ rune)                      { fmt.Fprint(f, "holder") }

// echo is a store whose error shows what it was given.
func TestErrorsOfSourcesThatRepeatTheKeyAreWithheld(t *testing.T) {
	for _, format := range []string{"cannot store %s", "cannot store %q", "%s", "the word %[2]s"} {
		var given []byte
		s := &memory{save: func(_ *memory, data []byte) error {
			given = bytes.Clone(data)
			word := strings.Fields(string(data))[6]
			return errors.Join(errors.New(strings.Split(fmt.Sprintf(format, data, word), "%!(EXTRA")[0]), masterkey.ErrDenied)
		}}
		_, err := masterkey.Open(t.Context(), newHome(t).config(s))
		require.ErrorIs(t, err, masterkey.ErrDenied)
		line := strings.Fields(string(given))
		for _, word := range line {
			if len(word) == 43 {
				require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), word)
			}
		}
		require.Len(t, line, 2+2+3+2)
	}
}

// TestAnotherServiceMakesTheKeyFirst: one that shares the file and not the state folder, between our look and our write.
func TestAnotherServiceMakesTheKeyFirst(t *testing.T) {
	h, theirs := newHome(t), newHome(t)
	theirs.keys = h.keys
	var first string
	c := h.config()
	c.SealedDataExists = func() (bool, error) { first, _ = primary(t, theirs.open(t)); return false, nil }
	m, err := masterkey.Open(t.Context(), c)
	require.NoError(t, err)
	id, _ := primary(t, m)
	require.Equal(t, first, id)

	h = newHome(t)
	c = h.config()
	c.SealedDataExists = func() (bool, error) {
		return false, errors.Join(os.Mkdir(h.keys, 0o700), os.WriteFile(h.path(), []byte("something"), 0o600))
	}
	_, err = masterkey.Open(t.Context(), c)
	require.ErrorIs(t, err, masterkey.ErrCorrupt)
	require.Equal(t, "something", string(read(t, h.path())))
}

func TestContextIsObeyed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &memory{}
	_, err := masterkey.Open(ctx, newHome(t).config(s))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, masterkey.ErrNotFound)
	_, stores := s.counts()
	require.Zero(t, stores)

	// Cancelled between the answer "there is none" and the new key.
	ctx, cancel = context.WithCancel(t.Context())
	c := newHome(t).config(s)
	c.SealedDataExists = func() (bool, error) { cancel(); return false, nil }
	_, err = masterkey.Open(ctx, c)
	require.ErrorIs(t, err, context.Canceled)
	_, stores = s.counts()
	require.Zero(t, stores)
}

func TestPrimaryKeyIsACopyAndCostsOneAllocation(t *testing.T) {
	m := newHome(t).open(t)
	id, key := primary(t, m)
	clear(key)
	again, err := m.LookupKey(id)
	require.NoError(t, err)
	require.NotEqual(t, key, again)
	clear(again)
	_, now := primary(t, m)
	require.NotEqual(t, again, now)
	if raceEnabled {
		return
	}
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _, _ = m.PrimaryKey() }), 1.0)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = m.LookupKey(id) }), 1.0)
}

func TestUnknownIDs(t *testing.T) {
	s := &memory{}
	m := newHome(t).open(t, s)
	before, _ := s.counts()
	for _, id := range []string{"", "x", "no-such-id", strings.Repeat("a", 15), strings.Repeat("a", 17), strings.Repeat("A", 16), strings.Repeat("g", 16), "../../etc/passwd", strings.Repeat("a", 1<<20)} {
		key, err := m.LookupKey(id)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Nil(t, key)
		require.Less(t, len(err.Error()), 200)
	}
	after, _ := s.counts()
	require.Equal(t, before, after, "what can be no id asks no source")

	// If the source cannot be asked, nobody can say that there is no such key.
	s.load = func(*memory) ([]byte, error) { return nil, masterkey.ErrNotFound }
	_, err := m.LookupKey(idOf(pattern(7)))
	require.Error(t, err)
	require.NotErrorIs(t, err, fs.ErrNotExist)
	s.load = func(*memory) ([]byte, error) { return nil, fs.ErrNotExist }
	_, err = m.LookupKey(idOf(pattern(7)))
	require.ErrorIs(t, err, masterkey.ErrUnavailable)
	require.NotErrorIs(t, err, fs.ErrNotExist)
}

// TestUnknownIDStopsNothing: whoever writes an id into a file must not keep a service from sealing while its source is
// locked.
func TestUnknownIDStopsNothing(t *testing.T) {
	s := &memory{}
	m := newHome(t).open(t, s)
	id, _ := primary(t, m)
	s.mu.Lock()
	s.load = func(*memory) ([]byte, error) { return nil, masterkey.ErrLocked }
	s.mu.Unlock()
	for range 3 {
		_, err := m.LookupKey(idOf(pattern(7)))
		require.ErrorIs(t, err, masterkey.ErrLocked)
		got, _ := primary(t, m)
		require.Equal(t, id, got)
		time.Sleep(300 * time.Millisecond)
		primary(t, m)
	}

	// Nor do those that wait for one answer together take a failure for an absent key.
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := m.LookupKey(idOf(pattern(7)))
			assert.ErrorIs(t, err, masterkey.ErrLocked)
			assert.NotErrorIs(t, err, fs.ErrNotExist)
		})
	}
	wg.Wait()
}

// TestFloodOfUnknownIDs: ids come from files, so whoever writes files can ask for any.
func TestFloodOfUnknownIDs(t *testing.T) {
	s := &memory{}
	m := newHome(t).open(t, s)
	before, _ := s.counts()
	start := time.Now()
	var asked atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for n := 0; time.Since(start) < 500*time.Millisecond; n++ {
				_, err := m.LookupKey(fmt.Sprintf("%016x", i*1000+n))
				assert.ErrorIs(t, err, fs.ErrNotExist)
				asked.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	after, _ := s.counts()
	require.Greater(t, asked.Load(), int64(5*(after-before)), "many questions for each look")
	require.LessOrEqual(t, after-before, int(took/(100*time.Millisecond))+1, "ten a second")
	require.GreaterOrEqual(t, after-before, 3, "and no fewer, or a key just staged is not found")
}
