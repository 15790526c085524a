// SPDX-License-Identifier: Apache-2.0

package secretequal_test

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/merlon-go/merlon/secretequal"
)

// Before: a constant-time comparison, and a token that nobody configured. After: the service does not start.
func Example() {
	token, presented := "", "" // os.Getenv, and a request without the header

	before := subtle.ConstantTimeCompare([]byte(presented), []byte(token)) == 1
	fmt.Println("before: let in:", before)

	_, err := secretequal.New([]byte(token))
	fmt.Println("after: not configured:", errors.Is(err, secretequal.ErrEmptySecret))
	fmt.Println(err)
	// Output:
	// before: let in: true
	// after: not configured: true
	// secretequal: the secret is empty: configure one
}

// A bearer token in front of a handler.
func ExampleNew() {
	token := rand.Text() // in a service: from its configuration
	verifier, err := secretequal.New([]byte(token))
	if err != nil {
		fmt.Println(err)
		return
	}
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		presented, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !verifier.MatchString(presented) {
			http.Error(w, "unauthorized", http.StatusUnauthorized) // one answer for absent and wrong
			return
		}
		fmt.Fprintln(w, "welcome")
	})

	for _, authorization := range []string{"Bearer " + token, "Bearer " + token[:10], "Bearer ", ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	fmt.Println(verifier)
	// Output:
	// 200
	// 401
	// 401
	// 401
	// [REDACTED]
}

// A rotation without a restart: for a while both the old and the new token are good, and the id says who is late.
func ExampleNewSet() {
	october, november := rand.Text(), rand.Text()
	var tokens atomic.Pointer[secretequal.Set]
	accept := func(secrets map[string][]byte) error {
		set, err := secretequal.NewSet(secrets)
		if err != nil {
			return err // and the set that is in force stays
		}
		tokens.Store(set)
		return nil
	}

	if err := accept(map[string][]byte{"october": []byte(october), "november": []byte(november)}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tokens.Load().MatchString(october))
	fmt.Println(tokens.Load().MatchString(november))

	if err := accept(map[string][]byte{"november": []byte(november)}); err != nil {
		fmt.Println(err)
		return
	}
	id, ok := tokens.Load().MatchString(october)
	fmt.Printf("%q %v\n", id, ok)

	err := accept(map[string][]byte{"november": []byte(november), "december": nil})
	fmt.Println(err)
	// Output:
	// october true
	// november true
	// "" false
	// secretequal: the secret is empty: configure one (id "december")
}

// A one-off comparison, where nothing lives long enough to hold a Verifier.
func ExampleEqualString() {
	code := rand.Text() // sent to the user
	fmt.Println(secretequal.EqualString(code, code))
	fmt.Println(secretequal.EqualString(code, ""))
	fmt.Println(secretequal.EqualString("", ""))
	// Output:
	// true
	// false
	// false
}
