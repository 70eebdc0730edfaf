package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid"
	podidv1 "github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/test/kube"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// HoldBack keeps a pod from the API server, on the pod's node: its connections go silent, as they do when a network breaks.
func (l *Lab) HoldBack(ctx context.Context, pod *core.Pod) (release func(context.Context) error, err error) {
	// Both ways: what is on its way to the pod counts as news too.
	server := []string{kube.Gateway, "-p", "tcp"}
	rules := [][]string{
		append([]string{"FORWARD", "-s", pod.Status.PodIP, "-d"}, append(server, "--dport", "6443", "-j", "DROP")...),
		append([]string{"FORWARD", "-d", pod.Status.PodIP, "-s"}, append(server, "--sport", "6443", "-j", "DROP")...),
	}
	rule := func(ctx context.Context, verb string) error {
		for _, r := range rules {
			if _, err := l.OnNode(ctx, pod.Spec.NodeName, "iptables", append([]string{verb}, r...)...); err != nil {
				return err
			}
		}
		return nil
	}
	if err := rule(ctx, "-I"); err != nil {
		return nil, err
	}
	var once sync.Once
	return func(ctx context.Context) (err error) {
		once.Do(func() { err = rule(ctx, "-D") })
		return err
	}, nil
}

// AgentToken is a token of an agent's pod, as the kubelet mounts one.
func (l *Lab) AgentToken(ctx context.Context, agent *core.Pod) (string, error) {
	return l.Token(ctx, agent.Namespace, agent.Spec.ServiceAccountName, podid.AudienceAuth,
		&authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: agent.Name, UID: agent.UID})
}

// AllReady has no error once n pods of a program of podid are ready, and no other is there.
func (l *Lab) AllReady(ctx context.Context, program string, n int) error {
	pods, err := l.PodidPods(ctx, program)
	if err != nil {
		return err
	}
	ready := 0
	for _, pod := range pods {
		if Ready(&pod) {
			ready++
		}
	}
	if ready != n || len(pods) != n {
		return fmt.Errorf("%d of %d pods of %s are ready, of %d wanted", ready, len(pods), program, n)
	}
	return nil
}

// Endpoints has no error once a Service has n endpoints that are ready, and all of pods that are there.
func (l *Lab) Endpoints(ctx context.Context, service string, n int) error {
	pods, err := l.PodidPods(ctx, strings.TrimPrefix(service, "podid-"))
	if err != nil {
		return err
	}
	found, err := l.Client.DiscoveryV1().EndpointSlices(Namespace).List(ctx, meta.ListOptions{LabelSelector: discovery.LabelServiceName + "=" + service})
	if err != nil {
		return err
	}
	ready := 0
	for _, slice := range found.Items {
		for _, e := range slice.Endpoints {
			there := slices.ContainsFunc(pods, func(p core.Pod) bool { return Ready(&p) && slices.Contains(e.Addresses, p.Status.PodIP) })
			if there && e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready++
			}
		}
	}
	if ready != n {
		return fmt.Errorf("%s has %d endpoints, not %d", service, ready, n)
	}
	return nil
}

// KeepChanging changes an association of the scenario's namespace four times a second, to no effect but that its version is another, until
// stop is called, which returns how often that was.
func (s *Scenario) KeepChanging(account string) (stop func() int) {
	ctx, cancel := context.WithCancel(s.Ctx())
	n, failed := 0, error(nil)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"tags":{"n":"%d"}}}`, n))
			object := &podidv1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: s.Space, Name: account}}
			if err := s.Objects.Patch(ctx, object, patch); err != nil && !errors.Is(err, context.Canceled) {
				failed = err
				return
			}
			n++
		}
	})
	return func() int {
		cancel()
		done.Wait()
		if failed != nil {
			s.Errorf("change the association: %v", failed)
		}
		return n
	}
}

// Forge signs a token with the cluster's own key, for a pod that need not exist.
func (l *Lab) Forge(w podid.Workload, audience string, issuedAt time.Time, lifetime time.Duration) (string, error) {
	key, err := l.SigningKey()
	if err != nil {
		return "", err
	}
	issuer, err := token.ParseIssuer(l.Issuer(), key)
	if err != nil {
		return "", err
	}
	return issuer.Mint(w, audience, issuedAt, lifetime)
}

// OnNode runs a program in a node and returns what it said.
func (l *Lab) OnNode(ctx context.Context, node string, program string, args ...string) (string, error) {
	i := slices.IndexFunc(l.Nodes(), func(n *kube.Node) bool { return n.Name == node })
	if i < 0 {
		return "", fmt.Errorf("no node %s", node)
	}
	out, err := l.Nodes()[i].Command(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s on %s: %w: %s", program, node, err, out)
	}
	return string(out), nil
}

// Read reads a file of a node.
func (l *Lab) Read(ctx context.Context, node, file string) (string, error) {
	return l.OnNode(ctx, node, "cat", file)
}

// KillProgram kills a program on a node, wherever in it, as a crash does.
func (l *Lab) KillProgram(ctx context.Context, node, program string) error {
	_, err := l.OnNode(ctx, node, "pkill", "--exact", "--signal", "KILL", program)
	return err
}

// Restart rolls a workload of podid (daemonset/podid-agent, say) out anew, and returns when that is done.
func (l *Lab) Restart(ctx context.Context, workload string) error {
	for _, args := range [][]string{{"restart"}, {"status", "--timeout=90s"}} {
		out, err := l.Kubectl(ctx, append([]string{"rollout", "-n", Namespace, args[0], workload}, args[1:]...)...).CombinedOutput()
		if err != nil {
			pods, _ := l.Kubectl(ctx, "get", "pods", "-n", Namespace, "-o", "wide").CombinedOutput() // to see why
			return fmt.Errorf("roll %s out: %w: %s%s", workload, err, out, pods)
		}
	}
	return nil
}
