package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/openpodidentity/podid/problem"
)

const (
	// connectWithin bounds each of the two steps of a new connection, so that one replica
	// that is gone leaves time for another.
	connectWithin = 300 * time.Millisecond
	// resolveEvery is how often the addresses of the replicas are looked up.
	resolveEvery = 10 * time.Second
	// resolveWithin bounds a look-up.
	resolveWithin = 5 * time.Second
	// lookAgainAfter is how soon they are looked up once more where one failed, and
	// lookAgainWithin how long a request that found none waits for that: what it was told must
	// still reach the SDK in time.
	lookAgainAfter, lookAgainWithin = 500 * time.Millisecond, 200 * time.Millisecond
	// suspectFor is how long a replica that failed comes last.
	suspectFor = 5 * time.Second
)

// Replicas sends requests to one of the podid-auths behind a host's name (a headless
// Service), as an http.RoundTripper. Each agent has an order of its own in which it
// prefers them, so that the nodes spread over the replicas, and keeps its connections. The next one
// is asked when one refuses the connection, goes away or answers 503; never because one
// is slow: two would assume the role, just when it is too much already.
type Replicas struct {
	// TLS is how podid-auth proves itself, under the name that the request's URL has.
	TLS *tls.Config
	// Resolve finds the addresses (IP:port) of a host; nil asks the system's resolver.
	Resolve func(ctx context.Context, host, port string) ([]string, error)

	once sync.Once
	seed maphash.Seed // of this agent's order

	mu        sync.Mutex
	host      string // that known is for, with its port
	known     []*replica
	looked    time.Time
	resolving chan struct{} // closed when the look-up that is under way has ended; nil: none is
	failed    error         // of the last look-up
}

type replica struct {
	address   string
	transport *http.Transport
	rank      uint64
	failed    time.Time // guarded by Replicas.mu
}

// RoundTrip implements http.RoundTripper.
func (r *Replicas) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		defer request.Body.Close()
	}
	replicas, err := r.inOrder(request)
	if err != nil {
		return nil, err
	}
	response, next, err := r.ask(request, replicas)
	if !next {
		return response, err
	}
	// None that was known can: each may have been replaced since.
	others := r.lookAgain(request, replicas)
	if len(others) == 0 {
		return response, err
	}
	if response != nil {
		_ = response.Body.Close()
	}
	response, _, err = r.ask(request, others)
	return response, err
}

// ask asks one replica after the other, until one can answer. next says that none could,
// and that there is still time and cause to ask another.
func (r *Replicas) ask(request *http.Request, replicas []*replica) (response *http.Response, next bool, err error) {
	for _, one := range replicas {
		if response != nil {
			_ = response.Body.Close()
		}
		again := request.Clone(request.Context())
		if request.GetBody != nil {
			if again.Body, err = request.GetBody(); err != nil {
				return nil, false, err
			}
		}
		response, err = one.transport.RoundTrip(again)
		if err == nil && (response.StatusCode != http.StatusServiceUnavailable || sameEverywhere(response)) {
			return response, false, nil
		}
		r.suspect(one)
		if request.Context().Err() != nil || request.Body != nil && request.GetBody == nil {
			return response, false, err
		}
	}
	return response, true, err
}

// sameEverywhere reports whether another replica would be refused by the same STS. It leaves
// the body as it was.
func sameEverywhere(response *http.Response) bool {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	var told struct {
		Code problem.Code `json:"code"`
	}
	return err == nil && json.Unmarshal(body, &told) == nil && (told.Code == problem.STSUnavailable || told.Code == problem.STSThrottled)
}

// inOrder is the replicas in the order in which to ask them.
func (r *Replicas) inOrder(request *http.Request) ([]*replica, error) {
	r.once.Do(func() { r.seed = maphash.MakeSeed() })
	host, port := authority(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if name := net.JoinHostPort(host, port); name != r.host {
		r.host, r.looked = name, time.Time{}
		r.replace(nil, host)
	}
	resolving := r.look(host, port)
	if len(r.known) == 0 {
		r.mu.Unlock()
		select {
		case <-resolving:
		case <-request.Context().Done():
		}
		r.mu.Lock()
		if err := request.Context().Err(); err != nil {
			return nil, err
		}
	}
	if len(r.known) == 0 {
		return nil, cmp.Or(r.failed, errors.New("the name of podid-auth has no address"))
	}
	return r.sorted(), nil
}

// lookAgain is the replicas that are found now and were not asked.
func (r *Replicas) lookAgain(request *http.Request, asked []*replica) []*replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	if resolving := r.look(authority(request)); resolving != nil {
		r.mu.Unlock()
		timer := time.NewTimer(lookAgainWithin)
		select {
		case <-resolving:
		case <-timer.C:
		case <-request.Context().Done():
		}
		timer.Stop()
		r.mu.Lock()
	}
	return slices.DeleteFunc(r.sorted(), func(one *replica) bool { return slices.Contains(asked, one) })
}

func authority(request *http.Request) (host, port string) {
	return request.URL.Hostname(), cmp.Or(request.URL.Port(), map[string]string{"https": "443", "http": "80"}[request.URL.Scheme])
}

// look begins a look-up if it is time for one. What it returns is closed when the look-up that
// is under way has ended; nil if none is. mu is held.
func (r *Replicas) look(host, port string) <-chan struct{} {
	if r.resolving == nil && (len(r.known) == 0 || time.Since(r.looked) > resolveEvery) {
		r.resolving = make(chan struct{})
		go r.resolve(host, port)
	}
	return r.resolving
}

// sorted is the known ones, those that failed of late last. mu is held.
func (r *Replicas) sorted() []*replica {
	now := time.Now()
	suspect := func(one *replica) int {
		if now.Sub(one.failed) < suspectFor {
			return 1
		}
		return 0
	}
	return slices.SortedFunc(slices.Values(r.known), func(a, b *replica) int {
		return cmp.Or(cmp.Compare(suspect(a), suspect(b)), cmp.Compare(a.rank, b.rank))
	})
}

// resolve looks the addresses up. Those that were known are kept while that fails.
func (r *Replicas) resolve(host, port string) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveWithin)
	defer cancel()
	find := r.Resolve
	if find == nil {
		find = lookup
	}
	addresses, err := find(ctx, host, port)
	if err == nil && len(addresses) == 0 {
		err = errors.New("it has none")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked, r.failed = time.Now(), nil
	if err != nil {
		r.failed = fmt.Errorf("find the addresses of %s: %w", host, err)
	} else if r.host == net.JoinHostPort(host, port) {
		r.replace(addresses, host)
	}
	close(r.resolving)
	r.resolving = nil
}

func lookup(ctx context.Context, host, port string) ([]string, error) {
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	for i := range addresses {
		addresses[i] = net.JoinHostPort(addresses[i], port)
	}
	return addresses, err
}

// replace makes these addresses the known ones. What is under way with others goes
// on. mu is held.
func (r *Replicas) replace(addresses []string, host string) {
	var now []*replica
	for _, address := range addresses {
		if slices.ContainsFunc(now, func(one *replica) bool { return one.address == address }) {
			continue
		}
		if i := slices.IndexFunc(r.known, func(one *replica) bool { return one.address == address }); i >= 0 {
			now = append(now, r.known[i])
			continue
		}
		now = append(now, &replica{address: address, rank: maphash.String(r.seed, address), transport: r.transport(address, host)})
	}
	for _, one := range r.known {
		if !slices.Contains(now, one) {
			one.transport.CloseIdleConnections()
		}
	}
	r.known = now
}

// transport keeps the connections to one replica.
func (r *Replicas) transport(address, host string) *http.Transport {
	var config *tls.Config
	if r.TLS != nil {
		config = r.TLS.Clone()
		config.ServerName = cmp.Or(config.ServerName, host)
	}
	dialer := &net.Dialer{Timeout: connectWithin, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:     config,
		TLSHandshakeTimeout: connectWithin,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     time.Minute,
		// A connection whose other end is gone without a word is found out.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 2 * time.Second},
	}
}

// suspect lets a replica come last for a while, and has the addresses looked up anew.
func (r *Replicas) suspect(one *replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.failed = time.Now()
	if time.Since(r.looked) > lookAgainAfter {
		r.looked = time.Time{}
	}
}

// CloseIdleConnections implements what http.Client.CloseIdleConnections looks for.
func (r *Replicas) CloseIdleConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.known {
		one.transport.CloseIdleConnections()
	}
}
