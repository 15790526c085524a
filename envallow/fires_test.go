// SPDX-License-Identifier: Apache-2.0

//go:build linux

package envallow_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/envallow"
)

// A firing is a variable with which an ordinary command of a real program runs foreign code or writes a file. In every
// text $D is the folder of the row, $M the marker that must appear, $X a script that makes it.
type firing struct {
	name     string
	class    envallow.Class
	program  string
	args     []string
	variable string
	value    string
	files    map[string]string
	prepare  [][]string // commands that set the stage, with a harmless environment
	also     []string   // harmless variables that the command needs
	stdin    string
}

var git = [][]string{{"git", "init", "-q", "$D/r"}, {"git", "-C", "$D/r", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"}}

var firings = []firing{
	{name: "a library before main", class: envallow.Loader, program: "/bin/ls", variable: "LD_PRELOAD", value: "$D/x.so", files: map[string]string{"x.c": marking},
		prepare: [][]string{{"gcc", "-shared", "-fPIC", "-o", "$D/x.so", "$D/x.c"}}},
	{name: "an auditing library", class: envallow.Loader, program: "/bin/ls", variable: "LD_AUDIT", value: "$D/x.so", files: map[string]string{"x.c": marking},
		prepare: [][]string{{"gcc", "-shared", "-fPIC", "-o", "$D/x.so", "$D/x.c"}}},
	{name: "a loader's trace written anywhere", class: envallow.Loader, program: "/bin/ls", variable: "LD_DEBUG_OUTPUT", value: "$M", also: []string{"LD_DEBUG=libs"}},

	{name: "a start-up file of bash", class: envallow.Shell, program: "bash", args: []string{"-c", ":"}, variable: "BASH_ENV", value: "$X"},
	{name: "a start-up file of dash", class: envallow.Shell, program: "dash", args: []string{"-i", "-c", ":"}, variable: "ENV", value: "$X"},
	{name: "a command before the prompt", class: envallow.Shell, program: "bash", args: []string{"--norc", "-i"}, variable: "PROMPT_COMMAND", value: "touch $M", stdin: "exit\n"},
	{name: "an exported function", class: envallow.Shell, program: "bash", args: []string{"-c", "ls"}, variable: "BASH_FUNC_ls%%", value: "() { touch $M; }"},
	{name: "zsh's folder of start-up files", class: envallow.Shell, program: "zsh", args: []string{"-c", ":"}, variable: "ZDOTDIR", value: "$D/z", files: map[string]string{"z/.zshenv": "touch $M"}},
	{name: "the shell of a proxy command", class: envallow.Shell, program: "ssh", args: []string{"-F", "/dev/null", "-oProxyCommand=true", "nowhere.invalid"}, variable: "SHELL", value: "$X"},

	{name: "a module that python imports by itself", class: envallow.Interpreter, program: "/usr/bin/python3", args: []string{"-c", "0"}, variable: "PYTHONPATH", value: "$D",
		files: map[string]string{"sitecustomize.py": "open('$M','w')"}},
	{name: "another standard library", class: envallow.Interpreter, program: "/usr/bin/python3", args: []string{"-c", "0"}, variable: "PYTHONUSERBASE", value: "$D",
		prepare: [][]string{{"/usr/bin/python3", "-c", "import os,site;os.environ['PYTHONUSERBASE']='$D';import importlib;importlib.reload(site);p=site.getusersitepackages();os.makedirs(p);open(p+'/x.pth','w').write('import os;open(\"$M\",\"w\")\\n')"}}},
	{name: "another debugger", class: envallow.Interpreter, program: "/usr/bin/python3", args: []string{"-c", "breakpoint()"}, variable: "PYTHONBREAKPOINT", value: "evil.run", files: map[string]string{"evil.py": "def run(): open('$M','w')"}},
	{name: "a module before perl's program", class: envallow.Interpreter, program: "perl", args: []string{"-e", "1"}, variable: "PERL5OPT", value: "-I$D -MEvil", files: map[string]string{"Evil.pm": "system 'touch $M'; 1;"}},
	{name: "perl's debugger", class: envallow.Interpreter, program: "perl", args: []string{"-d", "-e", "1"}, variable: "PERL5DB", value: "BEGIN{system 'touch $M'; exit}"},
	{name: "perl's working directory", class: envallow.Interpreter, program: "perl", args: []string{"-e", "require Evil"}, variable: "PERL_USE_UNSAFE_INC", value: "1", files: map[string]string{"Evil.pm": "system 'touch $M'; 1;"}},
	{name: "a library before ruby's program", class: envallow.Interpreter, program: "ruby", args: []string{"-e", "1"}, variable: "RUBYOPT", value: "-r$D/evil", files: map[string]string{"evil.rb": "File.write('$M','')"}},
	{name: "a module before node's program", class: envallow.Interpreter, program: "node", args: []string{"-e", "0"}, variable: "NODE_OPTIONS", value: "--require $D/evil.cjs", files: map[string]string{"evil.cjs": "require('fs').writeFileSync('$M','')"}},
	{name: "node's modules", class: envallow.Interpreter, program: "node", args: []string{"-e", "require('evil')"}, variable: "NODE_PATH", value: "$D", files: map[string]string{"evil.js": "require('fs').writeFileSync('$M','')"}},
	{name: "a package of tcl", class: envallow.Interpreter, program: "tclsh", args: []string{"$D/run.tcl"}, variable: "TCLLIBPATH", value: "$D",
		files: map[string]string{"run.tcl": "catch {package require nosuch}", "pkgIndex.tcl": "close [open $M w]"}},
	{name: "vim's first command", class: envallow.Interpreter, program: "vim", args: []string{"-n", "--not-a-term", "-c", "q"}, variable: "VIMINIT", value: "call system('touch $M')"},

	{name: "an agent of the JVM", class: envallow.JVM, program: "java", args: []string{"-version"}, variable: "JAVA_TOOL_OPTIONS", value: "-Xlog:gc:file=$M"},
	{name: "the launcher's options", class: envallow.JVM, program: "java", args: []string{"-version"}, variable: "JDK_JAVA_OPTIONS", value: "-Xlog:gc:file=$M"},

	{name: "git's transport", class: envallow.VCS, program: "git", args: []string{"ls-remote", "ssh://nowhere.invalid/x"}, variable: "GIT_SSH_COMMAND", value: "$X"},
	{name: "git's own programs", class: envallow.VCS, program: "git", args: []string{"-C", "$D/r", "evil"}, variable: "GIT_EXEC_PATH", value: "$D/bin", prepare: git, files: map[string]string{"bin/git-evil": script}},
	{name: "git's editor", class: envallow.VCS, program: "git", args: []string{"-C", "$D/r", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty"}, variable: "GIT_EDITOR", value: "$X", prepare: git},
	{name: "configuration in a variable", class: envallow.VCS, program: "git", args: []string{"-C", "$D/r", "status"}, variable: "GIT_CONFIG_PARAMETERS", value: "'core.fsmonitor=$X'", prepare: git},
	{name: "another configuration file", class: envallow.VCS, program: "git", args: []string{"-C", "$D/r", "status"}, variable: "GIT_CONFIG_GLOBAL", value: "$D/gitconfig", prepare: git, files: map[string]string{"gitconfig": "[core]\nfsmonitor = $X\n"}},
	{name: "another repository", class: envallow.VCS, program: "git", args: []string{"-C", "/", "status"}, variable: "GIT_DIR", value: "$D/r/.git",
		prepare: append(git[:1:1], []string{"git", "-C", "$D/r", "config", "core.worktree", "$D/r"}, []string{"git", "-C", "$D/r", "config", "core.fsmonitor", "$X"})},
	{name: "a trace written anywhere", class: envallow.VCS, program: "git", args: []string{"--version"}, variable: "GIT_TRACE", value: "$M"},
	{name: "an event trace written anywhere", class: envallow.VCS, program: "git", args: []string{"version"}, variable: "GIT_TRACE2_EVENT", value: "$M"},
	{name: "git's proxy", class: envallow.VCS, program: "git", args: []string{"ls-remote", "git://nowhere.invalid/x"}, variable: "GIT_PROXY_COMMAND", value: "$X"},

	{name: "an editor", class: envallow.Helper, program: "git", args: []string{"-C", "$D/r", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty"}, variable: "EDITOR", value: "$X", prepare: git, also: []string{"TERM=dumb"}},
	{name: "a filter of less", class: envallow.Helper, program: "less", args: []string{"/etc/hostname"}, variable: "LESSOPEN", value: "|$X %s"},
	{name: "a pager of man", class: envallow.Helper, program: "script", args: []string{"-qec", "man -l $D/x.1", "/dev/null"}, variable: "MANPAGER", value: "$X", also: []string{"TERM=xterm", "PAGER=cat"}, files: map[string]string{"x.1": ".TH x 1\n"}},
	{name: "ssh's provider of keys", class: envallow.Helper, program: "ssh-keygen", args: []string{"-q", "-t", "ed25519-sk", "-N", "", "-f", "$D/key"}, variable: "SSH_SK_HELPER", value: "$X"},

	{name: "a checkpoint action of tar", class: envallow.Tool, program: "tar", args: []string{"-cf", "$D/x.tar", "-C", "/etc", "hostname"}, variable: "TAR_OPTIONS", value: "--checkpoint=1 --checkpoint-action=exec=$X"},
	{name: "a tester of zip", class: envallow.Tool, program: "zip", args: []string{"$D/x.zip", "/etc/hostname"}, variable: "ZIPOPT", value: "-T -TT $X"},
	{name: "a preprocessor of rg", class: envallow.Tool, program: "rg", args: []string{"x", "/etc/hostname"}, variable: "RIPGREP_CONFIG_PATH", value: "$D/rgrc", files: map[string]string{"rgrc": "--pre=$X\n"}},
	{name: "rsync's transport", class: envallow.Tool, program: "rsync", args: []string{"nowhere.invalid:/x", "$D/y"}, variable: "RSYNC_RSH", value: "$X"},
	{name: "wget's configuration", class: envallow.Tool, program: "wget", args: []string{"-q", "http://127.0.0.1:1/"}, variable: "WGETRC", value: "$D/wgetrc", files: map[string]string{"wgetrc": "logfile = $M\n"}},
	{name: "curl's folder", class: envallow.Tool, program: "curl", args: []string{"-s", "http://127.0.0.1:1/"}, variable: "CURL_HOME", value: "$D/c", files: map[string]string{"c/.curlrc": "trace = $M\n"}},

	{name: "another compiler", class: envallow.Build, program: "make", args: []string{"-C", "$D", "x"}, variable: "CC", value: "$X", files: map[string]string{"x.c": "int main(){}"}},
	{name: "a command of make's own rules", class: envallow.Build, program: "make", args: []string{"-C", "$D", "-f", "Makefile"}, variable: "RM", value: "$X", files: map[string]string{"Makefile": "all:\n\t$(RM) x\n"}},
	{name: "make's flags", class: envallow.Build, program: "make", args: []string{"-C", "$D", "-f", "Makefile"}, variable: "MAKEFLAGS", value: `--eval=$$(shell\ touch\ $M)`, files: map[string]string{"Makefile": "all:\n"}},
	{name: "a makefile before the makefile", class: envallow.Build, program: "make", args: []string{"-C", "$D", "-f", "Makefile"}, variable: "MAKEFILES", value: "$D/evil.mk", files: map[string]string{"Makefile": "all:\n", "evil.mk": "X:=$(shell touch $M)\n"}},
	{name: "gcc's passes", class: envallow.Build, program: "gcc", args: []string{"-c", "-o", "$D/x.o", "$D/x.c"}, variable: "COMPILER_PATH", value: "$D/bin", files: map[string]string{"x.c": "int x;", "bin/cc1": script, "bin/as": script}},
	{name: "dependencies written anywhere", class: envallow.Build, program: "gcc", args: []string{"-c", "-o", "$D/x.o", "$D/x.c"}, variable: "DEPENDENCIES_OUTPUT", value: "$M x", files: map[string]string{"x.c": "int x;"}},
	{name: "go's tools", class: envallow.Build, program: "go", args: []string{"build", "$D/x.go"}, variable: "GOFLAGS", value: "-toolexec=$X", files: map[string]string{"x.go": "package x\n"}, also: []string{"GOCACHE=$D/cache"}},
	{name: "another rustc", class: envallow.Build, program: "cargo", args: []string{"check", "--offline", "--manifest-path", "$D/c/Cargo.toml"}, variable: "RUSTC_WRAPPER", value: "$X",
		files: map[string]string{"c/Cargo.toml": "[package]\nname = \"c\"\nversion = \"0.1.0\"\n", "c/src/lib.rs": ""}},

	{name: "npm's options for node", class: envallow.Package, program: "npm", args: []string{"--prefix", "$D", "run", "x"}, variable: "npm_config_script_shell", value: "$X", files: map[string]string{"package.json": `{"scripts":{"x":"true"}}`}},
	{name: "pip's log written anywhere", class: envallow.Package, program: "/usr/bin/python3", args: []string{"-m", "pip", "list"}, variable: "PIP_LOG", value: "$M"},

	{name: "openssl's configuration", class: envallow.Service, program: "openssl", args: []string{"version", "-d"}, variable: "OPENSSL_CONF", value: "$D/o.cnf",
		files:   map[string]string{"x.c": marking, "o.cnf": "openssl_conf = a\n[a]\nengines = b\n[b]\nx = c\n[c]\nengine_id = x\ndynamic_path = $D/x.so\ninit = 0\n"},
		prepare: [][]string{{"gcc", "-shared", "-fPIC", "-o", "$D/x.so", "$D/x.c"}}},
	{name: "the session keys of TLS written anywhere", class: envallow.Service, program: "curl", args: []string{"-s", "https://127.0.0.1:1/"}, variable: "SSLKEYLOGFILE", value: "$M"},
}

const (
	script  = "#!/bin/sh\ntouch $M\nexit 1\n"
	marking = "#include <fcntl.h>\n__attribute__((constructor)) static void f(void) { open(\"$M\", O_CREAT | O_WRONLY, 0600); }\nunsigned la_version(unsigned v) { return v; }\n"
)

// TestFires runs real programs, each twice. That the marker appears without the filter proves the row; that it does
// not with it proves the package.
func TestFires(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a hundred programs")
	}
	inherit, err := envallow.New(envallow.Config{Mode: envallow.Inherit})
	require.NoError(t, err)
	strict, err := envallow.New(envallow.Config{})
	require.NoError(t, err)
	var fired [envallow.Service + 1]atomic.Int32
	t.Run("rows", func(t *testing.T) { // ends when all of them have, as many at a time as -parallel says
		for _, row := range firings {
			t.Run(row.name+" ("+row.variable+")", func(t *testing.T) {
				t.Parallel()
				fire(t, row, strict, inherit)
				fired[row.class].Add(1)
			})
		}
	})
	if os.Getenv("CI") != "" {
		for c := envallow.Loader; c <= envallow.Service; c++ {
			require.NotZero(t, fired[c].Load(), "no row of class %v", c)
		}
	}
}

// fire runs one row, in a folder of its own.
func fire(t *testing.T, row firing, strict, inherit *envallow.Policy) {
	if _, err := exec.LookPath(row.program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	d, err := os.MkdirTemp("", "fires") // t.TempDir has the row's name in it, which a shell would read
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	marker := filepath.Join(d, "marker")
	say := func(s string) string {
		return strings.NewReplacer("$D", d, "$M", marker, "$X", filepath.Join(d, "x.sh")).Replace(s)
	}
	write := func(name, text string) {
		name = filepath.Join(d, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(say(text)), 0o700))
	}
	write("x.sh", script)
	for name, text := range row.files {
		write(name, text)
	}
	base := []string{"HOME=" + d, "PATH=" + os.Getenv("PATH"), "LANG=C", "TMPDIR=" + d}
	for _, name := range []string{"RUSTUP_HOME", "CARGO_HOME"} { // a rustup of root's is found through HOME
		if home, err := os.UserHomeDir(); err == nil {
			base = append(base, name+"="+filepath.Join(home, "."+strings.ToLower(strings.TrimSuffix(name, "_HOME"))))
		}
	}
	run := func(env []string, args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for i := range args {
			args[i] = say(args[i])
		}
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env, cmd.Dir, cmd.Stdin, cmd.WaitDelay = env, d, strings.NewReader(row.stdin), time.Second
		out, _ := cmd.CombinedOutput() // most hijacked programs fail; the marker is what counts
		t.Logf("%q: %.400s", args, out)
	}
	for _, args := range row.prepare {
		run(base, append([]string(nil), args...)...)
	}
	for _, entry := range row.also {
		base = append(base, say(entry))
	}
	require.NoFileExists(t, marker)

	entry := say(row.variable + "=" + row.value)
	run(append(base, entry), append([]string{row.program}, row.args...)...)
	made, _ := filepath.Glob(marker + "*")
	require.NotEmpty(t, made, "the variable does nothing here: the row proves nothing")
	for _, m := range made {
		require.NoError(t, os.Remove(m))
	}

	for _, p := range []*envallow.Policy{strict, inherit} {
		require.NotContains(t, p.Filter([]string{entry}), entry)
	}
	filtered := inherit.Filter([]string{entry})
	run(append(base, filtered...), append([]string{row.program}, row.args...)...)
	made, _ = filepath.Glob(marker + "*")
	require.Empty(t, made)

	require.Equal(t, row.class, inherit.Explain([]string{entry})[0].Class)
	_, err = strict.Overlay(nil, map[string]string{row.variable: say(row.value)})
	require.Error(t, err)
}
