// SPDX-License-Identifier: Apache-2.0

package noncecache

import "fmt"

// A Verdict says what a Cache makes of a message. Only [Fresh] may proceed. A Verdict is an error too, the one that
// [*Error] unwraps to: errors.Is(err, noncecache.Replay).
type Verdict uint8

const (
	// Invalid refuses: there is no cache, or the store of a [Shared] can't be asked. It is no statement on the message,
	// which can't be sent again all the same: the client signs a new one.
	Invalid Verdict = iota
	// Fresh is a message that is accepted here for the first time, and from now on no more.
	Fresh
	// Replay is a message that was accepted before.
	Replay
	// Stale is a message that was signed too long ago to tell whether it was accepted before: by Window or more, or by
	// less after a restart or under a flood. An honest client whose clock is right signs a new one.
	Stale
	// Future is a message that is dated further ahead than FutureSkew: a clock is wrong, the client's or the server's.
	// It is not remembered, and may be fresh when its time comes.
	Future
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Invalid:
		return "invalid"
	case Fresh:
		return "fresh"
	case Replay:
		return "replay"
	case Stale:
		return "stale"
	case Future:
		return "future"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Error says what to do about the verdict.
func (v Verdict) Error() string {
	switch v {
	case Fresh:
		return "noncecache: fresh: accept the message"
	case Replay:
		return "noncecache: replay: the message was accepted before: refuse it; an honest client signs a new one"
	case Stale:
		return "noncecache: stale: the message was signed too long ago: sign a new one; if this goes on, compare the clocks"
	case Future:
		return "noncecache: future: the message is dated too far ahead: compare the clocks, then sign a new one"
	}
	return "noncecache: invalid: nothing can tell whether the message is new: make the cache with New, and reach its store"
}

// MarshalText gives the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) {
	if v > Future {
		return nil, fmt.Errorf("noncecache: %d is no verdict", uint8(v))
	}
	return []byte(v.String()), nil
}

// UnmarshalText accepts the names that MarshalText gives, and no others.
func (v *Verdict) UnmarshalText(text []byte) error {
	for known := Invalid; known <= Future; known++ {
		if string(text) == known.String() {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("noncecache: %q is no verdict", text)
}

// An Error is a refusal. Errors of one Cache are shared between its callers: don't change one.
type Error struct {
	Verdict Verdict
	Err     error // what the store of a Shared said; else nil
}

// Error says what to do. It holds nothing of message or principal.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %v", e.Verdict, e.Err)
	}
	return e.Verdict.Error()
}

// Unwrap gives the Verdict, and the store's error if there is one.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Verdict, e.Err}
	}
	return []error{e.Verdict}
}
