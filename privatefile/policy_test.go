// SPDX-License-Identifier: Apache-2.0

package privatefile_test

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/privatefile"
)

type word interface {
	encoding.TextMarshaler
	fmt.Stringer
}

func TestWordsAreClosedSets(t *testing.T) {
	for _, tc := range []struct {
		kind  string
		words string
		first int
		make  func(int) word
		parse func([]byte) (word, error)
	}{
		{"LoosePolicy", "repair reject warn", 0,
			func(i int) word { return privatefile.LoosePolicy(i) },
			func(b []byte) (word, error) { var v privatefile.LoosePolicy; err := v.UnmarshalText(b); return v, err }},
		{"OwnerPolicy", "self self-or-root", 0,
			func(i int) word { return privatefile.OwnerPolicy(i) },
			func(b []byte) (word, error) { var v privatefile.OwnerPolicy; err := v.UnmarshalText(b); return v, err }},
		{"Reason", "bad-config bad-path missing exists symlink not-regular foreign-owner hardlinked loose tainted unrepaired " +
			"too-large changed unsafe-parent busy not-durable failed", 1,
			func(i int) word { return privatefile.Reason(i) },
			func(b []byte) (word, error) { var v privatefile.Reason; err := v.UnmarshalText(b); return v, err }},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			known := map[int]string{}
			for i, name := range strings.Fields(tc.words) {
				known[tc.first+i] = name
			}
			for i := range 256 {
				v := tc.make(i)
				text, err := v.MarshalText()
				name, ok := known[i]
				if !ok {
					require.Error(t, err, "number %d", i)
					require.Equal(t, fmt.Sprintf("%s(%d)", tc.kind, i), v.String())
					continue
				}
				require.NoError(t, err)
				require.Equal(t, name, string(text))
				require.Equal(t, name, v.String())
				back, err := tc.parse(text)
				require.NoError(t, err)
				require.Equal(t, v, back)
			}
			for _, bad := range []string{"", "Repair", "REJECT", " self", "tainted ", "0", "1", "none"} {
				_, err := tc.parse([]byte(bad))
				require.Error(t, err, "text %q", bad)
			}
		})
	}
}

func TestReasonIsAnError(t *testing.T) {
	texts := map[string]bool{}
	for r := privatefile.BadConfig; r <= privatefile.Failed; r++ {
		require.True(t, strings.HasPrefix(r.Error(), "privatefile: "), r.String())
		texts[r.Error()] = true
		err := fmt.Errorf("start: %w", &privatefile.Error{Op: "read", Path: "p", Reason: r, Err: fs.ErrPermission})
		require.ErrorIs(t, err, r)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.NotErrorIs(t, err, r+1)
	}
	require.Len(t, texts, 17, "each reason has its own sentence")
	require.True(t, strings.HasPrefix(privatefile.Reason(0).Error(), "privatefile: "))
	require.True(t, strings.HasPrefix(privatefile.Reason(200).Error(), "privatefile: "))
}

// Error texts go to logs: a path cannot begin a line of its own there, and what the operator needs is in it.
func TestErrorTextIsOneLine(t *testing.T) {
	e := &privatefile.Error{
		Op: "read", Path: "key\nlevel=info msg=fine", Reason: privatefile.UnsafeParent,
		Mode: 0o777 | fs.ModeSetgid, Parent: "a\rb", Err: errors.New("it belongs to user 7"),
	}
	text := e.Error()
	require.True(t, strings.HasPrefix(text, "privatefile: read "), text)
	require.NotContains(t, text, "\n")
	require.NotContains(t, text, "\r")
	require.Contains(t, text, `("a\rb")`)
	require.Contains(t, text, "(mode 2777)")
	require.Contains(t, text, "user 7")
	require.Equal(t, 1, strings.Count(text, "privatefile"))
	require.NotContains(t, (&privatefile.Error{Op: "read", Path: "p", Reason: privatefile.Symlink}).Error(), "(")
}

func TestConfigDecodesFromJSON(t *testing.T) {
	var c privatefile.Config
	require.NoError(t, json.Unmarshal([]byte(`{"OnLoose":"warn","Owner":"self-or-root","MaxBytes":7,"CheckParents":true}`), &c))
	require.Equal(t, privatefile.Config{OnLoose: privatefile.Warn, Owner: privatefile.SelfOrRoot, MaxBytes: 7, CheckParents: true}, c)
	require.Error(t, json.Unmarshal([]byte(`{"OnLoose":"ignore"}`), &c))
}

// each calls every entry point with the same Config and gives their errors by name.
func each(t *testing.T, path string, c privatefile.Config) map[string]error {
	t.Helper()
	errs := map[string]error{}
	data, _, err := privatefile.Read(path, c)
	if err != nil {
		require.Nil(t, data)
	}
	errs["read"] = err
	f, _, err := privatefile.OpenAppend(path, c)
	if err == nil {
		require.NoError(t, f.Close())
	} else {
		require.Nil(t, f)
	}
	errs["append"] = err
	errs["write"] = privatefile.Write(path, []byte("x"), c)
	errs["create"] = privatefile.Create(path, []byte("x"), c)
	return errs
}

func TestBadConfigRefusesBeforeAnythingIsTouched(t *testing.T) {
	for name, tc := range map[string]struct {
		c      privatefile.Config
		fields []string
	}{
		"a loose policy that does not exist":  {privatefile.Config{OnLoose: 3}, []string{"OnLoose"}},
		"an owner policy that does not exist": {privatefile.Config{Owner: 2}, []string{"Owner"}},
		"a negative bound":                    {privatefile.Config{MaxBytes: -1}, []string{"MaxBytes"}},
		"everything at once, all of it named": {privatefile.Config{OnLoose: 99, Owner: 99, MaxBytes: -9}, []string{"OnLoose", "Owner", "MaxBytes"}},
		"also with every leave that there is": {privatefile.Config{OnLoose: 3, AllowTainted: true, AllowHardlinks: true, AllowGroupRead: true}, []string{"OnLoose"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			for op, err := range each(t, path, tc.c) {
				require.ErrorIs(t, err, privatefile.BadConfig, op)
				for _, field := range tc.fields {
					require.Contains(t, err.Error(), field, op)
				}
			}
			all, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, all)

			f, err := os.Create(path)
			require.NoError(t, err)
			defer f.Close()
			_, err = privatefile.Enforce(f, tc.c)
			require.ErrorIs(t, err, privatefile.BadConfig)
		})
	}
}

func TestBadPath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600))
	t.Chdir(dir)
	for name, path := range map[string]string{
		"an empty path":        "",
		"this folder":          ".",
		"the folder above":     "..",
		"a folder's dot":       dir + "/.",
		"a slash at the end":   dir + "/f/",
		"a slash alone":        "/",
		"a NUL, where C stops": dir + "/f\x00.bak",
		"a NUL in a folder":    dir + "\x00/f",
		"a NUL alone":          "\x00",
		"a temporary file's, which the next writer takes for a dead one's": dir + "/.privatefile-notes.tmp",
	} {
		t.Run(name, func(t *testing.T) {
			for op, err := range each(t, path, privatefile.Config{}) {
				require.ErrorIs(t, err, privatefile.BadPath, op)
				require.NotErrorIs(t, err, fs.ErrNotExist, "a missing file is an answer that callers act on")
			}
		})
	}
	_, _, err := privatefile.Read("f", privatefile.Config{CheckParents: true})
	require.NoError(t, err, "a name in the working directory is a path")
}

func TestNoFile(t *testing.T) {
	_, err := privatefile.Enforce(nil, privatefile.Config{})
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = privatefile.Enforce(nil, privatefile.Config{CheckParents: true})
	require.ErrorIs(t, err, fs.ErrInvalid)

	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = privatefile.Enforce(f, privatefile.Config{})
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = privatefile.Enforce(f, privatefile.Config{CheckParents: true})
	require.ErrorIs(t, err, fs.ErrClosed)
}
