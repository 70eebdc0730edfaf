//go:build unix

package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

func objectName(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// TestAuth shares one control plane, which its last parts stop and start.
func TestAuth(t *testing.T) {
	w := newAuthWorld(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *authWorld)
	}{
		{"ItSaysWhyItIsNotReady", notReady},
		{"APodIsServedTheMomentItIsMade", newPods},
		{"APodIsToldWhyItIsRefused", refusedPods},
		{"APodThatEndsIsServedUntilItHasFinished", endingPods},
		{"AnAgentIsProvedByItsLivePod", forgedAgents},
		{"WhoSignsNeedsAGrantInTheWholeCluster", signedAgents},
		{"TheStreamTellsOfTheNodeAlone", streamOfANode},
		{"AReplicaHeldBackPutsNoRoleBack", replicaHeldBack},
		{"AReplicaThatDrainsEndsStreamsAndFinishes", drains},
		{"KnownPodsAreServedWhileTheAPIServerIsAway", apiServerAway},
		{"NewsThatAreTooOldDecideNothing", oldNews},
		{"AWithdrawnKeyVerifiesNothing", withdrawnKey},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, w) })
	}
}

func notReady(t *testing.T, w *authWorld) {
	r := w.start(t, w.kubeconfig(t, "podid-auth"), map[string]string{"stsEndpoint": w.awsURL, "principal": "service"})
	eventually(t, "it says that it is not configured", func(ctx context.Context) error {
		return wants(r.readiness(ctx), string(problem.ConfigurationMissing))
	})
	r.configure(t, map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333"})
	r.isReady(t)
}

func newPods(t *testing.T, w *authWorld) {
	r := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	agent := w.agent(t, 1)
	w.associate(t, "cart", "reader")
	var slowest time.Duration
	for i := range 30 {
		pod := w.pod(t, "shop", fmt.Sprint("new-", i), "cart", "node1")
		raw := w.token(t, pod, audiencePods)
		began := time.Now()
		wantRole(t, r.ask(t, agent, raw), "reader")
		slowest = max(slowest, time.Since(began))
		w.end(t, pod)
	}
	t.Logf("the slowest of 30 first exchanges took %s", slowest)

	// So are a service account and an association.
	for i := range 5 {
		account := fmt.Sprint("fresh-", i)
		makeServiceAccount(t, w.kube, "shop", account)
		w.associate(t, account, "writer")
		pod := w.pod(t, "shop", account, account, "node1")
		wantRole(t, r.ask(t, agent, w.token(t, pod, audiencePods)), "writer")
	}

	other := w.pod(t, "shop", "elsewhere", "cart", "node2")
	raw := w.token(t, other, audiencePods)
	wantAnswer(t, r.ask(t, agent, raw), http.StatusBadRequest, problem.NodeMismatch)
	wantRole(t, r.ask(t, w.agent(t, 2), raw), "reader")
	w.end(t, other)
	none := w.pod(t, "shop", "none", "other", "node1")
	wantAnswer(t, r.ask(t, agent, w.token(t, none, audiencePods)), http.StatusNotFound, problem.AssociationMissing)
	w.end(t, none)
}

// agent is the token of the agent of a node.
func (w *authWorld) agent(t *testing.T, node int) string {
	t.Helper()
	pod, err := w.kube.CoreV1().Pods("podid-system").Get(t.Context(), fmt.Sprint("agent-", node), meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return w.token(t, pod, audienceAuth)
}

func endingPods(t *testing.T, w *authWorld) {
	r := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	agent := w.agent(t, 1)
	pods := w.kube.CoreV1().Pods("shop")
	pod := w.pod(t, "shop", "ending", "cart", "node1")
	raw := w.token(t, pod, audiencePods)
	if err := pods.Delete(t.Context(), pod.Name, meta.DeleteOptions{GracePeriodSeconds: new(int64(30))}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is terminating", func(ctx context.Context) error {
		now, err := pods.Get(ctx, pod.Name, meta.GetOptions{})
		if err == nil && now.DeletionTimestamp == nil {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	wantRole(t, r.ask(t, agent, raw), "reader")
	pod, err := pods.Get(t.Context(), pod.Name, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = core.PodSucceeded
	if _, err := pods.UpdateStatus(t.Context(), pod, meta.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a finished pod is refused", func(context.Context) error {
		if a := r.ask(t, agent, raw); a.code != problem.PodFinished {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	w.end(t, pod)
	eventually(t, "a pod that is gone is refused", func(context.Context) error {
		if a := r.ask(t, agent, raw); a.code != problem.PodGone {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	again := w.pod(t, "shop", "ending", "cart", "node1")
	defer w.end(t, again)
	wantAnswer(t, r.ask(t, agent, raw), http.StatusBadRequest, problem.PodGone)
	wantRole(t, r.ask(t, agent, w.token(t, again, audiencePods)), "reader")
}

func forgedAgents(t *testing.T, w *authWorld) {
	r := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	victim := w.pod(t, "shop", "victim", "cart", "node1")
	defer w.end(t, victim)
	raw := w.token(t, victim, audiencePods)

	// An editor may create tokens for the service accounts of their namespace, with any
	// audience, and bind them to what they like.
	if _, err := w.kube.RbacV1().Roles("shop").Create(t.Context(), &rbac.Role{ObjectMeta: meta.ObjectMeta{Name: "editor"},
		Rules: []rbac.PolicyRule{{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}}}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.kube.RbacV1().RoleBindings("shop").Create(t.Context(), &rbac.RoleBinding{ObjectMeta: meta.ObjectMeta{Name: "editor"},
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "editor"}, Subjects: []rbac.Subject{{Kind: "User", Name: "editor"}}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config, err := w.ConfigFor("editor")
	if err != nil {
		t.Fatal(err)
	}
	editor := kubernetes.NewForConfigOrDie(config)
	if _, err := w.kube.CoreV1().Nodes().Create(t.Context(), &core.Node{ObjectMeta: meta.ObjectMeta{Name: "node1"}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node, err := w.kube.CoreV1().Nodes().Get(t.Context(), "node1", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ofVictim := &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: victim.Name, UID: victim.UID}
	ofNode := &authentication.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: node.Name, UID: node.UID}
	agent, err := w.kube.CoreV1().Pods("podid-system").Get(t.Context(), "agent-1", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the editor may create tokens", func(ctx context.Context) error {
		_, err := editor.CoreV1().ServiceAccounts("shop").CreateToken(ctx, "editor", &authentication.TokenRequest{
			Spec: authentication.TokenRequestSpec{Audiences: []string{audienceAuth}}}, meta.CreateOptions{})
		return err
	})
	gone := w.pod(t, "podid-system", "agent-gone", "podid-agent", "node1")
	ofGone := w.token(t, gone, audienceAuth)
	w.end(t, gone)
	for name, c := range map[string]struct{ forged, says string }{
		"our audience, minted by an editor, bound to nothing": {w.mint(t, editor, "shop", "editor", audienceAuth, nil), "token-unbound"},
		"our audience, minted by an editor, bound to a node":  {w.mint(t, editor, "shop", "editor", audienceAuth, ofNode), "token-unbound"},
		"our audience, minted by an editor, bound to a pod":   {w.mint(t, editor, "shop", "cart", audienceAuth, ofVictim), "not the agent's service account"},
		"of the agent's account, bound to nothing":            {w.mint(t, w.kube, "podid-system", "podid-agent", audienceAuth, nil), "token-unbound"},
		"of the agent's account, bound to a node":             {w.mint(t, w.kube, "podid-system", "podid-agent", audienceAuth, ofNode), "token-unbound"},
		"of the agent's account, for another audience":        {w.token(t, agent, "another"), "token-audience"},
		"of a pod that asks for itself":                       {raw, "token-audience"},
		"of an agent that is gone":                            {ofGone, "pod-gone"},
		"none":                                                {"", "token-missing"},
	} {
		a := r.ask(t, c.forged, raw)
		if a.status != http.StatusBadRequest || a.code != problem.CallerUnproven || !strings.Contains(a.message, c.says) {
			t.Errorf("%s: got %s, want it to say %s", name, a, c.says)
		}
	}
	wantRole(t, r.ask(t, w.token(t, agent, audienceAuth), raw), "reader")
	if audit := r.stdout.String(); !strings.Contains(audit, string(problem.CallerUnproven)) {
		t.Errorf("the audit log does not tell of forged agents: %s", audit)
	}
}

func streamOfANode(t *testing.T, w *authWorld) {
	r := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	version := w.associate(t, "cart", "reader")
	here := w.pod(t, "shop", "here", "cart", "node1")
	there := w.pod(t, "shop", "there", "cart", "node2")
	bare := w.pod(t, "shop", "bare", "other", "node1")
	defer w.end(t, bare)
	defer w.end(t, there)
	raw := w.token(t, here, audiencePods)
	eventually(t, "the replica has heard of the version", func(context.Context) error {
		if a := r.ask(t, w.agent(t, 1), raw); a.version != version {
			return fmt.Errorf("%s", a.version)
		}
		return nil
	})
	time.Sleep(200 * time.Millisecond) // until the last pod was told of
	l := r.listen(t, w.agent(t, 1))
	if l.snapshot.Cluster != "lab" || l.snapshot.Issuer != w.Issuer() || len(l.snapshot.Keys) == 0 {
		t.Errorf("snapshot %+v", l.snapshot)
	}
	if got := l.snapshot.Pods[string(here.UID)].Association; got != version {
		t.Errorf("the snapshot has %s, want %s", got, version)
	}
	if got, ok := l.snapshot.Pods[string(bare.UID)]; !ok || got.Association != (stream.Version{}) {
		t.Errorf("a pod without an association: %+v, %v", got, ok)
	}
	if _, ok := l.snapshot.Pods[string(there.UID)]; ok {
		t.Error("the snapshot has a pod of another node")
	}
	text, _ := json.Marshal(l.snapshot)
	for _, secret := range []string{"shop", "cart", "arn:"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the snapshot tells of %s: %s", secret, text)
		}
	}

	version = w.associate(t, "cart", "writer")
	m, took := l.next(t)
	if m == nil || m.Pod != string(here.UID) || m.Association == nil || *m.Association != version {
		t.Fatalf("got %+v, want version %s", m, version)
	}
	t.Logf("a changed association was told of within %s", took)
	wantRole(t, r.ask(t, w.agent(t, 1), raw, *m.Association), "writer")

	w.dissociate(t, "cart")
	if m, took = l.next(t); m == nil || m.Pod != string(here.UID) || m.Association == nil || m.Association.UID != "" || !version.Older(*m.Association) {
		t.Fatalf("got %+v, want that there is none since %s", m, version)
	}
	t.Logf("a deleted association was told of within %s", took)
	wantAnswer(t, r.ask(t, w.agent(t, 1), raw, *m.Association), http.StatusNotFound, problem.AssociationMissing)

	anew := w.pod(t, "shop", "anew", "cart", "node1")
	if m, took = l.next(t); m == nil || m.Pod != string(anew.UID) {
		t.Fatalf("got %+v, want the new pod", m)
	}
	t.Logf("a new pod was told of within %s", took)
	w.end(t, here)
	if m, took = l.next(t); m == nil || m.PodEnded != string(here.UID) {
		t.Fatalf("got %+v, want the end of the pod", m)
	}
	t.Logf("the end of a pod was told of within %s", took)
	w.end(t, anew)
	if m, _ = l.next(t); m == nil || m.PodEnded != string(anew.UID) {
		t.Fatalf("got %+v, want the end of the pod", m)
	}

	// The end of the agent's pod is the end of its stream.
	gone := w.pod(t, "podid-system", "agent-3", "podid-agent", "node3")
	l = r.listen(t, w.token(t, gone, audienceAuth))
	w.end(t, gone)
	for {
		m, took := l.next(t)
		if m == nil {
			t.Logf("the stream of an agent that ended has ended within %s", took)
			break
		}
	}
	for range 30 { // more than there may be
		r.listen(t, w.agent(t, 2))
	}
	eventually(t, "an agent has four streams at most", func(context.Context) error {
		if open := w.metric(t, r, "podid_auth_streams"); open != "5" {
			return fmt.Errorf("there are %s streams, want one of node1 and four of node2", open)
		}
		return nil
	})
}

func (w *authWorld) metric(t *testing.T, r *authReplica, name string) string {
	t.Helper()
	response, err := http.Get("http://" + r.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func replicaHeldBack(t *testing.T, w *authWorld) {
	way := w.way(t)
	front := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	behind := w.start(t, way.kubeconfig, nil, "--lead=false").isReady(t)
	was := w.associate(t, "cart", "reader")
	pod := w.pod(t, "shop", "held", "cart", "node1")
	defer w.end(t, pod)
	raw, agent := w.token(t, pod, audiencePods), w.agent(t, 1)
	eventually(t, "both replicas know", func(context.Context) error {
		for _, r := range []*authReplica{front, behind} {
			if a := r.ask(t, agent, raw); a.version != was {
				return fmt.Errorf("%s", a)
			}
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond) // the watches have told all

	way.held.Store(true)
	is := w.associate(t, "cart", "writer")
	eventually(t, "the other replica knows", func(context.Context) error {
		if a := front.ask(t, agent, raw); a.version != is {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	if a := behind.ask(t, agent, raw); a.role != "reader" {
		t.Fatalf("the watch is not held back: %s", a)
	}
	// A watch that lags refuses no new pod, and no new service account.
	account, err := w.kube.CoreV1().ServiceAccounts("shop").Get(t.Context(), "other", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.kube.CoreV1().ServiceAccounts("shop").Delete(t.Context(), account.Name, meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	makeServiceAccount(t, w.kube, "shop", "other")
	w.associate(t, "other", "writer")
	late := w.pod(t, "shop", "late", "other", "node1")
	wantRole(t, behind.ask(t, agent, w.token(t, late, audiencePods)), "writer")
	w.end(t, late)
	w.dissociate(t, "other")
	// Who has heard of the new version is not given the old role.
	a := behind.ask(t, agent, raw, is)
	wantRole(t, a, "writer")
	if a.version.Older(is) {
		t.Errorf("version %s", a.version)
	}
	way.down.Store(true)
	wantAnswer(t, behind.ask(t, agent, raw, is), http.StatusServiceUnavailable, problem.ReplicaBehind)
	wantRole(t, front.ask(t, agent, raw, is), "writer")
	way.down.Store(false)

	// A revoked role does not come back.
	l := front.listen(t, agent)
	w.dissociate(t, "cart")
	m, _ := l.next(t)
	for m != nil && m.Pod != string(pod.UID) {
		m, _ = l.next(t)
	}
	if m == nil || m.Association == nil || m.Association.UID != "" {
		t.Fatalf("got %+v", m)
	}
	wantAnswer(t, behind.ask(t, agent, raw, *m.Association), http.StatusNotFound, problem.AssociationMissing)
	way.down.Store(true)
	wantAnswer(t, behind.ask(t, agent, raw, *m.Association), http.StatusServiceUnavailable, problem.ReplicaBehind)
	way.down.Store(false)
	way.held.Store(false)
	eventually(t, "the replica has caught up", func(context.Context) error {
		if a := behind.ask(t, agent, raw); a.code != problem.AssociationMissing {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
}

// drains: a replica that is told to end serves until nobody is sent to it, and finishes what is under way by then, also
// where STS takes its time.
func drains(t *testing.T, w *authWorld) {
	const drain, stsTakes = 3 * time.Second, 500 * time.Millisecond
	asked := make(chan struct{}, 100)
	sts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		time.Sleep(stsTakes)
		w.aws.ServeHTTP(rw, r)
	}))
	defer sts.Close()
	settings := map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333", "stsEndpoint": sts.URL, "principal": "service"}
	r := w.start(t, w.kubeconfig(t, "podid-auth"), settings, "--drain", drain.String()).isReady(t)
	w.associate(t, "cart", "reader")
	pod := w.pod(t, "shop", "drained", "cart", "node1")
	defer w.end(t, pod)
	raw, agent := w.token(t, pod, audiencePods), w.agent(t, 1)
	wantRole(t, r.ask(t, agent, raw), "reader")
	<-asked
	l := r.listen(t, agent)

	var exchanges sync.WaitGroup
	exchange := func() {
		exchanges.Go(func() { wantRole(t, r.ask(t, agent, raw), "reader") })
		select {
		case <-asked:
		case <-time.After(5 * time.Second):
			t.Fatal("STS is not asked")
		}
	}
	exchange()
	began := time.Now()
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not ready any more", func(ctx context.Context) error {
		if r.readiness(ctx) == nil {
			return errors.New("it is ready")
		}
		return nil
	})
	for time.Since(began) < drain-stsTakes+100*time.Millisecond { // the last ones are under way when it ends
		exchange()
		time.Sleep(50 * time.Millisecond)
	}
	exchanges.Wait()
	if took := time.Since(began); took < drain {
		t.Errorf("nothing was under way when it ended: %s", took)
	}
	for {
		m, _ := l.next(t)
		if m == nil {
			break
		}
	}
	select {
	case err := <-r.gone:
		r.gone <- nil
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("it did not end")
	}
	t.Logf("ended within %s", time.Since(began))
}

func apiServerAway(t *testing.T, w *authWorld) {
	way := w.way(t)
	r := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	aside := w.start(t, way.kubeconfig, nil, "--lead=false").isReady(t)
	w.associate(t, "cart", "reader")
	known := w.pod(t, "shop", "known", "cart", "node1")
	rawKnown, agent := w.token(t, known, audiencePods), w.agent(t, 1)
	wantRole(t, r.ask(t, agent, rawKnown), "reader")
	eventually(t, "all was told", func(context.Context) error {
		if a := aside.ask(t, agent, rawKnown); a.role != "reader" {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond)

	// One replica is cut off and misses a pod.
	way.down.Store(true)
	unknown := w.pod(t, "shop", "unknown", "cart", "node1")
	rawUnknown := w.token(t, unknown, audiencePods)
	wantRole(t, aside.ask(t, agent, rawKnown), "reader")
	wantAnswer(t, aside.ask(t, agent, rawUnknown), http.StatusServiceUnavailable, problem.ClusterUnavailable)
	wantRole(t, r.ask(t, agent, rawUnknown), "reader")

	w.StopAPIServer()
	for range 20 {
		began := time.Now()
		wantRole(t, r.ask(t, agent, rawKnown), "reader")
		if took := time.Since(began); took > time.Second {
			t.Errorf("an exchange took %s while the API server is away", took)
		}
	}
	if err := r.readiness(t.Context()); err != nil {
		t.Errorf("not ready while the API server is away: %v", err)
	}
	if err := w.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	way.down.Store(false)
	eventually(t, "the replica has caught up", func(context.Context) error {
		if a := aside.ask(t, agent, rawUnknown); a.role != "reader" {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	w.end(t, known)
	w.end(t, unknown)
}

func oldNews(t *testing.T, w *authWorld) {
	way := w.way(t)
	const limit = 20 * time.Second // more than a watch that has nothing to tell goes unasked
	r := w.start(t, way.kubeconfig, nil, "--lead=false", "--max-staleness", limit.String()).isReady(t)
	w.associate(t, "cart", "reader")
	pod := w.pod(t, "shop", "stale", "cart", "node1")
	defer w.end(t, pod)
	raw, agent := w.token(t, pod, audiencePods), w.agent(t, 1)
	eventually(t, "it has heard of the pod", func(context.Context) error {
		if a := r.ask(t, agent, raw); a.role != "reader" {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	way.down.Store(true)
	began := time.Now()
	wantRole(t, r.ask(t, agent, raw), "reader")
	eventually(t, "it decides nothing any more", func(context.Context) error {
		if a := r.ask(t, agent, raw); a.code != problem.ClusterUnavailable {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	if took := time.Since(began); took < limit/2 {
		t.Errorf("it gave up after %s", took)
	}
	if err := wants(r.readiness(t.Context()), string(problem.ClusterUnavailable)); err != nil {
		t.Error(err)
	}

	// What changed meanwhile counts within seconds, and the replica is as good as new.
	w.associate(t, "cart", "writer")
	way.down.Store(false)
	began = time.Now()
	eventually(t, "it is ready again", func(ctx context.Context) error { return r.readiness(ctx) })
	eventually(t, "the other role counts", func(context.Context) error {
		if a := r.ask(t, agent, raw); a.role != "writer" {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	t.Logf("ready again after %s", time.Since(began).Round(10*time.Millisecond))
	time.Sleep(limit + 2*time.Second) // nothing happens
	if err := r.readiness(t.Context()); err != nil {
		t.Errorf("in a quiet cluster: %v", err)
	}
}

func withdrawnKey(t *testing.T, w *authWorld) {
	r := w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t)
	w.associate(t, "cart", "reader")
	pod := w.pod(t, "shop", "rotated", "cart", "node1")
	defer w.end(t, pod)
	oldPod, oldAgent := w.token(t, pod, audiencePods), w.agent(t, 1)
	wantRole(t, r.ask(t, oldAgent, oldPod), "reader")
	l := r.listen(t, oldAgent)
	restart := func(keepOld bool) {
		if err := w.RotateSigningKey(keepOld); err != nil {
			t.Fatal(err)
		}
		w.StopAPIServer()
		if err := w.StartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	keys := func() *stream.Message {
		for {
			m, _ := l.next(t)
			if m == nil || m.Keys != nil {
				return m
			}
		}
	}

	// A new key is fetched when the first token names it.
	restart(true)
	newPod, newAgent := w.token(t, pod, audiencePods), w.agent(t, 1)
	wantRole(t, r.ask(t, newAgent, newPod), "reader")
	if m := keys(); m == nil || strings.Count(string(m.Keys), `"kid"`) != 2 {
		t.Errorf("the stream tells of %+v, want both keys", m)
	}
	wantRole(t, r.ask(t, oldAgent, oldPod), "reader")

	// Those that are gone verify nothing from when the keys are next fetched: here, since
	// a token names another new one. The stream of an agent they proved ends.
	restart(false)
	newestPod, newestAgent := w.token(t, pod, audiencePods), w.agent(t, 1)
	wantRole(t, r.ask(t, newestAgent, newestPod), "reader")
	wantAnswer(t, r.ask(t, newestAgent, newPod), http.StatusBadRequest, problem.TokenKeyUnknown)
	wantAnswer(t, r.ask(t, newAgent, newestPod), http.StatusBadRequest, problem.CallerUnproven)
	if m := keys(); m != nil {
		t.Errorf("the stream of a token with a withdrawn key tells of %+v", m)
	}
}
