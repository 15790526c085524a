// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func stateAttacks() []attack {
	return []attack{
		{
			Name: "read the files that credentials rest in", Finding: "CRIT-02", Stopper: "credcipher",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				if err := t.deposit(ctx, "mail", "chat"); err != nil {
					return outcome{}, err
				}
				return t.search(credentialSecret("mail"))
			},
		},
		{
			Name: "replace a stored credential by plaintext", Finding: "CRIT-02", Stopper: "credcipher",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.tamper(ctx, func(mail, chat []byte) []byte {
					return []byte(`{"account":"attacker","secret":"mine"}`)
				})
			},
		},
		{
			Name: "put a credential in the place of another", Finding: "CRIT-02", Stopper: "credcipher",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.tamper(ctx, func(mail, chat []byte) []byte { return chat })
			},
		},
		{
			Name: "change one bit of a stored credential", Finding: "CRIT-02", Stopper: "credcipher",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.tamper(ctx, func(mail, chat []byte) []byte {
					changed := bytes.Clone(mail)
					at := bytes.Index(changed, []byte("mail"))
					if at < 0 {
						at = len(changed) / 2
					}
					changed[at] ^= 1
					return changed
				})
			},
		},
		{
			Name: "truncate the file that the key rests in", Finding: "CRIT-02", Stopper: "masterkey",
			Run: truncateKey,
		},
		{
			Name: "read the device key, be this gateway", Finding: "LOW-01", Stopper: "devicekey",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				id, err := t.whoami(ctx)
				if err != nil {
					return outcome{}, err
				}
				text, err := os.ReadFile(filepath.Join(t.State, "device.key"))
				if err != nil {
					return outcome{}, err
				}
				seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
				if err == nil && len(seed) == ed25519.SeedSize && deviceID(seed) == id {
					return outcome{Through: true, Saw: "its identity can be used elsewhere"}, nil
				}
				return outcome{Saw: "the key rests sealed"}, nil
			},
		},
		{
			Name:  "add a tool to the configuration",
			Needs: []string{"env"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				again, err := t.configure(0o600, settings{Tools: map[string][]string{"report": {"env"}}})
				if err != nil {
					return outcome{Saw: "does not start: " + err.Error()}, nil
				}
				defer again.close()
				status, body, err := again.call(ctx, string(t.Token), "report", nil)
				return served(status, body), err
			},
		},
		{
			Name: "edit a configuration that all may write", Finding: "LOW-04", Stopper: "privatefile",
			Needs: []string{"sh"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				script, err := t.plant("tool.sh")
				if err != nil {
					return outcome{}, err
				}
				again, err := t.configure(0o666, settings{Tools: map[string][]string{"date": {"sh", script}}})
				if err != nil {
					return outcome{Saw: "does not start: " + err.Error()}, nil
				}
				defer again.close()
				return again.hijack(ctx, "date", nil)
			},
		},
		{
			Name: "use credentials while the key is rotated",
			Run:  rotateUnderLoad,
		},
		{
			Name: "kill -9 during a rotation, then use them",
			Run:  killDuringRotation,
		},
	}
}

func credentialSecret(name string) string { return name + "-" + strings.Repeat("3f9a", 8) }

// deposit stores credentials as a client does.
func (t *target) deposit(ctx context.Context, names ...string) error {
	for _, name := range names {
		doc, err := json.Marshal(credential{Account: name + "@example.com", Secret: credentialSecret(name)})
		if err != nil {
			return err
		}
		status, body, err := t.request(ctx, http.MethodPut, "/v1/credentials/"+name, t.addr, string(t.Token), doc)
		if err != nil || status != http.StatusOK {
			return errors.Join(err, errors.New(refusal(status, body)))
		}
	}
	return nil
}

// use asks for the account of a credential, which the service has to read for it.
func (t *target) use(ctx context.Context, name string) (account string, refused string, err error) {
	status, body, err := t.request(ctx, http.MethodGet, "/v1/credentials/"+name, t.addr, string(t.Token), nil)
	if err != nil || status != http.StatusOK {
		return "", refusal(status, body), err
	}
	var c credential
	err = json.Unmarshal([]byte(body), &c)
	return c.Account, "", err
}

func (t *target) requestRotation(ctx context.Context) (refused string, err error) {
	status, body, err := t.request(ctx, http.MethodPost, "/v1/rotate", t.addr, string(t.Token), nil)
	if err != nil || status != http.StatusOK {
		return refusal(status, body), err
	}
	return "", nil
}

func (t *target) whoami(ctx context.Context) (id string, err error) {
	status, body, err := t.request(ctx, http.MethodGet, "/v1/device", t.addr, string(t.Token), nil)
	if err != nil || status != http.StatusOK {
		return "", errors.Join(err, errors.New(refusal(status, body)))
	}
	var device struct {
		ID string `json:"id"`
	}
	err = json.Unmarshal([]byte(body), &device)
	return device.ID, err
}

func deviceID(seed []byte) string {
	sum := sha256.Sum256(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:])
}

// search looks through all that the service keeps.
func (t *target) search(secret string) (outcome, error) {
	found := outcome{Saw: "no file holds it"}
	err := filepath.WalkDir(t.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(secret)) {
			found = outcome{Through: true, Saw: "it stands in " + d.Name()}
		}
		return err
	})
	return found, err
}

// tamper changes the file of one credential, given its content and that of another, and sees whether the service uses it.
func (t *target) tamper(ctx context.Context, change func(mail, chat []byte) []byte) (outcome, error) {
	if err := t.deposit(ctx, "mail", "chat"); err != nil {
		return outcome{}, err
	}
	path := filepath.Join(t.State, "credentials", "mail.json")
	mail, err := os.ReadFile(path)
	if err != nil {
		return outcome{}, err
	}
	chat, err := os.ReadFile(filepath.Join(t.State, "credentials", "chat.json"))
	if err != nil {
		return outcome{}, err
	}
	if err := os.WriteFile(path, change(mail, chat), 0o600); err != nil {
		return outcome{}, err
	}
	account, refused, err := t.use(ctx, "mail")
	if err != nil || refused != "" {
		return outcome{Saw: refused}, err
	}
	if account == "mail@example.com" {
		return outcome{}, errors.New("the file was changed and the account is the old one")
	}
	return outcome{Through: true, Saw: "uses " + account + " for mail"}, nil
}

// truncateKey empties the file of the key, as a full disk does, and starts the service again.
func truncateKey(ctx context.Context, t *target) (outcome, error) {
	before, err := t.whoami(ctx)
	if err != nil {
		return outcome{}, err
	}
	key := filepath.Join(t.State, "keys", "master.key")
	if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
		key = filepath.Join(t.State, "device.key")
	}
	if err := os.Truncate(key, 0); err != nil {
		return outcome{}, err
	}
	again, err := t.restart()
	if err != nil {
		return outcome{Saw: "does not start: " + firstLine(err)}, nil
	}
	defer again.close()
	after, err := again.whoami(ctx)
	if err != nil {
		return outcome{}, err
	}
	return outcome{Through: after != before, Saw: "made a new key and said nothing"}, nil
}

// configure replaces the configuration, leaves it with that mode, and starts the service twice: one that repairs the mode
// and goes on is fooled the second time.
func (t *target) configure(mode fs.FileMode, edited settings) (*target, error) {
	text, err := json.Marshal(edited)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(t.State, "config.json")
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chmod(path, mode)); err != nil {
		return nil, err
	}
	if again, err := t.restart(); err == nil {
		again.close()
	}
	return t.restart()
}

// rotateUnderLoad reads credentials all the time while the key is changed three times.
func rotateUnderLoad(ctx context.Context, t *target) (outcome, error) {
	names := []string{"mail", "chat", "calendar"}
	if err := t.deposit(ctx, names...); err != nil {
		return outcome{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var served, failed atomic.Int64
	var readers sync.WaitGroup
	for _, name := range names {
		readers.Go(func() {
			for ctx.Err() == nil {
				switch account, _, err := t.use(ctx, name); {
				case ctx.Err() != nil:
				case err != nil || account != name+"@example.com":
					failed.Add(1)
				default:
					served.Add(1)
				}
			}
		})
	}
	var refused string
	for range 3 {
		var err error
		if refused, err = t.requestRotation(ctx); err != nil {
			return outcome{}, err
		}
	}
	stop()
	readers.Wait()
	if refused != "" {
		return outcome{Saw: refused}, nil
	}
	if failed.Load() > 0 || served.Load() == 0 {
		return outcome{Saw: fmt.Sprintf("%d of %d requests failed", failed.Load(), served.Load()+failed.Load())}, nil
	}
	return outcome{Through: true, Saw: "served, all of them"}, nil
}

// killDuringRotation lets another process rotate the same state, kills it at some moment, and starts the service.
func killDuringRotation(ctx context.Context, t *target) (outcome, error) {
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("account-%d", i))
	}
	if err := t.deposit(ctx, names...); err != nil {
		return outcome{}, err
	}
	if refused, err := t.requestRotation(ctx); err != nil || refused != "" {
		return outcome{Saw: refused}, err
	}
	t.close()
	for round := range 5 {
		program, err := os.Executable()
		if err != nil {
			return outcome{}, err
		}
		child := exec.Command(program, rotateForever, t.State)
		out, err := child.StdoutPipe()
		if err != nil {
			return outcome{}, err
		}
		if err := child.Start(); err != nil {
			return outcome{}, err
		}
		out.Read(make([]byte, 1)) // it has begun, or ended with an error that Wait tells
		time.Sleep(time.Duration(10+37*round) * time.Millisecond)
		if err := errors.Join(child.Process.Kill(), ignoreExit(child.Wait())); err != nil {
			return outcome{}, err
		}
		again, err := t.restart()
		if err != nil {
			return outcome{Saw: "does not start: " + firstLine(err)}, nil
		}
		for _, name := range names {
			if account, refused, err := again.use(ctx, name); err != nil || account != name+"@example.com" {
				again.close()
				return outcome{Saw: "lost " + name + ": " + refused}, err
			}
		}
		again.close()
	}
	return outcome{Through: true, Saw: "served, all of them"}, nil
}

// rotateForever is the first argument of a child process that does that to the state in its second.
const rotateForever = "rotate-until-killed"

// rotateUntilKilled returns only with an error.
func rotateUntilKilled(dir string) error {
	s, err := openState(context.Background(), config{State: dir, Log: io.Discard})
	if err != nil {
		return err
	}
	fmt.Println("begun")
	for {
		if err := s.rotate(context.Background()); err != nil {
			return err
		}
	}
}

func ignoreExit(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ProcessState.ExitCode() < 0 {
		return nil // killed, as it should be
	}
	return err
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
