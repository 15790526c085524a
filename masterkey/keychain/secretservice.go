// SPDX-License-Identifier: Apache-2.0

//go:build !darwin && !windows

package keychain

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/merlon-go/merlon/masterkey"
)

// Names of the Secret Service API, https://specifications.freedesktop.org/secret-service-spec/
const (
	secrets    = "org.freedesktop.secrets"
	root       = dbus.ObjectPath("/org/freedesktop/secrets")
	login      = root + "/collection/login" // where GNOME and go-keyring keep what the login unlocks
	service    = "org.freedesktop.Secret.Service."
	collection = "org.freedesktop.Secret.Collection."
	entry      = "org.freedesktop.Secret.Item."
	prompt     = "org.freedesktop.Secret.Prompt"
	isLocked   = "org.freedesktop.Secret.Error.IsLocked"
	none       = dbus.ObjectPath("/") // stands for no object

	unknownMethod = "org.freedesktop.DBus.Error.UnknownMethod"
)

// secret is the struct (oayays) of the API. It goes over the bus as it is: who can listen there can ask for it too.
type secret struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

func (i item) Load(ctx context.Context) ([]byte, error) {
	b, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	defer b.close()
	path, err := i.find(b)
	if err != nil {
		return nil, err
	}
	if path == none {
		return nil, masterkey.ErrNotFound
	}
	session, err := b.session()
	if err != nil {
		return nil, err
	}
	var s secret
	if err := b.call(path, entry+"GetSecret", session).Store(&s); err != nil {
		return nil, refusal(err)
	}
	return s.Value, nil
}

func (i item) Store(ctx context.Context, data []byte) error {
	b, err := connect(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	path, err := i.find(b)
	if err != nil {
		return err
	}
	session, err := b.session()
	if err != nil {
		return err
	}
	s := secret{session, []byte{}, data, "text/plain; charset=utf8"}
	if path != none { // change what is there, also when its collection or further attributes are not ours
		return refusal(b.call(path, entry+"SetSecret", s).Err)
	}
	home, err := b.home()
	if err != nil {
		return err
	}
	properties := map[string]dbus.Variant{
		entry + "Label":      dbus.MakeVariant("Master key of " + i.service + " (" + i.account + ")"),
		entry + "Attributes": dbus.MakeVariant(i.attributes()),
	}
	var made, ask dbus.ObjectPath
	if err := b.call(home, collection+"CreateItem", properties, s, true).Store(&made, &ask); err != nil {
		return refusal(err)
	}
	if made == none {
		return locked()
	}
	return nil
}

func (i item) attributes() map[string]string {
	return map[string]string{"service": i.service, "username": i.account}
}

// find gives the item, or none if it is certain that there is no such item.
func (i item) find(b *bus) (dbus.ObjectPath, error) {
	for {
		var open, shut []dbus.ObjectPath
		if err := b.call(root, service+"SearchItems", i.attributes()).Store(&open, &shut); err != nil {
			return none, refusal(err)
		}
		switch {
		case len(open)+len(shut) > 1:
			return none, &failure{masterkey.ErrCorrupt, "more than one item has this service and username; delete all but the right one", nil}
		case len(open) == 1:
			return open[0], nil
		case len(shut) == 1:
			if err := i.unlock(b, shut[0]); err != nil {
				return none, err
			}
			continue
		}
		// Not every provider lists what it has while it is locked.
		home, err := b.home()
		if err != nil {
			return none, err
		}
		var closed bool
		if err := b.property(home, collection+"Locked", &closed); err != nil {
			return none, err
		}
		if !closed {
			return none, nil
		}
		if err := i.unlock(b, home); err != nil {
			return none, err
		}
	}
}

// unlock asks the user, if that is allowed and was not done yet. It is called at most once in a row: a second time the
// permission is spent, and that is an error.
func (i item) unlock(b *bus, path dbus.ObjectPath) error {
	if i.mayPrompt == nil || !i.mayPrompt.CompareAndSwap(true, false) {
		return locked()
	}
	var done []dbus.ObjectPath
	var ask dbus.ObjectPath
	if err := b.call(root, service+"Unlock", []dbus.ObjectPath{path}).Store(&done, &ask); err != nil {
		return refusal(err)
	}
	if ask == none {
		return nil
	}
	completed := []dbus.MatchOption{dbus.WithMatchObjectPath(ask), dbus.WithMatchInterface(prompt), dbus.WithMatchMember("Completed")}
	if err := b.conn.AddMatchSignalContext(b.ctx, completed...); err != nil {
		return refusal(err)
	}
	signals := make(chan *dbus.Signal, 8)
	b.conn.Signal(signals)
	takeBack := func() { _ = b.conn.Object(secrets, ask).Go(prompt+".Dismiss", dbus.FlagNoReplyExpected, nil) }
	if err := b.call(ask, prompt+".Prompt", "").Err; err != nil {
		if b.ctx.Err() != nil {
			takeBack() // the provider may show it all the same
		}
		return refusal(err)
	}
	for {
		select {
		case s, ok := <-signals:
			if !ok {
				return &failure{masterkey.ErrUnavailable, "the session bus went away during the prompt", nil}
			}
			if s.Path != ask || s.Name != prompt+".Completed" {
				continue
			}
			if dismissed, ok := first[bool](s.Body); dismissed || !ok {
				return &failure{masterkey.ErrLocked, "the prompt was dismissed, or there is nowhere to show it", nil}
			}
			return nil
		case <-b.ctx.Done():
			takeBack()
			return &failure{masterkey.ErrLocked, "nobody answered the prompt in time", nil}
		}
	}
}

func first[T any](values []any) (v T, ok bool) {
	if len(values) > 0 {
		v, ok = values[0].(T)
	}
	return v, ok
}

// A bus is a connection of our own, for one call of a Source.
type bus struct {
	ctx  context.Context
	conn *dbus.Conn
	stop func() bool
}

// grace is how much longer than the context a connection lives, so that a prompt can be taken back.
const grace = 10 * time.Millisecond

func connect(ctx context.Context) (*bus, error) {
	sockets := addresses(os.Getenv)
	if len(sockets) == 0 {
		return nil, &failure{masterkey.ErrUnavailable, "there is no session bus: neither DBUS_SESSION_BUS_ADDRESS names a Unix socket " +
			"nor is there XDG_RUNTIME_DIR; run in a user session, or use another source", nil}
	}
	var errs []error
	for _, name := range sockets {
		raw, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { _ = raw.Close() }) })
		conn, err := speak(raw)
		if err != nil {
			stop()
			_ = raw.Close()
			errs = append(errs, err)
			continue
		}
		return &bus{ctx, conn, stop}, nil
	}
	if ctx.Err() != nil {
		errs = append(errs, ctx.Err())
	}
	return nil, &failure{masterkey.ErrUnavailable, "no session bus answers", errors.Join(errs...)}
}

func speak(raw net.Conn) (*dbus.Conn, error) {
	if err := trusted(raw); err != nil {
		return nil, err
	}
	// Not dbus.NewConn: godbus 5.2.2 panics when a plain stream ends in the middle of a message, and this one may.
	conn, err := dbus.DialUnix(raw.(*net.UnixConn))
	if err != nil {
		return nil, err
	}
	// Without the cookie method, which reads files in $HOME.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := conn.Hello(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (b *bus) close() {
	b.stop()
	_ = b.conn.Close()
}

// call tries again what was not done at all: GNOME Keyring answers so to a client that it has not registered yet, which
// about one first call in a hundred meets when several processes start at once.
func (b *bus) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	for pause := 5 * time.Millisecond; ; pause *= 2 {
		done := b.conn.Object(secrets, path).CallWithContext(b.ctx, method, 0, args...)
		var reply dbus.Error
		if !errors.As(done.Err, &reply) || reply.Name != unknownMethod || pause > 160*time.Millisecond {
			return done
		}
		select {
		case <-time.After(pause):
		case <-b.ctx.Done():
			return done
		}
	}
}

func (b *bus) property(path dbus.ObjectPath, name string, into any) error {
	at := strings.LastIndexByte(name, '.')
	var v dbus.Variant
	err := b.call(path, "org.freedesktop.DBus.Properties.Get", name[:at], name[at+1:]).Store(&v)
	if err == nil {
		err = v.Store(into)
	}
	return refusal(err)
}

func (b *bus) session() (dbus.ObjectPath, error) {
	var output dbus.Variant
	var session dbus.ObjectPath
	err := b.call(root, service+"OpenSession", "plain", dbus.MakeVariant("")).Store(&output, &session)
	return session, refusal(err)
}

// home is the collection for new items, as go-keyring picks it: the login keyring, or else the default one.
func (b *bus) home() (dbus.ObjectPath, error) {
	var all []dbus.ObjectPath
	if err := b.property(root, service+"Collections", &all); err != nil {
		return none, err
	}
	if slices.Contains(all, login) {
		return login, nil
	}
	var usual dbus.ObjectPath
	if err := b.call(root, service+"ReadAlias", "default").Store(&usual); err != nil {
		return none, refusal(err)
	}
	if usual == none {
		return none, &failure{masterkey.ErrUnavailable, "the keychain has no default keyring; make one, with a password, in the system's password manager", nil}
	}
	return usual, nil
}

// addresses are the sockets that may be tried, in order. A first "@" is an abstract one, as package net has it.
func addresses(getenv func(string) string) []string {
	given, dir := getenv("DBUS_SESSION_BUS_ADDRESS"), getenv("XDG_RUNTIME_DIR")
	if given == "" || given == "autolaunch:" { // which would be a program to run
		if !filepath.IsAbs(dir) {
			return nil
		}
		return []string{filepath.Join(dir, "bus")}
	}
	var sockets []string
	for server := range strings.SplitSeq(given, ";") {
		keys, ok := strings.CutPrefix(server, "unix:")
		if !ok {
			continue
		}
		for pair := range strings.SplitSeq(keys, ",") {
			key, value, _ := strings.Cut(pair, "=")
			name, err := dbus.UnescapeBusAddressValue(value)
			if err != nil || name == "" {
				continue
			}
			switch key {
			case "path":
				sockets = append(sockets, name)
			case "abstract":
				sockets = append(sockets, "@"+name)
			}
		}
	}
	return sockets
}

func locked() error {
	return &failure{masterkey.ErrLocked, "the keyring is locked; unlock it in the system's password manager, or log in to the desktop", nil}
}

// refusal says what an error of the bus or the provider means for the key. None of them means that there is none.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	var reply dbus.Error
	if errors.As(err, &reply) {
		switch reply.Name {
		case isLocked:
			return locked()
		case "org.freedesktop.DBus.Error.AccessDenied":
			return &failure{masterkey.ErrDenied, "the session bus forbids it", err}
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
			return &failure{masterkey.ErrUnavailable, "no Secret Service runs on the session bus; start gnome-keyring-daemon or another one", err}
		}
	}
	return &failure{masterkey.ErrUnavailable, "the Secret Service does not answer as it should", err}
}
