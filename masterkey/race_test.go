// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEightProcessesAgreeOnOneKey: 10,000 rounds with the build tag long, a hundredth of it without.
func TestEightProcessesAgreeOnOneKey(t *testing.T) {
	rounds := rounds
	if testing.Short() {
		rounds = 5
	}
	crowd := newCrowd(t, 8)
	for round := range rounds {
		keys := crowd.start(t, "shared")
		require.Len(t, keys, 1, "round %d: split key", round)
		for key := range keys {
			require.Len(t, key, 64, "round %d", round)
		}
	}
	for round := range max(3, rounds/10) { // a File stays one key even for services that share nothing else
		require.Len(t, crowd.start(t, "apart"), 1, "round %d: split key", round)
	}
	split := 0
	for range 100 { // the lines that this replaces, in the same harness
		if len(crowd.start(t, "naive")) > 1 {
			split++
		}
		if split == 3 {
			return
		}
	}
	require.Fail(t, "the naive start was hardly ever split, so the rounds above proved nothing")
}

// A crowd is processes that wait for a round and then start for the first time, all at once.
type crowd struct {
	base  string
	round int
	ins   []io.WriteCloser
	outs  []*lineReader
}

func newCrowd(t *testing.T, n int) *crowd {
	c := &crowd{base: t.TempDir()}
	for range n {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperStartsFirst$")
		cmd.Env = append(os.Environ(), "MERLON_CROWD=1")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
		c.ins, c.outs = append(c.ins, in), append(c.outs, &lineReader{r: out})
	}
	return c
}

// start gives the different keys that came out, or errors.
func (c *crowd) start(t *testing.T, how string) map[string]bool {
	t.Helper()
	c.round++
	dir := filepath.Join(c.base, fmt.Sprint(c.round))
	require.NoError(t, os.Mkdir(dir, 0o700))
	at := time.Now().Add(3 * time.Millisecond).UnixNano()
	for i, in := range c.ins {
		_, err := fmt.Fprintf(in, "%s %s %d %d\n", how, dir, i, at)
		require.NoError(t, err)
	}
	keys := map[string]bool{}
	for _, out := range c.outs {
		keys[out.line(t)] = true
	}
	require.NoError(t, os.RemoveAll(dir))
	return keys
}

// A lineReader gives the lines that begin with "result:", whatever the test's own output around them.
type lineReader struct {
	r    io.Reader
	rest []byte
}

func (l *lineReader) line(t *testing.T) string {
	t.Helper()
	for {
		if line, rest, ok := bytes.Cut(l.rest, []byte("\n")); ok {
			l.rest = rest
			if text, ok := strings.CutPrefix(string(line), "result:"); ok {
				return text
			}
			continue
		}
		more := make([]byte, 512)
		n, err := l.r.Read(more)
		require.NoError(t, err)
		l.rest = append(l.rest, more[:n]...)
	}
}

// TestHelperStartsFirst is one process of a crowd.
func TestHelperStartsFirst(t *testing.T) {
	if os.Getenv("MERLON_CROWD") == "" {
		return // this is the child's part of TestEightProcessesAgreeOnOneKey
	}
	for {
		var how, dir string
		var number int
		var at int64
		if _, err := fmt.Fscanln(os.Stdin, &how, &dir, &number, &at); err != nil {
			return
		}
		for time.Now().UnixNano() < at {
		}
		h := home{filepath.Join(dir, "state"), filepath.Join(dir, "keys")}
		if how == "naive" {
			fmt.Printf("\nresult:%s\n", naive(filepath.Join(dir, "key"), number))
			continue
		}
		if how == "apart" {
			h.state += fmt.Sprint(number)
		}
		_, key := primary(t, h.open(t))
		fmt.Printf("\nresult:%s\n", hex.EncodeToString(key))
	}
}

// naive is what kubestellar/console#5019, pad#189 and others did: read, and write when there is nothing.
func naive(path string, number int) string {
	key, err := os.ReadFile(path)
	if err == nil {
		return string(key)
	}
	key = fmt.Append(nil, "key ", number)
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return err.Error()
	}
	return string(key)
}
