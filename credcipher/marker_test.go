// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

func TestFileMarkerRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	m, err := credcipher.NewFileMarker(path, newRing)
	require.NoError(t, err)
	requireMode(t, 0o600, path)

	marked, err := m.Sealed(here)
	require.NoError(t, err)
	require.False(t, marked)
	require.NoError(t, m.MarkSealed(here))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, m.MarkSealed(here))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after, "a place that is marked is not written again")

	again, err := credcipher.OpenFileMarker(path, newRing)
	require.NoError(t, err)
	for b, want := range map[*credcipher.Binding]bool{&here: true, &elsewhere: false, {"gatewaytelegram.json"}: false, {"gateway"}: false} {
		marked, err = again.Sealed(*b)
		require.NoError(t, err)
		require.Equal(t, want, marked)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing stays beside the file")
}

// TestFileMarkerFormat opens the list by hand, as FORMAT.md has it.
func TestFileMarkerFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	m, err := credcipher.NewFileMarker(path, newRing)
	require.NoError(t, err)
	require.NoError(t, m.MarkSealed(here))
	require.NoError(t, m.MarkSealed(credcipher.Binding{"gateway", "telegram.json", "#/token"}))
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	digests := [][]byte{digestOf(here), digestOf(credcipher.Binding{"gateway", "telegram.json", "#/token"})}
	slices.SortFunc(digests, bytes.Compare)
	require.Equal(t, slices.Concat([]byte("merlon credcipher marks 1\n"), digests[0], digests[1]), openByHand(t, doc, 'M', credcipher.Binding{"marks"}))
}

func TestFileMarkerRefusals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "marks")
	_, err := credcipher.OpenFileMarker(path, newRing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	quiet(t, err)
	for _, f := range []func(string, credcipher.Keyring) (credcipher.Marker, error){credcipher.NewFileMarker, credcipher.OpenFileMarker} {
		m, err := f(path, nil)
		quiet(t, err)
		require.Nil(t, m)
	}
	_, err = credcipher.NewFileMarker(filepath.Join(dir, "no", "marks"), newRing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = credcipher.NewFileMarker(path, ring{err: errFlaky})
	require.ErrorIs(t, err, errFlaky)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "a refusal leaves nothing")

	first, err := credcipher.NewFileMarker(path, newRing)
	require.NoError(t, err)
	require.NoError(t, first.MarkSealed(here))
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = credcipher.NewFileMarker(path, newRing)
	require.ErrorIs(t, err, fs.ErrExist)
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, good, now)

	write := func(doc []byte) { require.NoError(t, os.WriteFile(path, doc, 0o600)) }
	for why, row := range map[string]struct {
		doc  []byte
		want error
	}{
		"empty":               {nil, credcipher.ErrMalformed},
		"plaintext":           {[]byte("merlon credcipher marks 1\n"), credcipher.ErrMalformed},
		"version 1":           {[]byte(legacyDoc), credcipher.ErrMalformed},
		"cut":                 {good[:len(good)-1], credcipher.ErrMalformed},
		"a document":          {sealed(t, strict(t, newRing), []byte("merlon credcipher marks 1\n"), credcipher.Binding{"marks"}), credcipher.ErrWrongKeyOrContext},
		"under another key":   {sealByHand(t, pattern(3), 'M', credcipher.Binding{"marks"}, "merlon credcipher marks 1\n"), credcipher.ErrWrongKeyOrContext},
		"of another name":     {sealByHand(t, pattern(2), 'M', credcipher.Binding{"other"}, "merlon credcipher marks 1\n"), credcipher.ErrWrongKeyOrContext},
		"of a later version":  {sealByHand(t, pattern(2), 'M', credcipher.Binding{"marks"}, "merlon credcipher marks 2\n"), credcipher.ErrUnsupported},
		"with half a digest":  {sealByHand(t, pattern(2), 'M', credcipher.Binding{"marks"}, "merlon credcipher marks 1\n1234567890"), credcipher.ErrUnsupported},
		"under a missing key": {sealed(t, strict(t, oldRing), nil, here), credcipher.ErrUnknownKey},
	} {
		t.Run(why, func(t *testing.T) {
			write(row.doc)
			m, err := credcipher.OpenFileMarker(path, newRing)
			require.ErrorIs(t, err, row.want)
			quiet(t, err)
			require.Nil(t, m)
			_, err = first.Sealed(elsewhere)
			require.ErrorIs(t, err, row.want, "an open marker looks again before it says no")
			require.ErrorIs(t, first.MarkSealed(elsewhere), row.want)
			marked, err := first.Sealed(here)
			require.NoError(t, err)
			require.True(t, marked, "what it knows it knows")
		})
	}
	write(good)
	require.NoError(t, first.MarkSealed(elsewhere), "the failures before were not taken for marks")
	m, err := credcipher.OpenFileMarker(path, newRing)
	require.NoError(t, err)
	marked, err := m.Sealed(elsewhere)
	require.NoError(t, err)
	require.True(t, marked)

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("marks", link))
	_, err = credcipher.OpenFileMarker(link, newRing)
	quiet(t, err)
	_, err = credcipher.NewFileMarker(link, newRing)
	require.ErrorIs(t, err, fs.ErrExist)
}

func TestFileMarkerMovesToThePrimaryKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	m, err := credcipher.NewFileMarker(path, oldRing)
	require.NoError(t, err)
	require.NoError(t, m.MarkSealed(here))
	_, err = credcipher.OpenFileMarker(path, bothRing)
	require.NoError(t, err)
	moved, err := credcipher.OpenFileMarker(path, newRing)
	require.NoError(t, err, "without the old key")
	marked, err := moved.Sealed(here)
	require.NoError(t, err)
	require.True(t, marked)
}

// TestFileMarkerIsShared: two markers on one file, as two processes have them.
func TestFileMarkerIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	_, err := credcipher.NewFileMarker(path, newRing)
	require.NoError(t, err)
	var markers []credcipher.Marker
	for range 4 {
		m, err := credcipher.OpenFileMarker(path, newRing)
		require.NoError(t, err)
		markers = append(markers, m)
	}
	var wg sync.WaitGroup
	for g, m := range markers {
		wg.Go(func() {
			for i := range 10 {
				if err := m.MarkSealed(credcipher.Binding{fmt.Sprint(g), fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, m := range markers {
		for i := range 40 {
			marked, err := m.Sealed(credcipher.Binding{fmt.Sprint(i / 10), fmt.Sprint(i % 10)})
			require.NoError(t, err)
			require.True(t, marked, "a mark was lost")
		}
	}
}

// TestFileMarkerKilled kills a process that marks, again and again: the file opens, and holds what had been marked.
func TestFileMarkerKilled(t *testing.T) {
	const role = "CREDCIPHER_MARK_CHILD"
	if path := os.Getenv(role); path != "" {
		m, err := credcipher.OpenFileMarker(path, newRing)
		require.NoError(t, err)
		for i := 0; ; i++ {
			require.NoError(t, m.MarkSealed(credcipher.Binding{os.Getenv(role + "_ROUND"), fmt.Sprint(i)}))
			fmt.Println("marked")
		}
	}
	path := filepath.Join(t.TempDir(), "marks")
	_, err := credcipher.NewFileMarker(path, newRing)
	require.NoError(t, err)
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFileMarkerKilled$")
		cmd.Env = append(os.Environ(), role+"="+path, fmt.Sprintf("%s_ROUND=%d", role, round))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var said strings.Builder
		for buf := make([]byte, 64); strings.Count(said.String(), "marked") < 3+round; {
			n, err := out.Read(buf)
			require.NoError(t, err, said.String())
			said.Write(buf[:n])
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		m, err := credcipher.OpenFileMarker(path, newRing)
		require.NoError(t, err)
		for i := range 3 + round {
			marked, err := m.Sealed(credcipher.Binding{fmt.Sprint(round), fmt.Sprint(i)})
			require.NoError(t, err)
			require.True(t, marked)
		}
	}
	m, err := credcipher.OpenFileMarker(path, newRing)
	require.NoError(t, err)
	require.NoError(t, m.MarkSealed(credcipher.Binding{"last"}))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "what killed writers left is gone after the next write")
}
