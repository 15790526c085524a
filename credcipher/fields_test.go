// SPDX-License-Identifier: Apache-2.0

package credcipher_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/credcipher"
)

var oneField = regexp.MustCompile(`\{"_encrypted":\{"v":2,"alg":"HKDF-SHA256-KC-A256GCM","kid":"new","blob":"[A-Za-z0-9_-]+"\}\}`)

func TestFieldsLeaveEveryOtherByteAlone(t *testing.T) {
	c := strict(t, newRing)
	rows := []struct {
		doc      string // what is to be sealed stands between « and »
		pointers []string
	}{
		{`{"a":«"secret"»}`, []string{"/a"}},
		{" {\r\n\t\"a\" : «\"x\"» , \"b\":1.50e+0 }\n", []string{"/a"}},
		{`{"b":{"c":«{"n": 1.0, "n":2}»},"a":«[1 ,2]»}`, []string{"/a", "/b/c"}},
		{`["x",[«null»,«true»],«-0.5e-7»]`, []string{"/1/0", "/1/1", "/2"}},
		{`{"a/b":«1»,"m~n":«2»,"":{"":«3»}," ":«4»,"é":«5»}`, []string{"/a~1b", "/m~0n", "//", "/ ", "/é"}},
		{`{"\u0061\ud83e\udd9e\n\"\/":«"x"»}`, []string{"/a🦞\n\"~1"}},
		{`{"0":«"member zero"»,"l":["a",«"element one"»]}`, []string{"/0", "/l/1"}},
		{`{"big":12345678901234567890,"dup":1,"dup":2,"s":"<&>\u2028","t":«"x"»}`, []string{"/t"}},
		{`{"a":«{"_encrypted":true}»}`, []string{"/a"}},
		{`{"k":` + strings.Repeat("[", 998) + `1` + strings.Repeat("]", 998) + `,"t":«1»}`, []string{"/t"}},
	}
	for _, r := range rows {
		t.Run(r.doc[:min(len(r.doc), 40)], func(t *testing.T) {
			doc := []byte(strings.NewReplacer("«", "", "»", "").Replace(r.doc))
			before := bytes.Clone(doc)
			out, err := c.SealFields(doc, r.pointers, here)
			require.NoError(t, err)
			require.Equal(t, before, doc)
			want := regexp.MustCompile(`«[^»]*»`).ReplaceAllString(r.doc, "ENVELOPE")
			require.Equal(t, want, oneField.ReplaceAllString(string(out), "ENVELOPE"))
			got, info, err := c.OpenFields(out, r.pointers, here)
			require.NoError(t, err)
			require.Equal(t, string(before), string(got))
			require.Equal(t, credcipher.Info{Sealed: true, KeyID: "new"}, info)
		})
	}
	require.Len(t, rows, 10)
}

func TestFieldPointers(t *testing.T) {
	c := strict(t, newRing)
	const doc = `{"a":{"token":"visible-marker"},"b":["x",{"k":"y"}],"x/y":1,"x~2":2,"n":null,"":3}`
	many := make([]string, 4097)
	for i := range many {
		many[i] = fmt.Sprintf("/%04d%s", i, strings.Repeat("x", 4091))
	}
	rows := []struct {
		why      string
		pointers []string
		want     error // nil: the caller's mistake, no sentinel
	}{
		{"none", nil, nil},
		{"none but not nil", []string{}, nil},
		{"the whole document", []string{""}, nil},
		{"no slash in front", []string{"a"}, nil},
		{"an escape of RFC 3986", []string{"/x~2"}, nil},
		{"a tilde at the end", []string{"/x~"}, nil},
		{"twice", []string{"/a", "/a"}, nil},
		{"one below another", []string{"/a", "/a/token"}, nil},
		{"one above another", []string{"/a/token", "/a"}, nil},
		{"longer than 4096", []string{"/" + strings.Repeat("x", 4096)}, nil},
		{"4096 bytes that name nothing", []string{"/" + strings.Repeat("x", 4095)}, credcipher.ErrMalformed},
		{"more than 16 MiB together", many, nil},
		{"16 MiB together", many[1:], credcipher.ErrMalformed},
		{"nothing of that name", []string{"/c"}, credcipher.ErrMalformed},
		{"in other letters", []string{"/A"}, credcipher.ErrMalformed},
		{"past the end of an array", []string{"/b/2"}, credcipher.ErrMalformed},
		{"after the last element", []string{"/b/-"}, credcipher.ErrMalformed},
		{"an index with a zero in front", []string{"/b/01"}, credcipher.ErrMalformed},
		{"an index with a sign", []string{"/b/+1"}, credcipher.ErrMalformed},
		{"below a text", []string{"/b/0/x"}, credcipher.ErrMalformed},
		{"below null", []string{"/n/x"}, credcipher.ErrMalformed},
		{"a slash at the end", []string{"/a/"}, credcipher.ErrMalformed},
		{"one good, one not", []string{"/a/token", "/c"}, credcipher.ErrMalformed},
	}
	for _, r := range rows {
		t.Run(r.why, func(t *testing.T) {
			out, err := c.SealFields([]byte(doc), r.pointers, here)
			quiet(t, err)
			require.Nil(t, out)
			_, _, openErr := c.OpenFields([]byte(doc), r.pointers, here)
			quiet(t, openErr)
			if r.want != nil {
				require.ErrorIs(t, err, r.want)
				require.ErrorIs(t, openErr, r.want)
				return
			}
			for _, sentinel := range sentinels {
				require.NotErrorIs(t, err, sentinel)
			}
		})
	}
	require.Len(t, rows, 23)
}

func TestFieldDocuments(t *testing.T) {
	c := strict(t, newRing)
	for _, doc := range []string{
		``, `{`, `{"a":1`, `{"a":1,}`, `{"a":1}}`, `{"a":1} x`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":+1}`,
		`{"a":tru}`, `{"a":True}`, `{"a":"x}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u12"}`, `{"a":"\`, "{\"a\":\"\n\"}", `{"a":[1,]}`, `{"a":[1 2]}`, `{"a":[}`,
		`{"a" 1}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1,2}`, "\ufeff{\"a\":1}", `{"a":nul`, `{"a":[1`, `{"a":"\ud83`, `"a"`, `1`, `{"a":1,"b":"\`,
		`{"a":1,"k":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
	} {
		out, err := c.SealFields([]byte(doc), []string{"/a"}, here)
		require.ErrorIs(t, err, credcipher.ErrMalformed, doc)
		require.Nil(t, out)
		out, _, err = c.OpenFields([]byte(doc), []string{"/a"}, here)
		require.ErrorIs(t, err, credcipher.ErrMalformed, doc)
		require.Nil(t, out)
	}
	for _, doc := range []string{
		`{"a":0}`, `{"a":-0}`, `{"a":10.5E+3}`, `{"a":1e5}`, `{"a":"\"\\\/\b\f\n\r\t\u0000\uD800"}`, "{\"a\":\"\x7f\xff\"}", `{"a":[]}`, `{"a":{}}`, `{"a":[[],{}]}`,
		`{"a":1,"k":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`,
	} {
		_, err := c.SealFields([]byte(doc), []string{"/a"}, here)
		require.NoError(t, err, doc)
	}
}

// TestTwins: a reader that takes the last of two members, or folds case as encoding/json does, would read the one that
// is not sealed.
func TestTwins(t *testing.T) {
	c := strict(t, newRing)
	out, err := c.SealFields([]byte(`{"a":{"token":"x"},"b":"y"}`), []string{"/a/token"}, here)
	require.NoError(t, err)
	envelope := oneField.FindString(string(out))
	for _, doc := range []string{
		`{"a":{"token":%s,"token":"evil"}}`,
		`{"a":{"token":"evil","token":%s}}`,
		`{"a":{"token":%s,"\u0074oken":"evil"}}`,
		`{"a":{"token":%s,"Token":"evil"}}`,
		`{"a":{"TOKEN":"evil","token":%s}}`,
		`{"a":{"to\u212Aen":"evil","token":%s}}`, // the Kelvin sign folds to k
		`{"a":{"token":%s},"a":{"token":"evil"}}`,
		`{"a":{"token":%s},"A":{"token":"evil"}}`,
	} {
		doc = fmt.Sprintf(doc, envelope)
		got, info, err := c.OpenFields([]byte(doc), []string{"/a/token"}, here)
		refused(t, credcipher.ErrMalformed, got, info, err)
		got, err = c.SealFields([]byte(doc), []string{"/a/token"}, here)
		require.ErrorIs(t, err, credcipher.ErrMalformed)
		require.Nil(t, got)
	}
	// Two that are both wanted, and one that only starts alike, are no twins.
	both := []byte(`{"a":"1","A":"2","ab":"3"}`)
	out, err = c.SealFields(both, []string{"/a", "/A"}, here)
	require.NoError(t, err)
	got, _, err := c.OpenFields(out, []string{"/a", "/A"}, here)
	require.NoError(t, err)
	require.Equal(t, both, got)
}

func TestFieldsOpenOnlyInTheirPlace(t *testing.T) {
	c := strict(t, newRing)
	const plain = `{"a":"1","b":"2","to":{"to":"3"},"to:to":"4"}`
	pointers := []string{"/a", "/b", "/to/to", "/to:to"}
	out, err := c.SealFields([]byte(plain), pointers, here)
	require.NoError(t, err)
	e := oneField.FindAllString(string(out), -1)
	require.Len(t, e, 4)
	put := func(a, b, c, d string) []byte {
		return fmt.Appendf(nil, `{"a":%s,"b":%s,"to":{"to":%s},"to:to":%s}`, a, b, c, d)
	}
	whole := string(sealed(t, c, []byte(`"1"`), here))
	longer := string(sealed(t, c, []byte(`"1"`), append(here[:2:2], "/a")))
	blob := blobOf(t, []byte(e[0]))
	blob[len(blob)-1] ^= 1
	rows := []struct {
		why  string
		doc  []byte
		want error
	}{
		{"swapped", put(e[1], e[0], e[2], e[3]), credcipher.ErrWrongKeyOrContext},
		{"swapped where joined names are equal", put(e[0], e[1], e[3], e[2]), credcipher.ErrWrongKeyOrContext},
		{"copied", put(e[0], e[0], e[2], e[3]), credcipher.ErrWrongKeyOrContext},
		{"a document's envelope", put(whole, e[1], e[2], e[3]), credcipher.ErrWrongKeyOrContext},
		{"a document's envelope bound to the pointer", put(longer, e[1], e[2], e[3]), credcipher.ErrWrongKeyOrContext},
		{"stripped", put(`"1"`, e[1], e[2], e[3]), credcipher.ErrPlaintext},
		{"null", put(e[0], "null", e[2], e[3]), credcipher.ErrPlaintext},
		{"as text", put(e[0], `"`+strings.ReplaceAll(e[1], `"`, `\"`)+`"`, e[2], e[3]), credcipher.ErrPlaintext},
		{"flipped", put(string(docOf("new", blob)), e[1], e[2], e[3]), credcipher.ErrTampered},
		{"re-cased", put(strings.Replace(e[0], "_e", "_E", 1), e[1], e[2], e[3]), credcipher.ErrMalformed},
		{"with a sibling", put(e[0][:len(e[0])-1]+`,"x":1}`, e[1], e[2], e[3]), credcipher.ErrMalformed},
		{"removed", []byte(strings.Replace(string(out), `"a":`+e[0]+`,`, "", 1)), credcipher.ErrMalformed},
	}
	for _, r := range rows {
		t.Run(r.why, func(t *testing.T) {
			got, info, err := c.OpenFields(r.doc, pointers, here)
			refused(t, r.want, got, info, err)
		})
	}
	require.Len(t, rows, 12)
	got, info, err := c.OpenFields(out, pointers, elsewhere)
	refused(t, credcipher.ErrWrongKeyOrContext, got, info, err)
	got, info, err = c.Open([]byte(e[0]), here)
	refused(t, credcipher.ErrWrongKeyOrContext, got, info, err)
	got, info, err = c.OpenFields(put(e[0], e[1], e[2], e[3]), pointers, here)
	require.NoError(t, err)
	require.Equal(t, plain, string(got))
	require.True(t, info.Sealed)
}

func TestFieldsInfo(t *testing.T) {
	plain := []byte(`{"a":1,"b":2,"c":3}`)
	seal := func(doc []byte, k ring, pointer string) []byte {
		out, err := strict(t, k).SealFields(doc, []string{pointer}, here)
		require.NoError(t, err)
		return out
	}
	oldOld := seal(seal(plain, oldRing, "/a"), oldRing, "/b")
	oldNew := seal(seal(plain, oldRing, "/a"), newRing, "/b")
	newOld := seal(seal(plain, newRing, "/a"), oldRing, "/b")
	for _, r := range []struct {
		doc      []byte
		pointers []string
		want     credcipher.Info
	}{
		{oldOld, []string{"/a", "/b"}, credcipher.Info{Sealed: true, KeyID: "old", NeedsReseal: true}},
		{oldNew, []string{"/a", "/b"}, credcipher.Info{Sealed: true, NeedsReseal: true}},
		{newOld, []string{"/a", "/b"}, credcipher.Info{Sealed: true, NeedsReseal: true}},
		{newOld, []string{"/a"}, credcipher.Info{Sealed: true, KeyID: "new"}},
		{newOld, []string{"/a", "/c"}, credcipher.Info{NeedsReseal: true}},
		{newOld, []string{"/c"}, credcipher.Info{NeedsReseal: true}},
	} {
		got, info, err := migrating(t, bothRing, &memoryMarker{}).OpenFields(r.doc, r.pointers, here)
		require.NoError(t, err)
		require.Equal(t, r.want, info)
		require.NotContains(t, string(got), r.pointers[0][1:]+`":{`)
	}
}

// TestFieldsAreLinear: time and memory for a hostile document grow with its size, not faster.
func TestFieldsAreLinear(t *testing.T) {
	c := strict(t, newRing)
	name := strings.Repeat("n", 1<<20)
	hostile := []byte(`{"` + name + `":[` + strings.Repeat("1,", 1<<20) + `1],"` + strings.Repeat("T", 1<<20) + `":` + strings.Repeat(`{"token":`, 900) + "1" + strings.Repeat("}", 900) + `,"token":1}`)
	allocated := testing.AllocsPerRun(1, func() {
		out, err := c.SealFields(hostile, []string{"/token"}, here)
		require.NoError(t, err)
		require.Greater(t, len(out), len(hostile))
	})
	if !raceEnabled {
		require.Less(t, allocated, 2000.0)
	}
}
