// SPDX-License-Identifier: Apache-2.0

package privatefile_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

// FuzzNamesOthers: a list that names nobody else, by a second reading of the format, and only such a one, passes.
func FuzzNamesOthers(f *testing.F) {
	f.Add(acl(entry{aclUserObj, 6, noID}, entry{aclGroupObj, 4, noID}, entry{aclMask, 4, noID}, entry{aclOther, 0, noID}))
	f.Add(acl(entry{aclUserObj, 6, noID}, entry{aclUser, 4, 7}))
	f.Add(acl(entry{aclUserObj, 6, noID}, entry{aclGroup, 2, 7}))
	f.Add([]byte{2, 0, 0})
	f.Fuzz(func(t *testing.T, list []byte) {
		safe := len(list) >= 4 && string(list[:4]) == "\x02\x00\x00\x00"
		for i := 4; safe && i < len(list); i += 8 {
			if i+8 > len(list) {
				safe = false
				break
			}
			tag, rights := int(list[i])+int(list[i+1])*256, list[i+2]
			safe = !((tag == aclUser || tag == aclGroup) && rights&4 == 4)
		}
		require.Equal(t, !safe, privatefile.NamesOthers(list))
		if len(list) >= 4 && safe {
			require.True(t, privatefile.NamesOthers(append(list, binary.LittleEndian.AppendUint64(nil, aclUser|4<<16)...)))
		}
	})
}

// FuzzCheckParents: in a tree that is ours alone the walk finds a folder where the kernel does, and only there; when
// one folder in the tree is open to all, no path that the kernel takes through it passes.
func FuzzCheckParents(f *testing.F) {
	base, err := os.MkdirTemp("", "parents")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(base) })
	base, err = filepath.EvalSymlinks(base)
	require.NoError(f, err)
	for _, dir := range []string{"a", "a/b", "a/b/c", "a/x", "a/x/c", "o"} {
		require.NoError(f, os.Mkdir(filepath.Join(base, dir), 0o700))
	}
	require.NoError(f, os.Chmod(filepath.Join(base, "a/x"), 0o777))
	for link, to := range map[string]string{
		"l": "a/b", "a/l": "../o", "a/b/l": base + "/a", "a/b/c/l": "../../x/c", "o/l": "l", "o/m": "../missing", "a/b/m": "../../l/c",
	} {
		require.NoError(f, os.Symlink(to, filepath.Join(base, link)))
	}
	require.NoError(f, os.WriteFile(filepath.Join(base, "a/f"), nil, 0o600))
	for _, path := range []string{"", "a/b/c", "l/../b/c", "a/b/m", "a/f/..", "o/l", "a/x/../b", "l/c/l", "a/b/l/x", "../..", "a//./b/", "o/m/.."} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsRune(path, 0) || strings.Count(path, "/") > 30 || strings.Count(path, "..") > 2 {
			t.Skip()
		}
		full := base + "/" + path
		walked, err := privatefile.CheckParents(full)
		st, kernel := os.Stat(full)
		if err == nil {
			require.NoError(t, kernel, path)
			require.True(t, st.IsDir(), path)
			real, rerr := filepath.EvalSymlinks(full)
			require.NoError(t, rerr)
			require.Equal(t, strings.TrimSuffix(real, "/")+"/", walked, path)
			require.False(t, strings.HasPrefix(real+"/", base+"/a/x/"), path)
			return
		}
		e, ok := err.(*privatefile.Error)
		if ok && e.Reason == privatefile.UnsafeParent {
			require.True(t, e.Parent == base+"/a/x" || strings.HasSuffix(e.Parent, "/l"), "%q: %v", path, err)
			return
		}
		require.True(t, kernel != nil || !st.IsDir(), "%q: %v, but the kernel finds a folder", path, err)
	})
}
