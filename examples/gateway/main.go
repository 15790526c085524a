// SPDX-License-Identifier: Apache-2.0

// Command gateway is a small agent gateway with Merlon's packages wired in, and the attacks that they stop.
//
//	go run -C examples ./gateway           attack the service and its unprotected twin, and print what happened
//	go run -C examples ./gateway -json     the same for machines
//	go run -C examples ./gateway -serve    serve until interrupted, for you to attack
//
// The status is 0 only if every attack got through to the twin, none got through to the service, and every legitimate
// request was served. To see how the packages fit, read hardened below, then openState in state.go and the handlers in
// service.go; twin.go is what they replace. The attacks are the rows of the attacks_*.go files, and siege.go runs them.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/merlon-go/merlon/envallow"
	"github.com/merlon-go/merlon/hostvalidate"
	"github.com/merlon-go/merlon/secretequal"
)

// hardened builds the service with its guards. Each is made once, from the configuration, before the first request;
// what cannot be guarded does not start.
func hardened(c config) (_ *service, err error) {
	// What rests on disk: settings that only the operator could have written, credentials and the device key sealed.
	state, err := openState(context.Background(), c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			state.store.Close()
		}
	}()
	// Who presents a secret: every stored secret is looked at, whichever matches, and none of them is kept.
	secrets, err := secretequal.NewSet(map[string][]byte{"api": c.Token, "page": c.Session})
	if err != nil {
		return nil, err
	}
	// Which names this service answers to. Loopback names are good from loopback; all others must be declared.
	hosts, err := hostvalidate.New(hostvalidate.Config{
		Hosts: c.Hosts,
		// The answer tells a client nothing. The log tells the operator which entry of Hosts would let it in.
		OnRefuse: func(_ *http.Request, refusal *hostvalidate.Error) { fmt.Fprintln(c.Log, refusal) },
	})
	if err != nil {
		return nil, err
	}
	// What a tool sees of the service's environment: a short list, and what the operator names.
	environment, err := envallow.New(envallow.Config{Keep: c.ToolKeeps, Harden: true})
	if err != nil {
		return nil, err
	}
	return &service{config: c, settings: state.settings, guards: guards{
		requests: hosts.Handler, // in front of the mux, which redirects and answers by itself
		caller:   secrets.MatchString,
		child: func(cmd *exec.Cmd, overrides map[string]string) error {
			if err := environment.Apply(cmd); err != nil {
				return err
			}
			env, err := environment.Overlay(cmd.Env, overrides)
			if err != nil {
				cmd.Err = err // as Apply does: a caller who drops this error can't start the tool either
				return err
			}
			cmd.Env = env
			return nil
		},
		store:   state.store,
		device:  func() (string, error) { return state.device.ID(), nil },
		rotate:  state.rotate,
		release: state.store.Close,
	}}, nil
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == rotateForever { // a child process of one of the attacks
		fmt.Fprintln(os.Stderr, "gateway:", rotateUntilKilled(os.Args[2]))
		os.Exit(1)
	}
	serveOnly := flag.Bool("serve", false, "serve until interrupted")
	keychain := flag.Bool("keychain", false, "with -serve: keep the master key in the system's keychain")
	asJSON := flag.Bool("json", false, "print the table as JSON")
	flag.Parse()
	if flag.NArg() > 0 || *keychain && !*serveOnly || *asJSON && *serveOnly {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *serveOnly {
		if err := serve(ctx, *keychain); err != nil {
			fmt.Fprintln(os.Stderr, "gateway:", err)
			os.Exit(1)
		}
		return
	}
	report, err := siege(ctx, attacks(), hardened, unprotected)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
	if *asJSON {
		err = report.writeJSON(os.Stdout)
	} else {
		err = report.writeTable(os.Stdout)
	}
	if err != nil || !report.held() {
		os.Exit(1)
	}
}

// serve runs the hardened service, with a fresh token and nothing stored, until ctx ends. A key in the keychain stays.
func serve(ctx context.Context, keychain bool) error {
	dir, err := os.MkdirTemp("", "gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := newConfig(dir)
	if err != nil {
		return err
	}
	c.Keychain, c.Log = keychain, os.Stderr
	s, err := hardened(c)
	if err != nil {
		return err
	}
	addr, closeServer, err := s.listen()
	if err != nil {
		return err
	}
	defer closeServer()
	fmt.Printf(`serving on http://%[1]s
  a tool:     curl -X POST -H 'Authorization: Bearer %[2]s' -d '{}' http://%[1]s/v1/tools/environment
  rebinding:  curl -H 'Host: evil.example' http://%[1]s/page/session
  hijacking:  curl -X POST -H 'Authorization: Bearer %[2]s' -d '{"env":{"BASH_ENV":"/tmp/x"}}' http://%[1]s/v1/tools/date
interrupt to stop
`, addr, c.Token)
	<-ctx.Done()
	return nil
}
