// SPDX-License-Identifier: Apache-2.0

package privatefile_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/merlon-go/merlon/privatefile"
)

// exchange swaps two names again and again until the test ends, and gives how often.
func exchange(t *testing.T, a, b string) *atomic.Int64 {
	t.Helper()
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
	var n atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
				n.Add(1)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return &n
}

// Names are exchanged while we work: what was judged is what is read, and what is repaired.
func TestSwapWhileReading(t *testing.T) {
	for name, plant := range map[string]func(path, secret string){
		"a link to a file of ours": func(path, secret string) { require.NoError(t, os.Symlink(secret, path)) },
		"a file that others wrote": func(path, secret string) { put(t, path, "theirs", 0o666) },
	} {
		// check says whether somebody who looks at the mode first and reads by name afterwards gets what he must not.
		check := func(path string) string {
			if st, err := os.Lstat(path); err != nil || st.Mode() != 0o600 {
				return ""
			}
			data, _ := os.ReadFile(path)
			return string(data)
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, other, secret := filepath.Join(dir, "f"), filepath.Join(dir, "other"), filepath.Join(dir, "secret")
			put(t, path, content, 0o600)
			put(t, secret, "secret", 0o644)
			plant(other, secret)
			swaps := exchange(t, path, other)
			beaten, good, refused := 0, 0, 0
			for end := time.Now().Add(time.Minute); (beaten == 0 || good < 100 || refused < 100) && time.Now().Before(end); {
				if got := check(path); got != "" && got != content {
					beaten++
				}
				data, _, err := privatefile.Read(path, privatefile.Config{})
				if err != nil {
					refused++
					continue
				}
				require.Equal(t, content, string(data))
				good++
			}
			want(t, secret, "secret", 0o644)
			t.Logf("%d swaps: %d read, %d refused; the naive check was beaten %d times", swaps.Load(), good, refused, beaten)
			require.Positive(t, beaten, "no swap fell between two calls, so that nothing was shown")
			require.Positive(t, good)
			require.Positive(t, refused)
		})
	}
}

// A second name that appears while the mode is being closed: the second look is at everything, not at the mode alone.
func TestSecondNameDuringTheRepair(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, content, 0o644)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				os.Link(path, path+"2")
				os.Remove(path + "2")
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		require.NoError(t, f.Chmod(0o644))
		r, err := privatefile.Enforce(f, privatefile.Config{})
		if err == nil {
			continue
		}
		require.ErrorIs(t, err, privatefile.Hardlinked)
		if r.Before != r.After {
			require.False(t, r.Repaired)
			return
		}
	}
	t.Fatal("never noticed")
}

// A link on the way, ours, that leads to a safe folder when it is judged and to another one when the path is opened.
func TestCheckParentsOpensWhatItJudged(t *testing.T) {
	dir := t.TempDir()
	safe, open, way, other := filepath.Join(dir, "safe"), filepath.Join(dir, "open"), filepath.Join(dir, "way"), filepath.Join(dir, "other")
	require.NoError(t, os.Mkdir(safe, 0o700))
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	put(t, filepath.Join(safe, "f"), content, 0o600)
	put(t, filepath.Join(open, "f"), "theirs", 0o600)
	require.NoError(t, os.Symlink(safe, way))
	require.NoError(t, os.Symlink(open, other))
	exchange(t, way, other)
	c := privatefile.Config{CheckParents: true}
	naive, good := 0, 0
	for end := time.Now().Add(time.Minute); (naive == 0 || good < 100) && time.Now().Before(end); {
		if _, err := privatefile.CheckParents(way); err == nil {
			if data, _ := os.ReadFile(filepath.Join(way, "f")); string(data) == "theirs" {
				naive++
			}
		}
		if data, _, err := privatefile.Read(filepath.Join(way, "f"), c); err == nil {
			require.Equal(t, content, string(data))
			good++
		}
		privatefile.Write(filepath.Join(way, "w"), nil, c)
		privatefile.Create(filepath.Join(way, "c"), nil, c)
		if f, _, err := privatefile.OpenAppend(filepath.Join(way, "a"), c); err == nil {
			f.Close()
		}
		require.Equal(t, []string{"f"}, names(t, open))
	}
	require.Positive(t, naive, "the link never changed between walk and opening, so that nothing was shown")
	require.Positive(t, good)
	require.Equal(t, []string{"a", "c", "f", "w"}, names(t, safe))
}

// The text of /proc/PID/root is "/" where that process has a root of its own: the walk would judge our folders.
func TestCheckParentsIntoAContainer(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	root := filepath.Join(base, "root")
	require.NoError(t, os.Mkdir(root, 0o755))
	thread, stop, failed := make(chan int, 1), make(chan struct{}), error(nil)
	go func() {
		defer close(thread)
		runtime.LockOSThread()
		for _, do := range []func() error{
			func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS) },
			func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
			func() error { return unix.Mount("none", root, "tmpfs", 0, "mode=755") },
			func() error { return os.Mkdir(root+"/etc", 0o755) },
			func() error { return os.Chmod(root+"/etc", 0o777) },
			func() error { return os.WriteFile(root+"/etc/planted", []byte("theirs"), 0o600) },
			func() error { return unix.Chdir(root) },
			func() error { return unix.PivotRoot(".", ".") },
			func() error { return unix.Unmount(".", unix.MNT_DETACH) },
			func() error { return unix.Chdir("/") },
		} {
			if failed = do(); failed != nil {
				return
			}
		}
		thread <- unix.Gettid()
		<-stop
	}()
	tid, ok := <-thread
	if !ok {
		lacking(t, "needs a mount namespace: "+failed.Error())
	}
	defer close(stop)
	path := filepath.Join("/proc", strconv.Itoa(tid), "root", "etc", "planted")
	text, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(tid), "root"))
	require.NoError(t, err)
	require.Equal(t, "/", text)
	data, _, err := privatefile.Read(path, privatefile.Config{})
	require.NoError(t, err)
	require.Equal(t, "theirs", string(data))
	for op, err := range each(t, path, privatefile.Config{CheckParents: true}) {
		require.ErrorIs(t, err, privatefile.UnsafeParent, op)
	}
}
