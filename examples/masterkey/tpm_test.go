// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// swtpm starts a software TPM, whose state is in dir, and gives its socket.
func swtpm(t *testing.T, dir string) string {
	t.Helper()
	program, err := exec.LookPath("swtpm")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("swtpm is not installed")
	}
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "tpm")
	cmd := exec.Command(program, "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl",
		"--flags", "not-need-init,startup-clear")
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	require.Eventually(t, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	return socket
}

func open(t *testing.T, socket string) *TPM {
	t.Helper()
	tpm, err := openTPM(socket)
	require.NoError(t, err)
	t.Cleanup(func() { tpm.Close() })
	return tpm
}

func TestMasterKeyInTPM(t *testing.T) {
	require.NoError(t, run(t.Context(), swtpm(t, t.TempDir())))
}

func TestTPM(t *testing.T) {
	machine := t.TempDir()
	plaintext := bytes.Repeat([]byte("longer than a TPM can seal "), 20)
	tpm := open(t, swtpm(t, machine))
	sealed, err := tpm.Encrypt(t.Context(), plaintext)
	require.NoError(t, err)
	require.False(t, bytes.Contains(sealed, plaintext[:16]))
	for range 5 { // handles are few, and each call gives its own back
		opened, err := tpm.Decrypt(t.Context(), sealed)
		require.NoError(t, err)
		require.Equal(t, plaintext, opened)
	}

	other := open(t, swtpm(t, t.TempDir()))
	_, err = other.Decrypt(t.Context(), sealed)
	require.Error(t, err, "another machine's TPM opened it")
	for _, altered := range [][]byte{nil, []byte("{}"), bytes.Replace(sealed, []byte(`"Ciphertext":"`), []byte(`"Ciphertext":"AAAA`), 1)} {
		_, err = tpm.Decrypt(t.Context(), altered)
		require.Error(t, err)
	}
}
