// Package sandbox is a whole world in one process: the local AWS, a cluster
// that mints pod-bound tokens, podid-auth and the agent, all real and all on
// loopback. `podid local`, `podid demo`, the tests and the documentation run in it.
package sandbox

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/eksapi"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/localaws"
)

// Principal says who podid assumes roles as in this world.
type Principal string

// The principals: the service, as inside AWS; a broker with a user's access key;
// a broker whose base credentials are a role session.
const (
	ServicePrincipal Principal = "service"
	BrokerUser       Principal = "broker"
	BrokerRole       Principal = "broker-role"
)

// Config is what a world starts from. The zero value is a world in memory, on
// free ports, with the service principal.
type Config struct {
	// Data is the directory that keeps everything; empty keeps nothing.
	Data string
	// Account, Region and Cluster are 111122223333, us-east-1 and local if empty,
	// or what Data holds: a world cannot change them.
	Account, Region, Cluster string
	// Principal may change from start to start; the service if empty.
	Principal Principal
	// AllowSigV4Agents lets callers that sign, and that IAM permits
	// eks-auth:AssumeRoleForPodIdentity on the cluster, use EKS Auth.
	AllowSigV4Agents bool
	// Addresses to listen on; a free port of 127.0.0.1 if empty.
	Listen, ListenTLS, ListenAgent string
	Log                            *slog.Logger
}

// World is a running world. Its exported fields are set by Start and constant.
type World struct {
	AWS          *localaws.AWS
	Cluster      podid.Cluster
	Associations *memory.Store
	Pods         *Pods
	// Exchange is podid-auth's service, which the agent calls over the wire.
	Exchange *auth.Service
	// Roles assumes the roles, as the principal of this world.
	Roles *roles.Assumer

	// Endpoint and EndpointTLS are the AWS endpoint, Agent the address the SDKs
	// ask for credentials, Control the API that `podid local run` uses.
	Endpoint, EndpointTLS string
	Agent                 string
	Control               string
	// Secret authorises the control API.
	Secret string
	// CABundle is the PEM that clients of EndpointTLS trust.
	CABundle []byte

	config  Config
	journal *journal.Journal
	auth    *auth.Handler
	agent   *agent.Server
	idle    func() // closes the agent's idle connections
	servers []*http.Server
	failed  chan error
	started chan struct{} // closed when every part is there
	stop    chan struct{}
	done    sync.WaitGroup
}

// Start starts a world; ctx bounds the start only. Close ends it.
func Start(ctx context.Context, c Config) (_ *World, err error) {
	j, err := openJournal(c.Data)
	if err != nil {
		return nil, err
	}
	if c, err = settle(c, j); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	w := &World{
		Cluster: podid.Cluster{Name: c.Cluster, Region: c.Region, Account: c.Account},
		Secret:  rand.Text(),
		config:  c,
		journal: j,
		failed:  make(chan error, 1),
		started: make(chan struct{}),
		stop:    make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	ca, err := loadAuthority(j, time.Now())
	if err != nil {
		return nil, err
	}
	w.CABundle = ca.bundle()
	issuer, err := loadIssuer(j, c.Cluster)
	if err != nil {
		return nil, err
	}
	if w.Pods, err = loadPods(issuer, j, time.Now, w.podEnded); err != nil {
		return nil, err
	}
	certificate, err := ca.server(time.Now())
	if err != nil {
		return nil, fmt.Errorf("make server certificate: %w", err)
	}
	if w.Associations, err = memory.New(w.journal); err != nil {
		return nil, fmt.Errorf("load associations: %w", err)
	}
	w.Associations.OnChange = w.associationChanged
	if err := w.startAWS(certificate, issuer); err != nil {
		return nil, fmt.Errorf("start local AWS: %w", err)
	}
	if err := w.startExchange(ctx, issuer); err != nil {
		return nil, fmt.Errorf("start exchange: %w", err)
	}
	if err := w.startAgent(ca, certificate, issuer); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	if w.Control, err = w.serve("127.0.0.1:0", nil, http.HandlerFunc(w.serveControl)); err != nil {
		return nil, fmt.Errorf("start control API: %w", err)
	}
	w.startReaper()
	close(w.started)
	return w, nil
}

// kept returns what j holds under key; the first time it is made, and kept.
func kept[T any](j *journal.Journal, key string, make func() (T, error)) (value T, err error) {
	found := false
	err = j.Load(key, func(_ string, stored json.RawMessage) error {
		found = true
		return json.Unmarshal(stored, &value)
	})
	if err != nil || found {
		return value, err
	}
	if value, err = make(); err != nil {
		return value, err
	}
	return value, j.Commit(journal.Put(key, value))
}

func loadIssuer(j *journal.Journal, cluster string) (*token.Issuer, error) {
	url := "https://" + cluster + ".podid.local"
	pem, err := kept(j, "world/issuer", func() ([]byte, error) {
		issuer, err := token.NewIssuer(url)
		if err != nil {
			return nil, err
		}
		return issuer.PEM(), nil
	})
	if err != nil {
		return nil, fmt.Errorf("load issuer key: %w", err)
	}
	return token.ParseIssuer(url, pem)
}

// startAWS serves the local AWS with the production handlers of EKS and EKS
// Auth in it.
func (w *World) startAWS(certificate *tls.Config, issuer *token.Issuer) error {
	created, err := kept(w.journal, "world/created", func() (time.Time, error) { return time.Now().UTC(), nil })
	if err != nil {
		return err
	}
	w.auth = &auth.Handler{Log: w.config.Log}
	eks := &eksapi.Handler{
		Cluster: w.Cluster, Store: w.Associations, Log: w.config.Log,
		About: eksapi.About{Issuer: issuer.URL(), CreatedAt: created},
	}
	w.AWS, err = localaws.New(localaws.Config{
		Account: w.config.Account, Region: w.config.Region,
		Journal: w.journal, Log: w.config.Log,
		EKS: w.onceStarted(eks), EKSAuth: w.onceStarted(w.auth),
	})
	if err != nil {
		return err
	}
	eks.Access = func(r *http.Request, action, resource string) error {
		_, err := w.AWS.Authorize(r, resource, action)
		return err
	}
	eks.PassRole = w.AWS.PassRole
	eks.Check = func(ctx context.Context, role podid.RoleARN) error {
		return w.Roles.Check(ctx, role)
	}
	if w.Endpoint, err = w.serve(w.config.Listen, nil, w.AWS); err != nil {
		return err
	}
	w.EndpointTLS, err = w.serve(w.config.ListenTLS, certificate, w.AWS)
	return err
}

// onceStarted holds requests back until the parts that h needs are there: some of
// them are made through the very endpoint that serves h.
func (w *World) onceStarted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-w.started:
			h.ServeHTTP(rw, r)
		case <-r.Context().Done():
		}
	})
}

// startExchange makes podid-auth: tokens → workload → association → credentials.
func (w *World) startExchange(ctx context.Context, issuer *token.Issuer) (err error) {
	if w.Roles, err = w.assumer(ctx); err != nil {
		return err
	}
	verify := func(audience string) *token.Live {
		return &token.Live{
			Verifier: &token.Verifier{Issuer: issuer.URL(), Audience: audience, Keys: issuer.Keys},
			Pods:     w.Pods,
		}
	}
	w.Exchange = &auth.Service{
		Cluster:      w.Cluster,
		Tokens:       verify(podid.AudiencePods),
		Associations: w.Associations,
		Roles:        w.Roles,
	}
	w.auth.Service = w.Exchange
	w.auth.Agents = verify(podid.AudienceAuth)
	w.auth.AgentSubject = agentWorkload.Subject()
	if w.config.AllowSigV4Agents {
		w.auth.SigV4 = &sigv4.Verifier{Lookup: w.AWS.Lookup}
		w.auth.Permit = func(r *http.Request) error {
			_, err := w.AWS.Authorize(r, w.Cluster.ARN(), "eks-auth:AssumeRoleForPodIdentity")
			return err
		}
	}
	return nil
}

// agentWorkload is the pod the agent itself runs as.
var agentWorkload = podid.Workload{Namespace: "podid-system", ServiceAccount: "podid-agent"}

// startAgent serves podid-auth to the agent over TLS and the agent to the SDKs.
func (w *World) startAgent(ca *authority, certificate *tls.Config, issuer *token.Issuer) error {
	endpoint, err := w.serve("127.0.0.1:0", certificate, w.auth)
	if err != nil {
		return err
	}
	pod := w.Pods.system(agentWorkload.Namespace, agentWorkload.ServiceAccount)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool()},
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   time.Minute,
	}
	w.idle = transport.CloseIdleConnections
	w.agent = &agent.Server{
		Tokens: &token.Verifier{Issuer: issuer.URL(), Audience: podid.AudiencePods, Keys: issuer.Keys},
		Exchange: &agent.AuthClient{
			Endpoint: endpoint,
			Cluster:  w.Cluster.Name,
			Token:    func() (string, error) { return w.Pods.Token(pod.UID, podid.AudienceAuth, time.Hour) },
			HTTP:     &http.Client{Transport: transport},
		},
		// Whoever mends a role on a laptop asks again in the same second, and shares
		// the machine with nobody.
		Limits: agent.Limits{Refusal: -1, Rate: 1_000_000, Burst: 1_000_000},
		Log:    w.config.Log,
	}
	w.Agent, err = w.serve(w.config.ListenAgent, nil, w.agent)
	w.Agent += agent.Path
	return err
}

// associationChanged tells the agent what the stream of podid-auth tells it in a
// cluster: a change takes effect at once.
func (w *World) associationChanged(namespace, serviceAccount string) {
	is := w.Associations.Heard(namespace, serviceAccount)
	for _, pod := range w.Pods.List() {
		if pod.Namespace == namespace && pod.ServiceAccount == serviceAccount {
			w.tell(stream.Message{Pod: pod.UID, Association: &is})
		}
	}
}

// podEnded tells the agent of a pod, as the stream does in a cluster.
func (w *World) podEnded(pod Pod) {
	if w.agent != nil {
		w.tell(stream.Message{PodEnded: pod.UID})
	}
}

func (w *World) tell(m stream.Message) {
	if err := w.agent.Hear(m); err != nil {
		panic("sandbox: " + err.Error()) // only keys can be faulty
	}
}

func (w *World) startReaper() {
	w.done.Go(func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-ticker.C:
				w.Pods.reap()
			}
		}
	})
}

// Failed yields an error when a part of the world stopped serving by itself.
func (w *World) Failed() <-chan error { return w.failed }

// Close ends the world: requests in flight have five seconds.
func (w *World) Close() error {
	close(w.stop)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Those that ask others first: the agent's connections to podid-auth, once idle,
	// are closed from its side, or podid-auth would give them a second to end.
	for _, server := range slices.Backward(w.servers) {
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // what did not finish in time is cut off
		}
		if w.idle != nil {
			w.idle()
		}
	}
	w.done.Wait()
	if w.agent != nil {
		_ = w.agent.Close() // calls in flight end with it
		w.idle()
	}
	if err := w.journal.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}
