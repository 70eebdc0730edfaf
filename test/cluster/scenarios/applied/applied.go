// Package applied is the scenario that its README tells.
package applied

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"

	core "k8s.io/api/core/v1"
)

//go:embed README.md
var readme string

// Run runs it. podid was installed for AWS's service principal before.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("Nothing of podid is there")
	s.RunPodid("uninstall", "--yes", "--delete-associations", "--export", s.TempDir()+"/associations.yaml")

	s.Step("`kubectl apply -f deploy/install.yaml`")
	began := time.Now()
	kubectl(s, "apply", "-f", "../../deploy/install.yaml")
	settings, err := json.Marshal(map[string]any{"data": map[string]string{
		"clusterName": s.Identity.Name, "region": s.Identity.Region, "account": s.Identity.Account,
		"principal": "service", "stsEndpoint": s.AWS.Endpoint,
	}})
	s.OK(err)
	kubectl(s, "-n", lab.Namespace, "patch", "configmap", "podid", "--type", "merge", "-p", string(settings))
	secret := []string{"-n", lab.Namespace, "create", "secret", "generic", "podid-base-credentials"}
	for name, value := range s.Principal.Secret {
		secret = append(secret, "--from-literal="+name+"="+value)
	}
	kubectl(s, secret...)
	kubectl(s, "-n", lab.Namespace, "rollout", "restart", "deployment", "podid-auth", "podid-webhook")
	s.Within(2*time.Minute, func(ctx context.Context) error {
		return errors.Join(s.AllReady(ctx, "auth", 2), s.AllReady(ctx, "webhook", 2), s.AllReady(ctx, "agent", 2))
	})
	t.Logf("ready %v after the first command", time.Since(began).Round(100*time.Millisecond))

	s.Step("A pod's SDK gets credentials")
	s.Bind("cart", "applied")
	served(s, s.Pod("four", "cart", ""))
	six, err := s.StartPod(s.Ctx(), lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: "six", Node: "node1", ByHand: true, Edit: overIPv6})
	s.OK(err)
	served(s, six)

	s.Step("`kubectl get pia`")
	s.Within(lab.Takes, func(context.Context) error {
		if said := kubectl(s, "-n", s.Space, "get", "pia", "cart"); !strings.Contains(said, string(lab.ARN("applied"))) || !strings.Contains(said, "True") {
			return fmt.Errorf("it says: %s", said)
		}
		return nil
	})
}

// overIPv6 puts a pod on its node's network, where the agent has its other address too: the pods' own network is IPv4 here.
func overIPv6(pod *core.Pod) {
	pod.Spec.HostNetwork = true
	for i, v := range pod.Spec.Containers[0].Env {
		if v.Name == "AWS_CONTAINER_CREDENTIALS_FULL_URI" {
			pod.Spec.Containers[0].Env[i].Value = "http://[fd00:ec2::23]/v1/credentials"
		}
	}
}

func served(s *lab.Scenario, p *lab.Pod) {
	s.Helper()
	a, err := p.BySDK(s.Ctx())
	s.OK(err)
	if !a.OK() {
		s.Fatalf("%s is not served: %s", p.Name, a)
	}
}

func kubectl(s *lab.Scenario, args ...string) string {
	s.Helper()
	said, err := s.Kubectl(s.Ctx(), args...).CombinedOutput()
	if err != nil {
		s.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, said)
	}
	return string(said)
}
