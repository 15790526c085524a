// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A Marker remembers in which places an envelope has been seen, so that plaintext there is noticed under Migrate. The
// place of a field is the document's Binding and the pointer as a URI fragment ("#/token"). MarkSealed is called before
// what an envelope holds is given out, and often with a place that is marked already. If either method fails, the
// document is refused. Both must be safe for concurrent use.
type Marker interface {
	Sealed(Binding) (bool, error)
	MarkSealed(Binding) error
}

// NewFileMarker makes a Marker that keeps its list, sealed, in a new file of mode 0600, and writes it before it
// returns. If anything lies at path, the error matches fs.ErrExist: an empty list in the place of one that is full
// would let plaintext in. Call it once, when a store is first migrated.
//
// Several processes may share the file where flock(2) works, which it does not on other systems and on some network file
// systems; there one process may have it at a time. The file is bound to its base name. An older copy of it, put back, is not noticed.
func NewFileMarker(path string, k Keyring) (Marker, error) {
	m, err := newFileMarker(path, k)
	if err != nil {
		return nil, err
	}
	doc, err := m.encode()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(filepath.Dir(m.path))
	if err != nil {
		return nil, fmt.Errorf("credcipher: new marker: %w", err)
	}
	defer root.Close()
	if err := create(root, filepath.Base(m.path), doc); err != nil {
		return nil, fmt.Errorf("credcipher: new marker: %w", err)
	}
	return m, nil
}

// OpenFileMarker opens the file that NewFileMarker made. If it is missing, the error matches fs.ErrNotExist: it is
// never taken for an empty list. A list under an old key is sealed again under the primary one, so that the old one can
// be retired; Reseal does the same for a marker that is open for long.
func OpenFileMarker(path string, k Keyring) (Marker, error) {
	m, err := newFileMarker(path, k)
	if err != nil {
		return nil, err
	}
	if _, err := m.update(nil); err != nil {
		return nil, err
	}
	return m, nil
}

type fileMarker struct {
	path   string
	cipher *Cipher

	mu   sync.Mutex
	seen map[[sha256.Size]byte]bool
}

// What a list looks like inside its envelope: this line, then the digests in order.
const marksHeader = "merlon credcipher marks 1\n"

func newFileMarker(path string, k Keyring) (*fileMarker, error) {
	if k == nil {
		return nil, errors.New("credcipher: a marker needs a Keyring")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("credcipher: marker: %w", err)
	}
	return &fileMarker{path: abs, cipher: &Cipher{keyring: hide(k)}, seen: map[[sha256.Size]byte]bool{}}, nil
}

func digest(b Binding) [sha256.Size]byte { return sha256.Sum256(place{marks, b, ""}.context("")) }

// Sealed looks at the file again before it says no: another process may have marked the place.
func (m *fileMarker) Sealed(b Binding) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen[digest(b)] {
		return true, nil
	}
	root, err := os.OpenRoot(filepath.Dir(m.path))
	if err != nil {
		return false, fmt.Errorf("credcipher: marker: %w", err)
	}
	defer root.Close()
	if _, err := m.load(root); err != nil {
		return false, err
	}
	return m.seen[digest(b)], nil
}

func (m *fileMarker) MarkSealed(b Binding) error {
	m.mu.Lock()
	known := m.seen[digest(b)]
	m.mu.Unlock()
	if known {
		return nil
	}
	_, err := m.update([]Binding{b})
	return err
}

// update adds places to the file, moves the list to the primary key, and returns the id of that. It writes only if there
// is something to change.
func (m *fileMarker) update(places []Binding) (keyID string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	root, err := os.OpenRoot(filepath.Dir(m.path))
	if err != nil {
		return "", fmt.Errorf("credcipher: marker: %w", err)
	}
	defer root.Close()
	name := filepath.Base(m.path)
	unlock, err := lockFile(root, name)
	if err != nil {
		return "", fmt.Errorf("credcipher: marker: %w", err)
	}
	defer unlock()
	info, err := m.load(root)
	if err != nil {
		return "", err
	}
	places = slices.DeleteFunc(slices.Clone(places), func(b Binding) bool { return m.seen[digest(b)] })
	if len(places) == 0 && !info.NeedsReseal {
		return info.KeyID, nil
	}
	doc, err := m.encode(places...)
	if err != nil {
		return "", err
	}
	if err := sweep(root, "."); err != nil {
		return "", fmt.Errorf("credcipher: marker: %w", err)
	}
	if err := replace(root, name, doc, nil, nil); err != nil {
		return "", fmt.Errorf("credcipher: marker: %w", err)
	}
	if err := syncDir(root, "."); err != nil {
		return "", fmt.Errorf("credcipher: marker: %w", err)
	}
	for _, b := range places {
		m.seen[digest(b)] = true
	}
	h, err := Inspect(doc)
	return h.KeyID, err
}

func (m *fileMarker) place() place { return place{marks, Binding{filepath.Base(m.path)}, ""} }

// encode seals the list with some more places in it.
func (m *fileMarker) encode(more ...Binding) ([]byte, error) {
	all := maps.Clone(m.seen)
	for _, b := range more {
		all[digest(b)] = true
	}
	list := append(make([]byte, 0, len(marksHeader)+sha256.Size*len(all)), marksHeader...)
	for _, d := range slices.SortedFunc(maps.Keys(all), func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) }) {
		list = append(list, d[:]...)
	}
	key, err := m.cipher.primary()
	if err != nil {
		return nil, err
	}
	return key.seal(nil, list, m.place())
}

// load adds what the file lists.
func (m *fileMarker) load(root *os.Root) (Info, error) {
	doc, _, err := readRegular(root, filepath.Base(m.path))
	if err != nil {
		return Info{}, fmt.Errorf("credcipher: marker: %w", err)
	}
	e, err := parse(doc)
	if err == nil && e.version != version {
		err = ErrMalformed
	}
	if err != nil {
		return Info{}, fmt.Errorf("credcipher: marker: %w", err)
	}
	list, info, err := m.cipher.unseal(e, m.place())
	if err != nil {
		return Info{}, fmt.Errorf("credcipher: marker: %w", err)
	}
	digests, ok := bytes.CutPrefix(list, []byte(marksHeader))
	if !ok || len(digests)%sha256.Size != 0 {
		return Info{}, fmt.Errorf("credcipher: marker: %w: no list of this version", ErrUnsupported)
	}
	for d := range slices.Chunk(digests, sha256.Size) {
		m.seen[[sha256.Size]byte(d)] = true
	}
	return info, nil
}
