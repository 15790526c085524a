// SPDX-License-Identifier: Apache-2.0

// Package privatefile reads, repairs, creates and replaces files that only their owner may see, so that a credential
// is not left where every local user can copy or plant it (finding LOW-04, CWE-732, CWE-59, CWE-367).
//
// It usually goes wrong in three lines. The content is read before anybody asks who could have written it, os.Stat
// and os.Chmod follow a link that was put at the path, and each of the calls may meet another file:
//
//	data, _ := os.ReadFile(path)
//	if st, _ := os.Stat(path); st.Mode().Perm()&0o077 != 0 {
//		os.Chmod(path, 0o600)
//	}
//
// Writing goes wrong as quietly: the mode given to os.WriteFile counts for new files only, so a key written over an
// old 0644 file stays open to everyone, and a crash in between leaves half of it.
//
// # Use
//
//	data, report, err := privatefile.Read("/var/lib/gateway/token", privatefile.Config{CheckParents: true})
//	if err != nil {
//		return err // errors.Is(err, privatefile.Tainted): others may write it, so its content proves nothing
//	}
//	logWarnings(report.Warnings) // such as: others could read it until now
//
// # Guarantees
//
//   - One descriptor from open to read. Links at the path are refused, a FIFO or device never blocks, and what is
//     judged (kind, owner, names, mode, size) is what is repaired and read.
//   - A file that others may write is refused and its mode left as the evidence, at every attempt, until somebody
//     decides. One that others may only read is closed with fchmod, checked again and reported. On Linux the judgement
//     includes POSIX access control lists: their mask is the mode's group bits.
//   - [Write] and [Create] leave the old file or the new one, never a part, whenever the process is killed or the
//     power fails. What they write is 0600 from its first byte, whatever the umask and whatever lay there before.
//     Temporary files are named ".privatefile-*.tmp"; what a killed writer left of them in the folder, the next Write
//     or Create there removes, and never one that a living writer holds.
//   - Of many Creates at one path, also by many processes, one wins. Nobody ever reads half of the winner's file.
//   - Absence is told apart: a missing file is [Missing] and matches fs.ErrNotExist; one that may not be opened does
//     not. An error comes without content. The zero Config is the strict one.
//
// # Not guaranteed
//
//   - Who opened the file while it was loose still holds it open, and what was readable may have been copied: rotate it.
//   - Against root, and against other programs of the same user, no mode helps: seal the content (package credcipher).
//   - Folders are checked only under CheckParents; without it whoever may write in the folder can exchange the file
//     for another file of yours. To keep to a tree on purpose use package pathboundary.
//   - A change while reading is noticed by size and modification time, which a write call sets as it begins: half of
//     one that was under way before may be read. It is for catching a careless writer; who may write the file without
//     trace is its owner.
//   - A FIFO or device is opened before it is refused, without waiting: a writer that waits at a FIFO goes on.
//   - Modes are what is judged. [Report].Unverified names what else this system knows and was not looked at: access
//     control lists on macOS and the BSDs; owner, access control list and folders on Windows, where a new file has
//     the rights of its folder. NFSv4 lists are what the server makes of the mode.
//   - A file system without locks cannot tell a dead writer's temporary file from a living one's, so it stays. One
//     that cannot store modes (FAT, some shared folders) is an error, [Unrepaired], unless OnLoose is Warn.
//   - Deleted content may remain in the device's blocks.
//
// # Cost
//
// Read of 1 KiB takes about 0.6 of the time of os.ReadFile; with CheckParents about 1.4 of it, for a path of five
// folders. Write takes the time of its two fsyncs, and of reading the names in the folder. A file with a second name is
// refused after 31 ms. The bench module prints the ratios.
package privatefile

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
)

// Config says which files are accepted. The zero value is the strictest; it is meant for a file that one service
// writes and reads under one user.
//
// A Secret of Kubernetes belongs to root and the pod's fsGroup, mode 0440, and its name is a link: read it as
// "MOUNT/..data/NAME" with Owner SelfOrRoot and AllowGroupRead.
type Config struct {
	// OnLoose says what happens to a file that others may read. Zero: Repair. Reject is stricter, Warn weaker.
	OnLoose LoosePolicy
	// MaxBytes is the largest content that Read takes, and that Write and Create accept, so that what was written can
	// be read back. Zero: 4 MiB. More is weaker: it is memory that whoever fills the file can make Read take.
	MaxBytes int64
	// Owner says whose files are accepted. Zero: Self. SelfOrRoot is weaker only by what root could do anyway.
	Owner OwnerPolicy
	// AllowTainted accepts a file that others may write, and then treats it as OnLoose says; Report.Tainted is set.
	// Weaker: the content may be theirs. For one run, after somebody has looked at the file.
	AllowTainted bool
	// AllowGroupRead accepts 0640 and 0440. Weaker: the group's members read the secret. Writing by the group and,
	// on Linux, readers that an access control list adds are not part of it. Write and Create stay at 0600.
	AllowGroupRead bool
	// AllowHardlinks accepts a file with several names. Weaker: the others may lie where a backup or another user is.
	AllowHardlinks bool
	// CheckParents also refuses a path through folders where others may exchange names: each folder, and each link on
	// the way, up to the root must belong to us or to root, and may be writable for others only with the sticky bit
	// (OpenSSH's StrictModes, which stop at the home directory). False is weaker: whoever may write in a folder on the
	// way chooses the file. On Windows nothing is checked, see Report.Unverified.
	CheckParents bool
}

const defaultMaxBytes = 4 << 20

func (c Config) maxBytes() int64 {
	if c.MaxBytes == 0 {
		return defaultMaxBytes
	}
	return min(c.MaxBytes, math.MaxInt-1) // what a slice can hold, and the byte that Read adds
}

func (c Config) validate() error {
	var errs []error
	if c.OnLoose.word() == "" {
		errs = append(errs, fmt.Errorf("field OnLoose: %v does not exist", c.OnLoose))
	}
	if c.Owner.word() == "" {
		errs = append(errs, fmt.Errorf("field Owner: %v does not exist", c.Owner))
	}
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("field MaxBytes: %d is negative", c.MaxBytes))
	}
	return errors.Join(errs...)
}

// A Report says what was found. Beside an error it tells what was known by then.
type Report struct {
	// Before and After are the permission bits, with setuid, setgid and sticky, as found and as left. Zero on Windows.
	Before, After fs.FileMode
	// Repaired: the mode was changed from Before to After, which is 0600 or stricter (with AllowGroupRead 0640).
	Repaired bool
	// Tainted: others could have written the file.
	Tainted bool
	// Warnings are sentences for the operator: that a file was loose, and what to do. Nil: nothing to say.
	Warnings []string
	// Unverified names the rules of this system that were not looked at, such as "access control list".
	// Empty, as on Linux: none.
	Unverified string
}
