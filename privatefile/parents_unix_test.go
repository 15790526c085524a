// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

func TestCheckParents(t *testing.T) {
	for _, row := range []struct {
		name   string
		modes  map[string]fs.FileMode // of top, top/mid, top/mid/low; the file is in low
		links  map[string]string
		path   string
		unsafe string // what the error names, below the temporary folder
	}{
		{name: "nobody else may write", path: "top/mid/low/f"},
		{name: "others may look", modes: map[string]fs.FileMode{"top": 0o755, "top/mid": 0o711}, path: "top/mid/low/f"},
		{name: "others may write in the folder", modes: map[string]fs.FileMode{"top/mid/low": 0o703}, path: "top/mid/low/f", unsafe: "top/mid/low"},
		{name: "the group may write in the folder", modes: map[string]fs.FileMode{"top/mid/low": 0o770}, path: "top/mid/low/f", unsafe: "top/mid/low"},
		{name: "others may write further up", modes: map[string]fs.FileMode{"top": 0o777}, path: "top/mid/low/f", unsafe: "top"},
		{name: "sticky", modes: map[string]fs.FileMode{"top": 0o777 | fs.ModeSticky}, path: "top/mid/low/f"},
		{name: "setgid is not sticky", modes: map[string]fs.FileMode{"top": 0o777 | fs.ModeSetgid}, path: "top/mid/low/f", unsafe: "top"},
		{name: "dots and slashes", path: "top/.//mid/../mid/./low/f"},
		{name: "out of an unsafe folder again", modes: map[string]fs.FileMode{"side": 0o777}, path: "side/../top/mid/low/f", unsafe: "side"},
		{name: "through a link", links: map[string]string{"way": "top/mid"}, path: "way/low/f"},
		{name: "through an absolute link", links: map[string]string{"way": "$/top/mid"}, path: "way/low/f"},
		{name: "through a link and back", links: map[string]string{"way": "top/mid"}, path: "way/../mid/low/f"},
		{name: "through a link to a link", links: map[string]string{"way": "top/way", "top/way": "mid/low"}, path: "way/f"},
		{name: "a link in an unsafe folder", modes: map[string]fs.FileMode{"side": 0o777}, links: map[string]string{"side/way": "../top/mid/low"}, path: "side/way/f", unsafe: "side"},
		{name: "a safe link that leads through an unsafe folder", modes: map[string]fs.FileMode{"side": 0o777}, links: map[string]string{"way": "side/../top/mid/low"}, path: "way/f", unsafe: "side"},
		{name: "a link that leads into an unsafe folder", modes: map[string]fs.FileMode{"top/mid": 0o777}, links: map[string]string{"way": "top/mid/low"}, path: "way/f", unsafe: "top/mid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			base, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			for _, dir := range []string{"top", "top/mid", "top/mid/low", "side"} {
				require.NoError(t, os.Mkdir(filepath.Join(base, dir), 0o700))
			}
			put(t, filepath.Join(base, "top/mid/low/f"), content, 0o600)
			for link, to := range row.links {
				if to[0] == '$' {
					to = base + to[1:]
				}
				require.NoError(t, os.Symlink(to, filepath.Join(base, link)))
			}
			for dir, mode := range row.modes {
				require.NoError(t, os.Chmod(filepath.Join(base, dir), mode))
			}
			t.Chdir(base)
			for _, path := range []string{row.path, base + "/" + row.path} {
				c := privatefile.Config{CheckParents: true}
				ops := map[string]error{}
				_, _, ops["read"] = privatefile.Read(path, c)
				f, _, err := privatefile.OpenAppend(path, c)
				f.Close()
				ops["append"] = err
				ops["write"] = privatefile.Write(path, []byte(content), c)
				ops["create"] = privatefile.Create(path+"2", []byte(content), c)
				os.Remove(path + "2")
				f, err = os.Open(path)
				require.NoError(t, err)
				_, ops["enforce"] = privatefile.Enforce(f, c)
				f.Close()
				for op, err := range ops {
					if row.unsafe == "" {
						require.NoError(t, err, op)
						continue
					}
					require.ErrorIs(t, err, privatefile.UnsafeParent, op)
					e, ok := errors.AsType[*privatefile.Error](err)
					require.True(t, ok)
					require.Equal(t, filepath.Join(base, row.unsafe), e.Parent, op)
					require.NotZero(t, e.Mode)
				}
				if row.unsafe != "" {
					require.Equal(t, []string{"f"}, names(t, filepath.Join(base, "top/mid/low")), "refused before anything was made")
				}
				_, _, err = privatefile.Read(path, privatefile.Config{})
				require.NoError(t, err, "only when asked for")
			}
		})
	}
}

func TestCheckParentsEndsAtALoop(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	_, _, err := privatefile.Read(filepath.Join(dir, "loop", "f"), privatefile.Config{CheckParents: true})
	require.ErrorIs(t, err, privatefile.UnsafeParent)

	put(t, filepath.Join(dir, "f"), content, 0o600)
	require.NoError(t, os.Symlink(".", filepath.Join(dir, "dot")))
	for _, links := range []int{40, 41} {
		path := dir
		for range links {
			path += "/dot"
		}
		_, _, err := privatefile.Read(path+"/f", privatefile.Config{CheckParents: true})
		if links == 40 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, privatefile.UnsafeParent)
		}
	}
	_, _, err = privatefile.Read(filepath.Join(dir, "f", "f"), privatefile.Config{CheckParents: true})
	require.ErrorIs(t, err, privatefile.Failed, "a file is no folder")
}
