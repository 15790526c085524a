// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	require.Greater(t, len(rows), 25)
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
	require.Contains(t, text.String(), " rows, 0 failed")
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
	quick := slices.DeleteFunc(attacks(), func(a attack) bool { return strings.HasPrefix(a.Name, "kill -9") })
	for stopper, remove := range map[string]struct {
		before func(*config) error
		after  func(s, twin *service)
	}{
		"secretequal": {
			before: func(c *config) error {
				if len(c.Token) == 0 { // the refusal to start is one of the things that are taken out
					c.Token = []byte("another")
				}
				return nil
			},
			after: func(s, twin *service) { s.caller = twin.caller },
		},
		"hostvalidate": {after: func(s, twin *service) { s.requests = twin.requests }},
		"envallow":     {after: func(s, twin *service) { s.child = twin.child }},
		"credcipher": {after: func(s, twin *service) {
			s.store = twin.store
			s.rotate = func(context.Context) error { return nil } // there is nothing sealed to move
		}},
		"privatefile": {before: func(c *config) error { return os.Chmod(filepath.Join(c.State, "config.json"), 0o600) }},
	} {
		t.Run(stopper, func(t *testing.T) {
			t.Parallel()
			rows, err := siege(t.Context(), quick, func(c config) (*service, error) {
				twin, err := unprotected(c)
				if err != nil {
					return nil, err
				}
				if remove.before != nil {
					if err := remove.before(&c); err != nil {
						return nil, err
					}
				}
				s, err := hardened(c)
				if err == nil && remove.after != nil {
					remove.after(s, twin)
				}
				return s, err
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
