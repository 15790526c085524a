// SPDX-License-Identifier: Apache-2.0

package secretequal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/secretequal"
)

const mark = "[REDACTED]"

// kept makes each type of the package, and returns the bytes that none of them may show.
func kept(t *testing.T) (v *secretequal.Verifier, s *secretequal.Set, secret, tag []byte) {
	secret = []byte(rand.Text())
	v, err := secretequal.New(secret)
	require.NoError(t, err)
	s, err = secretequal.NewSet(map[string][]byte{"it": secret})
	require.NoError(t, err)
	return v, s, secret, secretequal.TagsOf(v)[0][:]
}

func TestEveryVerbIsRedacted(t *testing.T) {
	v, s, _, _ := kept(t)
	for _, value := range []any{v, *v, s, *s, &secretequal.Verifier{}, &secretequal.Set{}} {
		for _, flags := range []string{"", "+", "#", " ", "0", "-8", ".3", "# "} {
			for _, verb := range "vsqxXdboOcUeEfFgGt" { // T, p and w are answered by fmt, with type and address
				format := "%" + flags + string(verb)
				require.Equal(t, mark, fmt.Sprintf(format, value), "%s of %T", format, value)
			}
		}
		require.Equal(t, mark, value.(fmt.Stringer).String())
		require.Equal(t, mark, value.(fmt.GoStringer).GoString())
	}
}

func TestEveryEncoderIsRedacted(t *testing.T) {
	v, s, _, _ := kept(t)
	type config struct{ Token any }
	for _, value := range []any{v, *v, s, *s} {
		out, err := json.Marshal(map[string]any{"token": value})
		require.NoError(t, err)
		require.JSONEq(t, `{"token":"[REDACTED]"}`, string(out))

		out, err = xml.Marshal(config{value})
		require.NoError(t, err)
		require.Contains(t, string(out), "<Token>"+mark+"</Token>")

		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("started", "token", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("started", "token", value)
		require.Contains(t, log.String(), "token="+mark)
		require.Contains(t, log.String(), `"token":"`+mark+`"`)
		require.Equal(t, mark, value.(slog.LogValuer).LogValue().String())
	}
}

// TestDecodingOpensNothing: what was redacted can't be read back, and what is left after the attempt refuses.
func TestDecodingOpensNothing(t *testing.T) {
	v, s := &secretequal.Verifier{}, &secretequal.Set{}
	for _, value := range []any{v, s} {
		require.Error(t, json.Unmarshal([]byte(`"`+mark+`"`), value))
		require.NoError(t, json.Unmarshal([]byte(`{"ids":["a"],"open":null}`), value))
	}
	_, ok := s.MatchString(mark)
	require.False(t, ok || v.MatchString(mark))
}

// TestReflectionFindsNothing walks as spew and pretty-printers do: into unexported fields and along pointers, calling
// no method. fmt does so too, for values in unexported fields.
func TestReflectionFindsNothing(t *testing.T) {
	v, s, secret, tag := kept(t)
	type server struct {
		v  secretequal.Verifier
		vp *secretequal.Verifier
		s  secretequal.Set
		sp *secretequal.Set
	}
	require.Empty(t, walk(reflect.ValueOf(v)))
	require.Equal(t, "it", string(walk(reflect.ValueOf(s))))
	require.Equal(t, "itit", string(walk(reflect.ValueOf(&server{*v, v, *s, s}))))

	naive := struct{ tags *[][]byte }{&[][]byte{secret, tag}}
	require.Equal(t, append(secret, tag...), walk(reflect.ValueOf(naive)), "the walk misses what a naive type shows")
}

// walk returns all bytes and text that reflection reaches from v.
func walk(v reflect.Value) (found []byte) {
	switch v.Kind() {
	case reflect.Uint8:
		found = append(found, byte(v.Uint()))
	case reflect.String:
		found = append(found, v.String()...)
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			found = walk(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			found = append(found, walk(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			found = append(found, walk(v.Field(i))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			found = append(append(found, walk(key)...), walk(v.MapIndex(key))...)
		}
	}
	return found
}
