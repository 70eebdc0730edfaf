package auth

import (
	"encoding/json"
	"sync"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
)

// Nodes knows which pods run on which node, and tells each agent what changes for
// those of its own. It remembers what changed, not how often: a listener that is slow is
// told how things are once it listens again, and never costs more than its node's pods.
type Nodes struct {
	// Cluster is the cluster's name, Issuer the iss of its tokens.
	Cluster, Issuer string
	// JWKS is the keys that verify tokens, and Verifies says whether a key is among
	// them.
	JWKS     func() json.RawMessage
	Verifies func(keyID string) bool
	// Heard is the version of the association of a service account.
	Heard func(namespace, serviceAccount string) stream.Version

	mu        sync.Mutex
	pods      map[string]token.Pod           // by UID: those on a node that have not finished
	byNode    map[string]map[string]struct{} // UIDs
	byAccount map[account]map[string]struct{}
	listeners map[string][]*listener // by node, the oldest first
	draining  bool
}

type account struct{ namespace, name string }

// maxListeners of a node: an agent and the one that replaces it, and each once more while
// it does not know yet that its connection broke.
const maxListeners = 4

// listener is one agent's stream. Its fields but the channels are guarded by Nodes.mu.
type listener struct {
	node  string
	agent token.Token
	dirty map[string]struct{} // UIDs of pods to tell of
	keys  bool                // to tell of the keys
	wake  chan struct{}       // has a place for one
	ended chan struct{}       // closed when the stream must end
	why   string              // it did
}

// Pod tells of a pod that is there, or has changed.
func (n *Nodes) Pod(p token.Pod) {
	if p.Finished {
		n.Gone(p.UID)
		return
	}
	if p.Node == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pods == nil {
		n.pods, n.byNode, n.byAccount = map[string]token.Pod{}, map[string]map[string]struct{}{}, map[account]map[string]struct{}{}
	}
	n.pods[p.UID] = p
	add(n.byNode, p.Node, p.UID)
	add(n.byAccount, account{p.Namespace, p.ServiceAccount}, p.UID)
	n.mark(p.Node, p.UID)
}

// Gone tells of a pod that is no more. An agent's own stream ends with it.
func (n *Nodes) Gone(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.pods[uid]
	if !ok {
		return
	}
	delete(n.pods, uid)
	remove(n.byNode, p.Node, uid)
	remove(n.byAccount, account{p.Namespace, p.ServiceAccount}, uid)
	n.mark(p.Node, uid)
	for _, l := range n.listeners[p.Node] {
		if l.agent.Workload.PodUID == uid {
			l.end("the agent's pod has ended")
		}
	}
}

// Associated tells of a service account whose association has changed.
func (n *Nodes) Associated(namespace, serviceAccount string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid := range n.byAccount[account{namespace, serviceAccount}] {
		n.mark(n.pods[uid].Node, uid)
	}
}

// KeysChanged tells of other keys. Who was proved by one that is gone is not any more.
func (n *Nodes) KeysChanged() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, listeners := range n.listeners {
		for _, l := range listeners {
			if n.Verifies != nil && !n.Verifies(l.agent.KeyID) {
				l.end("the key of the agent's token is withdrawn")
				continue
			}
			l.keys = true
			l.rouse()
		}
	}
}

// Drain ends all streams, and those that are opened from now on.
func (n *Nodes) Drain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draining = true
	for _, listeners := range n.listeners {
		for _, l := range listeners {
			l.end("podid-auth is stopping")
		}
	}
}

// listen begins a stream with what there is.
func (n *Nodes) listen(node string, agent token.Token) (*listener, stream.Snapshot) {
	l := &listener{node: node, agent: agent, dirty: map[string]struct{}{}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	n.mu.Lock()
	pods := make(map[string]token.Pod, len(n.byNode[node]))
	for uid := range n.byNode[node] {
		if len(pods) < stream.MaxPods {
			pods[uid] = n.pods[uid]
		}
	}
	if n.listeners == nil {
		n.listeners = map[string][]*listener{}
	}
	if others := n.listeners[node]; len(others) >= maxListeners {
		others[0].end("the node's agent listens elsewhere")
		n.listeners[node] = others[1:]
	}
	n.listeners[node] = append(n.listeners[node], l)
	if n.draining {
		l.end("podid-auth is stopping")
	}
	n.mu.Unlock()

	snapshot := stream.Snapshot{Cluster: n.Cluster, Issuer: n.Issuer, Keys: n.JWKS(), Pods: make(map[string]stream.Pod, len(pods))}
	for uid, p := range pods {
		snapshot.Pods[uid] = stream.Pod{Association: n.Heard(p.Namespace, p.ServiceAccount)}
	}
	return l, snapshot
}

func (n *Nodes) leave(l *listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var rest []*listener
	for _, other := range n.listeners[l.node] {
		if other != l {
			rest = append(rest, other)
		}
	}
	if rest == nil {
		delete(n.listeners, l.node)
		return
	}
	n.listeners[l.node] = rest
}

// changes are what a listener has not been told yet, and now is.
func (n *Nodes) changes(l *listener) []stream.Message {
	n.mu.Lock()
	dirty, keys := l.dirty, l.keys
	l.dirty, l.keys = map[string]struct{}{}, false
	pods := make(map[string]token.Pod, len(dirty))
	for uid := range dirty {
		if p, ok := n.pods[uid]; ok && p.Node == l.node {
			pods[uid] = p
		}
	}
	n.mu.Unlock()

	var messages []stream.Message
	if keys {
		messages = append(messages, stream.Message{Keys: n.JWKS()})
	}
	for uid := range dirty {
		p, ok := pods[uid]
		if !ok {
			messages = append(messages, stream.Message{PodEnded: uid})
			continue
		}
		version := n.Heard(p.Namespace, p.ServiceAccount)
		messages = append(messages, stream.Message{Pod: uid, Association: &version})
	}
	return messages
}

func (n *Nodes) mark(node, uid string) {
	for _, l := range n.listeners[node] {
		l.dirty[uid] = struct{}{}
		l.rouse()
	}
}

func (l *listener) rouse() {
	select {
	case l.wake <- struct{}{}:
	default: // it is to wake already
	}
}

func (l *listener) end(why string) {
	if l.why == "" {
		l.why = why
		close(l.ended)
	}
}

func add[K comparable](sets map[K]map[string]struct{}, key K, uid string) {
	if sets[key] == nil {
		sets[key] = map[string]struct{}{}
	}
	sets[key][uid] = struct{}{}
}

func remove[K comparable](sets map[K]map[string]struct{}, key K, uid string) {
	delete(sets[key], uid)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}
