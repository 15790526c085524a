// SPDX-License-Identifier: Apache-2.0

package envallow

// NewWindows makes the Policy that New does on Windows, so that every system tests what names mean there.
func NewWindows(c Config) (*Policy, error) { return newPolicy(c, true) }

// Row is a row of the table, for tests that hold it against its own rules.
type Row struct {
	Class                       Class
	Names, Program, Why, Source string
}

// Table gives the rows.
func Table() []Row {
	var rows []Row
	for _, r := range table {
		rows = append(rows, Row{r.class, r.names, r.program, r.why, r.source})
	}
	return rows
}
