package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// crowdAddress is the variable with the address that this program is to be a crowd at.
const crowdAddress = "PODID_BENCH_CROWD"

// told is what one of a crowd was answered: the bytes, and after how long.
type told struct {
	Text []byte
	Took time.Duration
}

// together makes n requests at the same moment, on connections that are open already. They come from
// a process of their own, which does nothing else: in this one podid-auth would wait for
// its turn among them.
func (p *process) together(n int, token func(i int) string) ([]answer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	requests := make([][]byte, n)
	for i := range requests {
		requests[i] = request(p.address, token(i))
	}
	input, err := json.Marshal(requests)
	if err != nil {
		return nil, err
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), crowdAddress+"="+p.address, "GOMAXPROCS=1", "GOGC=off") // the other processor is the agent's
	command.Stdin, command.Stderr, command.SysProcAttr = bytes.NewReader(input), os.Stderr, dieWithParent()
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("a crowd of %d: %w", n, err)
	}
	var all []told
	if err := json.Unmarshal(output, &all); err != nil {
		return nil, err
	}
	answers := make([]answer, n)
	for i, one := range all {
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(one.Text)), nil)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, err
		}
		answers[i] = answer{response.StatusCode, string(body), response.Header, one.Took}
	}
	return answers, nil
}

// crowd makes the requests that it is given, and tells what came back.
func crowd(address string, in io.Reader, out io.Writer) error {
	var requests [][]byte
	if err := json.NewDecoder(in).Decode(&requests); err != nil {
		return err
	}
	all, errs := make([]told, len(requests)), make([]error, len(requests))
	begin := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(len(requests))
	for i, text := range requests {
		done.Go(func() {
			conn, err := net.Dial("tcp", address)
			buffer := make([]byte, 8<<10)
			ready.Done()
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			<-begin
			start := time.Now()
			_, err = conn.Write(text)
			got := 0
			for err == nil && !bytes.HasSuffix(buffer[:got], []byte("}")) { // every answer is a JSON object
				var n int
				n, err = conn.Read(buffer[got:])
				got += n
			}
			all[i], errs[i] = told{buffer[:got], time.Since(start)}, err
		})
	}
	ready.Wait()
	time.Sleep(50 * time.Millisecond) // until the server has accepted the last
	close(begin)
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(all)
}
