// Command probe is what tests run in pods: a server that says who it is, and a client that
// looks around. "probe serve ADDRESS", "probe get URL", "probe lookup NAME", "probe cat FILE", "probe sleep".
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: probe serve ADDRESS | get URL | lookup NAME | cat FILE | sleep")
		os.Exit(2)
	}
	argument := ""
	if len(os.Args) > 2 {
		argument = os.Args[2]
	}
	if err := run(os.Args[1], argument); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(verb, argument string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch verb {
	case "serve":
		return serve(argument)
	case "get":
		return get(ctx, argument)
	case "lookup":
		found, err := net.DefaultResolver.LookupHost(ctx, argument)
		fmt.Println(strings.Join(found, " "))
		return err
	case "cat":
		text, err := os.ReadFile(argument)
		fmt.Printf("%s\n", text)
		return err
	case "sleep":
		time.Sleep(time.Hour)
		return nil
	}
	return fmt.Errorf("no such verb: %s", verb)
}

// serve answers with the host's name, which is the pod's, and where the request came from.
func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println("serving on", l.Addr())
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s for %s\n", host, from)
	})}
	return server.Serve(l)
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(os.Stdout, io.LimitReader(res.Body, 1<<20))
	return err
}
