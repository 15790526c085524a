// SPDX-License-Identifier: Apache-2.0

package hostvalidate_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/merlon-go/merlon/hostvalidate"
)

// A page at evil.example has given its name the address 127.0.0.1, and sends what a browser then sends.
func Example() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the secret") })

	before := httptest.NewServer(handler)
	defer before.Close()

	policy, err := hostvalidate.New(hostvalidate.Config{Hosts: []string{"gateway.example.com"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	after := httptest.NewServer(policy.Handler(handler))
	defer after.Close()

	for _, url := range []string{before.URL, after.URL} {
		request, _ := http.NewRequest(http.MethodGet, url, nil)
		request.Host = "evil.example:8080"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Print(response.StatusCode, " ", string(body))
	}
	// Output:
	// 200 the secret
	// 421 {"error":"this server does not answer to that host","reason":"host-undeclared"}
}

func ExampleNew() {
	_, err := hostvalidate.New(hostvalidate.Config{
		Hosts:   []string{"gateway.example.com", "*.example.com", ".com"},
		Origins: []string{"https://ui.example.com/", "https://*.example.com"},
	})
	fmt.Println(err)
	// Output:
	// hostvalidate: Hosts[1]: "*.example.com": a wildcard undoes the check; list the names, or write .name for a name and all below it
	// hostvalidate: Hosts[2]: ".com": a suffix of one label is everybody's; write at least two, such as .example.com
	// hostvalidate: Origins[0]: "https://ui.example.com/": not scheme://host[:port]
	// hostvalidate: Origins[1]: "https://*.example.com": a wildcard undoes the check; list the origins, of which only the port may be an asterisk
}

func ExamplePolicy_Check() {
	policy, err := hostvalidate.New(hostvalidate.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	local := netip.MustParseAddrPort("127.0.0.1:8080")
	peer := netip.MustParseAddrPort("127.0.0.1:50123")
	for _, r := range []hostvalidate.Request{
		{Host: "localhost:8080", Local: local, Peer: peer},
		{Host: "localhost:8080", Local: local, Peer: peer, Origin: []string{"https://evil.example"}},
		{Host: "Box.tail1234.ts.net", Local: local, Peer: peer},
		{Host: "localhost:8080@evil.example", Local: local, Peer: peer},
		{Host: "localhost:8080", Local: local, Peer: netip.MustParseAddrPort("192.168.1.77:50123")},
	} {
		err := policy.Check(r)
		var refusal *hostvalidate.Error
		if errors.As(err, &refusal) {
			fmt.Printf("%s %q\n", refusal.Reason.String(), refusal.Suggest)
		} else {
			fmt.Println("allowed")
		}
	}
	// Output:
	// allowed
	// origin-undeclared "https://evil.example"
	// host-undeclared "box.tail1234.ts.net"
	// host-userinfo ""
	// host-loopback ""
}

// The operator sees in the log which entry is missing.
func ExamplePolicy_Handler() {
	policy, err := hostvalidate.New(hostvalidate.Config{
		OnRefuse: func(r *http.Request, refusal *hostvalidate.Error) { fmt.Println(refusal) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	server := &http.Server{Handler: policy.Handler(mux)} // the mux is inside

	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Host = "gateway.example.com"
	server.Handler.ServeHTTP(httptest.NewRecorder(), request)
	// Output:
	// hostvalidate: Host: not a host of this server; if it is yours, add "gateway.example.com" to Hosts
}

// gorilla/websocket: websocket.Upgrader{CheckOrigin: policy.CheckOrigin}
func ExamplePolicy_CheckOrigin() {
	policy, err := hostvalidate.New(hostvalidate.Config{Hosts: []string{"gateway.example.com"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := httptest.NewRequest(http.MethodGet, "/ws", nil)
	request.Host = "evil.example"
	request.Header.Set("Origin", "http://evil.example") // as rebinding makes it: equal to Host
	fmt.Println(policy.CheckOrigin(request), policy.CheckHTTP(request))
	// Output:
	// false hostvalidate: Host: not a host of this server; if it is yours, add "evil.example" to Hosts
}

// A name that is only known once the VPN is up.
func ExamplePolicy_AddHost() {
	policy, err := hostvalidate.New(hostvalidate.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := hostvalidate.Request{Host: "box.tail1234.ts.net"}
	fmt.Println(errors.Is(policy.Check(request), hostvalidate.HostUndeclared))
	fmt.Println(policy.AddHost("box.tail1234.ts.net"), policy.Check(request))
	// Output:
	// true
	// <nil> <nil>
}
