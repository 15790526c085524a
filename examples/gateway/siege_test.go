// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == rotateForever { // this binary is the gateway's child as well
		fmt.Fprintln(os.Stderr, rotateUntilKilled(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestServiceHolds is what the program does: every row shows that the attack works on the twin and on nothing else.
func TestServiceHolds(t *testing.T) {
	rows, err := siege(t.Context(), attacks(), hardened, unprotected)
	require.NoError(t, err)
	require.Greater(t, len(rows), 15)
	for _, row := range rows {
		t.Run(row.Attack, func(t *testing.T) {
			if row.Missing != "" && row.held() {
				t.Skipf("%s is not installed", row.Missing)
			}
			require.True(t, row.held(), "twin: %+v, service: %+v", row.Twin, row.Service)
		})
	}
	var text, machine bytes.Buffer
	require.NoError(t, rows.writeTable(&text))
	require.Contains(t, text.String(), " rows, 0 failed\n")
	require.NoError(t, rows.writeJSON(&machine))
	var read struct {
		Held bool
		Rows []result
	}
	require.NoError(t, json.Unmarshal(machine.Bytes(), &read))
	require.True(t, read.Held)
	require.Len(t, read.Rows, len(rows))
}

// TestMissingGuardIsSeen takes one guard out at a time: the rows that lean on it must fail, and no others.
func TestMissingGuardIsSeen(t *testing.T) {
	reachable := slices.Concat(networkAttacks(), toolAttacks())
	for stopper, remove := range map[string]func(*guards, guards){
		"secretequal":  func(s *guards, twin guards) { s.caller = twin.caller },
		"hostvalidate": func(s *guards, twin guards) { s.requests = twin.requests },
		"envallow":     func(s *guards, twin guards) { s.child = twin.child },
	} {
		t.Run(stopper, func(t *testing.T) {
			t.Parallel()
			rows, err := siege(t.Context(), reachable, func(c config) (*service, error) {
				twin, err := unprotected(c)
				if err != nil {
					return nil, err
				}
				if stopper == "secretequal" && len(c.Token) == 0 {
					c.Token = []byte("its refusal to start is one of the things that are taken out")
				}
				s, err := hardened(c)
				if err != nil {
					return nil, err
				}
				remove(&s.guards, twin.guards)
				return s, nil
			}, unprotected)
			require.NoError(t, err)
			require.False(t, rows.held())
			for _, row := range rows {
				if row.Missing == "" {
					require.Equal(t, row.Stopper != stopper, row.held(), "%s: %+v", row.Attack, row.Service)
				}
			}
		})
	}
}

// TestTwinThatHoldsIsSeen: a row whose attack does not work on the twin either proves nothing, and must fail.
func TestTwinThatHoldsIsSeen(t *testing.T) {
	rows, err := siege(t.Context(), attacks(), hardened, hardened)
	require.NoError(t, err)
	for _, row := range rows {
		if row.Missing == "" {
			require.Equal(t, row.Finding == "", row.held(), row.Attack)
		}
	}
}
