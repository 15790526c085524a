// SPDX-License-Identifier: Apache-2.0

// Package envallow decides which environment variables a child process may see. It stops a service's credentials from
// leaking into the programs that it starts, and variables such as LD_PRELOAD, BASH_ENV or GIT_SSH_COMMAND from running
// code in them (finding CRIT-01, CWE-526, CWE-426).
//
// It usually goes wrong by saying nothing, since a nil Env inherits everything:
//
//	cmd := exec.Command("git", "status")
//	cmd.Env = append(os.Environ(), call.Env...) // every secret of the service, and GIT_SSH_COMMAND from the call
//	return cmd.Run()
//
// or with a list of a dozen bad names. The names that matter are some hundreds, grow monthly, and the next tool brings
// its own. So the zero Config is an allowlist, and what a tool call sets is judged apart from what the service has.
//
// # Use
//
//	tools, err := envallow.New(envallow.Config{Keep: []string{"REPORT_STYLE"}})
//	cmd := exec.Command("git", "status")
//	err = tools.Apply(cmd)                           // what the service has
//	cmd.Env, err = tools.Overlay(cmd.Env, call.Env)  // what the call asks for
//	err = cmd.Run()
//
// The two modes: Strict, the zero one, passes on HOME USER LOGNAME PWD LANG LANGUAGE LC_* TZ TERM COLORTERM COLUMNS
// LINES NO_COLOR FORCE_COLOR CLICOLOR TMPDIR TMP TEMP HOSTNAME CI and PATH, and what Config keeps; on Windows also what
// a process can't start without, such as SystemRoot, ComSpec and PATHEXT. Inherit passes on everything except what
// hijacks a program, is a credential by name or by value, or is malformed. It is for programs whose needs are unknown,
// and the weaker one: what no list here knows goes through.
//
// # Guarantees
//
//   - Filter never returns nil, and after Apply the Env of a command is never nil, so that nothing is inherited by
//     accident. Filter reads no file, starts nothing, and neither keeps nor writes its argument.
//   - No variable of a class from Loader to Service is passed on unless Config.Keep names it exactly; a prefix never
//     does, and Overlay refuses it even then. Names are refused in any case, on every system; they are kept in any
//     case on Windows only, where case does not matter.
//   - A variable given twice with different values is not passed on, since programs disagree on which counts. Equal
//     twins become one.
//   - In no mode does PATH hold an empty or relative element; what Apply leaves holds no world-writable folder either.
//   - No value comes back in a Decision or an error.
//   - A nil or zero Policy passes on nothing, and refuses in Overlay and Apply. A nil environ is an empty one, an entry
//     without '=' or without a name is dropped, an empty value is a value. A command whose Apply failed can't start.
//
// # Not guaranteed
//
//   - What the program then does. It still reads its files below HOME and runs what is in its working directory; a
//     repository's own configuration runs code in git. What it prints goes through logscrub, what it opens through
//     pathboundary; what it may do at all takes a sandbox.
//   - That a credential with a plain name and an unknown shape is found in Inherit. Config.Secret takes a check of the
//     caller's own, such as one made from logscrub's Find; Strict does not need one.
//   - That a tool call brings no credential of its own, and so works on somebody else's account. Drop names those.
//   - Who owns the folders in PATH, and access lists; on Windows, who may write them: its mode bits do not say.
//   - Whether a name in Keep is safe. Each is the operator's word.
//
// # Cost
//
// Filter costs one pass over each name and a search of each value that is kept, and allocates its result alone: at most
// 0.4 times what a map, a loop over prefixes and a loop over token shapes cost on the same lists. New builds the lookup
// and is meant to be called once. Apply also asks the file system about each folder in PATH.
package envallow

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// Mode says what happens to a variable that no list knows. The zero Mode is Strict.
type Mode uint8

const (
	Strict  Mode = iota // drop it
	Inherit             // keep it; weaker
)

// String gives the text that MarshalText does.
func (m Mode) String() string {
	switch m {
	case Strict:
		return "strict"
	case Inherit:
		return "inherit"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// MarshalText is an error for a Mode that does not exist.
func (m Mode) MarshalText() ([]byte, error) {
	if m > Inherit {
		return marshal("", "Mode", uint8(m))
	}
	return []byte(m.String()), nil
}

// UnmarshalText takes "strict" and "inherit".
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "strict":
		*m = Strict
	case "inherit":
		*m = Inherit
	default:
		return fmt.Errorf("envallow: there is no Mode %s; say strict or inherit", quote(string(text)))
	}
	return nil
}

// Config says what a Policy lets through. The zero Config is Strict and keeps the short list alone. Drop and DropPrefix
// win over everything else; New refuses a Keep that they would undo.
type Config struct {
	// Mode is Strict if zero. Inherit is weaker.
	Mode Mode

	// Keep names variables to pass on whatever their class, also one that hijacks or looks like a credential: each is
	// a hole that the operator answers for. Nil: none. Overlay refuses a hijack name even if it is here. Malformed
	// values and those that Secret or Check refuse stay out. Exact, also in case; on Windows in any case.
	Keep []string

	// KeepPrefix is for families that no list knows, such as the program's own. It releases neither a hijack name nor
	// a credential. Nil: none. More is weaker.
	KeepPrefix []string

	// Drop names variables that are never passed on, from the service or from a tool call. In any case. Nil: none.
	Drop []string

	// DropPrefix is Drop for families.
	DropPrefix []string

	// Check judges the value of a variable that would be passed on, also one that a tool call sets; an error drops or
	// refuses it. Its text goes nowhere. By name in any case. Nil: the built-in rules alone.
	Check map[string]func(value string) error `json:"-"`

	// Secret reports whether a value is a credential, for shapes that this package does not know. It sees what would
	// be passed on from the service, also what Keep names. Nil: the built-in shapes alone.
	Secret func(name, value string) bool `json:"-"`

	// Harden sets what makes children safer, in place of what was given; a tool call can't set these. False: none.
	//
	//	GIT_TERMINAL_PROMPT=0     git fails where it would ask for a password
	//	GIT_CONFIG_NOSYSTEM=1     git reads no /etc/gitconfig
	//	GIT_PROTOCOL_FROM_USER=0  git runs no ext:: or file:: URL that an untrusted repository names
	//	GIT_CONFIG_COUNT=1        with the next two: core.fsmonitor=false, which plain "git status" would run
	//	GIT_CONFIG_KEY_0=core.fsmonitor
	//	GIT_CONFIG_VALUE_0=false
	//	GIT_PAGER=cat, PAGER=cat, MANPAGER=cat  nothing waits for a key; core.pager of a repository does not run
	//	GIT_EDITOR=:              git opens no editor; core.editor of a repository does not run
	//	LESSSECURE=1              less starts no shell, editor or filter
	//	LESSHISTFILE=-            less writes no history
	//	SSH_ASKPASS_REQUIRE=never ssh starts no askpass program
	Harden bool
}

// hardening is what Harden sets.
var hardening = [...]string{
	"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_PROTOCOL_FROM_USER=0",
	"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
	"GIT_PAGER=cat", "PAGER=cat", "MANPAGER=cat", "GIT_EDITOR=:",
	"LESSSECURE=1", "LESSHISTFILE=-", "SSH_ASKPASS_REQUIRE=never",
}

// windowsSession is what a process on Windows can't start without, or can't find its way without.
const windowsSession = "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT OS USERPROFILE USERNAME USERDOMAIN COMPUTERNAME " +
	"HOMEDRIVE HOMEPATH APPDATA LOCALAPPDATA PROGRAMDATA ALLUSERSPROFILE PUBLIC PROGRAMFILES PROGRAMFILES(X86) PROGRAMW6432 " +
	"COMMONPROGRAMFILES COMMONPROGRAMFILES(X86) COMMONPROGRAMW6432 NUMBER_OF_PROCESSORS PROCESSOR_ARCHITECTURE PROCESSOR_IDENTIFIER"

// A Policy decides. It never changes after New, so it is safe for concurrent use as far as Check and Secret are. A nil
// or zero Policy refuses everything.
type Policy struct {
	lists
	mode                   Mode
	keepPrefix, dropPrefix []string
	secret                 func(name, value string) bool
	harden                 []string
	tokens                 tokenIndex
	windows                bool
}

// New makes a Policy. An error names every field that is wrong.
func New(c Config) (*Policy, error) {
	return newPolicy(c, runtime.GOOS == "windows")
}

func newPolicy(c Config, windows bool) (*Policy, error) {
	p := &Policy{lists: newLists(), mode: c.Mode, secret: c.Secret, tokens: newTokenIndex(), windows: windows}
	var errs []error
	fail := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("envallow: Config.%s: "+format, append([]any{field}, args...)...))
	}
	if c.Mode > Inherit {
		fail("Mode", "there is no Mode %d", uint8(c.Mode))
	}
	name := func(field, s string) bool {
		if s == "" || strings.ContainsAny(s, "=\x00") {
			fail(field, "%s is no name; leave out '=' and NUL", quote(s))
			return false
		}
		return true
	}
	for _, s := range c.DropPrefix {
		if name("DropPrefix", s) {
			p.dropPrefix = append(p.dropPrefix, strings.ToUpper(s))
		}
	}
	for _, s := range c.Drop {
		if name("Drop", s) {
			p.names.at(s).dropped = true
		}
	}
	if windows {
		for s := range strings.FieldsSeq(windowsSession) {
			e := p.names.at(s)
			e.class, e.known, e.anchor = Session, true, true
		}
	}
	for _, s := range [...]string{"PATH", "HOME", "PWD", "TMPDIR", "TMP", "TEMP"} {
		p.names.at(s).anchor = true
	}
	if c.Harden {
		for _, kv := range hardening {
			s, _, _ := strings.Cut(kv, "=")
			if e := p.names.at(s); !e.dropped && !hasPrefix(p.dropPrefix, s, true) {
				e.hardened = true
				p.harden = append(p.harden, kv)
			}
		}
	}
	for _, s := range c.Keep {
		if !name("Keep", s) {
			continue
		}
		e := p.names.at(s)
		if e.dropped || hasPrefix(p.dropPrefix, s, true) {
			fail("Keep", "%s is in Drop or DropPrefix too", quote(s))
		}
		if e.hardened {
			fail("Keep", "%s is set by Harden", quote(s))
		}
		e.kept = append(e.kept, s)
	}
	for _, s := range c.KeepPrefix {
		if !name("KeepPrefix", s) {
			continue
		}
		if f, _ := p.look(s, windows); f.class.hijacks() {
			fail("KeepPrefix", "%s is a family that hijacks programs; name each variable in Keep", quote(s))
		}
		if hasPrefix(p.dropPrefix, s, true) {
			fail("KeepPrefix", "%s is in DropPrefix too", quote(s))
		}
		p.keepPrefix = append(p.keepPrefix, s)
	}
	for _, s := range slices.Sorted(maps.Keys(c.Check)) {
		if !name("Check", s) {
			continue
		}
		e := p.names.at(s)
		if c.Check[s] == nil {
			fail("Check", "the func for %s is nil", quote(s))
		} else if e.check != nil {
			fail("Check", "%s is there twice, in different case", quote(s))
		}
		e.check = c.Check[s]
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

func (p *Policy) refuses() bool { return p == nil || p.names.slots == nil }

// Filter returns the entries of environ that a child may see, in their order, then what Harden sets. The result is
// never nil. PATH comes without its empty, relative and repeated elements, and not at all if none is left.
func (p *Policy) Filter(environ []string) []string {
	if p.refuses() {
		return []string{}
	}
	out := make([]string, 0, len(environ)+len(p.harden))
	conflicts := p.each(environ, func(v verdict) {
		if v.Keep && !v.repeated {
			out = append(out, v.entry)
		}
	})
	if conflicts != nil {
		out = slices.DeleteFunc(out, func(entry string) bool { return conflicts[p.canonical(nameOf(entry))] })
	}
	return append(out, p.harden...)
}

// Explain returns a Decision for each entry, in order: what Filter does, and why. What Harden sets is not in it.
func (p *Policy) Explain(environ []string) []Decision {
	out := make([]Decision, 0, len(environ))
	if p.refuses() {
		for _, entry := range environ {
			out = append(out, Decision{Name: nameOf(entry), Reason: NotConfigured})
		}
		return out
	}
	conflicts := p.each(environ, func(v verdict) { out = append(out, v.Decision) })
	for i, d := range out {
		if d.Keep && conflicts[p.canonical(d.Name)] {
			out[i].Keep, out[i].Reason = false, Conflict
		}
	}
	return out
}

// Overlay filters base, then sets what a tool call asks for. An override that hijacks, is malformed, dropped by Config
// or refused by Check, or that would move PATH, HOME or another Location, is an *Error that names it and all others
// like it; the environment beside an error is empty and not nil. In all else a call is free, in both modes: an override
// that no list knows, or that looks like a credential, is the call's own.
//
// Filter, and so Apply, judges the result again as if it were the service's own: call Apply first.
func (p *Policy) Overlay(base []string, overrides map[string]string) ([]string, error) {
	if p.refuses() {
		return []string{}, &Error{Reason: NotConfigured}
	}
	set := make(map[string]bool, len(overrides))
	var refused []Decision
	var added []string
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		v := p.judgeOverride(name, overrides[name])
		if v.Keep && set[p.canonical(name)] {
			v.drop(Conflict)
		}
		if !v.Keep {
			refused = append(refused, v.Decision)
		}
		set[p.canonical(name)] = true
		added = append(added, v.entry)
	}
	if len(refused) > 0 {
		return []string{}, &Error{Reason: refused[0].Reason, Refused: refused}
	}
	kept := slices.DeleteFunc(p.Filter(base), func(entry string) bool { return set[p.canonical(nameOf(entry))] })
	return append(kept, added...), nil
}

// Apply filters cmd.Env, or what the process has if that is nil, and takes the folders out of PATH that CleanPath does.
// cmd.Env is not nil afterwards, also on error; and cmd.Err is set, so that Start fails even if the error is dropped.
// An error that was in cmd.Err before is returned, and stays. A nil command, and one that runs already, is refused.
func (p *Policy) Apply(cmd *exec.Cmd) error {
	if cmd == nil || cmd.Process != nil {
		return &Error{Reason: NoCommand}
	}
	err := cmd.Err
	if p.refuses() {
		err = &Error{Reason: NotConfigured}
	}
	environ := cmd.Env
	if environ == nil && err == nil {
		environ = cmd.Environ()
	}
	cmd.Env = searchable(p.Filter(environ))
	if err != nil {
		cmd.Err = err
	}
	return err
}

// searchable puts PATH through CleanPath, or takes it out.
func searchable(env []string) []string {
	out := env[:0]
	for _, entry := range env {
		if name, path, _ := strings.Cut(entry, "="); equalFold("PATH", name) {
			clean, _ := CleanPath(path)
			if clean == "" {
				continue
			}
			entry = name + "=" + clean
		}
		out = append(out, entry)
	}
	return out
}

// A verdict is a Decision and what comes of it.
type verdict struct {
	Decision
	entry    string // as it is passed on
	hash     uint64 // of the name
	repeated bool   // an equal entry came before
}

func (v *verdict) drop(r Reason) { v.Keep, v.Reason = false, r }

// nameOf gives the name of an entry, which is empty if the entry has no '='.
func nameOf(entry string) string {
	if i := strings.IndexByte(entry, '='); i > 0 {
		return entry[:i]
	} else if i == 0 && drive(entry) {
		return entry[:3]
	}
	return ""
}

// drive reports whether an entry is one in which Windows keeps the current directory of a drive: "=C:=C:\dir".
func drive(entry string) bool {
	return len(entry) > 3 && entry[0] == '=' && upper(fold(entry[1])) && entry[2] == ':' && entry[3] == '='
}

// canonical gives what names are compared by.
func (p *Policy) canonical(name string) string {
	if p.windows {
		return strings.ToUpper(name)
	}
	return name
}

// each judges the entries one by one and returns the names, in canonical form, that were given different values.
func (p *Policy) each(environ []string, do func(verdict)) (conflicts map[string]bool) {
	var seen seen
	for i, entry := range environ {
		v := p.judge(entry)
		if v.Reason != Malformed {
			if j := seen.first(p, environ, i, v.Name, v.hash); j < i {
				if environ[j][len(v.Name):] == entry[len(v.Name):] {
					v.repeated = true
				} else {
					if conflicts == nil {
						conflicts = map[string]bool{}
					}
					conflicts[p.canonical(v.Name)] = true
				}
			}
		}
		do(v)
	}
	return conflicts
}

// seen finds repeated names. A small environment needs no memory; a large one, which may have been made to collide,
// gets a map.
type seen struct {
	small [1024]uint16 // indexes of entries, and one
	large map[string]int
}

// first returns the index of the first entry with the name of entry i.
func (s *seen) first(p *Policy, environ []string, i int, name string, hash uint64) int {
	if len(environ) > len(s.small)/2 {
		if s.large == nil {
			s.large = make(map[string]int, len(environ))
		}
		j, ok := s.large[p.canonical(name)]
		if !ok {
			s.large[p.canonical(name)] = i
			return i
		}
		return j
	}
	at := int((hash*0x9E3779B97F4A7C15)>>32) % len(s.small)
	for ; s.small[at] != 0; at = (at + 1) % len(s.small) {
		j := int(s.small[at]) - 1
		if other := nameOf(environ[j]); other == name || p.windows && strings.EqualFold(other, name) {
			return j
		}
	}
	s.small[at] = uint16(i + 1)
	return i
}

// judge decides on an entry of the service's own environment.
func (p *Policy) judge(entry string) verdict {
	v, f, value := p.read(entry)
	if v.Reason != 0 {
		return v
	}
	exact := f.entry != nil && p.keeps(f.entry.kept, v.Name)
	switch {
	case p.drops(f, v.Name):
		v.Reason = Dropped
	case f.entry.isHardened():
		v.Reason = Hardened
	case exact:
		v.Keep, v.Reason = true, Kept
	case f.class.hijacks():
		v.Reason = Hijack
	case f.secret:
		v.Reason = SecretName
	case f.listed(p.windows):
		v.Keep, v.Reason = true, Listed
	case hasPrefix(p.keepPrefix, v.Name, p.windows):
		v.Keep, v.Reason = true, Kept
	default:
		v.Keep, v.Reason = p.mode == Inherit, NotListed
		if v.Keep {
			v.Reason = Inherited
		}
	}
	if !v.Keep || !p.plain(&v, f, value) {
		return v
	}
	if !exact && p.tokens.secret(value) || p.secret != nil && p.secret(v.Name, value) {
		v.drop(SecretValue)
	} else if f.entry.faults(v.entry[len(v.Name)+1:]) {
		v.drop(CheckFailed)
	}
	return v
}

// judgeOverride decides on a variable that a tool call sets.
func (p *Policy) judgeOverride(name, value string) verdict {
	if strings.IndexByte(name, '=') >= 0 {
		return verdict{Decision: Decision{Name: nameOf(name), Reason: Malformed}}
	}
	v, f, _ := p.read(name + "=" + value)
	if v.Reason != 0 {
		return v
	}
	switch {
	case p.drops(f, name):
		v.Reason = Dropped
	case f.entry.isHardened():
		v.Reason = Hardened
	case f.class.hijacks():
		v.Reason = Hijack
	case f.fixed():
		v.Reason = Protected
	default:
		v.Keep, v.Reason = true, Inherited
		if p.plain(&v, f, value) && f.entry.faults(value) {
			v.drop(CheckFailed)
		}
	}
	return v
}

// read takes an entry apart. The verdict has a Reason if it is malformed.
func (p *Policy) read(entry string) (v verdict, f found, value string) {
	// The kernel takes no string of MAX_ARG_STRLEN, 128 KiB, or more (execve(2)).
	const most = 128 << 10
	v.entry, v.Name = entry, nameOf(entry)
	if v.Name == "" {
		v.Reason = Malformed
		return v, f, ""
	}
	value = entry[len(v.Name)+1:]
	if p.windows && entry[0] == '=' {
		v.Keep, v.Reason = strings.IndexByte(value, 0) < 0 && len(entry) < most, Inherited
		if !v.Keep {
			v.Reason = Malformed
		}
		return v, f, value
	}
	f, ok := p.look(v.Name, p.windows)
	v.Class, v.hash = f.class, f.hash
	if f.secret && !f.class.hijacks() {
		v.Class = Secret
	}
	malformed := !ok || len(entry) >= most || strings.IndexByte(value, 0) >= 0
	switch {
	case !ok && (strings.HasPrefix(v.Name, "BASH_FUNC_") || strings.HasPrefix(v.Name, "__BASH_FUNC<")):
		v.Class, v.Reason = Shell, ShellFunction
	case malformed:
		v.Reason = Malformed
	case strings.HasPrefix(value, "()"):
		v.Class, v.Reason = Shell, ShellFunction
	}
	return v, f, value
}

func (p *Policy) keeps(kept []string, name string) bool {
	return len(kept) > 0 && (p.windows || slices.Contains(kept, name))
}

func (p *Policy) drops(f found, name string) bool {
	return f.entry != nil && f.entry.dropped || hasPrefix(p.dropPrefix, name, true)
}

// hasPrefix reports whether name begins with one of the prefixes, which are in upper case if folded.
func hasPrefix(prefixes []string, name string, folded bool) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) || folded && len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
