// SPDX-License-Identifier: Apache-2.0

package keychain_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
)

// desk is a provider with a user in front of it, on a real bus: GNOME Keyring's own prompt needs a display. It follows
// https://specifications.freedesktop.org/secret-service-spec/ where keychain uses it.
type desk struct {
	conn *dbus.Conn

	mu        sync.Mutex
	locked    bool
	hides     bool // lists no item while it is locked, as some providers do
	answers   func(*desk)
	items     []dbus.ObjectPath
	def       dbus.ObjectPath
	prompts   int
	dismissed int
	unlocks   int
	secret    desksecret
	fails     string // name of the error with which GetSecret answers
	failures  int    // how often; zero: always
}

type desksecret struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

const (
	deskRoot   = dbus.ObjectPath("/org/freedesktop/secrets")
	deskHome   = deskRoot + "/collection/home"
	deskItem   = deskHome + "/1"
	deskPrompt = deskRoot + "/prompt/1"
)

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := newDesktop(t)
	conn, err := dbus.Connect("unix:path=" + filepath.Join(d.dir, "bus"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	p := &desk{conn: conn, def: deskHome, secret: desksecret{Session: deskRoot + "/session/1"}}
	for path, names := range map[dbus.ObjectPath][]string{
		deskRoot:   {"org.freedesktop.Secret.Service", "org.freedesktop.DBus.Properties"},
		deskHome:   {"org.freedesktop.Secret.Collection", "org.freedesktop.DBus.Properties"},
		deskItem:   {"org.freedesktop.Secret.Item"},
		deskPrompt: {"org.freedesktop.Secret.Prompt"},
	} {
		for _, name := range names {
			require.NoError(t, conn.Export(p, path, name))
		}
	}
	reply, err := conn.RequestName("org.freedesktop.secrets", dbus.NameFlagDoNotQueue)
	require.NoError(t, err)
	require.Equal(t, dbus.RequestNameReplyPrimaryOwner, reply)
	return p
}

func (d *desk) SearchItems(attributes map[string]string) (open, shut []dbus.ObjectPath, failed *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.locked:
		return d.items, nil, nil
	case d.hides:
		return nil, nil, nil
	}
	return nil, d.items, nil
}

func (d *desk) Get(_, name string) (dbus.Variant, *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == "Locked" {
		return dbus.MakeVariant(d.locked), nil
	}
	return dbus.MakeVariant([]dbus.ObjectPath{deskHome}), nil
}

func (d *desk) ReadAlias(string) (dbus.ObjectPath, *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.def, nil
}

// set changes what the user's keychain is like.
func (d *desk) set(change func(*desk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *desk) OpenSession(string, dbus.Variant) (dbus.Variant, dbus.ObjectPath, *dbus.Error) {
	return dbus.MakeVariant(""), deskRoot + "/session/1", nil
}

func (d *desk) Unlock([]dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlocks++
	return nil, deskPrompt, nil
}

func (d *desk) Prompt(string) *dbus.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prompts++
	go d.answers(d)
	return nil
}

func (d *desk) Dismiss() *dbus.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dismissed++
	return nil
}

func (d *desk) GetSecret(dbus.ObjectPath) (desksecret, *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != "" {
		name := d.fails
		if d.failures--; d.failures == 0 {
			d.fails = ""
		}
		return d.secret, dbus.NewError(name, nil)
	}
	return d.secret, nil
}

func (d *desk) SetSecret(s desksecret) *dbus.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secret = s
	return nil
}

func (d *desk) CreateItem(_ map[string]dbus.Variant, s desksecret, _ bool) (item, prompt dbus.ObjectPath, failed *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.items != nil {
		return "/", deskPrompt, nil // it was locked in between
	}
	d.secret, d.items = s, []dbus.ObjectPath{deskItem}
	return deskItem, "/", nil
}

func complete(d *desk, dismissed bool) {
	_ = d.conn.Emit("/org/freedesktop/secrets/prompt/2", "org.freedesktop.Secret.Prompt.Completed", !dismissed, dbus.MakeVariant("another's"))
	d.mu.Lock()
	d.locked = dismissed
	d.mu.Unlock()
	_ = d.conn.Emit(deskPrompt, "org.freedesktop.Secret.Prompt.Completed", dismissed, dbus.MakeVariant([]dbus.ObjectPath{deskHome}))
}

func (d *desk) counts() [3]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return [3]int{d.unlocks, d.prompts, d.dismissed}
}

func TestPrompts(t *testing.T) {
	errLate := errors.New("nobody answered")
	silence := func(*desk) {}
	for _, row := range []struct {
		name          string
		ask           bool
		hides         bool
		answers       func(*desk)
		first, second error // of two Loads
		counts        [3]int
	}{
		{"none unless it is asked for", false, false, silence, masterkey.ErrLocked, masterkey.ErrLocked, [3]int{0, 0, 0}},
		{"none unless it is asked for, where locked items are not listed", false, true, silence, masterkey.ErrLocked, masterkey.ErrLocked, [3]int{0, 0, 0}},
		{"one, and the user unlocks", true, false, func(d *desk) { complete(d, false) }, nil, nil, [3]int{1, 1, 0}},
		{"one, where locked items are not listed", true, true, func(d *desk) { complete(d, false) }, nil, nil, [3]int{1, 1, 0}},
		{"one, and the user says no: no second", true, false, func(d *desk) { complete(d, true) }, masterkey.ErrLocked, masterkey.ErrLocked, [3]int{1, 1, 0}},
		{"one, and nobody is there: it is taken back", true, false, silence, errLate, masterkey.ErrLocked, [3]int{1, 1, 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDesk(t)
			d.set(func(d *desk) {
				d.locked, d.hides, d.answers = true, row.hides, row.answers
				d.items, d.secret.Value = []dbus.ObjectPath{deskItem}, []byte("content")
			})
			s := keychain.New("s", "a")
			if row.ask {
				s = s.AllowPrompt()
			}
			for _, want := range []error{row.first, row.second} {
				limit := 10 * time.Second
				if want == errLate {
					limit = time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				got, err := s.Load(ctx)
				cancel()
				require.NotErrorIs(t, err, masterkey.ErrNotFound)
				if want == errLate { // ErrLocked, or on a busy machine ErrUnavailable
					require.Error(t, err)
					time.Sleep(100 * time.Millisecond)
					continue
				}
				if want != nil {
					require.ErrorIs(t, err, want)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, "content", string(got))
			}
			require.Eventually(t, func() bool { return d.counts() == row.counts }, 2*time.Second, 5*time.Millisecond, "unlocks, prompts, dismissed: %v", d.counts())
		})
	}
}

func TestProvidersAnswersAreToldApart(t *testing.T) {
	d := newDesk(t)
	s := keychain.New("s", "a")
	_, err := s.Load(t.Context())
	require.ErrorIs(t, err, masterkey.ErrNotFound)

	d.set(func(d *desk) { d.def = "/" })
	_, err = s.Load(t.Context())
	require.ErrorIs(t, err, masterkey.ErrUnavailable, "no keyring is there yet, so nothing could be stored")
	require.ErrorIs(t, s.Store(t.Context(), []byte("x")), masterkey.ErrUnavailable)
	d.set(func(d *desk) { d.def = deskHome })

	require.NoError(t, s.Store(t.Context(), []byte("x")))
	for name, want := range map[string]error{
		"org.freedesktop.Secret.Error.IsLocked":     masterkey.ErrLocked,
		"org.freedesktop.DBus.Error.AccessDenied":   masterkey.ErrDenied,
		"org.freedesktop.DBus.Error.ServiceUnknown": masterkey.ErrUnavailable,
		"org.freedesktop.Secret.Error.NoSuchObject": masterkey.ErrUnavailable, // deleted in between: ask again
		"org.freedesktop.DBus.Error.NoReply":        masterkey.ErrUnavailable,
		"org.freedesktop.DBus.Error.UnknownMethod":  masterkey.ErrUnavailable, // and not for a moment only
	} {
		d.set(func(d *desk) { d.fails = name })
		_, err := s.Load(t.Context())
		require.ErrorIs(t, err, want, name)
		require.NotErrorIs(t, err, masterkey.ErrNotFound, name)
	}
	d.set(func(d *desk) { d.fails, d.failures = "org.freedesktop.DBus.Error.UnknownMethod", 3 })
	got, err := s.Load(t.Context())
	require.NoError(t, err, "a provider that does not know this client yet is asked again")
	require.Equal(t, "x", string(got))

	d.set(func(d *desk) { d.fails, d.items = "", []dbus.ObjectPath{} })
	require.ErrorIs(t, s.Store(t.Context(), []byte("y")), masterkey.ErrLocked, "CreateItem that wants a prompt stored nothing")
}
