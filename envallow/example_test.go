// SPDX-License-Identifier: Apache-2.0

package envallow_test

import (
	"errors"
	"fmt"
	"log"
	"os/exec"
	"strings"

	"github.com/merlon-go/merlon/envallow"
)

// environ is what a service was started with. The password opens nothing.
func environ() []string {
	return []string{
		"HOME=/home/service", "PATH=.:/usr/bin:/bin", "LANG=C.UTF-8", "REPORT_STYLE=long",
		"DATABASE_URL=postgres://" + "service:" + "hunter22" + "@db/service",
		"BASH_ENV=/tmp/x.sh",
	}
}

// Before: the tool gets all of it, and whatever the call adds. After: what it needs.
func Example() {
	before := exec.Command("git", "status")
	before.Env = append(environ(), "GIT_SSH_COMMAND=/tmp/x")
	fmt.Println(len(before.Env), "variables, with the password")

	tools, err := envallow.New(envallow.Config{Keep: []string{"REPORT_STYLE"}})
	if err != nil {
		log.Fatal(err)
	}
	after := exec.Command("git", "status")
	after.Env = environ() // nil would stand for the process's own
	if err := tools.Apply(after); err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Join(after.Env, "\n"))

	_, err = tools.Overlay(after.Env, map[string]string{"GIT_SSH_COMMAND": "/tmp/x"})
	fmt.Println(err)
	fmt.Println(errors.Is(err, envallow.Hijack))
	// Output:
	// 7 variables, with the password
	// HOME=/home/service
	// PATH=/usr/bin:/bin
	// LANG=C.UTF-8
	// REPORT_STYLE=long
	// envallow: refused "GIT_SSH_COMMAND" (vcs): it takes over the program that obeys it; leave it out
	// true
}

func ExamplePolicy_Filter() {
	p, err := envallow.New(envallow.Config{Mode: envallow.Inherit})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Filter(append(environ(), "ACME_REGION=eu")))

	var none *envallow.Policy
	fmt.Println(none.Filter(environ()), none.Filter(environ()) == nil)
	// Output:
	// [HOME=/home/service PATH=/usr/bin:/bin LANG=C.UTF-8 REPORT_STYLE=long ACME_REGION=eu]
	// [] false
}

func ExamplePolicy_Explain() {
	p, err := envallow.New(envallow.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range p.Explain(environ()) {
		fmt.Println(d)
	}
	// Output:
	// keep "HOME" (session, listed)
	// keep "PATH" (session, cleaned)
	// keep "LANG" (session, listed)
	// drop "REPORT_STYLE" (unlisted, not-listed)
	// drop "DATABASE_URL" (secret, secret-name)
	// drop "BASH_ENV" (shell, hijack)
}

func ExamplePolicy_Overlay() {
	p, err := envallow.New(envallow.Config{})
	if err != nil {
		log.Fatal(err)
	}
	env, err := p.Overlay(environ(), map[string]string{"TZ": "Europe/Berlin", "REPORT_STYLE": "short"})
	fmt.Println(env, err)

	env, err = p.Overlay(environ(), map[string]string{"TZ": "UTC", "PATH": "/tmp", "LD_PRELOAD": "/tmp/x.so"})
	fmt.Println(env)
	var refusal *envallow.Error
	if errors.As(err, &refusal) {
		for _, d := range refusal.Refused {
			fmt.Println(d.Name, d.Reason.String())
		}
	}
	// Output:
	// [HOME=/home/service PATH=/usr/bin:/bin LANG=C.UTF-8 REPORT_STYLE=short TZ=Europe/Berlin] <nil>
	// []
	// LD_PRELOAD hijack
	// PATH protected
}

// A refusal whose error is dropped starts nothing.
func ExamplePolicy_Apply() {
	var forgotten *envallow.Policy
	cmd := exec.Command("env")
	_ = forgotten.Apply(cmd)
	err := cmd.Start()
	fmt.Println(errors.Is(err, envallow.NotConfigured), err)
	// Output:
	// true envallow: make the Policy with New; everything is refused
}

func ExampleCleanPath() {
	clean, dropped := envallow.CleanPath("/usr/bin:.::bin:/usr/bin:/no/such/folder")
	fmt.Printf("%s %q\n", clean, dropped)
	// Output:
	// /usr/bin:/no/such/folder ["." "" "bin" "/usr/bin"]
}
