// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"bytes"
	"fmt"
	"strconv"
)

// An envelope is what a document says, as views into it. Version 0 means that the document is plaintext.
type envelope struct {
	version int

	keyID, blob []byte // version 2

	iv, ct, tag []byte // version 1
}

// parse tells an envelope from plaintext, and from what only claims to be an envelope. A nil error with version 0 says
// that no reader could take the document for an envelope.
func parse(doc []byte) (envelope, error) {
	if len(doc) > maxDocument {
		return envelope{}, fmt.Errorf("%w: %d bytes are more than a document may have", ErrMalformed, len(doc))
	}
	s := scanner{doc: doc}
	e, err := s.envelope()
	if err == nil && s.end() {
		return e, nil
	}
	if claimErr := notPlaintext(doc); claimErr == nil {
		return envelope{}, nil
	} else if err == nil {
		err = claimErr
	}
	return envelope{}, err
}

// notPlaintext says why doc must not be taken for plaintext: it has the sentinel among the members of its root,
// whatever its case and escapes, or it is broken JSON with the sentinel anywhere in it, such as half an envelope, or
// empty, as a file is whose writer was killed.
func notPlaintext(doc []byte) error {
	if len(doc) == 0 {
		return fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	claims := false
	if s, err := survey(doc, nil, false); err == nil {
		claims = s.claims
	} else {
		claims = bytes.Contains(bytes.ToLower(doc), []byte(sentinel))
	}
	if claims {
		return fmt.Errorf("%w: it has the member %s and is not written as an envelope", ErrMalformed, sentinel)
	}
	return nil
}

// envelope reads one envelope of either version. The error is about one that is not well written; whether the
// document is one at all is not decided here.
func (s *scanner) envelope() (envelope, error) {
	var e envelope
	var payload bool
	var unsupported error
	ok := s.object(func(name []byte) bool {
		switch string(name) {
		case sentinel:
			if e.version != 0 {
				return false
			}
			if s.literal("true") {
				e.version = 1
				return true
			}
			e.version = version
			unsupported = s.body(&e)
			return unsupported == nil
		case "payload":
			if payload {
				return false
			}
			payload = true
			unsupported = s.legacyBody(&e)
			return unsupported == nil
		}
		return false
	})
	if unsupported != nil {
		return envelope{}, unsupported
	}
	if !ok || e.version == 0 || payload != (e.version == 1) {
		return envelope{}, fmt.Errorf("%w: not written as an envelope", ErrMalformed)
	}
	return e, nil
}

// body reads what the sentinel stands for in version 2.
func (s *scanner) body(e *envelope) error {
	var v, alg []byte
	ok := s.object(func(name []byte) bool {
		switch string(name) {
		case "v":
			return s.once(&v, s.number) && string(v) == "2"
		case "alg":
			return s.once(&alg, s.text) && string(alg) == algorithm
		case "kid":
			return s.once(&e.keyID, s.text) && checkKeyID(e.keyID)
		case "blob":
			return s.once(&e.blob, s.text)
		}
		return false
	})
	if _, err := strconv.ParseUint(string(v), 10, 32); v != nil && err == nil && string(v) != "2" {
		return fmt.Errorf("%w: version %.20s", ErrUnsupported, v)
	}
	if alg != nil && string(alg) != algorithm {
		return fmt.Errorf("%w: algorithm %.40q", ErrUnsupported, alg)
	}
	if !ok || v == nil || alg == nil || e.keyID == nil || e.blob == nil {
		return fmt.Errorf("%w: its members are not v, alg, kid and blob, each once", ErrMalformed)
	}
	return nil
}

// legacyBody reads the payload of version 1.
func (s *scanner) legacyBody(e *envelope) error {
	var v []byte
	ok := s.object(func(name []byte) bool {
		switch string(name) {
		case "v":
			return s.once(&v, s.number) && string(v) == "1"
		case "iv":
			return s.once(&e.iv, s.text)
		case "ct":
			return s.once(&e.ct, s.text)
		case "tag":
			return s.once(&e.tag, s.text)
		}
		return false
	})
	if _, err := strconv.ParseUint(string(v), 10, 32); v != nil && err == nil && string(v) != "1" {
		return fmt.Errorf("%w: version %.20s with a payload", ErrUnsupported, v)
	}
	if !ok || v == nil || e.iv == nil || e.ct == nil || e.tag == nil {
		return fmt.Errorf("%w: its payload is not that of version 1", ErrMalformed)
	}
	return nil
}

// once reads a value that must not have been read before. What it gives is never nil.
func (s *scanner) once(to *[]byte, read func() ([]byte, bool)) bool {
	if *to != nil {
		return false
	}
	text, ok := read()
	if ok {
		*to = text
	}
	return ok
}
