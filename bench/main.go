// SPDX-License-Identifier: Apache-2.0

// Command bench measures Merlon's packages beside their peers and prints Markdown tables of ratios.
//
//	go run -C bench .              every subject
//	go run -C bench . NAME...      some subjects, or groups of them: atrest, state
//	go run -C bench . -smoke       each entry once, to see that it runs
//
// The status is 1 if a bar was missed. Times of two runs, or of two machines, must not be compared; ratios may be.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/merlon-go/merlon/bench/credcipher"
	"github.com/merlon-go/merlon/bench/devicekey"
	"github.com/merlon-go/merlon/bench/envallow"
	"github.com/merlon-go/merlon/bench/hostvalidate"
	"github.com/merlon-go/merlon/bench/masterkey"
	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/bench/noncecache"
	"github.com/merlon-go/merlon/bench/privatefile"
	"github.com/merlon-go/merlon/bench/secretequal"
)

// subjects are measured in this order. Each is made when its turn comes, since some start servers or write files.
var subjects = []struct {
	name, group string
	make        func() (measure.Subject, error)
}{
	{"secretequal", "", secretequal.Subject},
	{"envallow", "", envallow.Subject},
	{"hostvalidate", "", hostvalidate.Subject},
	{"privatefile", "atrest", privatefile.Subject},
	{"credcipher", "atrest", credcipher.Subject},
	{"masterkey", "atrest", masterkey.Subject},
	{"devicekey", "atrest", devicekey.Subject},
	{"noncecache", "state", noncecache.Subject},
}

func main() {
	smoke := flag.Bool("smoke", false, "run each entry once and judge no bar")
	flag.Parse()
	missed, err := run(flag.Args(), *smoke)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "bench: %d bars missed\n", missed)
		os.Exit(1)
	}
}

func run(names []string, smoke bool) (missed int, err error) {
	var known []string
	for _, s := range subjects {
		known = append(known, s.name)
		if s.group != "" && !slices.Contains(known, s.group) {
			known = append(known, s.group)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return 0, fmt.Errorf("no subject %q; there are %s", name, strings.Join(known, " "))
		}
	}
	effort := measure.Thorough
	if smoke {
		effort = measure.Smoke
	}
	fmt.Printf("%s, %s/%s, %d CPUs; the fastest of %d interleaved rounds counts\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), effort.Rounds)
	for _, s := range subjects {
		if len(names) > 0 && !slices.Contains(names, s.name) && !slices.Contains(names, s.group) {
			continue
		}
		subject, err := s.make()
		if err != nil {
			return missed, fmt.Errorf("%s: %w", s.name, err)
		}
		n, err := subject.Report(os.Stdout, effort)
		if err != nil {
			return missed, fmt.Errorf("%s: %w", s.name, err)
		}
		missed += n
	}
	return missed, nil
}
