// SPDX-License-Identifier: Apache-2.0

package envallow_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/envallow"
)

// FuzzFilter: what Filter passes on is judged the same a second time, agrees with Explain, gives no name twice, and is
// nothing that a far simpler judge of the worst names would refuse.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"HOME=/h\nPATH=.:/bin\nLD_PRELOAD=x", "A=1\nA=2\nB=3\nB=3", "=C:=x\n==\nX", "a=b\nA=c", "PATH=\nPATH=::",
		"DbPassword=x\nTERM=a/b", "BASH_FUNC_x%%=() { :; }\nX=() { :; }", "Path=.:/bin\nhome=x",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, lines string, harden bool) {
		environ := strings.Split(lines, "\n")
		for _, mode := range []envallow.Mode{envallow.Strict, envallow.Inherit} {
			for _, make := range []func(envallow.Config) (*envallow.Policy, error){envallow.New, envallow.NewWindows} {
				p, err := make(envallow.Config{Mode: mode, Harden: harden})
				require.NoError(t, err)
				out := p.Filter(environ)
				require.NotNil(t, out)
				require.Equal(t, out, p.Filter(out), "filtering twice")

				ds := p.Explain(environ)
				require.Len(t, ds, len(environ))
				names, folded := map[string]bool{}, map[string]bool{}
				for _, entry := range out {
					name, value, ok := strings.Cut(entry, "=")
					require.True(t, ok)
					if name == "" { // a drive of Windows
						continue
					}
					require.False(t, names[name], "%q twice", name)
					names[name] = true
					upper := strings.ToUpper(name)
					folded[upper] = true
					require.False(t, strings.HasPrefix(upper, "LD_") || strings.HasPrefix(upper, "DYLD_") || upper == "BASH_ENV" || upper == "NODE_OPTIONS")
					require.NotContains(t, value, "\x00")
				}
				for _, d := range ds {
					require.NotZero(t, d.Reason)
					if harden || d.Name == "" || strings.Contains(d.Name, "=") {
						continue
					}
					if d.Keep { // on Windows perhaps in the spelling of an equal twin
						require.True(t, folded[strings.ToUpper(d.Name)], "%v", d)
					} else if d.Reason != envallow.Malformed { // whose twin may be good
						require.False(t, names[d.Name], "%v", d)
					}
				}
			}
		}
	})
}

// FuzzOverlay: an override is in the result as it was given, or there is an error and an empty environment.
func FuzzOverlay(f *testing.F) {
	f.Add("FOO", "bar")
	f.Add("LD_PRELOAD", "x")
	f.Add("A=B", "x")
	f.Add("PATH", "/bin")
	f.Add("X", "() { :; }")
	f.Fuzz(func(t *testing.T, name, value string) {
		p, err := envallow.New(envallow.Config{})
		require.NoError(t, err)
		out, err := p.Overlay([]string{"LANG=C", "HOME=/h"}, map[string]string{name: value})
		require.NotNil(t, out)
		if err == nil {
			require.True(t, slices.Contains(out, name+"="+value))
			require.NotContains(t, name, "=")
			return
		}
		require.Empty(t, out)
		var refusal *envallow.Error
		require.ErrorAs(t, err, &refusal)
		require.True(t, errors.Is(err, refusal.Reason))
	})
}

// FuzzCleanPath: what comes out is clean, comes out of a second cleaning unchanged, and with what was dropped is all
// that went in.
func FuzzCleanPath(f *testing.F) {
	f.Add("/usr/bin:/bin")
	f.Add(".:/usr/bin::bin:/tmp")
	f.Add(strings.Repeat("/a:", 100))
	f.Fuzz(func(t *testing.T, path string) {
		clean, dropped := envallow.CleanPath(path)
		again, none := envallow.CleanPath(clean)
		require.Equal(t, clean, again)
		elements := strings.Split(path, ":")
		if clean == "" {
			require.Len(t, dropped, len(elements))
			return
		}
		require.Empty(t, none)
		kept := strings.Split(clean, ":")
		require.Equal(t, len(elements), len(kept)+len(dropped))
		for _, element := range kept {
			require.True(t, strings.HasPrefix(element, "/"))
		}
	})
}
