// SPDX-License-Identifier: Apache-2.0

// Package envallow measures merlon's envallow beside the loop that people write over the same lists.
package envallow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/envallow"
)

// Subject filters an environment of 100 variables and 11 kB, such as a build machine has.
func Subject() (measure.Subject, error) {
	n, err := newNaive()
	if err != nil {
		return measure.Subject{}, err
	}
	env := environment()
	bytes := 0
	for _, entry := range env {
		bytes += len(entry)
	}
	s := measure.Subject{Name: "envallow"}
	for _, mode := range []envallow.Mode{envallow.Strict, envallow.Inherit} {
		p, err := envallow.New(envallow.Config{Mode: mode})
		if err != nil {
			return measure.Subject{}, err
		}
		strict := mode == envallow.Strict
		// The loops must do the same work to be compared.
		if ours, theirs := p.Filter(env), n.filter(env, strict); !slices.Equal(ours, theirs) {
			return measure.Subject{}, fmt.Errorf("in mode %v ours keeps %q, the naive loop %q", mode, ours, theirs)
		}
		s.Jobs = append(s.Jobs, measure.Job{
			Name:  fmt.Sprintf("Filter, %v, %d variables, %d kB", mode, len(env), bytes/1000),
			Bytes: int64(bytes),
			Entries: []measure.Entry{
				{Name: "merlon", Run: func(n int) {
					for range n {
						p.Filter(env)
					}
				}},
				{Name: "naive loop", Run: func(k int) {
					for range k {
						n.filter(env, strict)
					}
				}},
			},
			Bars: []measure.Bar{measure.AtMost(0.4, "naive loop"), measure.Allocs(1)},
		})
	}
	return s, nil
}

// environment makes the variables: a session, a build machine's own, hijackers and credentials.
func environment() []string {
	env := []string{
		"HOME=/home/builder", "USER=builder", "LOGNAME=builder", "LANG=en_GB.UTF-8", "LC_ALL=en_GB.UTF-8", "TZ=Europe/Berlin",
		"TERM=xterm-256color", "COLORTERM=truecolor", "COLUMNS=211", "LINES=57", "TMPDIR=/tmp", "HOSTNAME=build-17", "CI=true",
		"PWD=/home/builder/src/service", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/tools/bin",
		"SHELL=/bin/bash", "EDITOR=vim", "PAGER=less", "LESSOPEN=| /usr/bin/lesspipe %s", "GIT_SSH_COMMAND=ssh -i /home/builder/.ssh/id",
		"LD_LIBRARY_PATH=/opt/lib", "PYTHONPATH=/opt/python", "NODE_OPTIONS=--max-old-space-size=4096", "GOFLAGS=-mod=mod", "MAKEFLAGS=-j8",
		"JAVA_TOOL_OPTIONS=-Xmx2g", "NPM_CONFIG_REGISTRY=https://registry.npmjs.org/", "KUBECONFIG=/home/builder/.kube/config",
		"DATABASE_URL=postgres://service@db/service", "OPENAI_API_KEY=x", "AWS_SECRET_ACCESS_KEY=x", "SESSION_SECRET=x", "GITHUB_TOKEN=x",
		"AWS_REGION=eu-central-1", "XDG_CONFIG_HOME=/home/builder/.config", "HTTPS_PROXY=http://proxy.example.com:3128", "GIT_AUTHOR_NAME=Builder",
		"LS_COLORS=" + strings.Repeat("di=01;34:ln=01;36:*.tar=01;31:*.jpg=01;35:", 40),
		"JOB_DESCRIPTION=" + strings.Repeat("builds the service and runs what it must ", 30),
		"ARTIFACTS=" + strings.Repeat("/home/builder/artifacts/service-linux-amd64.tar.gz,", 20),
	}
	for i := len(env); i < 100; i++ {
		env = append(env, fmt.Sprintf("BUILD_PARAMETER_%02d=%s", i, strings.Repeat("/srv/cache/objects ", 4)))
	}
	return env
}
