// Package helm is the scenario that its README tells.
package helm

import (
	"context"
	_ "embed"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// stays is what begins the names of what Helm keeps, and the lab's own Secret and namespace.
var stays = []string{
	"customresourcedefinition", "podidentityassociation", "validatingadmissionpolicy.admissionregistration.k8s.io/pass-role.podid.dev",
	"validatingadmissionpolicybinding.admissionregistration.k8s.io/pass-role.podid.dev",
	"namespace/podid-system", "secret/podid-base-credentials",
}

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("podid is uninstalled")
	s.Bind("cart", "by-helm")
	s.RunPodid("uninstall", "--yes")

	s.Step("`helm install --wait --take-ownership --force-conflicts`")
	chart, err := s.Chart(s.Ctx(), s.Principal)
	s.OK(err)
	helm(s, append([]string{"install", "podid", "--wait", "--take-ownership", "--force-conflicts", "--create-namespace"}, chart...)...)
	p := injected(s, "one")
	s.BecomesServed(p, lab.Takes)

	s.Step("`podid status`")
	s.RunPodid("status")
	if out, err := s.Podid(s.Ctx(), "install"); err == nil || !strings.Contains(out, "helm upgrade, or helm uninstall podid --namespace podid-system") {
		t.Errorf("podid install over Helm's: %v: %s", err, out)
	}

	s.Step("`helm upgrade` with another setting")
	s.OK(p.Load(s.Ctx(), 100*time.Millisecond, "agent"))
	helm(s, append([]string{"upgrade", "podid", "--wait", "--set", "settings.sessionDuration=30m"}, chart...)...)
	f, err := p.EndLoad(s.Ctx())
	s.OK(err)
	t.Logf("%s: %s", p.Name, f)
	if f.Failed > 0 || f.Asked == 0 {
		t.Errorf("%s: %s", p.Name, f)
	}
	config, err := s.Client.CoreV1().ConfigMaps(lab.Namespace).Get(s.Ctx(), "podid", meta.GetOptions{})
	s.OK(err)
	if config.Data["sessionDuration"] != "30m" || config.Data["region"] != lab.Region {
		t.Errorf("the settings: %v", config.Data)
	}

	s.Step("`helm uninstall` removes what podid made")
	helm(s, "uninstall", "podid", "--namespace", lab.Namespace)
	s.LeftOnly(stays...)
	s.NoAddress(5 * time.Second)

	s.Step("`podid uninstall --delete-associations`")
	s.RunPodid("uninstall", "--yes", "--delete-associations", "--export", filepath.Join(t.TempDir(), "associations.yaml"))
	s.LeftOnly()
}

func helm(s *lab.Scenario, args ...string) {
	s.Helper()
	began := time.Now()
	out, err := s.Helm(s.Ctx(), args...)
	if err != nil {
		s.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, out)
	}
	s.Logf("%v: %s", time.Since(began).Round(100*time.Millisecond), out)
}

// injected is a pod that the webhook has seen: the API server takes a second or more to ask it.
func injected(s *lab.Scenario, name string) *lab.Pod {
	s.Helper()
	spec := lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: name, Node: "node1", DryRun: true}
	s.Within(30*time.Second, func(ctx context.Context) error {
		p, err := s.CreatePod(ctx, spec)
		if err == nil && len(p.Spec.Containers[0].Env) == 1 {
			err = errors.New("the webhook does not act yet")
		}
		return err
	})
	return s.Pod(name, "cart", "node1")
}
