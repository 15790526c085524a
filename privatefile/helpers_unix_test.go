// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const content = "content-of-the-file\n"

// put makes a file of exactly that mode.
func put(t *testing.T, path, data string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
	require.NoError(t, os.Chmod(path, mode))
}

// want says what lies at path.
func want(t *testing.T, path, data string, mode os.FileMode) {
	t.Helper()
	st, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, mode, st.Mode(), "mode of %s", path)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, data, string(got))
}

// names are those in dir, in order.
func names(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	var list []string
	for _, e := range all {
		list = append(list, e.Name())
	}
	return list
}

// temps are the temporary files in dir.
func temps(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	for _, name := range names(t, dir) {
		if strings.HasPrefix(name, ".privatefile-") {
			list = append(list, name)
		}
	}
	return list
}

// umask sets the process's umask for one test.
func umask(t *testing.T, mask int) {
	t.Helper()
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}
