// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// attack is one row: something that an attacker, or a legitimate client, does to a running service.
type attack struct {
	Name    string
	Finding string   // of the audit; empty: a legitimate request
	Stopper string   // the package that stops it
	Needs   []string // programs without which the attack cannot be made
	Setup   func(*config)
	Run     func(ctx context.Context, t *target) (outcome, error)
}

// outcome is what the attacker, or the client, got.
type outcome struct {
	Through bool   `json:"through"` // the attacker's aim was reached, or the legitimate request was served
	Saw     string `json:"saw"`
}

// target is a running service as an attacker meets it: an address, and for what no network reaches, the service.
type target struct {
	*service
	addr  string
	close func() error
	build builder
}

// start builds a service from c and lets it listen.
func start(c config, build builder) (*target, error) {
	s, err := build(c)
	if err != nil {
		return nil, err
	}
	addr, closeServer, err := s.listen()
	if err != nil {
		return nil, err
	}
	return &target{service: s, addr: addr, close: closeServer, build: build}, nil
}

// restart stops the service and starts it on what it left behind.
func (t *target) restart() (*target, error) {
	t.close()
	return start(t.config, t.build)
}

// result is a row with what both services did.
type result struct {
	Attack  string  `json:"attack"`
	Finding string  `json:"finding,omitempty"`
	Twin    outcome `json:"twin"`
	Service outcome `json:"service"`
	Stopper string  `json:"stopper,omitempty"`
	Missing string  `json:"missing,omitempty"` // the program for want of which the row was not run
}

// held tells whether the row shows what it should: the attack works on the twin and on nothing else.
func (r result) held() bool {
	switch {
	case r.Missing != "":
		return os.Getenv("CI") == "" // there every program is installed
	case r.Finding == "":
		return r.Service.Through
	default:
		return r.Twin.Through && !r.Service.Through
	}
}

type report []result

func (r report) held() bool {
	for _, row := range r {
		if !row.held() {
			return false
		}
	}
	return len(r) > 0
}

// attacks lists the rows in the order in which they are run.
func attacks() []attack {
	return slices.Concat(networkAttacks(), toolAttacks(), stateAttacks())
}

type builder func(config) (*service, error)

// siege runs each attack against a fresh twin and a fresh service.
func siege(ctx context.Context, attacks []attack, service, twin builder) (report, error) {
	var rows report
	for _, a := range attacks {
		row := result{Attack: a.Name, Finding: a.Finding, Stopper: a.Stopper}
		for _, program := range a.Needs {
			if _, err := exec.LookPath(program); err != nil {
				row.Missing = program
			}
		}
		if row.Missing == "" {
			var err error
			if row.Twin, err = a.against(ctx, twin); err != nil {
				return nil, fmt.Errorf("%s: the twin: %w", a.Name, err)
			}
			if row.Service, err = a.against(ctx, service); err != nil {
				return nil, fmt.Errorf("%s: the service: %w", a.Name, err)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// against starts a service as the attack needs it and lets the attack loose. A service that refuses to start has
// stopped the attack.
func (a attack) against(ctx context.Context, build builder) (o outcome, err error) {
	dir, err := os.MkdirTemp("", "gateway-")
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		o.Saw = strings.ReplaceAll(o.Saw, dir+string(filepath.Separator), "")
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	c, err := newConfig(dir)
	if err != nil {
		return outcome{}, err
	}
	c.Environ = append(c.Environ, ownSecrets()...)
	if a.Setup != nil {
		a.Setup(&c)
	}
	t, err := start(c, build)
	if err != nil {
		return outcome{Saw: "does not start: " + firstLine(err)}, nil
	}
	defer t.close()
	return a.Run(ctx, t)
}

// ownSecrets are variables such as a service is started with. The values are put together here and open nothing.
func ownSecrets() []string {
	filler := strings.Repeat("0123456789", 4)
	return []string{
		"AWS_SECRET_" + "ACCESS_KEY=" + "wJal" + filler[:36],
		"GITHUB_" + "TOKEN=" + "ghp" + "_" + filler[:36],
		"DATABASE_URL=postgres://" + "gateway:" + "hunter" + "22" + "@db.internal/gateway",
		"OPENAI_API_" + "KEY=" + "sk" + "-proj-" + filler[:40],
	}
}

func (r report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Held bool   `json:"held"`
		Rows report `json:"rows"`
	}{r.held(), r})
}

func (r report) writeTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tATTACK\tFINDING\tTHE UNPROTECTED TWIN\tTHIS SERVICE\tSTOPPED BY")
	failed, missing := 0, 0
	for _, row := range r {
		mark := "ok"
		if !row.held() {
			mark = "FAILED"
			failed++
		}
		finding, twin, service := row.Finding, row.Twin.Saw, row.Service.Saw
		if finding == "" {
			finding = "legitimate"
		}
		if row.Stopper != "" {
			service = strings.Replace(service, row.Stopper+": ", "", 1) // the last column says it
		}
		if row.Missing != "" {
			mark, twin, service = "not run", "needs "+row.Missing, ""
			missing++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", mark, row.Attack, finding, clip(twin), clip(service), row.Stopper)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	summary := fmt.Sprintf("%d rows, %d failed", len(r), failed)
	if missing > 0 {
		summary += fmt.Sprintf(", %d not run", missing)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", summary)
	return err
}

// clip keeps a cell of the table short; -json has the whole text.
func clip(text string) string {
	const most = 52
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
