// SPDX-License-Identifier: Apache-2.0

// Package keychain is a masterkey.Source that keeps the keys in the operating system's keychain, so that the key is not
// a file beside the data that it seals (finding CRIT-02, CWE-312, CWE-522).
//
// It usually goes wrong on the first machine that has no desktop:
//
//	key, err := keyring.Get(service, user) // a bus that does not answer: waits for ever; none: starts one, from $PATH
//	if err != nil {
//		key = fallbackFile() // locked is taken for absent
//	}
//
// # Use
//
//	keys, err := masterkey.Open(ctx, masterkey.Config{
//		Dir:     "/var/lib/gateway",
//		Sources: []masterkey.Source{keychain.New("gateway", "master-key")},
//	})
//
// # Guarantees
//
//   - Every call ends with its context. Locked, absent, denied and unreachable are different errors:
//     masterkey.ErrLocked, ErrNotFound, ErrDenied, ErrUnavailable. A call that hangs costs one goroutine in the Source's
//     life, on Linux and the BSDs only for a moment.
//   - There it speaks to the Secret Service (GNOME Keyring, KeePassXC, KWallet) on the address in
//     DBUS_SESSION_BUS_ADDRESS, or else on $XDG_RUNTIME_DIR/bus, and on no other. It starts no bus and runs no program.
//     It takes Unix sockets only, and on Linux only those that this user or root listens on.
//   - There it shows no prompt, unless [Source.AllowPrompt] asks for it, and then one in the Source's life.
//   - All keys are one item with the attributes service and username, so that secret-tool and go-keyring read what this
//     wrote, and the other way round. Where two items match, it refuses instead of picking one.
//
// # Not guaranteed
//
//   - Programs of the same user can read the item, and on a bus what passes through it. A keychain protects the key at
//     rest and from other users. masterkey.Passphrase or masterkey.Wrapped around it does more.
//   - macOS and Windows decide themselves when to ask the user. The item goes through go-keyring there, which on macOS
//     runs /usr/bin/security; the user may be asked again when that or this program changes.
//   - A keychain has no "create if absent". Processes that share an item share masterkey.Config.Dir, whose lock makes
//     their first start safe.
//   - Whoever may write the item can delete or replace it; masterkey.Config.Dir notices.
//
// # Cost
//
// A Load on a warm bus is a connection and five round trips, a few milliseconds; it happens at the start and when keys
// change. Nothing stays connected. The bench module compares it with go-keyring where a Secret Service runs.
package keychain

import (
	"context"
	"sync/atomic"

	"github.com/merlon-go/merlon/masterkey"
)

// A Source keeps one item. It is safe for concurrent use. A nil or zero Source answers masterkey.ErrUnavailable.
type Source struct {
	item  item
	calls masterkey.Source // the item, for one call at a time
}

// An item is named by two words, neither a secret. Its Load and Store are the platform's.
type item struct {
	service, account string
	mayPrompt        *atomic.Bool // nil or false: no, or not any more
}

func (i item) Name() string { return "keychain:" + i.service + "/" + i.account }

// New is the item of that service and account, such as "gateway" and "master-key".
func New(service, account string) *Source { return of(item{service: service, account: account}) }

func of(i item) *Source { return &Source{i, masterkey.Bounded(i)} }

// AllowPrompt is the same item, whose user is asked to unlock it where a Secret Service is locked: once in the life of
// the Source that it returns, whatever the answer. Set masterkey.Config.Timeout to what a human needs; when it is over,
// the prompt is taken back. Weaker: whoever can restart the service can make a prompt appear.
func (s *Source) AllowPrompt() *Source {
	if s == nil || s.calls == nil {
		return s
	}
	asking := s.item
	asking.mayPrompt = new(atomic.Bool)
	asking.mayPrompt.Store(true)
	return of(asking)
}

// Name is "keychain:SERVICE/ACCOUNT".
func (s *Source) Name() string {
	if s == nil {
		return "keychain:"
	}
	return s.item.Name()
}

// Load gives what the item holds.
func (s *Source) Load(ctx context.Context) ([]byte, error) {
	if s == nil || s.calls == nil {
		return nil, &failure{masterkey.ErrUnavailable, "a Source comes from New", nil}
	}
	return s.calls.Load(ctx)
}

// Store makes or changes the item.
func (s *Source) Store(ctx context.Context, data []byte) error {
	if s == nil || s.calls == nil {
		return &failure{masterkey.ErrUnavailable, "a Source comes from New", nil}
	}
	return s.calls.Store(ctx, data)
}

// A failure is one of masterkey's errors, with what to do about it.
type failure struct {
	kind  error
	text  string
	cause error
}

func (f *failure) Error() string {
	if f.cause == nil {
		return "keychain: " + f.text
	}
	return "keychain: " + f.text + ": " + f.cause.Error()
}

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}
