// SPDX-License-Identifier: Apache-2.0

package envallow

import (
	"fmt"
	"strconv"
	"strings"
)

// A Decision says what becomes of one variable, and why. It never holds a value, so that it may be logged; String
// quotes the name. The zero Decision is a refusal.
type Decision struct {
	Name   string // as given, up to the first '='; empty for an entry that has none, since that may be anything
	Keep   bool
	Class  Class
	Reason Reason
}

// String gives the decision on one line, for a log or a terminal.
func (d Decision) String() string {
	verb := "drop"
	if d.Keep {
		verb = "keep"
	}
	return fmt.Sprintf("%s %s (%v, %v)", verb, quote(d.Name), d.Class, d.Reason.String())
}

// quote keeps a name that an attacker chose from writing lines, or pages, of a log.
func quote(name string) string {
	const most = 64
	if len(name) > most {
		return strconv.Quote(name[:most]) + "…"
	}
	return strconv.Quote(name)
}

// A Class says what kind of variable a name stands for. The zero Class, Unlisted, is a name that no list knows.
type Class uint8

// Classes from Loader on hijack the program that obeys them.
const (
	Unlisted    Class = iota
	Session           // what every program needs to run: HOME, LANG, PATH, TERM
	Location          // where a program's own files, agents and proxies are: XDG_CONFIG_HOME, HTTP_PROXY
	Secret            // a credential, by its name
	Loader            // loads code into any program: LD_PRELOAD, GTK_MODULES
	Shell             // start-up files, prompts and parsing of shells: BASH_ENV, IFS
	Interpreter       // search paths, start-up files and options of languages and editors: PYTHONPATH, NODE_OPTIONS
	JVM               // options of the Java machine and of what starts it: JAVA_TOOL_OPTIONS
	VCS               // version control: GIT_SSH_COMMAND
	Helper            // programs that programs start: PAGER, EDITOR, SSH_ASKPASS, LESSOPEN
	Tool              // options of plain tools: TAR_OPTIONS, RIPGREP_CONFIG_PATH
	Build             // compilers and build tools: CC, MAKEFLAGS, GOTOOLCHAIN
	Package           // package managers: NPM_CONFIG_REGISTRY, PIP_INDEX_URL
	Service           // configuration and trust of clients: KUBECONFIG, OPENSSL_CONF, TF_CLI_ARGS

	classes // their number
)

func (c Class) hijacks() bool { return c >= Loader }

func (c Class) text() string {
	switch c {
	case Unlisted:
		return "unlisted"
	case Session:
		return "session"
	case Location:
		return "location"
	case Secret:
		return "secret"
	case Loader:
		return "loader"
	case Shell:
		return "shell"
	case Interpreter:
		return "interpreter"
	case JVM:
		return "jvm"
	case VCS:
		return "vcs"
	case Helper:
		return "helper"
	case Tool:
		return "tool"
	case Build:
		return "build"
	case Package:
		return "package"
	case Service:
		return "service"
	}
	return ""
}

// A Reason says why a variable was kept, dropped or refused. The set is closed: its texts are part of the API. A Reason
// is an error, so that errors.Is(err, envallow.Hijack) works. The zero Reason is no valid one, and a refusal all the
// same.
type Reason uint8

const (
	Listed    Reason = iota + 1 // kept: on the short list
	Kept                        // kept: named in Config.Keep or KeepPrefix
	Inherited                   // kept: Inherit passes on what nothing speaks against
	Cleaned                     // kept: PATH, less its elements that are empty, relative or given before

	NotConfigured // the Policy is nil or was not made by New
	Malformed     // a name that is none, NUL in the value, 128 KiB or more
	ShellFunction // an exported shell function, or a value that begins like one (CVE-2014-6271)
	Conflict      // given twice with different values: getenv takes the first, bash the last
	Dropped       // named in Config.Drop or DropPrefix
	Hardened      // Config.Harden sets it
	Hijack        // makes a program run, load or write what the variable says
	Protected     // a tool call may not move it: PATH, HOME, and the class Location
	SecretName    // a credential by its name
	SecretValue   // a credential by the shape of its value, or by Config.Secret
	NotListed     // Strict: neither on the short list nor in Keep
	UnsafeValue   // a value that this variable can't plainly have
	CheckFailed   // Config.Check refused the value
	NoCommand     // Apply: nil, or a command that was started already

	reasons // their number, and one
)

func (r Reason) describe() (name, text string) {
	switch r {
	case Listed:
		return "listed", "on the short list of what a program needs"
	case Kept:
		return "kept", "named in Keep or KeepPrefix"
	case Inherited:
		return "inherited", "nothing speaks against it"
	case Cleaned:
		return "cleaned", "kept without its unsafe elements"
	case NotConfigured:
		return "not-configured", "make the Policy with New; everything is refused"
	case Malformed:
		return "malformed", "give a portable name, and a value without NUL and below 128 KiB"
	case ShellFunction:
		return "shell-function", "exported shell functions are not passed on"
	case Conflict:
		return "conflict", "give it once; its values disagree"
	case Dropped:
		return "dropped", "named in Drop or DropPrefix"
	case Hardened:
		return "hardened", "Harden sets it; leave it out"
	case Hijack:
		return "hijack", "it takes over the program that obeys it; leave it out"
	case Protected:
		return "protected", "only the service's own environment may set it; leave it out"
	case SecretName:
		return "secret-name", "its name is that of a credential; name it in Keep if the program needs it"
	case SecretValue:
		return "secret-value", "its value looks like a credential; name it in Keep if the program needs it"
	case NotListed:
		return "not-listed", "name it in Keep if the program needs it"
	case UnsafeValue:
		return "unsafe-value", "its value is not of the plain kind that such a variable has"
	case CheckFailed:
		return "check-failed", "Check refuses its value"
	case NoCommand:
		return "no-command", "give Apply a command that has not been started"
	}
	return "", ""
}

// String gives the name that is part of the API.
func (c Class) String() string {
	if s := c.text(); s != "" {
		return s
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// MarshalText is an error for a Class that does not exist.
func (c Class) MarshalText() ([]byte, error) {
	return marshal(c.text(), "Class", uint8(c))
}

// UnmarshalText takes exactly what String gives.
func (c *Class) UnmarshalText(text []byte) error {
	for i := range classes {
		if i.text() == string(text) {
			*c = i
			return nil
		}
	}
	return fmt.Errorf("envallow: there is no Class %s", quote(string(text)))
}

// String gives the name that is part of the API.
func (r Reason) String() string {
	if name, _ := r.describe(); name != "" {
		return name
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// Error says what to do. The sentence may be shown to whoever made the call.
func (r Reason) Error() string {
	_, text := r.describe()
	if text == "" {
		text = r.String()
	}
	return "envallow: " + text
}

// MarshalText is an error for a Reason that does not exist.
func (r Reason) MarshalText() ([]byte, error) {
	name, _ := r.describe()
	return marshal(name, "Reason", uint8(r))
}

// UnmarshalText takes exactly what String gives.
func (r *Reason) UnmarshalText(text []byte) error {
	for i := range reasons {
		if name, _ := i.describe(); name != "" && name == string(text) {
			*r = i
			return nil
		}
	}
	return fmt.Errorf("envallow: there is no Reason %s", quote(string(text)))
}

func marshal(name, kind string, n uint8) ([]byte, error) {
	if name == "" {
		return nil, fmt.Errorf("envallow: there is no %s %d", kind, n)
	}
	return []byte(name), nil
}

// An Error is what Overlay and Apply refuse with. errors.Is finds each Reason in it.
type Error struct {
	Reason  Reason     // of the first refused variable, or of the call as a whole
	Refused []Decision // by name; empty if the call as a whole was refused
}

// Error names the refused variables, ten at most, and never holds a value.
func (e *Error) Error() string {
	if len(e.Refused) == 0 {
		return e.Reason.Error()
	}
	const most = 10
	var b strings.Builder
	b.WriteString("envallow: refused")
	for i, d := range e.Refused {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(e.Refused)-most)
			break
		}
		if i > 0 {
			b.WriteByte(';')
		}
		_, text := d.Reason.describe()
		fmt.Fprintf(&b, " %s (%v): %s", quote(d.Name), d.Class, text)
	}
	return b.String()
}

// Unwrap gives the Reasons.
func (e *Error) Unwrap() []error {
	all := []error{e.Reason}
	for _, d := range e.Refused {
		all = append(all, d.Reason)
	}
	return all
}
