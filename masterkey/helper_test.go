// SPDX-License-Identifier: Apache-2.0

package masterkey_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
)

// memory is a Source that does what a row tells it to.
type memory struct {
	name string
	load func(m *memory) ([]byte, error)        // nil: what is kept, or ErrNotFound
	save func(m *memory, data []byte) error     // nil: keep it
	wait func(ctx context.Context, what string) // before either

	mu            sync.Mutex
	kept          []byte
	loads, stores int
}

func (m *memory) Name() string {
	if m.name == "" {
		return "memory"
	}
	return m.name
}

func (m *memory) Load(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	m.loads++
	m.mu.Unlock()
	if m.wait != nil {
		m.wait(ctx, "load")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.load != nil {
		return m.load(m)
	}
	if m.kept == nil {
		return nil, masterkey.ErrNotFound
	}
	return bytes.Clone(m.kept), nil
}

func (m *memory) Store(ctx context.Context, data []byte) error {
	m.mu.Lock()
	m.stores++
	m.mu.Unlock()
	if m.wait != nil {
		m.wait(ctx, "store")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.save != nil {
		return m.save(m, data)
	}
	m.kept = bytes.Clone(data)
	return nil
}

func (m *memory) counts() (loads, stores int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loads, m.stores
}

func says(err error) *memory {
	return &memory{load: func(*memory) ([]byte, error) { return nil, err }}
}

// home is a service's place on disk. Its folders are made by the package.
type home struct{ state, keys string }

func newHome(t testing.TB) home {
	dir := t.TempDir()
	return home{filepath.Join(dir, "state"), filepath.Join(dir, "keys")}
}

func (h home) path() string { return filepath.Join(h.keys, "master.key") }

func (h home) file() masterkey.Source { return masterkey.File(h.keys, "master.key") }

func (h home) config(sources ...masterkey.Source) masterkey.Config {
	if len(sources) == 0 {
		sources = []masterkey.Source{h.file()}
	}
	return masterkey.Config{Dir: h.state, Sources: sources}
}

func (h home) open(t testing.TB, sources ...masterkey.Source) *masterkey.Manager {
	t.Helper()
	m, err := masterkey.Open(t.Context(), h.config(sources...))
	require.NoError(t, err)
	return m
}

func primary(t testing.TB, m *masterkey.Manager) (id string, key []byte) {
	t.Helper()
	id, key, err := m.PrimaryKey()
	require.NoError(t, err)
	require.Len(t, key, 32)
	return id, key
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// pattern is a key that nobody uses.
func pattern(n byte) []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = n*32 + byte(i)
	}
	return key
}

// idOf and ringOf are the stored form by the words of its documentation, and share no code with the package.
func idOf(key []byte) string {
	extract := hmac.New(sha256.New, make([]byte, 32))
	extract.Write(key)
	expand := hmac.New(sha256.New, extract.Sum(nil))
	expand.Write([]byte("merlon credcipher key id\x01"))
	return hex.EncodeToString(expand.Sum(nil)[:8])
}

func ringOf(primary int, keys ...[]byte) []byte {
	body := ""
	if primary < len(keys) {
		body += "primary " + idOf(keys[primary]) + "\n"
	}
	for _, k := range keys {
		body += fmt.Sprintf("key %s %s\n", idOf(k), base64.RawURLEncoding.EncodeToString(k))
	}
	return framed("masterkey", body)
}

func framed(kind, body string) []byte {
	text := "merlon-" + kind + " 1\n" + body
	return fmt.Appendf(nil, "%ssha256 %x\n", text, sha256.Sum256([]byte(text)))
}

// forms are the ways in which a key could show up in a text.
func forms(key []byte) []string {
	return []string{
		string(key), hex.EncodeToString(key), fmt.Sprint(key), fmt.Sprintf("%#v", key)[7:],
		base64.StdEncoding.EncodeToString(key)[:42], base64.URLEncoding.EncodeToString(key)[:42],
	}
}

func requireNoKey(t testing.TB, text string, key []byte) {
	t.Helper()
	for _, form := range forms(key) {
		require.NotContains(t, text, form)
	}
}
