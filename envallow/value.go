// SPDX-License-Identifier: Apache-2.0

package envallow

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// plain holds a variable of the short list to the kind of value that it has, in either mode and in any case, and cleans
// PATH. The rules for locales, terminals and TZ are those of sudo (sudoers(5), env_check): what a slash or a percent
// sign in them reaches are files and format strings.
func (p *Policy) plain(v *verdict, f found, value string) bool {
	if f.class != Session {
		return true
	}
	ok, name := printable(value), ""
	if f.entry != nil {
		name = f.entry.text // not so for LC_*
	}
	switch name {
	case "PATH":
		clean, dropped := cleanPath(value, nil)
		if len(dropped) > 0 {
			v.entry, v.Reason = v.Name+"="+clean, Cleaned
		}
		ok = ok && clean != ""
	case "HOME", "PWD", "TMPDIR", "TMP", "TEMP":
		ok = ok && filepath.IsAbs(value)
	case "TZ":
		ok = ok && plainZone(value)
	default:
		ok = ok && (f.entry != nil && f.entry.anchor || !strings.ContainsAny(value, "/%"))
	}
	if !ok {
		v.entry = ""
		v.drop(UnsafeValue)
	}
	return ok
}

// printable reports whether a value has no control character, which could write a line of its own.
func printable(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7f {
			return false
		}
	}
	return true
}

// plainZone is tz_is_sane of sudo: a name, or a file below the folder of time zones, and no way out of it.
func plainZone(value string) bool {
	const zoneinfo = "/usr/share/zoneinfo/"
	value = strings.TrimPrefix(value, ":")
	return (!strings.HasPrefix(value, "/") || strings.HasPrefix(value, zoneinfo)) &&
		!strings.Contains(value, "..") && !strings.ContainsAny(value, " %\\")
}

// CleanPath takes out of a PATH what is empty, relative, repeated, or a folder that everybody may write or could make:
// a program planted there runs in place of the real one (CWE-426). Where everybody may write is found by lstat, of the
// folder, of those above it and of those on the way of each link, a sticky one like /tmp counting only as the last and
// for what is missing right below it; a missing folder that only its owner could make stays. What is below /proc goes,
// since /proc/self/cwd is the working directory. On Windows modes do not say who may write, and only the rest is done.
//
// The dropped elements are given as they were. An empty result means that PATH must be left unset: a shell takes an
// empty one for the current directory.
func CleanPath(path string) (clean string, dropped []string) {
	return cleanPath(path, plantable)
}

// cleanPath is CleanPath with a check of folders of the caller's own; nil: none. It allocates only if something goes.
func cleanPath(path string, unsafe func(dir string) bool) (clean string, dropped []string) {
	var room [64]string
	kept := room[:0]
	var more map[string]bool // for the elements past the room, of which an attacker may send many
	for element := range strings.SplitSeq(path, string(filepath.ListSeparator)) {
		repeated := slices.Contains(kept[:min(len(kept), len(room))], element) || more[element]
		if repeated || !filepath.IsAbs(element) || strings.IndexByte(element, 0) >= 0 || unsafe != nil && unsafe(element) {
			dropped = append(dropped, element)
			continue
		}
		if len(kept) >= len(room) {
			if more == nil {
				more = map[string]bool{}
			}
			more[element] = true
		}
		kept = append(kept, element)
	}
	if len(dropped) == 0 {
		return path, nil
	}
	return strings.Join(kept, string(filepath.ListSeparator)), dropped
}

// plantable reports whether everybody may put a program into a folder, or put the folder there. It goes the way that
// the kernel goes, since whoever may write a folder on it, or one that a link on it stands in, decides where it ends.
func plantable(path string) bool {
	if runtime.GOOS == "windows" {
		return false
	}
	const separator = string(filepath.Separator)
	folder, rest := separator, strings.Split(path, separator)
	for range 256 { // a loop of links ends here, and a path that nobody has
		info, err := os.Lstat(folder)
		if err != nil {
			return true // what can't be judged is not searched
		}
		for len(rest) > 0 && (rest[0] == "" || rest[0] == ".") {
			rest = rest[1:]
		}
		open := info.Mode().Perm()&0o002 != 0
		if len(rest) == 0 || open && info.Mode()&fs.ModeSticky == 0 {
			return open
		}
		next := filepath.Join(folder, rest[0])
		rest = rest[1:]
		if next == "/proc" {
			return true // /proc/self/cwd is another folder for each process
		}
		switch target, err := os.Readlink(next); {
		case err == nil:
			if filepath.IsAbs(target) {
				folder = separator
			}
			rest = append(strings.Split(target, separator), rest...)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return open
		default: // no link, which the next Lstat tells from an error
			folder = next
		}
	}
	return true
}
