// Package upstream is a podid-auth that fails on demand, for what is tried on the
// agent from outside: figures, soaks, other people's clients. It speaks the wire of
// the real one, over TLS, and verifies nothing.
package upstream

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
)

const (
	// Issuer is that of the tokens, Cluster and Node where the pods are.
	Issuer  = "https://kubernetes.default.svc"
	Cluster = "bench"
	Node    = "node-1"
)

// Server is the podid-auth.
type Server struct {
	// URL is its endpoint. CAFile and TokenFile are what an agent is started with.
	URL, CAFile, TokenFile string
	// Calls counts the exchanges that came in.
	Calls atomic.Int64
	// Life is how long credentials last; an hour if zero. Set before agents ask.
	Life time.Duration

	issuer *token.Issuer
	http   *httptest.Server
	fault  atomic.Pointer[Fault]

	mu        sync.Mutex
	pods      map[string]stream.Version
	listeners map[chan stream.Message]struct{}
	revision  uint64
	down      bool
	perPod    map[string][]time.Time // when its exchanges came
}

// Start starts one that keeps its files in dir.
func Start(dir string) (*Server, error) {
	issuer, err := token.NewIssuer(Issuer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		issuer: issuer, CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token"),
		pods: map[string]stream.Version{}, listeners: map[chan stream.Message]struct{}{}, revision: 100,
		perPod: map[string][]time.Time{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /clusters/"+Cluster+"/assume-role-for-pod-identity", s.exchange)
	mux.HandleFunc("GET "+stream.Path, s.stream)
	s.http = httptest.NewUnstartedServer(mux)
	s.http.EnableHTTP2 = true
	s.http.TLS = &tls.Config{GetConfigForClient: s.handshake}
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // agents are meant to break off
	s.http.StartTLS()
	s.URL = s.http.URL
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(s.CAFile, certificate, 0o600); err != nil {
		return nil, err
	}
	own, err := issuer.Mint(podid.Workload{Namespace: "podid-system", ServiceAccount: "podid-agent", ServiceAccountUID: "sa-agent",
		Pod: "podid-agent-0", PodUID: "agent-0", Node: Node}, podid.AudienceAuth, time.Now(), 24*time.Hour)
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.TokenFile, []byte(own), 0o600)
}

// Close ends it.
func (s *Server) Close() {
	s.mu.Lock()
	s.down = true
	for listener := range s.listeners {
		close(listener)
		delete(s.listeners, listener)
	}
	s.mu.Unlock()
	s.http.CloseClientConnections()
	s.http.Close()
}

// Fail makes it answer every exchange with the fault until the next call; nil is none.
func (s *Server) Fail(f *Fault) {
	s.fault.Store(f)
	if f != nil && f.Handshake != nil {
		s.Break()
		s.http.CloseClientConnections()
	}
}

// Workload is the n-th pod of the node.
func Workload(n int) podid.Workload {
	return podid.Workload{
		Issuer: Issuer, Namespace: "shop", ServiceAccount: fmt.Sprint("cart-", n), ServiceAccountUID: fmt.Sprint("sa-", n),
		Pod: fmt.Sprint("cart-", n, "-0"), PodUID: uid(n), Node: Node,
	}
}

func uid(n int) string { return fmt.Sprintf("0f8fad5b-d9cb-469f-a165-%012d", n) }

// Run starts the n-th pod and returns its token.
func (s *Server) Run(n int) (string, error) {
	s.mu.Lock()
	s.revision++
	version := stream.Version{UID: fmt.Sprint("association-", n), Revision: s.revision}
	s.pods[uid(n)] = version
	s.tell(stream.Message{Pod: uid(n), Association: &version})
	s.mu.Unlock()
	return s.Token(n, 24*time.Hour)
}

// Token mints a token of the n-th pod, as the kubelet does.
func (s *Server) Token(n int, life time.Duration) (string, error) {
	return s.issuer.Mint(Workload(n), podid.AudiencePods, time.Now(), life)
}

// Change gives the n-th pod's association another version; gone deletes it.
func (s *Server) Change(n int, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	version := stream.Version{UID: fmt.Sprint("association-", n), Revision: s.revision}
	if gone {
		version.UID = ""
	}
	s.pods[uid(n)] = version
	s.tell(stream.Message{Pod: uid(n), Association: &version})
}

// End ends the n-th pod.
func (s *Server) End(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, uid(n))
	s.tell(stream.Message{PodEnded: uid(n)})
}

// CallsOf is how many exchanges the n-th pod caused.
func (s *Server) CallsOf(n int) int64 { return int64(len(s.CallTimes(n))) }

// CallTimes is when the exchanges of the n-th pod came.
func (s *Server) CallTimes(n int) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.perPod[fmt.Sprint("cart-", n)])
}

// tell tells every agent. mu is held.
func (s *Server) tell(m stream.Message) {
	for listener := range s.listeners {
		select {
		case listener <- m:
		default: // it does not keep up: it begins anew
			close(listener)
			delete(s.listeners, listener)
		}
	}
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if f := s.fault.Load(); f != nil && f.Stream {
		f.write(w, r)
		return
	}
	messages := make(chan stream.Message, 4096)
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return
	}
	s.listeners[messages] = struct{}{}
	keys, _ := json.Marshal(s.issuer.KeySet()) // of public keys: cannot fail
	snapshot := &stream.Snapshot{Cluster: Cluster, Issuer: Issuer, Keys: keys, Pods: map[string]stream.Pod{}}
	for uid, version := range s.pods {
		snapshot.Pods[uid] = stream.Pod{Association: version}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, messages)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", stream.ContentType)
	send := func(m stream.Message) bool {
		return stream.Write(w, m) == nil && http.NewResponseController(w).Flush() == nil
	}
	if !send(stream.Message{Snapshot: snapshot}) {
		return
	}
	ping := time.NewTicker(stream.PingEvery)
	defer ping.Stop()
	for {
		m := stream.Message{Ping: time.Now().Unix()}
		select {
		case <-r.Context().Done():
			return
		case <-ping.C:
		case told, ok := <-messages:
			if !ok {
				return
			}
			m = told
		}
		if !send(m) {
			return
		}
	}
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	call := s.Calls.Add(1)
	var ask struct{ Token string }
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&ask); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	who := subject(ask.Token)
	s.mu.Lock()
	s.perPod[who.account] = append(s.perPod[who.account], time.Now())
	version, running := s.pods[who.pod]
	s.mu.Unlock()
	ahead := time.Duration(0)
	if f := s.fault.Load(); f != nil {
		if !f.write(w, r) {
			return
		}
		ahead = f.Ahead
	}
	switch {
	case !running:
		refuse(w, http.StatusBadRequest, "AccessDeniedException", "pod-gone", "the pod has ended")
		return
	case version.UID == "":
		w.Header().Set("X-Podid-Association", version.String())
		refuse(w, http.StatusNotFound, "ResourceNotFoundException", "association-missing", "service account shop/"+who.account+" has no role association")
		return
	}
	w.Header().Set("X-Podid-Association", version.String())
	life := s.Life
	if life == 0 {
		life = time.Hour
	}
	_, _ = w.Write(reply(call, who.account, time.Now().Add(ahead+life)))
}

// Break breaks every stream off.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for listener := range s.listeners {
		close(listener)
		delete(s.listeners, listener)
	}
}

// Mint mints any token that the cluster's key can sign.
func (s *Server) Mint(w podid.Workload, audience string, at time.Time, life time.Duration) (string, error) {
	return s.issuer.Mint(w, audience, at, life)
}
