// SPDX-License-Identifier: Apache-2.0

package envallow

import (
	"math/bits"
	"strings"
)

// An index finds what is known of a folded name. One pass over a name hashes it, each of its beginnings that ends in an
// underscore, and each of its words, so that a variable costs one lookup for each of its words and one more, however
// long the lists are.
type index struct {
	slots []*entry // open addressing; the length is a power of two and at least twice the number of entries
	used  int
}

// An entry is what is known of a name, a beginning or a word.
type entry struct {
	hash     uint64
	text     string // in upper case
	class    Class
	known    bool     // the table has it; a known Unlisted name is harmless
	dropped  bool     // Config.Drop
	hardened bool     // Config.Harden
	anchor   bool     // of the short list, and tells programs where to look
	kept     []string // Config.Keep, as spelt there
	check    func(value string) error
	role     word
	endings  []ending // of names whose last word this is
}

func (e *entry) isHardened() bool { return e != nil && e.hardened }

// faults reports whether Config.Check is against the value.
func (e *entry) faults(value string) bool {
	return e != nil && e.check != nil && e.check(value) != nil
}

type ending struct {
	text  string // with its underscore
	class Class
}

// step adds a byte to a hash. It needs no key: the lists are fixed, and an unlucky name costs a comparison more.
func step(h uint64, c byte) uint64 { return bits.RotateLeft64(h, 5) ^ uint64(c) }

func (x *index) place(h uint64) int {
	return int((h*0x9E3779B97F4A7C15)>>32) & (len(x.slots) - 1)
}

// find returns the entry for a text in any case, or nil.
func (x *index) find(h uint64, text string) *entry {
	for i := x.place(h); x.slots[i] != nil; i = (i + 1) & (len(x.slots) - 1) {
		if e := x.slots[i]; e.hash == h && equalFold(e.text, text) {
			return e
		}
	}
	return nil
}

// at returns the entry for a text, which it makes if there is none.
func (x *index) at(text string) *entry {
	text = strings.ToUpper(text)
	var h uint64
	for i := range len(text) {
		h = step(h, text[i])
	}
	if 2*(x.used+1) > len(x.slots) {
		old := x.slots
		x.slots = make([]*entry, max(64, 2*len(old)))
		for _, e := range old {
			if e != nil {
				x.put(e)
			}
		}
	}
	if e := x.find(h, text); e != nil {
		return e
	}
	e := &entry{hash: h, text: text}
	x.put(e)
	x.used++
	return e
}

func (x *index) put(e *entry) {
	i := x.place(e.hash)
	for x.slots[i] != nil {
		i = (i + 1) & (len(x.slots) - 1)
	}
	x.slots[i] = e
}

// equalFold compares with a text in upper case; ASCII is all that a name can hold.
func equalFold(upper, text string) bool {
	if len(upper) != len(text) {
		return false
	}
	for i := range len(text) {
		if upper[i] != fold(text[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	if lower(c) {
		return c - ('a' - 'A')
	}
	return c
}

// lists are the table as lookups.
type lists struct {
	names    index // exact names
	families index // beginnings, with their underscore
	words    index
}

func newLists() lists {
	var l lists
	for _, r := range table {
		for text := range strings.FieldsSeq(r.names) {
			l.add(text, r.class)
		}
	}
	for text := range strings.FieldsSeq(secretNames) {
		l.add(text, Secret)
	}
	for _, w := range words {
		for text := range strings.FieldsSeq(w.words) {
			l.words.at(text).role |= w.role
		}
	}
	return l
}

func (l *lists) add(text string, class Class) {
	if harmless, ok := strings.CutPrefix(text, "!"); ok {
		text, class = harmless, Unlisted
	}
	var e *entry
	if family, ok := strings.CutSuffix(text, "*"); ok {
		e = l.families.at(family)
	} else if tail, ok := strings.CutPrefix(text, "*"); ok {
		e = l.words.at(tail[strings.LastIndexByte(tail, '_')+1:])
		e.endings = append(e.endings, ending{tail, class})
		return
	} else {
		e = l.names.at(text)
	}
	e.class, e.known = class, true
}

// found is what one pass over a name finds.
type found struct {
	entry  *entry // of the exact name, or nil
	class  Class  // by the exact name, else its longest known beginning, else its ending
	secret bool   // by its words
	small  bool   // has a small letter
	hash   uint64
}

// listed reports whether the name is on the short list.
func (f found) listed(windows bool) bool { return f.class == Session && (!f.small || windows) }

// fixed reports whether a tool call may not move the variable.
func (f found) fixed() bool { return f.class == Location || f.entry != nil && f.entry.anchor }

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }
func lower(c byte) bool { return 'a' <= c && c <= 'z' }
func digit(c byte) bool { return '0' <= c && c <= '9' }

// look reads a name. It is not ok if no variable can have it.
func (l *lists) look(name string, windows bool) (f found, ok bool) {
	var (
		hash, wordHash uint64
		from           int  // of the word
		credential     bool // a word, or two, said so
		stored         bool
		last, before   word
		endings        []ending
	)
	for i := 0; i <= len(name); i++ {
		var c byte
		if i < len(name) {
			c = name[i]
			if lower(c) {
				f.small = true
			} else if !upper(c) && c != '_' && (i == 0 || !digit(c) && !(windows && (c == '(' || c == ')'))) {
				return f, false
			}
		}
		boundary := i == len(name) || c == '_' || upper(c) && i > from && lower(name[i-1])
		if boundary && i > from {
			w := l.words.find(wordHash, name[from:i])
			var role word
			if w != nil {
				role = w.role
			} else if compound(name[from:i]) {
				role = secretWord
			}
			if role != 0 || !digit(name[from]) {
				before, last = last, role
				credential = credential || role&secretWord != 0 && before&quantity == 0 || role&keyWord != 0 && before&holder != 0
				stored = stored || role&store != 0
			}
			if i == len(name) && w != nil {
				endings = w.endings
			}
		}
		if i == len(name) {
			break
		}
		hash = step(hash, fold(c))
		if c == '_' {
			from, wordHash = i+1, 0
			if e := l.families.find(hash, name[:i+1]); e != nil {
				f.class = e.class
			}
		} else if boundary {
			from, wordHash = i, step(0, fold(c))
		} else {
			wordHash = step(wordHash, fold(c))
		}
	}
	for _, e := range endings {
		if !f.class.hijacks() && e.class > f.class && len(name) > len(e.text) && equalFold(e.text, name[len(name)-len(e.text):]) {
			f.class = e.class
		}
	}
	f.hash = hash
	f.secret = last&measure == 0 && (credential || last&secretLast != 0 && before&open == 0 || last&address != 0 && stored)
	if f.entry = l.names.find(hash, name); f.entry != nil && f.entry.known {
		f.class = f.entry.class
		f.secret = false
	}
	f.secret = f.secret || f.class == Secret
	return f, name != ""
}

// compound reports whether a word that the vocabulary lacks is one of the compounds that no other word ends like:
// PGPASSWORD, LDAPPASSWD, GHTOKEN.
func compound(text string) bool {
	for _, tail := range [...]string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY"} {
		if len(text) > len(tail) && equalFold(tail, text[len(text)-len(tail):]) {
			return true
		}
	}
	return false
}
