// Package labelledscope is the scenario that its README tells.
package labelledscope

import (
	"context"
	_ "embed"
	"errors"
	"testing"
	"time"

	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("`podid install --labelled-scope`")
	s.RunPodid("install", "--labelled-scope", "--wait")
	_, err := s.Client.CoreV1().Namespaces().Create(s.Ctx(),
		&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: s.Space, Labels: map[string]string{"podid.dev/inject": "enabled"}}}, meta.CreateOptions{})
	s.OK(err)

	s.Step("A pod of a service account without association")
	// The API server takes a moment to act by a policy that is new.
	took := s.Within(20*time.Second, func(ctx context.Context) error {
		p, err := s.CreatePod(ctx, lab.PodSpec{Namespace: s.Space, ServiceAccount: "later", Name: "tried", DryRun: true})
		if err == nil && len(p.Spec.Containers[0].Env) == 1 {
			err = errors.New("it is not injected")
		}
		return err
	})
	t.Logf("the policy acts after %v", took.Round(100*time.Millisecond))
	p := s.Pod("later", "later", "")
	s.Refused(p, "", problem.AssociationMissing)

	s.Step("The service account gets an association")
	s.Bind("later", "labelled")
	t.Logf("served after %v", s.BecomesServed(p, lab.Takes).Round(10*time.Millisecond))
}
