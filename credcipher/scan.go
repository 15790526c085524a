// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner reads JSON (RFC 8259) from the front, each byte once, and gives views into it.
type scanner struct {
	doc []byte
	pos int
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.doc); s.pos++ {
		switch c := s.doc[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// eat takes the byte c if it comes next.
func (s *scanner) eat(c byte) bool {
	if s.peek() != c || s.pos == len(s.doc) {
		return false
	}
	s.pos++
	return true
}

// end says whether nothing but white space is left.
func (s *scanner) end() bool {
	s.peek()
	return s.pos == len(s.doc)
}

func (s *scanner) literal(word string) bool {
	s.peek()
	if !bytes.HasPrefix(s.doc[s.pos:], []byte(word)) {
		return false
	}
	s.pos += len(word)
	return true
}

// object reads an object whose names need no escapes; member reads the value of each.
func (s *scanner) object(member func(name []byte) bool) bool {
	if !s.eat('{') {
		return false
	}
	for {
		name, ok := s.text()
		if !ok || !s.eat(':') || !member(name) {
			return false
		}
		if !s.eat(',') {
			return s.eat('}')
		}
	}
}

// text reads a string without its quotes, up to the next one: an escape in it shows as the backslash that it is, which
// nothing in an envelope may hold. Its content is the caller's to check.
func (s *scanner) text() ([]byte, bool) {
	if !s.eat('"') {
		return nil, false
	}
	n := bytes.IndexByte(s.doc[s.pos:], '"')
	if n < 0 {
		return nil, false
	}
	text := s.doc[s.pos : s.pos+n : s.pos+n]
	s.pos += n + 1
	return text, true
}

// number reads digits without a leading zero: what an envelope has of numbers.
func (s *scanner) number() ([]byte, bool) {
	s.peek()
	start := s.pos
	s.digits()
	digits := s.doc[start:s.pos:s.pos]
	return digits, len(digits) > 0 && (len(digits) == 1 || digits[0] != '0')
}

func (s *scanner) digits() (some bool) {
	start := s.pos
	for s.pos < len(s.doc) && '0' <= s.doc[s.pos] && s.doc[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// anyNumber skips a number of the full grammar.
func (s *scanner) anyNumber() bool {
	next := func(set string) bool {
		if s.pos == len(s.doc) || strings.IndexByte(set, s.doc[s.pos]) < 0 {
			return false
		}
		s.pos++
		return true
	}
	next("-")
	if !next("0") && !s.digits() {
		return false
	}
	if next(".") && !s.digits() {
		return false
	}
	if next("eE") {
		next("+-")
		return s.digits()
	}
	return true
}

// anyString reads a string of the full grammar and returns what stands between its quotes.
func (s *scanner) anyString() (raw []byte, escaped, ok bool) {
	if !s.eat('"') {
		return nil, false, false
	}
	for start := s.pos; s.pos < len(s.doc); s.pos++ {
		c := s.doc[s.pos]
		if c == '"' {
			s.pos++
			return s.doc[start : s.pos-1], escaped, true
		}
		if c < ' ' {
			return nil, false, false
		}
		if c != '\\' {
			continue
		}
		escaped = true
		s.pos++
		if s.pos == len(s.doc) {
			return nil, false, false
		}
		if s.doc[s.pos] == 'u' {
			if _, ok := hex4(s.doc[s.pos+1:]); !ok {
				return nil, false, false
			}
			s.pos += 4
		} else if strings.IndexByte(`"\/bfnrt`, s.doc[s.pos]) < 0 {
			return nil, false, false
		}
	}
	return nil, false, false
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}

// unescape gives the text of a string that anyString read. A lone surrogate becomes U+FFFD, as in encoding/json.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		if raw[i] != 'u' {
			out = append(out, "\"\\/\b\f\n\r\t"[strings.IndexByte(`"\/bfnrt`, raw[i])])
			continue
		}
		r, _ := hex4(raw[i+1:])
		i += 4
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if bytes.HasPrefix(raw[i+1:], []byte(`\u`)) {
				low, _ = hex4(raw[i+3:])
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i += 6
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

// fold makes names equal that encoding/json and others take for equal: those that differ in case only.
func fold(name []byte) string {
	return string(bytes.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name))
}

const (
	maxDepth   = 1000 // of nesting in a document with fields; each level is a call
	maxPointer = 4096 // bytes of a JSON pointer

	// maxPointers is for all pointers in a document together: a short path to an array is spelt out for each element.
	maxPointers = 16 << 20
)

var (
	errNotJSON = errors.New("not JSON, or nested too deep")
	errTwin    = errors.New("a member on the way to a field is there twice, or again in other letters")
	errPointer = errors.New("the pointers to sealed fields are too long")
)

// A span is a value in a document.
type span struct {
	pointer    string
	start, end int
}

// A surveyor walks through a document once.
type surveyor struct {
	scanner
	claims bool   // the root object has the sentinel
	spans  []span // the wanted values, or all objects with the sentinel, in the order of the document
	all    bool   // look for objects with the sentinel
	spelt  int    // bytes of pointers in spans, if all
	path   []byte // the pointer of the value under way, if all
	depth  int
}

// survey checks that doc is JSON. It finds the values that wanted names and, if all is set, each object with the
// sentinel that lies below the root and in no other such object.
func survey(doc []byte, wanted *node, all bool) (*surveyor, error) {
	s := &surveyor{scanner: scanner{doc: doc}, all: all}
	claims, err := s.value(wanted)
	if err == nil && !s.end() {
		err = errNotJSON
	}
	s.claims = claims
	return s, err
}

// value reads one value; at is where the wanted pointers stand, nil if none leads here. It says whether the value is an
// object with the sentinel.
func (s *surveyor) value(at *node) (claims bool, err error) {
	c := s.peek()
	start, before := s.pos, len(s.spans)
	switch c {
	case '{', '[':
		if s.depth++; s.depth > maxDepth {
			return false, errNotJSON
		}
		s.pos++
		if c == '{' {
			claims, err = s.members(at)
		} else {
			err = s.elements(at)
		}
		s.depth--
	case '"':
		if _, _, ok := s.anyString(); !ok {
			err = errNotJSON
		}
	default:
		if !s.literal("true") && !s.literal("false") && !s.literal("null") && !s.anyNumber() {
			err = errNotJSON
		}
	}
	if err != nil {
		return false, err
	}
	if at != nil && at.wanted {
		s.spans = append(s.spans, span{at.pointer, start, s.pos})
	}
	if s.all && claims && s.depth > 0 {
		if s.spelt += len(s.path); len(s.path) > maxPointer || s.spelt > maxPointers {
			return false, errPointer
		}
		s.spans = append(s.spans[:before], span{string(s.path), start, s.pos})
	}
	return claims, nil
}

// members reads an object after its brace.
func (s *surveyor) members(at *node) (claims bool, err error) {
	if s.eat('}') {
		return false, nil
	}
	for {
		name, escaped, ok := s.anyString()
		if !ok || !s.eat(':') {
			return false, errNotJSON
		}
		if escaped {
			name = unescape(name)
		}
		claims = claims || bytes.EqualFold(name, []byte(sentinel))
		child, err := at.child(name)
		if err != nil {
			return false, err
		}
		mark := s.enter(name)
		if _, err := s.value(child); err != nil {
			return false, err
		}
		s.path = s.path[:mark]
		if s.eat(',') {
			continue
		}
		if !s.eat('}') {
			return false, errNotJSON
		}
		return claims, nil
	}
}

// elements reads an array after its bracket.
func (s *surveyor) elements(at *node) error {
	if s.eat(']') {
		return nil
	}
	var index [20]byte
	for i := 0; ; i++ {
		name := strconv.AppendInt(index[:0], int64(i), 10)
		child := at.element(name)
		mark := s.enter(name)
		if _, err := s.value(child); err != nil {
			return err
		}
		s.path = s.path[:mark]
		if s.eat(',') {
			continue
		}
		if !s.eat(']') {
			return errNotJSON
		}
		return nil
	}
}

// enter adds a name to the path and returns where the path ended before. A path that is too long already needs no more.
func (s *surveyor) enter(name []byte) (mark int) {
	mark = len(s.path)
	if !s.all || mark > maxPointer {
		return mark
	}
	s.path = append(s.path, '/')
	for _, c := range name {
		switch c {
		case '~':
			s.path = append(s.path, "~0"...)
		case '/':
			s.path = append(s.path, "~1"...)
		default:
			s.path = append(s.path, c)
		}
	}
	return mark
}
