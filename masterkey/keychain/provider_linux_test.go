// SPDX-License-Identifier: Apache-2.0

package keychain_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
)

// need skips a test whose program is not installed, except in CI, where it must be.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

const noServices = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// desktop is a session bus of our own, with a home for its keyring. Nothing on it is started by name.
type desktop struct {
	dir string
	env []string
}

func newDesktop(t *testing.T) *desktop {
	t.Helper()
	need(t, "dbus-daemon")
	dir, err := os.MkdirTemp("", "merlon") // short: a socket's path has 107 bytes at most
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(strings.ReplaceAll(noServices, "SOCKET", socket)), 0o600))
	d := &desktop{dir: dir, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "DBUS_SESSION_BUS_ADDRESS=unix:path=" + socket,
	}}
	d.start(t, nil, "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			err = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+socket)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return d
}

func (d *desktop) start(t *testing.T, stdin []byte, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdin = d.env, bytes.NewReader(stdin)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// keyring starts a GNOME Keyring, which makes a login keyring under that password, or opens the one that it made.
// An empty password leaves an existing one locked.
func (d *desktop) keyring(t *testing.T, password string) *exec.Cmd {
	t.Helper()
	need(t, "gnome-keyring-daemon")
	args := []string{"--foreground", "--components=secrets"}
	if password != "" {
		args = append(args, "--unlock")
	}
	cmd := d.start(t, []byte(password), "gnome-keyring-daemon", args...)
	d.await(t, true)
	return cmd
}

// await waits until somebody has the provider's name on the bus, or nobody.
func (d *desktop) await(t *testing.T, want bool) {
	t.Helper()
	conn, err := dbus.Connect("unix:path=" + filepath.Join(d.dir, "bus"))
	require.NoError(t, err)
	defer conn.Close()
	require.Eventually(t, func() bool {
		var has bool
		err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, "org.freedesktop.secrets").Store(&has)
		return err == nil && has == want
	}, 15*time.Second, 10*time.Millisecond)
}

// tool runs secret-tool.
func (d *desktop) tool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	need(t, "secret-tool")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "secret-tool", args...)
	cmd.Env, cmd.Stdin = d.env, strings.NewReader(stdin)
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}
