package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/association"
	store "github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/upstream"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// cluster is many nodes in this process: real agents, each with its queue, and two real podid-auths.
// What is left out is the network between them, HTTP in front of the agents, and the STS.
type cluster struct {
	issuer *token.Issuer
	pods   map[string]token.Pod // by name
	sts    sts
	auths  []*auth.Handler
	nodes  []*simulated
}

// simulated is a node with the tokens of its pods.
type simulated struct {
	*agent.Server
	tokens []string
}

// sts takes so many calls a second, as AWS's does of an account and region, and throttles the others.
type sts struct {
	budget            *rate.Limiter
	served, throttled atomic.Int64
	last              atomic.Int64 // when it served last, in nanoseconds since 1970
}

var identity = podid.Cluster{Name: upstream.Cluster, Region: "eu-central-1", Account: "111122223333"}

// Assume implements auth.Roles.
func (s *sts) Assume(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error) {
	took := 15 * time.Millisecond
	allowed := s.budget.Allow()
	if allowed {
		took = 60*time.Millisecond + rand.N(40*time.Millisecond)
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return roles.Session{}, ctx.Err()
	}
	if !allowed {
		s.throttled.Add(1)
		return roles.Session{}, problem.New(problem.STSThrottled, "STS is throttling (Throttling)")
	}
	s.served.Add(1)
	s.last.Store(time.Now().UnixNano())
	return roles.Session{
		Credentials: podid.Credentials{AccessKeyID: "ASIAEXAMPLEEXAMPLE22", SecretAccessKey: "secret/of+the=session",
			SessionToken: "token-of-the-session", Expires: time.Now().Add(time.Hour), Account: a.Role.Account()},
		AssumedRole: podid.AssumedRole{ARN: "arn:aws:sts::111122223333:assumed-role/cart/" + podid.SessionName(identity, w), ID: "AROAEXAMPLE:cart"},
	}, nil
}

// Pod implements token.Pods.
func (c *cluster) Pod(_ context.Context, w podid.Workload) (token.Pod, bool, error) {
	p, ok := c.pods[w.Pod]
	return p, ok, nil
}

// newCluster has each of the nodes run that many pods, of a hundred service accounts.
func newCluster(nodes, pods int, budget rate.Limit) (*cluster, error) {
	const accounts = 100
	issuer, err := token.NewIssuer(upstream.Issuer)
	if err != nil {
		return nil, err
	}
	associations, err := store.New(nil)
	if err != nil {
		return nil, err
	}
	versions := make([]stream.Version, accounts)
	for i := range versions {
		a, err := associations.Create(context.Background(), podid.Association{Namespace: "shop", ServiceAccount: fmt.Sprint("cart-", i), Role: "arn:aws:iam::111122223333:role/cart"})
		if err != nil {
			return nil, err
		}
		versions[i] = association.VersionOf(a)
	}
	c := &cluster{issuer: issuer, pods: map[string]token.Pod{}, sts: sts{budget: rate.NewLimiter(budget, int(budget))}}
	for range 2 {
		c.auths = append(c.auths, c.auth(associations))
	}
	keys, err := json.Marshal(issuer.KeySet())
	if err != nil {
		return nil, err
	}
	var minting errgroup.Group // signatures take a millisecond each
	minting.SetLimit(runtime.NumCPU())
	for n := range nodes {
		node, err := c.node(n)
		if err != nil {
			return nil, err
		}
		node.tokens = make([]string, pods)
		c.nodes = append(c.nodes, node)
		snapshot := &stream.Snapshot{Cluster: identity.Name, Issuer: upstream.Issuer, Keys: keys, Pods: map[string]stream.Pod{}}
		for p := range pods {
			w := upstream.Workload((n*pods + p) % accounts)
			w.Node, w.Pod, w.PodUID = node.Node, fmt.Sprintf("cart-%d-%d", n, p), fmt.Sprintf("0f8fad5b-d9cb-469f-%04d-%012d", n, p)
			c.run(w)
			minting.Go(func() (err error) {
				node.tokens[p], err = c.mint(w, podid.AudiencePods)
				return err
			})
			snapshot.Pods[w.PodUID] = stream.Pod{Association: versions[(n*pods+p)%accounts]}
		}
		if err := node.Hear(stream.Message{Snapshot: snapshot}); err != nil {
			return nil, err
		}
	}
	return c, minting.Wait()
}

func (c *cluster) run(w podid.Workload) {
	c.pods[w.Pod] = token.Pod{Namespace: w.Namespace, Name: w.Pod, UID: w.PodUID, ServiceAccount: w.ServiceAccount,
		ServiceAccountUID: w.ServiceAccountUID, Node: w.Node}
}

func (c *cluster) mint(w podid.Workload, audience string) (string, error) {
	return c.issuer.Mint(w, audience, time.Now(), 24*time.Hour)
}

func (c *cluster) auth(associations *store.Store) *auth.Handler {
	gate := &auth.Gate{}
	live := func(audience string) *token.Live {
		return &token.Live{Verifier: &token.Verifier{Issuer: upstream.Issuer, Audience: audience, Keys: c.issuer.Keys, Enter: gate.Enter}, Pods: c}
	}
	return &auth.Handler{
		Service: &auth.Service{Cluster: identity, Tokens: live(podid.AudiencePods), Associations: associations, Roles: &c.sts},
		Agents:  live(podid.AudienceAuth), AgentSubject: "system:serviceaccount:podid-system:podid-agent", Gate: gate,
	}
}

func (c *cluster) node(n int) (*simulated, error) {
	name := fmt.Sprint("node-", n)
	w := podid.Workload{Issuer: upstream.Issuer, Namespace: "podid-system", ServiceAccount: "podid-agent", ServiceAccountUID: "sa-agent",
		Pod: fmt.Sprint("podid-agent-", n), PodUID: fmt.Sprint("agent-", n), Node: name}
	c.run(w)
	own, err := c.mint(w, podid.AudienceAuth)
	if err != nil {
		return nil, err
	}
	client := &agent.AuthClient{Endpoint: "https://podid-auth", Cluster: identity.Name,
		Token: func() (string, error) { return own, nil },
		HTTP:  &http.Client{Transport: direct{c.auths[n%len(c.auths)], fmt.Sprintf("10.%d.%d.1:40000", n/256, n%256)}}}
	return &simulated{Server: &agent.Server{Node: name, Exchange: client}}, nil
}

// direct hands requests of an address to a handler.
type direct struct {
	to   http.Handler
	from string
}

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := r.Clone(r.Context())
	asked.RemoteAddr = d.from
	answered := make(chan *http.Response, 1)
	go func() {
		recorder := httptest.NewRecorder()
		d.to.ServeHTTP(recorder, asked)
		answered <- recorder.Result()
	}()
	select {
	case response := <-answered:
		return response, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// ask is one request of a pod.
func (n *simulated) ask(ctx context.Context, token string) (status int, body string) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://169.254.170.23"+agent.Path, nil)
	r.Header.Set("Authorization", token)
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func (c *cluster) close() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(func() { _ = n.Close() })
	}
	all.Wait()
}
