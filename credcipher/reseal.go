// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A ResealReport says how files stand after Reseal.
type ResealReport struct {
	// KeyIDs counts the envelopes under each key, documents and fields, and the list of a file Marker. What could not
	// be moved counts under the key that its header names, also if the Keyring lacks that key; version 1 under "".
	// Envelopes inside the plaintext of another envelope are not seen.
	KeyIDs map[string]int

	// Resealed counts the files that were rewritten.
	Resealed int

	// Failed lists the files that were left as they are because of an error.
	Failed []string

	// Plaintext lists, sorted, what lies there unsealed: backups and editors' copies beside the files (x.json.bak,
	// x.json~), and under InsecurePlaintext files. Remove them; they hold what the envelopes protect.
	Plaintext []string

	// complete: every file was looked at and what stands in it is known.
	complete bool
}

// StillUsed says how many envelopes need the key of that id, in the form that (*masterkey.Manager).Retire asks for. It
// is an error if a file could not be counted: what is unreadable today may need the key tomorrow.
func (r ResealReport) StillUsed(id string) (int, error) {
	if !r.complete {
		return r.KeyIDs[id], errors.New("credcipher: not every file could be counted; see the error of Reseal and run it again")
	}
	return r.KeyIDs[id], nil
}

// ResealProgress is what Config.Progress is told after each file.
type ResealProgress struct {
	File        string
	Done, Total int
	Resealed    bool  // the file was rewritten
	Err         error // why it was left as it is, or nil
}

// Reseal moves envelopes to the primary key: in each file of dir the whole document or, if the document holds field
// envelopes, those. bind gives the place of a file. Under Migrate it seals plaintext documents that hold no envelope as
// a whole, and marks what it has seen. It never writes plaintext, under no Policy.
//
// A file is replaced in one step, with mode and owner kept (extended attributes and access lists are not), after the
// new content has been read back and opened. So it may be killed at any moment and run again; readers meanwhile find
// envelopes of the old or the new key, which both open. Two runs at once do no harm. A program that writes one of the
// files in the last moment before its replacement loses that write, so let writers pause, or use a [Dir].
//
// A file that does not open, is a link, or has a second name is left as it is; the others are done, and the error names
// all that failed. A cancelled ctx ends the run between two files.
func (c *Cipher) Reseal(ctx context.Context, dir *os.Root, files []string, bind func(file string) Binding) (ResealReport, error) {
	if c == nil || c.keyring == nil || dir == nil || bind == nil {
		return ResealReport{}, errors.New("credcipher: Reseal needs a Cipher made by New, a directory and a bind function")
	}
	return c.resealAll(ctx, dir, files, func(file string) (resealed, error) { return c.resealFile(dir, file, bind(file), true) })
}

// resealAll calls each for every file, and does what there is to do besides.
func (c *Cipher) resealAll(ctx context.Context, dir *os.Root, files []string, each func(file string) (resealed, error)) (ResealReport, error) {
	report := ResealReport{KeyIDs: map[string]int{}, complete: true}
	var errs []error
	fail := func(err error) {
		errs = append(errs, err)
		report.complete = false
	}
	files = slices.Compact(slices.Sorted(slices.Values(files)))
	dirs := map[string]bool{}
	for _, file := range files {
		if d := filepath.Dir(file); !dirs[d] {
			dirs[d] = true
			if err := sweep(dir, d); err != nil {
				fail(fmt.Errorf("credcipher: reseal: clean up: %w", err))
			}
		}
	}
	var seen []Binding
	for i, file := range files {
		if err := context.Cause(ctx); err != nil {
			fail(fmt.Errorf("credcipher: reseal: %d of %d files not looked at: %w", len(files)-i, len(files), err))
			break
		}
		f, err := each(file)
		if err != nil {
			err = fmt.Errorf("credcipher: reseal %q: %w", file, err)
			errs = append(errs, err)
			report.Failed = append(report.Failed, file)
		}
		for _, id := range f.keyIDs {
			report.KeyIDs[id]++
		}
		if f.resealed {
			report.Resealed++
		}
		if f.plaintext {
			report.Plaintext = append(report.Plaintext, file)
		}
		report.complete = report.complete && f.counted
		seen = append(seen, f.seen...)
		if c.progress != nil {
			c.progress(ResealProgress{file, i + 1, len(files), f.resealed, err})
		}
	}
	for d := range dirs {
		if err := syncDir(dir, d); err != nil {
			fail(fmt.Errorf("credcipher: reseal: %w", err))
		}
	}
	if err := c.markAll(seen, report.KeyIDs); err != nil {
		fail(fmt.Errorf("credcipher: reseal: %w", err))
	}
	siblings, err := plaintextSiblings(dir, files, dirs)
	if err != nil {
		errs = append(errs, fmt.Errorf("credcipher: reseal: look for plaintext copies: %w", err))
	}
	report.Plaintext = append(report.Plaintext, siblings...)
	slices.Sort(report.Plaintext)
	return report, errors.Join(errs...)
}

// markAll marks places under Migrate. The list of a file marker is moved to the primary key, and counted.
func (c *Cipher) markAll(seen []Binding, keyIDs map[string]int) error {
	if c.policy != Migrate {
		seen = nil
	}
	if m, ok := c.marker.(*fileMarker); ok {
		id, err := m.update(seen)
		if err == nil {
			keyIDs[id]++
		}
		return err
	}
	for _, b := range seen {
		if err := c.marker.MarkSealed(b); err != nil {
			return fmt.Errorf("mark the place of an envelope: %w", err)
		}
	}
	return nil
}

// resealed is what became of one file.
type resealed struct {
	keyIDs    []string // of each envelope in it
	counted   bool     // keyIDs are all that there are
	resealed  bool
	plaintext bool
	seen      []Binding // places of envelopes that opened
}

// A part is one envelope in a document.
type part struct {
	span
	place     place
	envelope  envelope
	plaintext []byte
	info      Info
}

// parts finds the envelopes of a document: itself or, if asked for, its fields. None and a nil error mean plaintext.
// Beside an error stand those that could be read.
func parts(doc []byte, b Binding, fields bool) ([]part, error) {
	e, err := parse(doc)
	if err != nil {
		return nil, err
	}
	if e.version != 0 {
		return []part{{span: span{"", 0, len(doc)}, place: place{document, b, ""}, envelope: e}}, nil
	}
	if !fields {
		return nil, nil
	}
	spans, envelopes, err := sealedFields(doc)
	all := make([]part, len(spans))
	for i, s := range spans {
		all[i] = part{span: s, place: place{field, b, s.pointer}, envelope: envelopes[i]}
	}
	return all, err
}

// unsealParts opens each, or none.
func (c *Cipher) unsealParts(all []part) (needsReseal bool, err error) {
	for i := range all {
		p := &all[i]
		if p.plaintext, p.info, err = c.unseal(p.envelope, p.place); err != nil {
			if p.place.kind == field {
				err = fmt.Errorf("field %q: %w", p.pointer, err)
			}
			return false, err
		}
		needsReseal = needsReseal || p.info.NeedsReseal
	}
	return needsReseal, nil
}

func (c *Cipher) resealFile(dir *os.Root, file string, b Binding, fields bool) (resealed, error) {
	var f resealed
	doc, info, err := readRegular(dir, file)
	if err != nil {
		return f, err
	}
	all, err := parts(doc, b, fields)
	f.counted = err == nil
	for _, p := range all {
		f.keyIDs = append(f.keyIDs, string(p.envelope.keyID))
	}
	if err == nil {
		err = c.ready(b)
	}
	if err != nil {
		return f, err
	}
	defer func() {
		for _, p := range all {
			clear(p.plaintext)
		}
	}()
	var needsReseal bool
	if len(all) == 0 {
		whole := place{document, b, ""}
		plaintext, info, err := c.takePlaintext(doc, whole)
		if err != nil {
			return f, err
		}
		if f.plaintext = !info.NeedsReseal; f.plaintext {
			return f, nil
		}
		needsReseal = true
		all = []part{{span: span{"", 0, len(doc)}, place: whole, plaintext: plaintext, info: info}}
		f.keyIDs = []string{""}
	} else if needsReseal, err = c.unsealParts(all); err != nil {
		return f, err
	}
	if needsReseal {
		if err := c.rewrite(dir, file, doc, info, all, f.keyIDs); err != nil {
			if !all[0].info.Sealed {
				f.keyIDs = nil // it still is plaintext
			}
			return f, err
		}
		f.resealed = true
	}
	for _, p := range all {
		f.seen = append(f.seen, p.place.mark())
	}
	return f, nil
}

// rewrite seals anew the parts that need it and replaces the file. Then keyIDs are those of the new one.
func (c *Cipher) rewrite(dir *os.Root, file string, doc []byte, info fs.FileInfo, all []part, keyIDs []string) error {
	key, err := c.primary()
	if err != nil {
		return err
	}
	moved := slices.Clone(keyIDs)
	var out []byte
	done := 0
	for i, p := range all {
		if !p.info.NeedsReseal {
			continue
		}
		out = append(out, doc[done:p.start]...)
		if out, err = key.seal(out, p.plaintext, p.place); err != nil {
			return err
		}
		done = p.end
		moved[i] = key.id
	}
	out = append(out, doc[done:]...)
	err = replace(dir, file, out, info, func(written []byte) error {
		again, err := parts(written, all[0].place.binding, true)
		if err != nil {
			return err
		}
		if _, err := c.unsealParts(again); err != nil {
			return err
		}
		same := slices.EqualFunc(again, all, func(a, b part) bool {
			return a.place.kind == b.place.kind && a.pointer == b.pointer && bytes.Equal(a.plaintext, b.plaintext)
		})
		for _, p := range again {
			clear(p.plaintext)
		}
		if !same {
			return errors.New("credcipher: something else came back")
		}
		return nil
	})
	if err != nil {
		return err
	}
	copy(keyIDs, moved)
	return nil
}

// plaintextSiblings finds what looks like a copy of one of the files and is no envelope.
func plaintextSiblings(root *os.Root, files []string, dirs map[string]bool) ([]string, error) {
	listed := map[string]bool{}
	for _, file := range files {
		listed[filepath.Clean(file)] = true
	}
	var found []string
	var errs []error
	for d := range dirs {
		entries, err := readDir(root, d)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, e := range entries {
			name := filepath.Join(d, e.Name())
			if listed[name] || !e.Type().IsRegular() || isTemp(e.Name()) || !copyOf(listed, d, e.Name()) {
				continue
			}
			doc, _, err := readRegular(root, name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if all, err := parts(doc, nil, true); len(doc) > 0 && err == nil && len(all) == 0 {
				found = append(found, name)
			}
		}
	}
	return found, errors.Join(errs...)
}

// copyOf says whether a name is that of a file with something around it: x.json.bak, x.json~, .x.json.swp, #x.json#,
// x.json_old, x.json-2024.
func copyOf(files map[string]bool, dir, name string) bool {
	name = strings.TrimLeft(name, ".#~")
	for i := range len(name) {
		if strings.IndexByte(".~#-_ ", name[i]) >= 0 && files[filepath.Join(dir, name[:i])] {
			return true
		}
	}
	return false
}
