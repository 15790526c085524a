// SPDX-License-Identifier: Apache-2.0

// Command secretequal guards a server with a token, and rotates the token while the server runs.
package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/merlon-go/merlon/secretequal"
)

// guard lets a request through if its bearer token is one of the current set.
type guard struct {
	current atomic.Pointer[secretequal.Set]
	next    http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	presented, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, ok := g.current.Load().MatchString(presented); !bearer || !ok {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	g.next.ServeHTTP(w, r)
}

// rotate replaces the tokens that are let through. It fails, and changes nothing, if one of them is empty.
func (g *guard) rotate(tokens map[string][]byte) error {
	set, err := secretequal.NewSet(tokens)
	if err != nil {
		return err
	}
	g.current.Store(set)
	return nil
}

func main() {
	before, after := []byte(rand.Text()), []byte(rand.Text())
	g := &guard{next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
	ask := func(token []byte) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+string(token))
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code
	}
	for _, step := range []struct {
		name   string
		tokens map[string][]byte
	}{
		{"start with the old token", map[string][]byte{"old": before}},
		{"add the new one", map[string][]byte{"old": before, "new": after}},
		{"remove the old one", map[string][]byte{"new": after}},
		{"forget to set one", map[string][]byte{"new": after, "spare": nil}},
	} {
		if err := g.rotate(step.tokens); err != nil {
			fmt.Println(step.name+":", err)
			continue
		}
		fmt.Printf("%s: old %d, new %d, none %d\n", step.name, ask(before), ask(after), ask(nil))
	}
	if ask(after) != http.StatusOK {
		log.Fatal("a rotation that failed must change nothing")
	}
}
