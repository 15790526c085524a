// SPDX-License-Identifier: Apache-2.0

// Command envallow starts a tool with a service's environment, of which it gets what it needs.
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/merlon-go/merlon/envallow"
)

func main() {
	// What a service was started with. The password opens nothing.
	environ := []string{
		"HOME=/home/service", "LANG=C.UTF-8", "PATH=.:/usr/local/bin:/usr/bin:/bin",
		"REPORT_STYLE=long",
		"DATABASE_URL=postgres://" + "service:" + "hunter22" + "@db/service",
		"LD_PRELOAD=/tmp/x.so",
	}
	tools, err := envallow.New(envallow.Config{Keep: []string{"REPORT_STYLE"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range tools.Explain(environ) {
		fmt.Printf("%-13s kept %-5v %v\n", d.Name, d.Keep, d.Class)
	}

	// A tool call may bring variables of its own, but none that choose what runs.
	for _, overrides := range []map[string]string{{"TZ": "UTC"}, {"GIT_SSH_COMMAND": "/tmp/x"}} {
		env, err := tools.Overlay(environ, overrides)
		if err != nil {
			fmt.Println(err)
			continue
		}
		cmd := exec.Command("env")
		cmd.Env = env
		if err := tools.Apply(cmd); err != nil {
			log.Fatal(err)
		}
		cmd.Stdout = os.Stdout
		if err := cmd.Run(); err != nil {
			log.Fatal(err)
		}
	}
}
