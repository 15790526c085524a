// SPDX-License-Identifier: Apache-2.0

// Package examples_test runs the example programs, so that what a reader copies works.
package examples_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPrograms compares what each program prints with the output.txt beside it.
func TestPrograms(t *testing.T) {
	outputs, err := filepath.Glob("*/output.txt")
	require.NoError(t, err)
	require.NotEmpty(t, outputs)
	for _, output := range outputs {
		program := filepath.Dir(output)
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(output)
			require.NoError(t, err)
			got, err := exec.Command("go", "run", "./"+program).Output()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				t.Fatalf("%v: %s", err, exit.Stderr)
			}
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
}
