// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/merlon-go/merlon/privatefile"
)

// A marker is what Config.Dir remembers between starts: in which source the keys are, and their ids. It is no secret.
// It is what stops a new key from being made, or another one from being used, once there was one.
type marker struct {
	source, primary string
	ids             []string
}

const (
	stateName = "masterkey.state"
	lockName  = "masterkey.lock"
	// maxName keeps the state file below maxStored, though a byte may take four letters in it.
	maxName = 3 << 10
)

func markerPath(dir string) string { return filepath.Join(dir, stateName) }

func markerOf(source string, r *ring) *marker { return &marker{source, r.primaryID(), r.ids()} }

// home is empty as long as Dir knows no key.
func (m *marker) home() string {
	if m == nil {
		return ""
	}
	return m.source
}

func (m *marker) equal(n *marker) bool {
	return m != nil && n != nil && bytes.Equal(m.encode(), n.encode())
}

func (m *marker) encode() []byte {
	lines := []string{"source " + strconv.Quote(m.source), "primary " + m.primary}
	for _, id := range m.ids {
		lines = append(lines, "key "+id)
	}
	return frame("masterkey-state", lines)
}

func decodeMarker(data []byte) (*marker, error) {
	lines, err := unframe("masterkey-state", data)
	if err != nil {
		return nil, err
	}
	m := &marker{}
	for _, line := range lines {
		field, value, _ := strings.Cut(line, " ")
		switch field {
		case "source":
			m.source, err = strconv.Unquote(value)
		case "primary":
			m.primary = value
		case "key":
			m.ids = append(m.ids, value)
		}
	}
	if err != nil || !slices.Contains(m.ids, m.primary) || !slices.ContainsFunc(m.ids, validID) || !bytes.Equal(m.encode(), data) {
		return nil, errors.New("it is not what this package wrote")
	}
	return m, nil
}

// readMarker gives nil for none. The raw bytes tell whether anything changed since.
func readMarker(dir string) (m *marker, raw []byte, err error) {
	raw, _, err = privatefile.Read(markerPath(dir), privatefile.Config{MaxBytes: maxStored, CheckParents: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("masterkey: Config.Dir: %w", err)
	}
	if m, err = decodeMarker(raw); err != nil {
		return nil, nil, &fault{"", ErrCorrupt, markerPath(dir) + " was altered; restore it, or once it is certain which key the data need, remove it", err}
	}
	return m, raw, nil
}

func writeMarker(dir string, m *marker) (raw []byte, err error) {
	raw = m.encode()
	if err := privatefile.Write(markerPath(dir), raw, privatefile.Config{CheckParents: true}); err != nil {
		return nil, fmt.Errorf("masterkey: Config.Dir: %w", err)
	}
	return raw, nil
}

// lockTimeouts is how many source calls a process may have to wait for that holds the lock: load, store and read back,
// and as many again for one that was before it.
const lockTimeouts = 6

// acquire locks Config.Dir against other processes and other Managers of this one.
func acquire(ctx context.Context, dir string, limit time.Duration) (*lock, error) {
	if err := privateFolder(dir); err != nil {
		return nil, fmt.Errorf("masterkey: Config.Dir: %w", err)
	}
	limit = min(limit, time.Hour) * lockTimeouts
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timeout(limit))
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		l, err := tryLock(filepath.Join(dir, lockName))
		if err != nil {
			return nil, fmt.Errorf("masterkey: Config.Dir: %w", err)
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, &fault{"masterkey.lock", ErrUnavailable, "another process is making or changing the key", late(ctx)}
		}
	}
}
