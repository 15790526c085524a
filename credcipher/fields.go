// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// SealFields returns doc with an envelope in the place of each value that a JSON pointer (RFC 6901) names; every other
// byte stays as it is. Each envelope is bound to b and to its pointer. Under InsecurePlaintext it returns a copy of
// doc, unless one of the values looks like an envelope.
//
// The document is JSON with an object or array as its root. It is an error if there is no pointer, and if a pointer is
// empty, repeats, contains another one, names nothing, or leads through a member that the document has twice or again
// in other letters, which no pointer names: a reader that folds case would take the other one. One pointer has at most
// 4096 bytes, all together 16 MiB.
//
// What stands around the sealed values can be read and edited by anyone. A value that is an envelope already is sealed
// once more; to replace it, open the fields first.
func (c *Cipher) SealFields(doc []byte, pointers []string, b Binding) ([]byte, error) {
	spans, err := c.fields(doc, pointers, b)
	if err != nil {
		return nil, err
	}
	if c.policy == InsecurePlaintext {
		for _, s := range spans {
			if err := notPlaintext(doc[s.start:s.end]); err != nil {
				return nil, fmt.Errorf("%w; field %q could not be told from a sealed one", err, s.pointer)
			}
		}
		return slices.Clone(doc), nil
	}
	key, err := c.primary()
	if err != nil {
		return nil, err
	}
	out, err := splice(doc, spans, func(out []byte, s span) ([]byte, error) {
		return key.seal(out, doc[s.start:s.end], place{field, b, s.pointer})
	})
	if err == nil && len(out) > maxDocument {
		return nil, fmt.Errorf("credcipher: with its fields sealed, the document has %d bytes; OpenFields takes %d", len(out), maxDocument)
	}
	return out, err
}

// OpenFields returns doc with the values that SealFields sealed, byte for byte. Each pointer must name one. Info tells
// of all fields: Sealed if each is, NeedsReseal if one does, KeyID if it is the same for all, else empty.
func (c *Cipher) OpenFields(doc []byte, pointers []string, b Binding) ([]byte, Info, error) {
	spans, err := c.fields(doc, pointers, b)
	if err != nil {
		return nil, Info{}, err
	}
	var infos []Info
	out, err := splice(doc, spans, func(out []byte, s span) ([]byte, error) {
		value, info, err := c.open(doc[s.start:s.end], place{field, b, s.pointer})
		infos = append(infos, info)
		return append(out, value...), err
	})
	if err != nil {
		return nil, Info{}, err
	}
	all := infos[0]
	for _, info := range infos[1:] {
		all.Sealed = all.Sealed && info.Sealed
		all.NeedsReseal = all.NeedsReseal || info.NeedsReseal
		if all.KeyID != info.KeyID {
			all.KeyID = ""
		}
	}
	return out, all, nil
}

// fields finds the values that pointers name.
func (c *Cipher) fields(doc []byte, pointers []string, b Binding) ([]span, error) {
	if err := c.ready(b); err != nil {
		return nil, err
	}
	wanted, err := newTree(pointers)
	if err != nil {
		return nil, err
	}
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("%w: %d bytes are more than a document may have", ErrMalformed, len(doc))
	}
	s, err := survey(doc, wanted, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(s.spans) < len(pointers) {
		for _, p := range pointers {
			if !slices.ContainsFunc(s.spans, func(s span) bool { return s.pointer == p }) {
				return nil, fmt.Errorf("%w: pointer %q names nothing in it", ErrMalformed, p)
			}
		}
	}
	return s.spans, nil
}

// splice copies doc with something else in the place of each span.
func splice(doc []byte, spans []span, value func(out []byte, s span) ([]byte, error)) ([]byte, error) {
	out := make([]byte, 0, len(doc))
	done := 0
	for _, s := range spans {
		out = append(out, doc[done:s.start]...)
		var err error
		if out, err = value(out, s); err != nil {
			return nil, fmt.Errorf("credcipher: field %q: %w", s.pointer, err)
		}
		done = s.end
	}
	return append(out, doc[done:]...), nil
}

// A node of the tree of wanted pointers. A nil node wants nothing.
type node struct {
	children map[string]*node
	folded   map[string]bool // the children's names, without case
	seen     bool            // in the document
	wanted   bool            // a pointer ends here
	pointer  string
}

// newTree parses pointers.
func newTree(pointers []string) (*node, error) {
	if len(pointers) == 0 {
		return nil, errors.New("credcipher: no pointer; name the fields")
	}
	root := &node{}
	spelt := 0
	for _, p := range pointers {
		if spelt += len(p); spelt > maxPointers {
			return nil, fmt.Errorf("credcipher: the pointers are longer than %d bytes together", maxPointers)
		}
		tokens, err := split(p)
		if err != nil {
			return nil, err
		}
		at := root
		for _, token := range tokens {
			if at.wanted {
				return nil, fmt.Errorf("credcipher: pointer %q lies below pointer %q", p, at.pointer)
			}
			at = at.add(token)
		}
		if at.wanted || at.children != nil {
			return nil, fmt.Errorf("credcipher: pointer %q repeats or contains another one", p)
		}
		at.wanted, at.pointer = true, p
	}
	return root, nil
}

// split gives the names of a pointer.
func split(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, errors.New("credcipher: an empty pointer names the whole document; use Seal and Open")
	}
	if len(pointer) > maxPointer || pointer[0] != '/' {
		return nil, fmt.Errorf("credcipher: pointer %.40q does not start with / or is longer than %d", pointer, maxPointer)
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, token := range tokens {
		rest := strings.NewReplacer("~0", "", "~1", "").Replace(token)
		if strings.Contains(rest, "~") {
			return nil, fmt.Errorf("credcipher: pointer %q has a ~ that is neither ~0 nor ~1", pointer)
		}
		tokens[i] = strings.NewReplacer("~0", "~", "~1", "/").Replace(token)
	}
	return tokens, nil
}

func (n *node) add(name string) *node {
	child := n.children[name]
	if child == nil {
		if n.children == nil {
			n.children, n.folded = map[string]*node{}, map[string]bool{}
		}
		child = &node{}
		n.children[name] = child
		n.folded[fold([]byte(name))] = true
	}
	return child
}

// child gives the node of a member. It refuses a name that a wanted one has already had, in any letters.
func (n *node) child(name []byte) (*node, error) {
	if n == nil || n.children == nil {
		return nil, nil
	}
	child := n.children[string(name)]
	if child == nil {
		if n.folded[fold(name)] {
			return nil, errTwin
		}
		return nil, nil
	}
	if child.seen {
		return nil, errTwin
	}
	child.seen = true
	return child, nil
}

// element gives the node of an array's element.
func (n *node) element(index []byte) *node {
	if n == nil {
		return nil
	}
	return n.children[string(index)]
}

// sealedFields finds the envelopes inside a document that is none itself. Beside an error, which tells of the first that
// is not well written, stand those that are.
func sealedFields(doc []byte) ([]span, []envelope, error) {
	s, err := survey(doc, nil, true)
	if err != nil {
		if bytes.Contains(bytes.ToLower(doc), []byte(sentinel)) {
			return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return nil, nil, nil
	}
	var spans []span
	var envelopes []envelope
	var bad error
	seen := map[string]bool{}
	for _, f := range s.spans {
		e, err := parse(doc[f.start:f.end])
		if err == nil && seen[f.pointer] {
			err = fmt.Errorf("%w: it is there twice", ErrMalformed)
		}
		if err != nil {
			if bad == nil {
				bad = fmt.Errorf("field %q: %w", f.pointer, err)
			}
			continue
		}
		seen[f.pointer] = true
		spans, envelopes = append(spans, f), append(envelopes, e)
	}
	return spans, envelopes, bad
}
