// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/devicekey"
)

func TestReason(t *testing.T) {
	words, sentences := map[string]bool{}, map[string]bool{}
	for r := devicekey.NoKey; r <= devicekey.Altered; r++ {
		text, err := r.MarshalText()
		require.NoError(t, err)
		require.Equal(t, r.String(), string(text))
		require.Equal(t, strings.ToLower(r.String()), r.String())
		var back devicekey.Reason
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, r, back)
		words[r.String()], sentences[r.Error()] = true, true
		require.True(t, strings.HasPrefix(r.Error(), "devicekey: "))
		require.NotContains(t, r.Error(), r.String()+"(")
	}
	require.Len(t, words, 17)
	require.Len(t, sentences, 17)

	for _, r := range []devicekey.Reason{0, devicekey.Altered + 1, 255} {
		_, err := r.MarshalText()
		require.Error(t, err)
		require.Contains(t, r.String(), "Reason(")
		require.True(t, strings.HasPrefix(r.Error(), "devicekey: Reason("))
	}
	for _, text := range []string{"", "Mismatch", "mismatch ", "Reason(0)", "0"} {
		r := devicekey.Mismatch
		require.Error(t, r.UnmarshalText([]byte(text)), text)
		require.Equal(t, devicekey.Mismatch, r)
	}
}

// TestErrorSaysWhichFile: the operator needs the path; of a Passphrase there is none.
func TestErrorSaysWhichFile(t *testing.T) {
	_, path, _, _ := start(t)
	for op, try := range map[string]func() error{
		"load":     func() error { _, err := devicekey.Load(ctx, path, newVault(t)); return err },
		"generate": func() error { _, err := devicekey.Generate(ctx, path, newVault(t)); return err },
		"import":   func() error { _, err := devicekey.Import(ctx, path, nil, newVault(t)); return err },
	} {
		var e *devicekey.Error
		require.ErrorAs(t, try(), &e)
		require.Equal(t, op, e.Op)
		require.Equal(t, path, e.Path)
		require.Contains(t, e.Error(), path)
	}
	k, path, v, _ := start(t)
	v.unprotect = func([]byte) ([]byte, error) { return nil, errLocked }
	for op, try := range map[string]func() error{
		"sign":   func() error { _, err := k.Sign(nil, message, plain); return err },
		"export": func() error { _, err := k.ExportOpenSSH(ctx, message); return err },
		"rewrap": func() error { return k.Rewrap(ctx, v) },
	} {
		var e *devicekey.Error
		require.ErrorAs(t, try(), &e)
		require.Equal(t, op, e.Op)
		require.Equal(t, path, e.Path)
		require.Contains(t, e.Error(), errLocked.Error())
	}
	_, err := devicekey.Passphrase(nil).Protect(ctx, nil, nil)
	require.True(t, strings.HasPrefix(err.Error(), "devicekey: protect: "), err)
	_, err = devicekey.Passphrase(nil).Unprotect(ctx, nil, nil)
	require.True(t, strings.HasPrefix(err.Error(), "devicekey: unprotect: "), err)
}
