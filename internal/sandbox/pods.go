package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/uuid"
)

// NodeName is the one node of the local world.
const NodeName = "local"

// tokenLifetime is that of a projected token, and the longest there is.
const tokenLifetime = injection.TokenExpirationSeconds * time.Second

// maxPods bounds what a client of the control API can make the world keep.
const maxPods = 10_000

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// Pod is a pod of the local world.
type Pod struct {
	Namespace         string `json:"namespace"`
	Name              string `json:"name"`
	UID               string `json:"uid"`
	ServiceAccount    string `json:"serviceAccount"`
	ServiceAccountUID string `json:"serviceAccountUID"`
	Node              string `json:"node"`
	// Process is the ID of the process that runs as this pod; 0 if unknown. The
	// pod ends when the process is gone, as a pod ends with its containers.
	Process int `json:"process,omitempty"`
}

// Pods stands in for the API server and the kubelet: it knows which pods there
// are and mints their tokens.
type Pods struct {
	issuer  *token.Issuer
	journal *journal.Journal
	now     func() time.Time
	ended   func(Pod)

	mu       sync.Mutex
	pods     map[string]Pod    // by UID
	names    map[string]string // pods' UIDs by namespace/name
	accounts map[string]string // service accounts' UIDs by namespace/name
}

func loadPods(issuer *token.Issuer, j *journal.Journal, now func() time.Time, ended func(Pod)) (*Pods, error) {
	p := &Pods{issuer: issuer, journal: j, now: now, ended: ended,
		pods: map[string]Pod{}, names: map[string]string{}, accounts: map[string]string{}}
	err := j.Load("pods/", func(_ string, value json.RawMessage) error {
		var pod Pod
		if err := json.Unmarshal(value, &pod); err != nil {
			return err
		}
		p.add(pod)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load pods: %w", err)
	}
	err = j.Load("serviceaccounts/", func(key string, value json.RawMessage) error {
		var uid string
		err := json.Unmarshal(value, &uid)
		p.accounts[strings.TrimPrefix(key, "serviceaccounts/")] = uid
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load service accounts: %w", err)
	}
	return p, nil
}

// Start makes a pod of a service account, which comes into being with its first
// pod. name may be empty: one is made up as a Deployment does.
func (p *Pods) Start(namespace, serviceAccount, name string, process int) (Pod, error) {
	if name == "" {
		name = strings.TrimRight(cut(serviceAccount, 240), "-.") + "-" + strings.ToLower(rand.Text()[:5])
	}
	if err := validate(namespace, serviceAccount, name); err != nil {
		return Pod{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pods) >= maxPods {
		return Pod{}, problem.New(problem.TooManyRequests, "the local world has %d pods already", len(p.pods)).
			Because("a local world has at most %d pods", maxPods).
			Fixed("end programs that are left over; `podid local pods` lists the pods")
	}
	if _, taken := p.names[namespace+"/"+name]; taken {
		return Pod{}, problem.New(problem.RequestInvalid, "pod %s/%s exists already", namespace, name).
			Because("a pod's name is unique in its namespace").Fixed("choose another name, or end that pod first")
	}
	account := namespace + "/" + serviceAccount
	uid, known := p.accounts[account]
	if !known {
		uid = uuid.NewString()
	}
	pod := Pod{
		Namespace: namespace, Name: name, UID: uuid.NewString(),
		ServiceAccount: serviceAccount, ServiceAccountUID: uid,
		Node: NodeName, Process: process,
	}
	if err := p.journal.Commit(journal.Put("serviceaccounts/"+account, uid), journal.Put("pods/"+pod.UID, pod)); err != nil {
		return Pod{}, fmt.Errorf("keep pod: %w", err)
	}
	p.accounts[account] = uid
	p.add(pod)
	return pod, nil
}

// validate holds names to Kubernetes' rules
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
func validate(namespace, serviceAccount, pod string) error {
	if !dnsLabel.MatchString(namespace) {
		return problem.New(problem.RequestInvalid, "namespace %q is not a DNS label", cut(namespace, 80)).
			Because("Kubernetes' namespaces have 1 to 63 lower-case letters, digits and hyphens, and no hyphen at either end").
			Fixed("choose a name such as test-namespace")
	}
	for _, n := range []struct{ what, name, example string }{
		{"service account", serviceAccount, "test-sa"}, {"pod name", pod, "reader-0"},
	} {
		if !isSubdomain(n.name) {
			return problem.New(problem.RequestInvalid, "%s %q is not a DNS subdomain", n.what, cut(n.name, 80)).
				Because("Kubernetes' names have 1 to 253 lower-case letters, digits, hyphens and dots, and letters or digits at both ends of what is between dots").
				Fixed("choose a name such as %s", n.example)
		}
	}
	return nil
}

// system makes a pod of podid itself, which is not kept: every start has its own.
func (p *Pods) system(namespace, serviceAccount string) Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod := Pod{
		Namespace: namespace, Name: serviceAccount + "-" + NodeName, UID: uuid.NewString(),
		ServiceAccount: serviceAccount, ServiceAccountUID: uuid.NewString(), Node: NodeName,
	}
	p.add(pod)
	return pod
}

// End removes a pod. Its tokens stop working at once.
func (p *Pods) End(uid string) error {
	p.mu.Lock()
	pod, ok := p.pods[uid]
	if !ok {
		p.mu.Unlock()
		return problem.New(problem.PodGone, "there is no pod with UID %q", cut(uid, 80))
	}
	if err := p.journal.Commit(journal.Delete("pods/" + uid)); err != nil {
		p.mu.Unlock()
		return fmt.Errorf("end pod: %w", err)
	}
	delete(p.pods, uid)
	delete(p.names, pod.Namespace+"/"+pod.Name)
	p.mu.Unlock()
	p.ended(pod)
	return nil
}

// Token mints a pod-bound token as the kubelet gets it from the API server.
// lifetime is from ten minutes to 24 hours, as Kubernetes has it.
func (p *Pods) Token(uid, audience string, lifetime time.Duration) (string, error) {
	lifetime = min(max(lifetime, 10*time.Minute), tokenLifetime)
	return p.mint(uid, audience, p.now(), lifetime)
}

// ExpiredToken mints a token that expired a minute ago, for the failure cases.
func (p *Pods) ExpiredToken(uid string) (string, error) {
	return p.mint(uid, podid.AudiencePods, p.now().Add(-61*time.Minute), time.Hour)
}

func (p *Pods) mint(uid, audience string, issued time.Time, lifetime time.Duration) (string, error) {
	p.mu.Lock()
	pod, ok := p.pods[uid]
	p.mu.Unlock()
	if !ok {
		return "", problem.New(problem.PodGone, "there is no pod with UID %q", cut(uid, 80))
	}
	return p.issuer.Mint(podid.Workload{
		Namespace: pod.Namespace, ServiceAccount: pod.ServiceAccount, ServiceAccountUID: pod.ServiceAccountUID,
		Pod: pod.Name, PodUID: pod.UID, Node: pod.Node,
	}, audience, issued, lifetime)
}

// List returns the pods by namespace and name.
func (p *Pods) List() []Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.pods), func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// Pod implements token.Pods.
func (p *Pods) Pod(_ context.Context, w podid.Workload) (token.Pod, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod, ok := p.pods[p.names[w.Namespace+"/"+w.Pod]]
	return token.Pod{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ServiceAccount: pod.ServiceAccount, ServiceAccountUID: pod.ServiceAccountUID,
		Node: pod.Node,
	}, ok, nil
}

// reap ends the pods whose process is gone: `podid local run` that was killed
// could not end its pod itself.
func (p *Pods) reap() {
	for _, pod := range p.List() {
		if pod.Process > 0 && gone(pod.Process) {
			_ = p.End(pod.UID) // gone already is as good
		}
	}
}

// gone says whether there is no such process; one of somebody else's is there.
func gone(process int) bool {
	p, err := os.FindProcess(process)
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	err = p.Signal(syscall.Signal(0))
	_ = p.Release()
	return errors.Is(err, os.ErrProcessDone)
}

func (p *Pods) add(pod Pod) {
	p.pods[pod.UID] = pod
	p.names[pod.Namespace+"/"+pod.Name] = pod.UID
}

func isSubdomain(s string) bool { return len(s) <= 253 && dnsSubdomain.MatchString(s) }

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
