// SPDX-License-Identifier: Apache-2.0

package keychain_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
)

// TestHelperStartsFirst is one of several processes that start for the first time at once.
func TestHelperStartsFirst(t *testing.T) {
	dir, account, how := os.Getenv("MERLON_DIR"), os.Getenv("MERLON_ACCOUNT"), os.Getenv("MERLON_HOW")
	if dir == "" {
		return // this is a child's part of another test
	}
	for { // the parent lets all go at once
		if _, err := os.Stat(filepath.Join(dir, "go")); err == nil {
			break
		}
		time.Sleep(100 * time.Microsecond)
	}
	if how == "naive" {
		got, err := keyring.Get("merlon", account)
		if err != nil {
			got = fmt.Sprint(os.Getpid())
			require.NoError(t, keyring.Set("merlon", account, got))
		}
		fmt.Printf("\nresult:%s\n", got)
		return
	}
	m, err := masterkey.Open(t.Context(), masterkey.Config{
		Dir: filepath.Join(dir, "state"), Sources: []masterkey.Source{keychain.New("merlon", account)},
	})
	require.NoError(t, err)
	id, _, err := m.PrimaryKey()
	require.NoError(t, err)
	fmt.Printf("\nresult:%s\n", id)
}

// starts runs four first starts at once and gives how many different keys they ended up with.
func starts(t *testing.T, account, how string) int {
	t.Helper()
	dir := t.TempDir()
	results := map[string]bool{}
	outs := make([]result, 4)
	for i := range outs {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperStartsFirst$")
		cmd.Env = append(os.Environ(), "MERLON_DIR="+dir, "MERLON_ACCOUNT="+account, "MERLON_HOW="+how)
		cmd.Stdout, cmd.Stderr = &outs[i].out, &outs[i].out
		require.NoError(t, cmd.Start())
		outs[i].cmd = cmd
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	for i := range outs {
		require.NoError(t, outs[i].cmd.Wait(), outs[i].out.String())
		results[outs[i].line(t)] = true
	}
	return len(results)
}

func TestFourProcessesAgreeOnOneKey(t *testing.T) {
	d := newDesktop(t)
	d.keyring(t, password)
	split := 0
	for i := range rounds {
		require.Equal(t, 1, starts(t, fmt.Sprint("key-", i), "masterkey"), "split key in round %d", i)
	}
	for i := range 20 { // the lines that this replaces, under the same conditions
		if starts(t, fmt.Sprint("naive-", i), "naive") > 1 {
			split++
			break
		}
	}
	require.Positive(t, split, "the naive start was never split, so the rounds above proved nothing")
}

// A result is what a child printed on its line "result:".
type result struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

func (r *result) line(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(r.out.String()) {
		if text, ok := strings.CutPrefix(line, "result:"); ok {
			return text
		}
	}
	require.Fail(t, "no result", r.out.String())
	return ""
}
