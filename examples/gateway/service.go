// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// service is the gateway: a page and an API on loopback, which run tools in child processes and keep credentials. What
// it must defend is behind its guards; the hardened service and its twin differ in nothing else.
type service struct {
	guards
	config
	settings
}

// guards are the places where the service asks before it acts.
type guards struct {
	// requests stands in front of every handler.
	requests func(http.Handler) http.Handler
	// caller tells who presents a secret.
	caller func(presented string) (id string, ok bool)
	// child prepares a tool's process: cmd.Env is the service's own environment, overrides is what the call asks for.
	child func(cmd *exec.Cmd, overrides map[string]string) error
	// store keeps credentials of other services.
	store store
	// device is who this gateway is to the devices paired with it.
	device func() (id string, err error)
	// rotate changes the key that protects the store, while the store is in use.
	rotate func(context.Context) error
	// release gives back what the guards hold open.
	release func() error
}

type store interface {
	ReadFile(name string) ([]byte, error)
	Write(name string, data []byte) error
}

// config is what an operator sets.
type config struct {
	Token     []byte   // of the API, presented as a bearer token
	Session   []byte   // of the local page, which the page fetches for itself and its browser sends as a cookie
	Hosts     []string // names of this service besides those of loopback
	ToolKeeps []string // variables that tools need, beyond the usual ones
	Environ   []string // the service's own environment
	Workspace string   // where tools run
	State     string   // where the service keeps what must outlive it
	Keychain  bool     // keep the master key in the system's keychain instead of in State

	Log io.Writer // what the operator reads
}

// newConfig is that of a first start in dir, which is empty.
func newConfig(dir string) (config, error) {
	var token [32]byte
	rand.Read(token[:])
	c := config{
		Token:     []byte(base64.RawURLEncoding.EncodeToString(token[:])),
		Session:   []byte(rand.Text()),
		ToolKeeps: []string{"REPORT_STYLE"},
		Environ:   os.Environ(),
		Log:       io.Discard,
		Workspace: filepath.Join(dir, "workspace"),
		State:     filepath.Join(dir, "state"),
	}
	return c, errors.Join(
		os.Mkdir(c.Workspace, 0o700),
		os.Mkdir(c.State, 0o700),
		os.WriteFile(filepath.Join(c.State, "config.json"), []byte("{}"), 0o600),
	)
}

// settings is the part of the configuration that an operator edits while the service is down: State/config.json.
type settings struct {
	Tools map[string][]string `json:"tools"` // programs and their arguments, by the name of the tool
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/session", s.session)
	mux.HandleFunc("POST /v1/tools/{tool}", s.authorized(s.tool))
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("PUT /v1/credentials/{name}", s.authorized(s.keep))
	mux.HandleFunc("GET /v1/credentials/{name}", s.authorized(s.account))
	mux.HandleFunc("GET /v1/device", s.authorized(s.identity))
	mux.HandleFunc("POST /v1/rotate", s.authorized(s.rotation))
	return s.requests(mux)
}

// session lets the local page in. Who can read this answer is a user of this machine, as far as the service can tell:
// the Host and Origin of the request are all that keeps other people's pages away.
func (s *service) session(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "session", Value: string(s.Session), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	answer(w, http.StatusOK, map[string]string{"session": string(s.Session)})
}

// authorized lets a request through that presents the token or the session.
func (s *service) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var presented string // empty, unless the header is there and of this kind
		if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			presented = bearer
		}
		if _, ok := s.caller(presented); !ok {
			answer(w, http.StatusUnauthorized, map[string]string{"error": "present the token or the session as a bearer token"})
			return
		}
		next(w, r)
	}
}

// tool runs one tool and answers with what it printed.
func (s *service) tool(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Env map[string]string `json:"env"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&call); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "send a JSON object"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	cmd := s.command(ctx, r.PathValue("tool"))
	if cmd == nil {
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no such tool"})
		return
	}
	if err := s.child(cmd, call.Env); err != nil {
		answer(w, http.StatusForbidden, map[string]string{"error": err.Error()})
		return
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]string{"error": err.Error(), "output": string(output)})
		return
	}
	answer(w, http.StatusOK, map[string]string{"output": string(output)})
}

// command is a tool's process with the service's own environment, or nil if there is no such tool. What a tool runs is
// in this list or in the operator's; no part of it comes from a request.
func (s *service) command(ctx context.Context, tool string) *exec.Cmd {
	argv, ok := s.Tools[tool]
	if !ok {
		switch tool {
		case "environment":
			argv = []string{"env"}
		case "date":
			argv = []string{"bash", "-c", "date"}
		case "remote":
			argv = []string{"git", "ls-remote", "ssh://git@localhost/workspace"}
		}
	}
	if len(argv) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.Workspace
	cmd.Env = slices.Clone(s.Environ)
	cmd.WaitDelay = time.Second
	return cmd
}

// events greets a page over WebSocket. Pages are let in by the session cookie, which a browser sends whoever asks it to.
func (s *service) events(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("session")
	if err != nil {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "fetch /page/session first"})
		return
	}
	id, ok := s.caller(cookie.Value)
	if !ok {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "fetch /page/session again"})
		return
	}
	// The library's own check compares Origin with Host, which a rebound page makes equal. The guard knows better.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if wsjson.Write(ctx, conn, map[string]string{"event": "hello", "caller": id}) == nil {
		conn.Close(websocket.StatusNormalClosure, "")
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // the client may have left; nothing is to be done then
}

// listen serves on a free loopback port until close is called, which ends the service.
func (s *service) listen() (addr string, close func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener) // ends with close
	return listener.Addr().String(), func() error { return errors.Join(server.Close(), s.release()) }, nil
}
