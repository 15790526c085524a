// SPDX-License-Identifier: Apache-2.0

package keychain_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/masterkey"
	"github.com/merlon-go/merlon/masterkey/keychain"
)

var _ masterkey.Source = (*keychain.Source)(nil)

func TestNilAndZeroSourcesRefuse(t *testing.T) {
	for _, s := range []*keychain.Source{nil, {}, (*keychain.Source)(nil).AllowPrompt(), (&keychain.Source{}).AllowPrompt()} {
		_, err := s.Load(t.Context())
		require.ErrorIs(t, err, masterkey.ErrUnavailable)
		require.NotErrorIs(t, err, masterkey.ErrNotFound)
		require.ErrorIs(t, s.Store(t.Context(), nil), masterkey.ErrUnavailable)
		require.NotEmpty(t, s.Name())
		_, err = masterkey.Open(t.Context(), masterkey.Config{Dir: t.TempDir(), Sources: []masterkey.Source{s}})
		require.ErrorIs(t, err, masterkey.ErrUnavailable)
	}
}

func TestName(t *testing.T) {
	s := keychain.New("gateway", "master-key")
	require.Equal(t, "keychain:gateway/master-key", s.Name())
	require.Equal(t, s.Name(), s.AllowPrompt().Name(), "the same item, so that Dir knows it again")
	require.NotSame(t, s, s.AllowPrompt())
	require.Contains(t, fmt.Sprintf("%+v", s), "gateway")
}
