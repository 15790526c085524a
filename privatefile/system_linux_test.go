// SPDX-License-Identifier: Apache-2.0

package privatefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/merlon-go/merlon/privatefile"
)

func TestOwners(t *testing.T) {
	needRoot(t)
	const other = 1234
	for _, row := range []struct {
		name    string
		we, its int
		mode    fs.FileMode
		c       privatefile.Config
		reason  privatefile.Reason
	}{
		{"root reads another user's file", 0, other, 0o600, privatefile.Config{}, privatefile.ForeignOwner},
		{"root reads another user's file under SelfOrRoot", 0, other, 0o600, privatefile.Config{Owner: privatefile.SelfOrRoot}, privatefile.ForeignOwner},
		{"root's loose file of another user is not repaired", 0, other, 0o644, privatefile.Config{}, privatefile.ForeignOwner},
		{"another user's writable file", nobody, other, 0o666, privatefile.Config{OnLoose: privatefile.Warn, AllowTainted: true}, privatefile.ForeignOwner},
		{"root's file", nobody, 0, 0o644, privatefile.Config{OnLoose: privatefile.Warn}, privatefile.ForeignOwner},
		{"root's file under SelfOrRoot, loose", nobody, 0, 0o644, privatefile.Config{Owner: privatefile.SelfOrRoot}, privatefile.Unrepaired},
		{"root's file under SelfOrRoot, loose, Warn", nobody, 0, 0o644, privatefile.Config{Owner: privatefile.SelfOrRoot, OnLoose: privatefile.Warn}, 0},
		{"root's file under SelfOrRoot, writable", nobody, 0, 0o666, privatefile.Config{Owner: privatefile.SelfOrRoot, OnLoose: privatefile.Warn}, privatefile.Tainted},
		{"our own", nobody, nobody, 0o600, privatefile.Config{}, 0},
		{"our own, loose", nobody, nobody, 0o644, privatefile.Config{}, 0},
		{"our own, without any right", nobody, nobody, 0, privatefile.Config{}, privatefile.Failed},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := openDir(t, 0o755)
			path := filepath.Join(dir, "f")
			put(t, path, content, row.mode)
			require.NoError(t, os.Chown(path, row.its, row.its))
			var data []byte
			var err error
			asUser(t, row.we, func() { data, _, err = privatefile.Read(path, row.c) })
			if row.reason == 0 {
				require.NoError(t, err)
				require.Equal(t, content, string(data))
				return
			}
			require.ErrorIs(t, err, row.reason)
			require.Nil(t, data)
			if row.mode == 0 {
				require.ErrorIs(t, err, fs.ErrPermission)
			}
			want(t, path, content, row.mode)
		})
	}
}

// TestKubernetesSecret builds what the kubelet does: root's files, the pod's group, and a name that is a link.
func TestKubernetesSecret(t *testing.T) {
	const group = 2000
	mount := openDir(t, 0o777|fs.ModeSticky|fs.ModeSetgid)
	needRoot(t)
	version := filepath.Join(mount, "..2026_11_22")
	require.NoError(t, os.Mkdir(version, 0o755))
	put(t, filepath.Join(version, "token"), content, 0o440)
	require.NoError(t, os.Chown(filepath.Join(version, "token"), 0, group))
	require.NoError(t, os.Symlink("..2026_11_22", filepath.Join(mount, "..data")))
	require.NoError(t, os.Symlink("..data/token", filepath.Join(mount, "token")))
	c := privatefile.Config{Owner: privatefile.SelfOrRoot, AllowGroupRead: true, CheckParents: true}
	asUser(t, group, func() {
		data, r, err := privatefile.Read(filepath.Join(mount, "..data", "token"), c)
		require.NoError(t, err)
		require.Equal(t, content, string(data))
		require.Equal(t, privatefile.Report{Before: 0o440, After: 0o440}, r)

		_, _, err = privatefile.Read(filepath.Join(mount, "token"), c)
		require.ErrorIs(t, err, privatefile.Symlink)
		_, _, err = privatefile.Read(filepath.Join(mount, "..data", "token"), privatefile.Config{Owner: privatefile.SelfOrRoot})
		require.ErrorIs(t, err, privatefile.Unrepaired)
		_, _, err = privatefile.Read(filepath.Join(mount, "..data", "token"), privatefile.Config{AllowGroupRead: true})
		require.ErrorIs(t, err, privatefile.ForeignOwner)
	})
	require.NoError(t, os.Lchown(filepath.Join(mount, "..data"), group+1, group+1))
	asUser(t, group, func() {
		_, _, err := privatefile.Read(filepath.Join(mount, "..data", "token"), c)
		require.ErrorIs(t, err, privatefile.UnsafeParent, "in a sticky folder a link's owner may exchange it")
	})
}

func TestParentsOfOtherOwners(t *testing.T) {
	needRoot(t)
	for _, row := range []struct {
		name   string
		we     int
		folder int
		ok     bool
	}{
		{"root in root's", 0, 0, true},
		{"root in another user's", 0, 1234, false},
		{"nobody in root's", nobody, 0, true},
		{"nobody in his own", nobody, nobody, true},
		{"nobody in another user's", nobody, 1234, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := openDir(t, 0o755)
			path := filepath.Join(dir, "f")
			put(t, path, content, 0o600)
			require.NoError(t, os.Chown(path, row.we, row.we))
			require.NoError(t, os.Chown(dir, row.folder, row.folder))
			var err error
			asUser(t, row.we, func() { _, _, err = privatefile.Read(path, privatefile.Config{CheckParents: true}) })
			if row.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, privatefile.UnsafeParent)
			e, ok := errors.AsType[*privatefile.Error](err)
			require.True(t, ok)
			require.Equal(t, dir, e.Parent)
		})
	}
}

func TestWriteAsAnotherUser(t *testing.T) {
	needRoot(t)
	t.Run("over another user's file", func(t *testing.T) {
		dir := openDir(t, 0o777)
		path := filepath.Join(dir, "f")
		put(t, path, content, 0o600)
		asUser(t, nobody, func() {
			require.ErrorIs(t, privatefile.Write(path, nil, privatefile.Config{}), privatefile.ForeignOwner)
			require.NoError(t, privatefile.Write(path, []byte("new"), privatefile.Config{Owner: privatefile.SelfOrRoot}))
		})
		want(t, path, "new", 0o600)
	})
	t.Run("in a folder that may not be written", func(t *testing.T) {
		dir := openDir(t, 0o755)
		asUser(t, nobody, func() {
			err := privatefile.Write(filepath.Join(dir, "f"), nil, privatefile.Config{})
			require.ErrorIs(t, err, fs.ErrPermission)
			require.ErrorIs(t, err, privatefile.Failed)
			_, _, err = privatefile.OpenAppend(filepath.Join(dir, "f"), privatefile.Config{})
			require.ErrorIs(t, err, fs.ErrPermission)
		})
		require.Empty(t, names(t, dir))
	})
	t.Run("in a folder that may not be read, a new log cannot be made durable", func(t *testing.T) {
		dir := openDir(t, 0o733)
		asUser(t, nobody, func() {
			f, _, err := privatefile.OpenAppend(filepath.Join(dir, "f"), privatefile.Config{})
			require.ErrorIs(t, err, privatefile.NotDurable)
			require.Nil(t, f)
		})
	})
	t.Run("the temporary file of another user stays", func(t *testing.T) {
		dir := openDir(t, 0o777)
		put(t, filepath.Join(dir, ".privatefile-theirs.tmp"), "", 0o666)
		require.NoError(t, os.Chown(filepath.Join(dir, ".privatefile-theirs.tmp"), 1234, 1234))
		asUser(t, nobody, func() {
			require.NoError(t, privatefile.Write(filepath.Join(dir, "f"), nil, privatefile.Config{}))
		})
		require.Equal(t, []string{".privatefile-theirs.tmp"}, temps(t, dir))
	})
}

func TestAccessControlLists(t *testing.T) {
	const bob = 4321
	group := privatefile.Config{AllowGroupRead: true}
	owner := entry{aclUserObj, 6, noID}
	for _, row := range []struct {
		name    string
		list    []entry
		mode    fs.FileMode // that the list makes
		c       privatefile.Config
		reason  privatefile.Reason
		after   fs.FileMode
		bobRead bool // before
	}{
		{"bob reads, where the group may", []entry{owner, {aclUser, 4, bob}, {aclGroupObj, 4, noID}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, group, 0, 0o600, true},
		{"bob's group reads, where the group may", []entry{owner, {aclGroupObj, 4, noID}, {aclGroup, 4, bob}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, group, 0, 0o600, true},
		{"bob reads, and the group may not, but the mode shows the mask", []entry{owner, {aclUser, 4, bob}, {aclGroupObj, 0, noID}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, group, 0, 0o600, true},
		{"bob reads, Reject", []entry{owner, {aclUser, 4, bob}, {aclGroupObj, 4, noID}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, privatefile.Config{AllowGroupRead: true, OnLoose: privatefile.Reject}, privatefile.Loose, 0o640, true},
		{"bob is kept out", []entry{owner, {aclUser, 0, bob}, {aclGroupObj, 4, noID}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, group, 0, 0o640, false},
		{"nobody is named", []entry{owner, {aclGroupObj, 4, noID}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, group, 0, 0o640, false},
		{"bob writes", []entry{owner, {aclUser, 6, bob}, {aclGroupObj, 4, noID}, {aclMask, 6, noID}, {aclOther, 0, noID}}, 0o660, group, privatefile.Tainted, 0o660, true},
		{"bob is named, the mask closes", []entry{owner, {aclUser, 6, bob}, {aclGroupObj, 4, noID}, {aclMask, 0, noID}, {aclOther, 0, noID}}, 0o600, group, 0, 0o600, false},
		{"bob reads", []entry{owner, {aclUser, 4, bob}, {aclGroupObj, 0, noID}, {aclMask, 4, noID}, {aclOther, 0, noID}}, 0o640, privatefile.Config{}, 0, 0o600, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(openDir(t, 0o755), "f")
			put(t, path, content, 0o600)
			setACL(t, path, "access", row.list...)
			want(t, path, content, row.mode)
			bobReads := func() (ok bool) {
				asUser(t, bob, func() { _, err := os.ReadFile(path); ok = err == nil })
				return ok
			}
			require.Equal(t, row.bobRead, bobReads())
			data, _, err := privatefile.Read(path, row.c)
			want(t, path, content, row.after)
			if row.reason != 0 {
				require.ErrorIs(t, err, row.reason)
				require.Nil(t, data)
				return
			}
			require.NoError(t, err)
			require.False(t, bobReads())
		})
	}
}

func TestDefaultListOfTheFolderOpensNothing(t *testing.T) {
	const bob = 4321
	dir := openDir(t, 0o755)
	setACL(t, dir, "default", entry{aclUserObj, 7, noID}, entry{aclUser, 7, bob}, entry{aclGroupObj, 5, noID}, entry{aclMask, 7, noID}, entry{aclOther, 5, noID})
	bobReads := func(name string) (ok bool) {
		asUser(t, bob, func() { _, err := os.ReadFile(filepath.Join(dir, name)); ok = err == nil })
		return ok
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "naive"), nil, 0o640))
	require.True(t, bobReads("naive"))
	require.NoError(t, privatefile.Write(filepath.Join(dir, "write"), []byte(content), privatefile.Config{}))
	f, _, err := privatefile.OpenAppend(filepath.Join(dir, "append"), privatefile.Config{})
	require.NoError(t, err)
	f.Close()
	for _, name := range []string{"write", "append"} {
		require.False(t, bobReads(name))
		st, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), st.Mode())
	}
}

func TestListsThatAreNone(t *testing.T) {
	for name, list := range map[string][]byte{
		"empty":         {},
		"cut":           acl(entry{aclUserObj, 6, noID})[:8],
		"no version":    {0, 0, 0, 0},
		"later version": append([]byte{3, 0, 0, 0}, acl(entry{aclUserObj, 6, noID})[4:]...),
	} {
		require.True(t, privatefile.NamesOthers(list), name)
	}
	require.False(t, privatefile.NamesOthers(acl()))
}

// A list too long for the buffer is not looked through, so it counts as naming others.
func TestLongListNamesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, content, 0o600)
	list := []entry{{aclUserObj, 6, noID}}
	for id := range uint32(150) {
		list = append(list, entry{aclUser, 0, 5000 + id})
	}
	list = append(list, entry{aclGroupObj, 4, noID}, entry{aclMask, 4, noID}, entry{aclOther, 0, noID})
	setACL(t, path, "access", list...)
	_, _, err := privatefile.Read(path, privatefile.Config{AllowGroupRead: true, OnLoose: privatefile.Reject})
	require.ErrorIs(t, err, privatefile.Loose)
}

// A single file that is mounted into a container cannot be replaced, and nothing is written through it.
func TestMountedFileIsBusy(t *testing.T) {
	inMounts(t, func() {
		dir, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
		path := filepath.Join(dir, "f")
		put(t, source, content, 0o600)
		put(t, path, "", 0o600)
		require.NoError(t, unix.Mount(source, path, "", unix.MS_BIND, ""))
		defer unix.Unmount(path, unix.MNT_DETACH)
		err := privatefile.Write(path, []byte("new"), privatefile.Config{})
		require.ErrorIs(t, err, privatefile.Busy)
		require.ErrorIs(t, err, unix.EBUSY)
		want(t, path, content, 0o600)
		require.Equal(t, []string{"f"}, names(t, dir))
		data, _, err := privatefile.Read(path, privatefile.Config{})
		require.NoError(t, err)
		require.Equal(t, content, string(data))
	})
}

func TestReadOnlyFileSystem(t *testing.T) {
	inMounts(t, func() {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		put(t, path, content, 0o644)
		require.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
		defer unix.Unmount(dir, unix.MNT_DETACH)
		require.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		_, _, err := privatefile.Read(path, privatefile.Config{})
		require.ErrorIs(t, err, privatefile.Unrepaired)
		require.ErrorIs(t, err, unix.EROFS)
		data, r, err := privatefile.Read(path, privatefile.Config{OnLoose: privatefile.Warn})
		require.NoError(t, err)
		require.Equal(t, content, string(data))
		require.Len(t, r.Warnings, 1)
		require.ErrorIs(t, privatefile.Write(path, nil, privatefile.Config{}), unix.EROFS)
	})
}

// A full disk: the old file stands, and the temporary one is gone.
func TestFullDisk(t *testing.T) {
	inMounts(t, func() {
		dir := t.TempDir()
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=700"))
		defer unix.Unmount(dir, unix.MNT_DETACH)
		path := filepath.Join(dir, "f")
		require.NoError(t, privatefile.Write(path, []byte(content), privatefile.Config{}))
		err := privatefile.Write(path, make([]byte, 1<<20), privatefile.Config{})
		require.ErrorIs(t, err, unix.ENOSPC)
		want(t, path, content, 0o600)
		require.Equal(t, []string{"f"}, names(t, dir))
	})
}

// A file of procfs says that it is empty and is not: its content must not be taken for nothing.
func TestContentBeyondTheSize(t *testing.T) {
	data, _, err := privatefile.Read("/proc/version", privatefile.Config{Owner: privatefile.SelfOrRoot, OnLoose: privatefile.Warn})
	require.ErrorIs(t, err, privatefile.Changed)
	require.Nil(t, data)
}

// In a sticky folder anybody may make the folder that is missing on our way. If it appears after the way was judged,
// nothing may be made in it.
func TestFolderThatAppearsAfterItWasJudged(t *testing.T) {
	needRoot(t)
	sticky := openDir(t, 0o777|fs.ModeSticky)
	theirs := filepath.Join(sticky, "theirs")
	path := filepath.Join(theirs, "log")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		asUser(t, nobody, func() {
			for {
				select {
				case <-stop:
					return
				default:
					os.Mkdir(theirs, 0o700)
					os.RemoveAll(theirs)
				}
			}
		})
	}()
	defer func() { close(stop); <-done }()
	c := privatefile.Config{CheckParents: true}
	naive := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		for range 100 {
			f, _, err := privatefile.OpenAppend(path, c)
			require.Error(t, err)
			require.Nil(t, f)
		}
		require.Error(t, privatefile.Write(path, nil, c))
		require.Error(t, privatefile.Create(path, nil, c))
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			f.Close()
			naive++
		}
	}
	require.Positive(t, naive, "the folder was never there, so that nothing was shown")
}

// The file system gives what we make to another user, as NFS does with root's files: then it is not our file.
func TestNewFileOfAnotherOwner(t *testing.T) {
	const squashed = 1234
	dir := openDir(t, 0o777)
	asUser(t, 0, func() {
		_, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, squashed, 0, 0)
		require.Zero(t, errno)
		path := filepath.Join(dir, "f")
		require.ErrorIs(t, privatefile.Write(path, nil, privatefile.Config{}), privatefile.ForeignOwner)
		require.ErrorIs(t, privatefile.Create(path, nil, privatefile.Config{}), privatefile.ForeignOwner)
		require.Empty(t, names(t, dir))
		f, _, err := privatefile.OpenAppend(path, privatefile.Config{})
		require.ErrorIs(t, err, privatefile.ForeignOwner)
		require.Nil(t, f)
	})
}
