// SPDX-License-Identifier: Apache-2.0

// Command hostvalidate serves WebSockets on loopback with the two common libraries, and lets neither be reached from a
// page of another site or under another site's name.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/merlon-go/merlon/hostvalidate"
)

func main() {
	policy, err := hostvalidate.New(hostvalidate.Config{}) // loopback names, from loopback
	if err != nil {
		log.Fatal(err)
	}

	// coder/websocket compares Origin with Host, and has no hook. Its own check is off; Handler stands in front.
	withCoder := policy.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := coder.Accept(w, r, &coder.AcceptOptions{InsecureSkipVerify: true})
		if err == nil {
			conn.Close(coder.StatusNormalClosure, "")
		}
	}))

	// gorilla/websocket has a hook.
	upgrader := gorilla.Upgrader{CheckOrigin: policy.CheckOrigin}
	withGorilla := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err == nil {
			conn.Close()
		}
	})

	for _, server := range []struct {
		name    string
		handler http.Handler
	}{{"coder/websocket", withCoder}, {"gorilla/websocket", withGorilla}} {
		s := httptest.NewServer(server.handler)
		addr := s.Listener.Addr().String()
		_, port, _ := net.SplitHostPort(addr)
		fmt.Printf("%s: own page %d, other site's page %d, rebound name %d\n", server.name,
			dial(addr, addr, "http://"+addr),
			dial(addr, addr, "http://evil.example"),
			dial(addr, "evil.example:"+port, "http://evil.example:"+port))
		s.Close()
	}
}

// dial opens a WebSocket as a browser would for a page of that origin, which believes the server to be host.
func dial(addr, host, origin string) (status int) {
	conn, response, err := coder.Dial(context.Background(), "ws://"+addr, &coder.DialOptions{
		Host:       host,
		HTTPHeader: http.Header{"Origin": {origin}},
	})
	if response == nil {
		log.Fatal(err)
	}
	if err == nil {
		conn.CloseNow()
	}
	return response.StatusCode
}
