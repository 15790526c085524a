// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A Source is a place where the keys rest, all of them as one short text. File, Env, SystemdCredential, Passphrase,
// Wrapped and package keychain make Sources; another one needs these three methods.
type Source interface {
	// Name tells this source from others, also after a restart: "file:/var/lib/gateway/master.key". No secret.
	Name() string
	// Load gives what Store was given, or an error that matches ErrNotFound, ErrLocked, ErrUnavailable, ErrDenied or
	// ErrCorrupt. Any other counts as ErrUnavailable. ErrNotFound says for certain that nothing is stored, and is the
	// only answer that permits a new key: a source that cannot know must not give it.
	Load(context.Context) ([]byte, error)
	// Store replaces the content and returns once it is durable. A source that cannot store gives ErrReadOnly.
	Store(context.Context, []byte) error
}

// What a Source answers, to be used with errors.Is.
var (
	// ErrNotFound: there is no key. From Open it means that every source said so and none was generated.
	ErrNotFound = errors.New("masterkey: there is no key")
	// ErrLocked: there may be a key, but somebody has to unlock the source first.
	ErrLocked = errors.New("masterkey: the source is locked")
	// ErrUnavailable: no answer, none in time, or an error that says nothing about whether there is a key.
	ErrUnavailable = errors.New("masterkey: the source is unavailable")
	// ErrDenied: this program may not read the key, or must not: a file that others may read or write, a wrong passphrase.
	ErrDenied = errors.New("masterkey: access to the key is denied")
	// ErrCorrupt: something is stored and it is no key. It is left as it is; restore it from a backup.
	ErrCorrupt = errors.New("masterkey: the stored key is damaged")
	// ErrReadOnly: the source cannot store. A key that comes from it is rotated where it is set.
	ErrReadOnly = errors.New("masterkey: the source cannot store")
)

// creator is a Source that can tell, in one step, whether it was the first to store: fs.ErrExist says that it was not.
type creator interface {
	create(context.Context, []byte) error
}

func create(ctx context.Context, s Source, data []byte) error {
	if c, ok := s.(creator); ok {
		return c.create(ctx, data)
	}
	return s.Store(ctx, data)
}

// A fault is what one source answered instead of a key. Its cause can be reached, unless that would make it look like
// an absent key.
type fault struct {
	source string
	kind   error
	text   string
	cause  error
}

func (f *fault) Error() string {
	text := "masterkey: "
	if f.source != "" {
		text += f.source + ": "
	}
	text += f.text
	if f.cause != nil {
		text += ": " + strings.TrimPrefix(f.cause.Error(), "masterkey: ")
	}
	return text
}

func (f *fault) Unwrap() []error {
	if f.cause == nil || errors.Is(f.cause, ErrNotFound) || errors.Is(f.cause, fs.ErrNotExist) {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

// verdict makes a fault of any error that a source may give. What matches two of them is never ErrNotFound.
func verdict(source string, err error) *fault {
	if f, ok := err.(*fault); ok {
		return &fault{source, f.kind, f.text, f.cause}
	}
	for _, row := range []struct{ match, kind error }{
		{ErrCorrupt, ErrCorrupt},
		{ErrLocked, ErrLocked},
		{ErrDenied, ErrDenied},
		{fs.ErrPermission, ErrDenied},
		{ErrReadOnly, ErrReadOnly},
		{ErrUnavailable, ErrUnavailable},
		{context.DeadlineExceeded, ErrUnavailable},
		{context.Canceled, ErrUnavailable},
		{ErrNotFound, ErrNotFound},
	} {
		if errors.Is(err, row.match) {
			f := &fault{source, row.kind, strings.TrimPrefix(row.kind.Error(), "masterkey: "), err}
			if err == row.kind {
				f.cause = nil
			}
			return f
		}
	}
	return &fault{source, ErrUnavailable, "it answers neither with a key nor with ErrNotFound", err}
}

// Bounded makes a Source end with its context, also one that ignores it. The call that hangs is left behind in one
// goroutine, and until it returns every further call is refused at once: however often Open is tried, one goroutine
// and one prompt is the most that it costs. Open does this to each source for its own life; a Source of your own that
// may hang and that several Opens share is better made Bounded once, where it is built.
func Bounded(s Source) Source {
	if _, done := s.(*bounded); done || s == nil {
		return s
	}
	return &bounded{source: s, gate: new(gate)}
}

type bounded struct {
	source Source
	gate   *gate
	limit  time.Duration // zero: as long as the context lasts
}

func (b *bounded) Name() string { return b.source.Name() }

// Format prints the name: fmt would show what a Source keeps in its fields in spite of that one's own methods.
func (b *bounded) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.Name()) }

func (b *bounded) Load(ctx context.Context) ([]byte, error) {
	return b.gate.through(ctx, b.limit, b.source.Load)
}

func (b *bounded) Store(ctx context.Context, data []byte) error {
	_, err := b.gate.through(ctx, b.limit, func(ctx context.Context) ([]byte, error) { return nil, b.source.Store(ctx, data) })
	return err
}

func (b *bounded) create(ctx context.Context, data []byte) error {
	_, err := b.gate.through(ctx, b.limit, func(ctx context.Context) ([]byte, error) { return nil, create(ctx, b.source, data) })
	return err
}

// bound gives each step that ends outside this program the deadline, and none to a human who types a passphrase.
func bound(s Source, limit time.Duration) Source {
	switch s := s.(type) {
	case nil:
		return nil // which Load refuses
	case *passphrase:
		return &passphrase{s.read, bound(s.inner, limit), s.known}
	case *wrapped:
		return &wrapped{s.wrapper, bound(s.inner, limit), s.gate, limit}
	case *bounded:
		return &bounded{s.source, s.gate, limit}
	}
	return &bounded{s, new(gate), limit}
}

// A gate lets one call at a time through to something that may hang.
type gate struct {
	mu    sync.Mutex
	busy  chan struct{} // closed when the call that runs returns; nil: none runs
	stuck bool          // the call that runs outlived its context
}

// through makes the call in a goroutine of its own and stops waiting when ctx or the limit ends.
func (g *gate) through(ctx context.Context, limit time.Duration, call func(context.Context) ([]byte, error)) ([]byte, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, timeout(limit))
		defer cancel()
	}
	mine, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	type answer struct {
		data []byte
		err  error
	}
	done := make(chan answer, 1)
	// A Store that comes through after we gave up must not overwrite what another process stored meanwhile, so the
	// call keeps the lock for as long as it runs.
	held := heldLock(ctx)
	held.retain()
	go func() {
		defer held.release()
		defer g.leave(mine)
		defer func() {
			if p := recover(); p != nil { // nobody else can: this goroutine is ours
				done <- answer{err: panicked(p)}
			}
		}()
		data, err := call(ctx)
		done <- answer{data, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		select {
		case a = <-done: // it heeds its context, and knows best what it was waiting for
		case <-time.After(grace):
			g.mu.Lock()
			defer g.mu.Unlock()
			g.stuck = g.busy == mine
			return nil, late(ctx)
		}
	}
	if errors.Is(a.err, context.DeadlineExceeded) && ctx.Err() != nil {
		return nil, late(ctx)
	}
	return a.data, a.err
}

// panicked shows the runtime's own words, which hold no key, and of any other value the type.
func panicked(p any) error {
	f := &fault{kind: ErrUnavailable, text: fmt.Sprintf("it panicked with a %T", p)}
	if err, ok := p.(runtime.Error); ok {
		f.cause = err
	}
	return f
}

// grace is what a call may take to notice that its context has ended.
const grace = 20 * time.Millisecond

func (g *gate) enter(ctx context.Context) (mine chan struct{}, err error) {
	for ctx.Err() == nil {
		g.mu.Lock()
		running, stuck := g.busy, g.stuck
		if running == nil {
			mine = make(chan struct{})
			g.busy = mine
		}
		g.mu.Unlock()
		switch {
		case mine != nil:
			return mine, nil
		case stuck:
			return nil, &fault{kind: ErrUnavailable, text: "an earlier call still hangs; restart the provider, or this program"}
		}
		select {
		case <-running:
		case <-ctx.Done():
		}
	}
	return nil, late(ctx)
}

func (g *gate) leave(mine chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy, g.stuck = nil, false
	close(mine)
}

// late tells a source that took too long from a caller that gave up.
func late(ctx context.Context) error {
	if own, ok := context.Cause(ctx).(timeout); ok {
		return &fault{kind: ErrUnavailable, text: own.Error()}
	}
	return &fault{kind: ErrUnavailable, text: "given up", cause: context.Cause(ctx)}
}

type timeout time.Duration

func (t timeout) Error() string {
	return fmt.Sprintf("no answer within %v; see that the provider runs, or raise Config.Timeout", time.Duration(t))
}
