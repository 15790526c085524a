// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

const role = "PRIVATEFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if do := os.Getenv(role); do != "" {
		if err := child(do, os.Args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The child writes versions a and b in turn, of different lengths.
func version(i int) []byte { return bytes.Repeat([]byte{"ab"[i%2]}, 200_000+100_000*(i%2)) }

func isVersion(data []byte) bool {
	return bytes.Equal(data, version(0)) || bytes.Equal(data, version(1))
}

func child(do, path string) error {
	fmt.Println("ready")
	for i := 0; ; i++ {
		var err error
		switch do {
		case "write":
			err = privatefile.Write(path, version(i), privatefile.Config{})
		case "naive":
			err = os.WriteFile(path, version(i), 0o600)
		case "create":
			err = privatefile.Create(path+strconv.Itoa(i), version(i), privatefile.Config{})
		case "race":
			if i == 50 {
				return nil
			}
			err = privatefile.Create(path+strconv.Itoa(i), []byte(strconv.Itoa(os.Getpid())), privatefile.Config{})
			if errors.Is(err, fs.ErrExist) {
				err = nil
			} else if err == nil {
				fmt.Println("won", i)
			}
		}
		if err != nil {
			return err
		}
	}
}

func startChild(t *testing.T, do, path string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	var out bytes.Buffer
	cmd := exec.Command(self, path)
	cmd.Env = append(os.Environ(), role+"="+do)
	cmd.Stdout = &out
	if do != "race" {
		cmd.Stdout = nil
		ready, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = ready.Read(make([]byte, 6))
		require.NoError(t, err)
		return cmd, &out
	}
	require.NoError(t, cmd.Start())
	return cmd, &out
}

// killSoon ends the child within a few of its rounds.
func killSoon(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	time.Sleep(time.Duration(rand.Int64N(int64(5 * time.Millisecond))))
	require.NoError(t, cmd.Process.Kill())
	err := cmd.Wait()
	require.Error(t, err)
	require.Equal(t, syscall.SIGKILL, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "the child ended by itself: %v", err)
}

// kills is how often a child is killed: fewer where somebody waits.
func kills() int {
	if testing.Short() {
		return killRounds / 10
	}
	return killRounds
}

func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, string(version(0)), 0o600)
	strays, rounds := 0, 0
	for ; rounds < kills() || strays == 0 && rounds < 20*kills(); rounds++ {
		cmd, _ := startChild(t, "write", path)
		killSoon(t, cmd)
		data, _, err := privatefile.Read(path, privatefile.Config{OnLoose: privatefile.Reject})
		require.NoError(t, err)
		require.True(t, isVersion(data), "%d bytes", len(data))
		all := names(t, dir)
		require.LessOrEqual(t, len(all), 2, "each writer removes what the one before it left")
		for _, name := range all {
			st, err := os.Lstat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), st.Mode(), name)
		}
		strays += len(all) - 1
	}
	t.Logf("%d of %d kills left a temporary file", strays, rounds)
	require.Positive(t, strays, "no kill fell into a write")
	require.NoError(t, privatefile.Write(path, []byte("x"), privatefile.Config{}))
	require.Equal(t, []string{"f"}, names(t, dir))
}

func TestKilledNaiveWriterLeavesAPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for range 2000 {
		put(t, path, string(version(0)), 0o600)
		cmd, _ := startChild(t, "naive", path)
		killSoon(t, cmd)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		if !isVersion(data) {
			return
		}
	}
	t.Fatal("no kill fell into a write, so that the test above shows nothing")
}

func TestKilledCreator(t *testing.T) {
	for range kills() / 10 {
		dir := t.TempDir()
		cmd, _ := startChild(t, "create", filepath.Join(dir, "key"))
		killSoon(t, cmd)
		for _, name := range names(t, dir) {
			if strings.HasPrefix(name, "key") {
				data, _, err := privatefile.Read(filepath.Join(dir, name), privatefile.Config{OnLoose: privatefile.Reject})
				require.NoError(t, err)
				require.True(t, isVersion(data), "%d bytes", len(data))
			}
		}
		require.LessOrEqual(t, len(temps(t, dir)), 1)
		require.NoError(t, privatefile.Create(filepath.Join(dir, "last"), nil, privatefile.Config{}))
		require.Empty(t, temps(t, dir))
	}
}

func TestCreateAmongProcesses(t *testing.T) {
	dir := t.TempDir()
	var cmds []*exec.Cmd
	var outs []*bytes.Buffer
	for range 4 {
		cmd, out := startChild(t, "race", filepath.Join(dir, "key"))
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	winners := map[string]string{}
	for i, cmd := range cmds {
		require.NoError(t, cmd.Wait(), "%s", outs[i])
		for line := range strings.Lines(outs[i].String()) {
			if key, ok := strings.CutPrefix(strings.TrimSpace(line), "won "); ok {
				require.NotContains(t, winners, key, "two winners")
				winners[key] = strconv.Itoa(cmd.Process.Pid)
			}
		}
	}
	require.Len(t, winners, 50)
	for key, pid := range winners {
		want(t, filepath.Join(dir, "key"+key), pid, 0o600)
	}
	require.Len(t, names(t, dir), 50)
}
