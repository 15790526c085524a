// SPDX-License-Identifier: Apache-2.0

// Package masterkey obtains, generates and rotates the key that seals a service's credentials, so that they do not lie
// in plaintext and are not lost either (finding CRIT-02, CWE-312, CWE-321, CWE-320).
//
// It usually goes wrong in the few lines around the first start:
//
//	key, err := keyring.Get(service, user)
//	if err != nil { // locked? no bus? denied? absent?
//		key = newKey()
//		keyring.Set(service, user, key)
//	}
//
// Any failure mints a new key and everything sealed before is lost; two processes that start together mint two; a
// truncated key file is "repaired" by replacing it; a dead bus hangs the start for ever; and what the keychain lost
// comes back from a file that nobody expected to hold a key.
//
// # Use
//
//	keys, err := masterkey.Open(ctx, masterkey.Config{
//		Dir:     "/var/lib/gateway",
//		Sources: []masterkey.Source{keychain.New("gateway", "master-key")}, // or masterkey.File(dir, name), …
//	})
//	sealer, err := credcipher.New(credcipher.Config{Keyring: keys})
//
// A *[Manager] is a credcipher.Keyring. To rotate: [Manager.Stage], [Manager.Promote], credcipher's Reseal,
// [Manager.Retire], all while the service runs.
//
// # Guarantees
//
//   - A key is generated only when every source answers that it has none; a source that is locked, denied, damaged,
//     silent or late stops it, and so does data that is sealed already. Once Dir knows a key, none is generated at all.
//   - Of many first starts at once, also in several processes, all get one key. It is read back from where it was
//     stored before anybody uses it.
//   - Dir remembers, without a secret, where the keys are. If that source fails, no other is asked; a key from another
//     one is used only if it is the key that Dir knows. So nothing moves silently from keychain to file or back.
//   - What is stored and is no key is [ErrCorrupt], by a checksum, and is never replaced.
//   - Every call to a source ends after Config.Timeout. One that hangs or panics is [ErrUnavailable]; one that hangs costs
//     at most one goroutine, and if it was a write keeps the lock until it is over, so that it cannot land on top of
//     another's key.
//   - Rotation loses no reader: a staged key can be looked up before anything is sealed under it, every process seals
//     under a promoted one within a second, an unknown id makes a process look again (10 times a second at most,
//     because ids come from files), and Retire refuses while a key is in use.
//   - No key is in an error, an [Event], or what fmt and slog print of a Manager or Source.
//
// Absence is refused: no Dir, no source, a nil source, a nil stillUsed, a zero or nil Manager.
//
// # Not guaranteed
//
//   - The keys are in this process's memory. Whoever reads it, or may trace it, has them; the garbage collector may
//     have copied them. Whoever reads the source has them too; [Passphrase] and [Wrapped] are for that.
//   - Processes that share keys share Dir, on a file system with working locks. Without it first starts can still not
//     split a key in a [File], but can in a keychain, and rotation is noticed by unknown ids alone.
//   - A program that stops between PrimaryKey and its write, and writes seconds after Retire counted, may leave data
//     under a retired key. Ask for the key at each sealing, as credcipher does.
//   - Who can write Dir can make the service forget which key it knows: it then starts as for the first time, where
//     Config.SealedDataExists still stops it. Who can write the source can take the key away.
//   - A copy of an old key stays wherever it was backed up. Retire takes it from the source only.
//   - What systems other than Linux cannot check of a key file, package privatefile says.
//
// # Cost
//
// A key at hand costs little more than its copy, one allocation; four times a second one caller also reads the small
// state file. Opening a [File] is a few reads of small files; with [Passphrase] add a quarter of a second and 64 MiB,
// once. The bench module prints the ratios.
package masterkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where keys come from. Dir and Sources are needed; every other zero value is a default or off.
type Config struct {
	// Dir is the service's state folder; a missing one is made, mode 0700. Give an absolute path: a relative one is
	// another folder, and so a first start, when the program starts from elsewhere. In it are masterkey.state, which says
	// where the keys are and names their ids, and masterkey.lock. Both hold no secret and belong into the backup with the
	// data.
	Dir string
	// Sources are asked in this order until one has a key. A new key goes to the first that can store. A longer list is
	// weaker: any of them may bring the first key.
	Sources []Source
	// Timeout bounds every single call to a source. Zero: 3 seconds. A human who types a passphrase has longer.
	Timeout time.Duration
	// NoGenerate makes the absence of a key an error, for every start but the first. False is weaker.
	NoGenerate bool
	// SealedDataExists is asked before a key is generated; true or an error refuses. Nil is weaker: a source that was
	// lost together with Dir looks like a first start.
	SealedDataExists func() (bool, error)
	// OnEvent is told what happened, for the operator's log. It is called in the caller's goroutine, and must not call
	// the Manager. Nil: nobody is told.
	OnEvent func(Event)
}

const defaultTimeout = 3 * time.Second

func (c Config) validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("masterkey: Config.Dir is empty; name the service's state folder"))
	}
	if len(c.Sources) == 0 {
		errs = append(errs, errors.New("masterkey: Config.Sources is empty; name at least one, such as File"))
	}
	seen := map[string]bool{}
	for i, s := range c.Sources {
		if s == nil {
			errs = append(errs, fmt.Errorf("masterkey: Config.Sources[%d] is nil", i))
		} else if name := s.Name(); name == "" || len(name) > maxName {
			errs = append(errs, fmt.Errorf("masterkey: Config.Sources[%d] has a name of %d bytes; 1 to %d can be remembered", i, len(name), maxName))
		} else if seen[name] {
			errs = append(errs, fmt.Errorf("masterkey: Config.Sources[%d] has the same name as another: %q", i, name))
		} else {
			seen[name] = true
		}
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("masterkey: Config.Timeout is negative: %v", c.Timeout))
	}
	return errors.Join(errs...)
}

var (
	// ErrOtherKey: a source has a key, but not the one that Config.Dir knows.
	ErrOtherKey = errors.New("masterkey: that is another key")
	// ErrInUse: Retire found that something is still sealed under the key.
	ErrInUse = errors.New("masterkey: the key is still in use")

	errNoManager = errors.New("masterkey: a Manager comes from Open; this one has no keys")
)

// A Manager has the keys of one service at hand. It is safe for concurrent use and needs no Close.
type Manager struct {
	dir     string
	home    Source // where the keys are
	timeout time.Duration
	onEvent func(Event)

	now     atomic.Pointer[view]
	mu      sync.Mutex    // held while a new view is made
	pace    sync.Mutex    // held while an unknown id waits for its turn to reload
	reloads atomic.Uint64 // counts reloads begun for unknown ids
	last    time.Time     // when the last of them began; guarded by pace
	failed  error         // what it met; guarded by pace
}

// A view is what a Manager knew at one time. It does not change.
type view struct {
	ring   *ring
	marker []byte    // the state file as it was
	at     time.Time // no later than it was read
	err    error     // the primary key is not certain
}

const (
	// freshness is how long a view's primary key may be used without a look at the state file.
	freshness = 250 * time.Millisecond
	// reloadEvery bounds what a flood of unknown ids costs the source.
	reloadEvery = 100 * time.Millisecond
)

// Open finds the keys of the service, or generates the first. The context bounds all of it, Config.Timeout each call
// to a source. Errors match the Err values of this package; without a key they list what each source said.
func Open(ctx context.Context, c Config) (*Manager, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	sources := make([]Source, len(c.Sources))
	for i, s := range c.Sources {
		sources[i] = bound(s, c.Timeout)
	}
	m := &Manager{dir: c.Dir, timeout: c.Timeout, onEvent: c.OnEvent}

	// The usual start finds everything as it was left, and takes no lock. It may have waited for a source or a human, so
	// what it found is as old as its beginning.
	begun := time.Now()
	f, err := m.find(ctx, sources)
	if err != nil && !f.absent {
		m.emitFailures(f.failed, f.marker.home())
		return nil, err
	}
	if err == nil && f.marker.equal(markerOf(f.source.Name(), f.ring)) {
		m.emitFailures(f.failed, f.marker.home())
		m.emit(KeyFound, f.source, f.ring.primaryID())
		return m.settle(f.source, f.ring, f.raw, begun), nil
	}

	l, err := acquire(ctx, c.Dir, c.Timeout)
	if err != nil {
		return nil, err
	}
	defer l.release()
	ctx = holding(ctx, l)
	kind := KeyFound
	f, err = m.find(ctx, sources)
	m.emitFailures(f.failed, f.marker.home())
	if f.absent {
		kind = KeyGenerated
		f.source, f.ring, err = generate(ctx, c, sources)
	} else if err == nil && f.marker != nil && f.marker.source != f.source.Name() {
		kind = KeyMoved
	}
	if err != nil {
		return nil, err
	}
	raw, err := writeMarker(c.Dir, markerOf(f.source.Name(), f.ring))
	if err != nil {
		return nil, err
	}
	m.emit(kind, f.source, f.ring.primaryID())
	return m.settle(f.source, f.ring, raw, time.Now()), nil
}

func (m *Manager) settle(home Source, r *ring, raw []byte, at time.Time) *Manager {
	m.home = home
	m.now.Store(&view{ring: r, marker: raw, at: at})
	return m
}

// finding is what the sources say. absent is set if every one said that it has no key and Dir knows none.
type finding struct {
	source Source
	ring   *ring
	marker *marker
	raw    []byte
	failed faults // of the sources that were asked before, or in vain
	absent bool
}

func (m *Manager) find(ctx context.Context, sources []Source) (f finding, err error) {
	if f.marker, f.raw, err = readMarker(m.dir); err != nil {
		return f, err
	}
	for _, s := range homeFirst(sources, f.marker) {
		r, fault := load(ctx, s)
		if fault == nil {
			if err := f.marker.admits(s.Name(), r); err != nil {
				return f, err
			}
			f.source, f.ring = s, r
			return f, nil
		}
		f.failed = append(f.failed, fault)
		if ctx.Err() != nil || f.marker.home() == s.Name() && fault.kind != ErrNotFound {
			return f, f.failed
		}
	}
	f.absent = f.marker == nil && f.failed.absent()
	if f.marker != nil && f.failed.absent() {
		return f, &fault{"", ErrNotFound, fmt.Sprintf("key %s, which %s knows from %q, is in no source; restore it",
			f.marker.primary, markerPath(m.dir), f.marker.source), nil}
	}
	return f, f.failed
}

// homeFirst puts the source where the keys were last before the others, so that none of them can shadow it.
func homeFirst(sources []Source, m *marker) []Source {
	if m == nil {
		return sources
	}
	var home, others []Source
	for _, s := range sources {
		if s.Name() == m.source {
			home = append(home, s)
		} else {
			others = append(others, s)
		}
	}
	return append(home, others...)
}

// admits refuses keys among which the primary one that Dir knows is not. One step of a rotation never takes that one
// away, so this also holds for a process that dies between the source and the state file.
func (m *marker) admits(source string, r *ring) error {
	if m == nil {
		return nil
	}
	if _, ok := r.find(m.primary); ok {
		return nil
	}
	return &fault{source, ErrOtherKey, fmt.Sprintf("it has key %s, but the data are known to be under %s from %q; restore that one, "+
		"or if this is meant remove masterkey.state from Config.Dir", r.primaryID(), m.primary, m.source), nil}
}

// load asks one source.
func load(ctx context.Context, s Source) (*ring, *fault) {
	data, err := s.Load(ctx)
	if err != nil {
		return nil, verdict(s.Name(), err)
	}
	r, err := decodeRing(data)
	if err != nil {
		return nil, &fault{s.Name(), ErrCorrupt, "what is stored is no key and is left as it is; restore it from a backup", err}
	}
	return r, nil
}

// generate makes the first key. The caller holds the lock and has just seen that there is none.
func generate(ctx context.Context, c Config, sources []Source) (Source, *ring, error) {
	refuse := func(text string, cause error) (Source, *ring, error) {
		return nil, nil, &fault{"", ErrNotFound, text, cause}
	}
	if c.NoGenerate {
		return refuse("there is no key in any source, and Config.NoGenerate is set", nil)
	}
	if c.SealedDataExists != nil {
		exists, err := c.SealedDataExists()
		if err != nil {
			return refuse("there is no key in any source, and it cannot be told whether data are sealed already", err)
		}
		if exists {
			return refuse("data are sealed already, and their key is in no source; restore it", nil)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, late(ctx)
	}
	fresh := &ring{0, []key{randomKey()}}
	for _, s := range sources {
		err := create(ctx, s, fresh.encode())
		switch {
		case errors.Is(err, ErrReadOnly):
			continue
		case errors.Is(err, fs.ErrExist): // a process that does not share Dir was first
			r, fault := load(ctx, s)
			if fault != nil {
				return nil, nil, fault
			}
			return s, r, nil
		case err != nil:
			return nil, nil, storeFault(s, err, fresh)
		}
		if err := readBack(ctx, s, fresh); err != nil {
			return nil, nil, err
		}
		return s, fresh, nil
	}
	return nil, nil, &fault{"", ErrReadOnly, "there is no key in any source, and none of them can store one", nil}
}

func readBack(ctx context.Context, s Source, want *ring) error {
	data, err := s.Load(ctx)
	if err != nil {
		f := verdict(s.Name(), err)
		if f.kind == ErrNotFound {
			return &fault{s.Name(), ErrCorrupt, "it took the key and kept nothing", nil}
		}
		return f
	}
	if !bytes.Equal(data, want.encode()) {
		return &fault{s.Name(), ErrCorrupt, "it does not give back what was stored; if two services share it, give them one Config.Dir", nil}
	}
	return nil
}

// storeFault leaves out the text of an error that repeats what was to be stored.
func storeFault(s Source, err error, r *ring) error {
	f := verdict(s.Name(), err)
	if f.kind == ErrNotFound {
		f = &fault{s.Name(), ErrUnavailable, "it does not store", errors.New(f.text)}
	}
	text := f.Error()
	for line := range strings.Lines(string(r.encode())) {
		if secret, ok := strings.CutPrefix(line, "key "); ok && strings.Contains(text, strings.TrimSpace(secret[idSize+1:])) {
			return &fault{s.Name(), f.kind, "it does not store; its error repeats the key and is not shown", nil}
		}
	}
	return f
}

// PrimaryKey gives the key to seal with, as a copy, and its id. It notices within a second that another process
// promoted one; if it then cannot have that key it fails, rather than seal under one that may be retired.
func (m *Manager) PrimaryKey() (id string, key []byte, err error) {
	v, err := m.current()
	if err != nil {
		return "", nil, err
	}
	k := v.ring.keys[v.ring.primary]
	return k.id, bytes.Clone(k.secret[:]), nil
}

// LookupKey gives the key of that id, as a copy. An id that no key has matches fs.ErrNotExist; any other error says
// that it could not be found out. An id that is not at hand makes the Manager load the keys again, at most ten times a
// second whatever is asked, so an unknown id may take a tenth of a second and one call to the source.
func (m *Manager) LookupKey(id string) ([]byte, error) {
	if m == nil || m.home == nil {
		return nil, errNoManager
	}
	begun := m.reloads.Load()
	v := m.now.Load()
	if i, ok := v.ring.find(id); ok {
		return bytes.Clone(v.ring.keys[i].secret[:]), nil
	}
	if !validID(id) {
		return nil, unknown(id)
	}
	v, err := m.reloadPaced(begun)
	if err != nil {
		return nil, err
	}
	if i, ok := v.ring.find(id); ok {
		return bytes.Clone(v.ring.keys[i].secret[:]), nil
	}
	return nil, unknown(id)
}

// KeyIDs lists the ids of all keys, oldest first, for an operator who goes on with a rotation.
func (m *Manager) KeyIDs() ([]string, error) {
	v, err := m.current()
	if err != nil {
		return nil, err
	}
	return v.ring.ids(), nil
}

// reloadPaced loads the keys again, unless a reload that began after begun was counted did so already.
func (m *Manager) reloadPaced(begun uint64) (*view, error) {
	m.pace.Lock()
	defer m.pace.Unlock()
	if m.reloads.Load() != begun {
		return m.now.Load(), m.failed
	}
	time.Sleep(time.Until(m.last.Add(reloadEvery)))
	m.last = time.Now()
	m.reloads.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	// A failure is the caller's alone. PrimaryKey fails only if the state file says that there is something new, or
	// whoever writes an unknown id could stop a service whose keychain is locked by now.
	m.failed = m.reload(context.Background())
	return m.now.Load(), m.failed
}

// current is the view whose primary key may be used now.
func (m *Manager) current() (*view, error) {
	if m == nil || m.home == nil {
		return nil, errNoManager
	}
	v := m.now.Load()
	if time.Since(v.at) < freshness {
		return v, v.err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if v = m.now.Load(); time.Since(v.at) < freshness {
			return v, v.err
		}
		begun := time.Now()
		_, raw, err := readMarker(m.dir)
		if err == nil && raw == nil {
			err = fmt.Errorf("masterkey: %s is gone; it cannot be told which key is the primary one", markerPath(m.dir))
		}
		if err == nil && bytes.Equal(raw, v.marker) {
			v = &view{v.ring, raw, begun, nil}
			m.now.Store(v)
			return v, nil
		}
		if err == nil {
			err = m.reload(context.Background())
		}
		if err != nil { // the keys at hand stay, for LookupKey
			v = &view{v.ring, v.marker, time.Now(), err}
			m.now.Store(v)
			return v, err
		}
		// The source may have been slow, and its answer old by now: the state file tells.
	}
}

// reload makes a new view, unless it fails.
func (m *Manager) reload(ctx context.Context) error {
	begun := time.Now()
	r, raw, err := m.fetch(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(r.encode(), m.now.Load().ring.encode()) {
		m.emit(KeysReloaded, m.home, r.primaryID())
	}
	m.now.Store(&view{r, raw, begun, nil})
	return nil
}

// fetch reads the state file and then the keys, in this order: keys that are newer than the state are noticed again.
func (m *Manager) fetch(ctx context.Context) (*ring, []byte, error) {
	mark, raw, err := readMarker(m.dir)
	if err != nil {
		return nil, nil, err
	}
	r, failed := load(ctx, m.home)
	if failed != nil {
		m.emitFailures(faults{failed}, m.home.Name())
		return nil, nil, failed
	}
	return r, raw, mark.admits(m.home.Name(), r)
}

// Format prints no key, whatever the verb.
func (m *Manager) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.describe()) }

// LogValue holds no key.
func (m *Manager) LogValue() slog.Value { return slog.StringValue(m.describe()) }

func (m *Manager) describe() string {
	if m == nil || m.home == nil {
		return "masterkey.Manager()"
	}
	return fmt.Sprintf("masterkey.Manager(%s in %s)", m.now.Load().ring.primaryID(), m.home.Name())
}

func (m *Manager) emit(kind EventKind, s Source, id string) {
	if m.onEvent != nil {
		m.onEvent(Event{Kind: kind, Source: s.Name(), KeyID: id})
	}
}

// emitFailures leaves out the sources that have no key and need none, since it is at home.
func (m *Manager) emitFailures(failed faults, home string) {
	for _, f := range failed {
		if m.onEvent != nil && (f.kind != ErrNotFound || f.source == home) {
			m.onEvent(Event{Kind: SourceFailed, Source: f.source, Err: f})
		}
	}
}

// faults is what each source said when none had a key. It matches ErrNotFound only if that is all they said.
type faults []*fault

func (all faults) absent() bool {
	for _, f := range all {
		if f.kind != ErrNotFound {
			return false
		}
	}
	return true
}

func (all faults) Error() string {
	text := "masterkey: no source gives the key"
	for _, f := range all {
		text += "; " + strings.TrimPrefix(f.Error(), "masterkey: ")
	}
	return text
}

func (all faults) Unwrap() []error {
	var errs []error
	for _, f := range all {
		if f.kind != ErrNotFound || all.absent() {
			errs = append(errs, f)
		}
	}
	return errs
}
