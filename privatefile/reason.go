// SPDX-License-Identifier: Apache-2.0

package privatefile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// A Reason says which rule refused. It is an error itself: errors.Is(err, privatefile.Tainted). Zero is no reason.
type Reason uint8

const (
	// BadConfig: a policy that does not exist or a negative MaxBytes. Nothing was touched.
	BadConfig Reason = iota + 1
	// BadPath: an empty path, one that ends in a slash, "." or "..", one that holds a NUL, or a temporary file's name
	// (".privatefile-*.tmp"); on Windows also a device name or a stream ("key:hidden").
	BadPath
	// Missing: there is no such file, or for Write and Create no such folder. It matches fs.ErrNotExist.
	Missing
	// Exists: Create found something at the path, were it a link to nothing. It matches fs.ErrExist.
	Exists
	// Symlink: the path's last element is a symbolic link, or on Windows another reparse point.
	Symlink
	// NotRegular: a folder, FIFO, socket or device.
	NotRegular
	// ForeignOwner: the file belongs to a user whom Config.Owner does not accept.
	ForeignOwner
	// Hardlinked: the file has a second name.
	Hardlinked
	// Loose: others may read or run the file, or it is setuid, setgid or sticky, and OnLoose is Reject.
	Loose
	// Tainted: others may write the file, so that its content may be theirs.
	Tainted
	// Unrepaired: chmod failed or was ignored by the file system.
	Unrepaired
	// TooLarge: more than Config.MaxBytes.
	TooLarge
	// Changed: the file was written while it was read.
	Changed
	// UnsafeParent: others may exchange a folder or link on the way to the file.
	UnsafeParent
	// Busy: the path itself is a mount point, as a single file mounted into a container is, and cannot be replaced;
	// on Windows: another program held it open for two seconds.
	Busy
	// NotDurable: the new file is in place, but the folder could not be synced: a power failure may bring the old back.
	NotDurable
	// Failed: the system refused for a reason of its own, which errors.Is and errors.As reach.
	Failed
)

var reasonNames = [...]string{
	BadConfig: "bad-config", BadPath: "bad-path", Missing: "missing", Exists: "exists", Symlink: "symlink",
	NotRegular: "not-regular", ForeignOwner: "foreign-owner", Hardlinked: "hardlinked", Loose: "loose",
	Tainted: "tainted", Unrepaired: "unrepaired", TooLarge: "too-large", Changed: "changed",
	UnsafeParent: "unsafe-parent", Busy: "busy", NotDurable: "not-durable", Failed: "failed",
}

// advice is for the operator: what is wrong and what to do.
var advice = [...]string{
	BadConfig:    "the Config is impossible",
	BadPath:      "the path names no file",
	Missing:      "it is not there",
	Exists:       "something has that name already, and is left as it is",
	Symlink:      "it is a symbolic link; name the file that it points to",
	NotRegular:   "it is no regular file",
	ForeignOwner: "it belongs to another user; chown it to the user of this service",
	Hardlinked:   "it has a second name; find it with find -samefile, and remove one of the two",
	Loose:        "its mode is more than 0600; treat what others could read as known, then chmod 600",
	Tainted:      "others may write it, so its content may be theirs; inspect it, then chmod 600",
	Unrepaired:   "others may use it and its mode could not be changed; move it to a file system that keeps modes",
	TooLarge:     "it is larger than Config.MaxBytes",
	Changed:      "it was written while it was read; try again",
	UnsafeParent: "others may exchange what lies there; take their write permission from the folder",
	Busy:         "it is mounted by itself, or on Windows held open, and cannot be replaced; mount its folder instead",
	NotDurable:   "the new file is in place, but the folder could not be synced",
	Failed:       "the system refused",
}

func (r Reason) word() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return ""
}

// String is a stable word for logs and metrics, such as "tainted".
func (r Reason) String() string { return text(r, "Reason") }

// Error is a sentence for the operator.
func (r Reason) Error() string {
	if r.word() == "" {
		return "privatefile: " + r.String()
	}
	return "privatefile: " + advice[r]
}

// MarshalText is String, and an error for a reason that does not exist.
func (r Reason) MarshalText() ([]byte, error) { return marshal(r, "Reason") }

// UnmarshalText takes what String gives, and nothing else.
func (r *Reason) UnmarshalText(b []byte) error { return unmarshal(r, b, "Reason") }

// Error is what every function here returns on failure. It never holds content of a file.
type Error struct {
	Op     string // read, write, create, append, enforce
	Path   string // as the caller gave it
	Reason Reason
	Mode   fs.FileMode // of the file or folder that Reason is about; zero: it does not matter or is not known
	Parent string      // the folder or link that UnsafeParent is about
	Err    error       // what the system said, or nil
}

// Error names operation, path, rule and remedy.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "privatefile: %s %q: %s", e.Op, e.Path, strings.TrimPrefix(e.Reason.Error(), "privatefile: "))
	if e.Parent != "" {
		fmt.Fprintf(&b, " (%q)", e.Parent)
	}
	if e.Mode != 0 {
		fmt.Fprintf(&b, " (mode %04o)", octal(e.Mode))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the Reason, and what the system said.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

// refuse is an Error that wrap completes.
func refuse(r Reason, mode fs.FileMode) *Error { return &Error{Reason: r, Mode: mode} }

// wrap completes err to an Error that says what was tried on which path.
func wrap(op, path string, err error) error {
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Reason: Failed, Err: bare(err)}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.Reason = Missing
		case errors.Is(err, fs.ErrExist):
			e.Reason = Exists
		}
	}
	e.Op, e.Path = op, path
	return e
}

// bare takes off what repeats the operation and names internal paths.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
