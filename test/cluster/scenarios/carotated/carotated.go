// Package carotated is the scenario that its README tells.
package carotated

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("Pods ask ten times a second")
	s.Bind("cart", "rotated-ca")
	pods := []*lab.Pod{s.Pod("one", "cart", "node1"), s.Pod("two", "cart", "node2")}
	for _, p := range pods {
		s.Served(p, "")
		s.OK(p.Load(s.Ctx(), 100*time.Millisecond, "agent"))
	}
	stop := s.KeepChanging("cart")
	defer stop()
	made := 0
	injected := func() {
		t.Helper()
		made++
		// Not run: dozens of starting pods would slow down what asks.
		p, err := s.CreatePod(s.Ctx(), lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: fmt.Sprintf("made-%d", made), DryRun: true})
		s.OK(err)
		if len(p.Spec.Containers[0].Env) == 1 {
			t.Errorf("%s is not injected", p.Name)
		}
	}
	before := serving(s)

	s.Step("The CA is told to rotate")
	_, err := s.Client.CoreV1().Secrets(lab.Namespace).Patch(s.Ctx(), "podid-ca", types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"podid.dev/rotate":"now"}}}`), meta.PatchOptions{})
	s.OK(err)
	took := s.Within(3*time.Minute, func(ctx context.Context) error {
		for _, node := range []string{"node1", "node2"} {
			agent, err := s.AgentOf(ctx, node)
			if err != nil {
				return err
			}
			bundle, err := s.Read(ctx, node, "/var/lib/kubelet/pods/"+string(agent.UID)+"/volumes/kubernetes.io~configmap/ca/ca.crt")
			if err != nil {
				return err
			}
			if n := strings.Count(bundle, "BEGIN CERTIFICATE"); n < 2 {
				return fmt.Errorf("the agent of %s has %d CA", node, n)
			}
		}
		return nil
	})
	t.Logf("both agents have both CAs after %v", took.Round(100*time.Millisecond))
	injected()

	s.Step("podid-auth and the webhook serve")
	s.Within(time.Minute, settle(s))
	took = s.Within(time.Minute, func(context.Context) error {
		injected()
		now := serving(s)
		for name := range before {
			if bytes.Equal(now[name], before[name]) {
				return errors.New(name + " is as it was")
			}
		}
		return nil
	})
	t.Logf("new certificates after %v", took.Round(100*time.Millisecond))

	s.Step("Pods that are made all the while")
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		injected()
	}
	t.Logf("%d pods made", made)

	s.Step("No request has failed")
	changes := stop()
	for _, p := range pods {
		f, err := p.EndLoad(s.Ctx())
		s.OK(err)
		t.Logf("%s, %d changes: %s", p.Name, changes, f)
		if f.Failed > 0 || f.Asked == 0 {
			t.Errorf("%s: %s", p.Name, f)
		}
	}
}

func serving(s *lab.Scenario) map[string][]byte {
	s.Helper()
	out := map[string][]byte{}
	for _, name := range []string{"podid-auth-tls", "podid-webhook-tls"} {
		secret, err := s.Client.CoreV1().Secrets(lab.Namespace).Get(s.Ctx(), name, meta.GetOptions{})
		s.OK(err)
		out[name] = secret.Data["tls.crt"]
	}
	return out
}

// settle writes down that the new CA was published ten minutes ago.
func settle(s *lab.Scenario) func(context.Context) error {
	return func(ctx context.Context) error {
		secret, err := s.Client.CoreV1().Secrets(lab.Namespace).Get(ctx, "podid-ca", meta.GetOptions{})
		if err != nil {
			return err
		}
		var authorities []map[string]any
		if err := json.Unmarshal(secret.Data["authorities.json"], &authorities); err != nil {
			return err
		}
		last := authorities[len(authorities)-1]
		if len(authorities) < 2 || last["published"] == nil {
			return fmt.Errorf("%d authorities, and the last was not published", len(authorities))
		}
		last["published"] = time.Now().Add(-10 * time.Minute).UTC()
		if secret.Data["authorities.json"], err = json.Marshal(authorities); err != nil {
			return err
		}
		_, err = s.Client.CoreV1().Secrets(lab.Namespace).Update(ctx, secret, meta.UpdateOptions{})
		return err
	}
}
