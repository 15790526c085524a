// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func toolAttacks() []attack {
	return []attack{
		{
			Name:  "give a tool what the operator named for it",
			Needs: []string{"env"},
			Setup: func(c *config) { c.setenv("REPORT_STYLE", "long") },
			Run: func(ctx context.Context, t *target) (outcome, error) {
				status, body, err := t.call(ctx, string(t.Token), "environment", map[string]string{"TZ": "UTC"})
				if strings.Contains(body, "REPORT_STYLE=long") && strings.Contains(body, "TZ=UTC") {
					return outcome{Through: true, Saw: "served"}, err
				}
				return outcome{Saw: refusal(status, body)}, err
			},
		},
		{
			Name: "let a tool print its environment", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"env"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				status, body, err := t.call(ctx, string(t.Token), "environment", nil)
				return t.secretsIn(status, body), err
			},
		},
		{
			Name: "drop the refusal and start the tool anyway", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"env"},
			Run:   careless,
		},
		{
			Name: "set BASH_ENV in a call", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"bash"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				script, err := t.plant("startup.sh")
				if err != nil {
					return outcome{}, err
				}
				return t.hijack(ctx, "date", map[string]string{"BASH_ENV": script})
			},
		},
		{
			Name: "start the service with a hostile BASH_ENV", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"bash"},
			Setup: func(c *config) { c.setenv("BASH_ENV", filepath.Join(c.Workspace, "startup.sh")) },
			Run: func(ctx context.Context, t *target) (outcome, error) {
				if _, err := t.plant("startup.sh"); err != nil {
					return outcome{}, err
				}
				return t.hijack(ctx, "date", nil)
			},
		},
		{
			Name: "set GIT_SSH_COMMAND in a call", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"git"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				script, err := t.plant("ssh")
				if err != nil {
					return outcome{}, err
				}
				return t.hijack(ctx, "remote", map[string]string{"GIT_SSH_COMMAND": script})
			},
		},
		{
			Name: "set LD_PRELOAD in a call", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"bash", "ldd"}, // a loader that obeys the variable
			Run: func(ctx context.Context, t *target) (outcome, error) {
				const library = "attacker.so"
				status, body, err := t.call(ctx, string(t.Token), "date", map[string]string{"LD_PRELOAD": filepath.Join(t.Workspace, library)})
				if strings.Contains(body, library) && strings.Contains(body, "preload") {
					return outcome{Through: true, Saw: "the loader looked for the library"}, err
				}
				return outcome{Saw: refusal(status, body)}, err
			},
		},
		{
			Name: "set PATH in a call", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"bash"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				if _, err := t.plant("date"); err != nil {
					return outcome{}, err
				}
				return t.hijack(ctx, "date", map[string]string{"PATH": t.Workspace + ":" + os.Getenv("PATH")})
			},
		},
		{
			Name: "start the service with . in PATH", Finding: "CRIT-01", Stopper: "envallow",
			Needs: []string{"bash"},
			Setup: func(c *config) { c.setenv("PATH", ".:"+os.Getenv("PATH")) },
			Run: func(ctx context.Context, t *target) (outcome, error) {
				if _, err := t.plant("date"); err != nil {
					return outcome{}, err
				}
				return t.hijack(ctx, "date", nil)
			},
		},
	}
}

// setenv replaces a variable: of two that disagree, a guard may take neither, and nothing would be shown.
func (c *config) setenv(name, value string) {
	c.Environ = append(slices.DeleteFunc(c.Environ, func(variable string) bool {
		return strings.HasPrefix(variable, name+"=")
	}), name+"="+value)
}

// careless is a caller who does not look at what the guard says. No request reaches such a line in this service; it is
// here for the next one that somebody adds.
func careless(ctx context.Context, t *target) (outcome, error) {
	cmd := t.command(ctx, "environment")
	t.child(cmd, map[string]string{"LD_PRELOAD": filepath.Join(t.Workspace, "attacker.so")})
	output, err := cmd.CombinedOutput()
	if err != nil {
		return outcome{Saw: "cannot be started: " + err.Error()}, nil
	}
	return t.secretsIn(http.StatusOK, string(output)), nil
}

// secretsIn looks for the service's own credentials in what a tool printed.
func (t *target) secretsIn(status int, body string) outcome {
	for _, variable := range ownSecrets() {
		name, value, _ := strings.Cut(variable, "=")
		if strings.Contains(body, value) {
			return outcome{Through: true, Saw: "printed " + name + " and more"}
		}
	}
	if status != http.StatusOK {
		return outcome{Saw: refusal(status, body)}
	}
	return outcome{Saw: "ran it without them"}
}

// plant writes the attacker's program, which leaves a mark where it ran.
func (t *target) plant(name string) (path string, err error) {
	path = filepath.Join(t.Workspace, name)
	return path, os.WriteFile(path, []byte("#!/bin/sh\n: > '"+filepath.Join(t.Workspace, "mark")+"'\n"), 0o755)
}

// hijack runs a tool and tells whether the attacker's program ran with it.
func (t *target) hijack(ctx context.Context, tool string, env map[string]string) (outcome, error) {
	status, body, err := t.call(ctx, string(t.Token), tool, env)
	if err != nil {
		return outcome{}, err
	}
	switch _, err := os.Stat(filepath.Join(t.Workspace, "mark")); {
	case err == nil:
		return outcome{Through: true, Saw: "ran the attacker's program"}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return outcome{}, err
	case status == http.StatusOK:
		return outcome{Saw: "ran the tool alone"}, nil
	default:
		return outcome{Saw: refusal(status, body)}, nil
	}
}
