package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load keeps connections open to one server. It does as little as a client can, so
// that what is measured is the server.
type load struct {
	open     []net.Conn
	requests [][]byte
	size     int // of a whole response
}

// dial opens n connections; each token is used in turn.
func dial(address string, tokens []string, n int) (*load, error) {
	l := &load{}
	for _, token := range tokens {
		l.requests = append(l.requests, request(address, token))
	}
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		l.open = append(l.open, conn)
	}
	if _, err := l.open[0].Write(l.requests[0]); err != nil {
		return nil, err
	}
	var whole bytes.Buffer
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(l.open[0], &whole)), nil)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	l.size = whole.Len() // header and body: the next response is as long
	return l, nil
}

func request(address, token string) []byte {
	return []byte("GET /v1/credentials HTTP/1.1\r\nHost: " + address + "\r\nAuthorization: " + token + "\r\n\r\n")
}

func (l *load) close() {
	for _, conn := range l.open {
		_ = conn.Close()
	}
}

// drive makes n requests, spread over connections and tokens.
func (l *load) drive(n int) (time.Duration, error) {
	start, errs := time.Now(), make([]error, len(l.open))
	var done sync.WaitGroup
	for i, conn := range l.open {
		done.Go(func() {
			buffer := make([]byte, l.size)
			for k := range n / len(l.open) {
				if _, err := conn.Write(l.requests[(i+k*len(l.open))%len(l.requests)]); err != nil {
					errs[i] = err
					return
				}
				if _, err := io.ReadFull(conn, buffer); err != nil || !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200")) {
					errs[i] = fmt.Errorf("%.60q %w", buffer, err)
					return
				}
			}
		})
	}
	done.Wait()
	return time.Since(start), errors.Join(errs...)
}

// percentile of what the answers took.
func percentile(answers []answer, p float64) time.Duration {
	var took []time.Duration
	for _, a := range answers {
		took = append(took, a.took)
	}
	slices.Sort(took)
	return took[min(int(float64(len(took))*p), len(took)-1)]
}

func median(took []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(took))[len(took)/2]
}

// with counts the answers of a status.
func with(answers []answer, status int) (n int) {
	for _, a := range answers {
		if a.status == status {
			n++
		}
	}
	return n
}
