// SPDX-License-Identifier: Apache-2.0

package keychain_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
)

// serve lets clients in as a bus does, and then sends each one what say gives.
func serve(t *testing.T, say func() []byte) {
	t.Helper()
	dir, err := os.MkdirTemp("", "merlon")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "bus"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(dir, "bus"))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			for line := ""; err == nil && !strings.HasPrefix(line, "BEGIN"); {
				line, err = r.ReadString('\n')
				answer := "ERROR\r\n"
				switch {
				case strings.TrimLeft(line, "\x00") == "AUTH\r\n":
					answer = "REJECTED EXTERNAL\r\n"
				case strings.HasPrefix(line, "AUTH EXTERNAL"):
					answer = "OK 0123456789abcdef0123456789abcdef\r\n"
				case strings.HasPrefix(line, "BEGIN"):
					continue
				}
				_, _ = c.Write([]byte(answer))
			}
			_, _ = r.Peek(1) // the client's Hello
			_, _ = c.Write(say())
			_ = c.Close()
		}
	}()
}

// TestBusThatEndsInTheMiddleOfAMessageOrTalksRubbish must not end this program, in whose goroutines it is read.
func TestBusThatEndsInTheMiddleOfAMessageOrTalksRubbish(t *testing.T) {
	var good bytes.Buffer
	reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
		dbus.FieldSender:      dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf("")),
	}, Body: []any{":1.1"}}
	require.NoError(t, reply.EncodeTo(&good, binary.LittleEndian))
	random := rand.New(rand.NewPCG(1, 2))
	round := 0
	serve(t, func() []byte {
		round++
		text := bytes.Clone(good.Bytes())
		if round <= len(text) {
			return text[:round]
		}
		for range 1 + random.IntN(8) {
			text[random.IntN(len(text))] = byte(random.Uint32())
		}
		return text
	})
	for range good.Len() + 150 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := keychain.New("s", "a").Load(ctx)
		cancel()
		require.ErrorIs(t, err, masterkey.ErrUnavailable)
	}
}
