// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

const foreign = "evil.example"

func networkAttacks() []attack {
	return []attack{
		{
			Name:  "call a tool with the token",
			Needs: []string{"env"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				status, body, err := t.call(ctx, string(t.Token), "environment", nil)
				return served(status, body), err
			},
		},
		{
			Name:  "open the local page and call a tool",
			Needs: []string{"env"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.steal(ctx, t.addr)
			},
		},
		{
			Name: "listen to events from the local page",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.listen(ctx, t.addr, t.addr)
			},
		},
		{
			Name:  "open the page under a declared name",
			Needs: []string{"env"},
			Setup: func(c *config) { c.Hosts = []string{"gateway.internal"} },
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.steal(ctx, "gateway.internal")
			},
		},
		{
			Name: "guess the token, and time the guesses", Finding: "HIGH-01", Stopper: "secretequal",
			Run: guess,
		},
		{
			Name: "present an empty token where none was set", Finding: "HIGH-02", Stopper: "secretequal",
			Needs: []string{"env"},
			Setup: func(c *config) { c.Token = nil },
			Run: func(ctx context.Context, t *target) (outcome, error) {
				status, body, err := t.call(ctx, "", "environment", nil)
				return served(status, body), err
			},
		},
		{
			Name: "rebind a name, fetch the session, run a tool", Finding: "MED-03", Stopper: "hostvalidate",
			Needs: []string{"env"},
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.steal(ctx, t.rebound())
			},
		},
		{
			Name: "rebind a name, open a WebSocket", Finding: "MED-03", Stopper: "hostvalidate",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.listen(ctx, t.rebound(), t.rebound())
			},
		},
		{
			// The browser keeps back no cookie here, not even a strict one: a site has no port.
			Name: "open a WebSocket from another local server", Finding: "MED-03", Stopper: "hostvalidate",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.listen(ctx, t.addr, "127.0.0.1:1")
			},
		},
		{
			// Only a browser that knows no SameSite sends the cookie here.
			Name: "open a WebSocket from another site", Finding: "MED-03", Stopper: "hostvalidate",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.listen(ctx, t.addr, foreign)
			},
		},
		{
			// Past a proxy, or a check of one's own, that looks at the Host line, which such a target overrides (RFC 9112,
			// section 3.2.2).
			Name: "name another host in an absolute-form target", Finding: "MED-03", Stopper: "hostvalidate",
			Run: func(ctx context.Context, t *target) (outcome, error) {
				return t.raw(ctx, "GET http://"+foreign+"/page/session HTTP/1.1\r\nHost: "+t.addr+"\r\nConnection: close\r\n\r\n")
			},
		},
	}
}

// served takes an answer for what it is to a client.
func served(status int, body string) outcome {
	if status == http.StatusOK {
		return outcome{Through: true, Saw: "served"}
	}
	return outcome{Saw: refusal(status, body)}
}

// refusal is the status and what the service says of it.
func refusal(status int, body string) string {
	var said struct {
		Error string `json:"error"`
	}
	json.Unmarshal([]byte(body), &said) // what is no JSON says nothing
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, said.Error))
}

// call runs a tool as a client with that bearer token.
func (t *target) call(ctx context.Context, bearer, tool string, env map[string]string) (status int, body string, err error) {
	payload, err := json.Marshal(map[string]any{"env": env})
	if err != nil {
		return 0, "", err
	}
	return t.request(ctx, http.MethodPost, "/v1/tools/"+tool, t.addr, bearer, payload)
}

func (t *target) request(ctx context.Context, method, path, host, bearer string, payload []byte) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+t.addr+path, bytes.NewReader(payload))
	if err != nil {
		return 0, "", err
	}
	r.Host = host
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// rebound is what a browser calls this service after the attacker's name was made to point here.
func (t *target) rebound() string {
	return strings.Replace(t.addr, "127.0.0.1", foreign, 1)
}

// steal does what a page does that believes to be on host: it fetches the session and runs a tool with it.
func (t *target) steal(ctx context.Context, host string) (outcome, error) {
	status, body, err := t.request(ctx, http.MethodGet, "/page/session", host, "", nil)
	if err != nil || status != http.StatusOK {
		return outcome{Saw: refusal(status, body)}, err
	}
	var page struct {
		Session string `json:"session"`
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		return outcome{}, err
	}
	status, body, err = t.request(ctx, http.MethodPost, "/v1/tools/environment", host, page.Session, []byte("{}"))
	if err != nil || status != http.StatusOK {
		return outcome{Saw: refusal(status, body)}, err
	}
	return outcome{Through: true, Saw: "gave its session and ran a tool"}, nil
}

// listen opens the event stream as a browser does for a page from the server that it calls page, with the cookie that it
// has for host.
func (t *target) listen(ctx context.Context, host, page string) (outcome, error) {
	header := http.Header{}
	header.Set("Origin", "http://"+page)
	header.Set("Cookie", "session="+string(t.Session))
	conn, response, err := websocket.Dial(ctx, "ws://"+t.addr+"/v1/events", &websocket.DialOptions{Host: host, HTTPHeader: header})
	if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(response.Body)
		return outcome{Saw: refusal(response.StatusCode, string(body))}, err
	}
	if err != nil {
		return outcome{}, err
	}
	defer conn.CloseNow()
	var event map[string]string
	if err := wsjson.Read(ctx, conn, &event); err != nil {
		return outcome{}, err
	}
	return outcome{Through: true, Saw: "sent its events to " + page}, nil
}

// raw sends bytes that no HTTP client would, and looks for the session in the answer.
func (t *target) raw(ctx context.Context, request string) (outcome, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return outcome{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return outcome{}, err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return outcome{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return outcome{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return outcome{}, err
	}
	if strings.Contains(string(body), string(t.Session)) {
		return outcome{Through: true, Saw: "gave its session"}, nil
	}
	return outcome{Saw: refusal(response.StatusCode, string(body))}, nil
}

// guess presents wrong tokens of every length over the network, none of which may be let in. Then it times guesses of
// each length, at the guard itself: over a network the same takes more samples, and the noise would drown this row.
func guess(ctx context.Context, t *target) (outcome, error) {
	wrong := []string{"", " ", strings.ToUpper(string(t.Token)), string(t.Token) + "x", strings.Repeat("x", 4096), strings.Repeat("x", 8192)}
	for n := range t.Token {
		wrong = append(wrong, string(t.Token[:n]), strings.Repeat("x", n+1))
	}
	for _, presented := range wrong {
		status, body, err := t.call(ctx, presented, "date", nil)
		if err != nil {
			return outcome{}, err
		}
		if status != http.StatusUnauthorized {
			return outcome{Through: true, Saw: fmt.Sprintf("let a wrong token in: %s", refusal(status, body))}, nil
		}
	}
	if slices.Contains(lengthsByTime(t.caller), len(t.Token)) {
		return outcome{Through: true, Saw: fmt.Sprintf("told by its time: %d characters", len(t.Token))}, nil
	}
	return outcome{Saw: fmt.Sprintf("refused %d guesses; its time tells no length", len(wrong))}, nil
}

// lengthsByTime finds the lengths whose comparison takes longer than that of their neighbours on both sides.
func lengthsByTime(caller func(string) (string, bool)) []int {
	const longest, calls = 64, 100
	guesses := strings.Repeat("x", longest)
	var fastest [longest + 1]time.Duration
	for range 100 {
		for n := range fastest {
			presented := guesses[:n]
			start := time.Now()
			for range calls {
				caller(presented)
			}
			if took := time.Since(start); fastest[n] == 0 || took < fastest[n] {
				fastest[n] = took
			}
		}
	}
	var found []int
	for n := 1; n < longest; n++ {
		if float64(fastest[n]) > 1.15*float64(max(fastest[n-1], fastest[n+1])) {
			found = append(found, n)
		}
	}
	return found
}
