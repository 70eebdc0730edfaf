// Package uninstall is the scenario that its README tells.
package uninstall

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("podid is installed")
	s.Bind("cart", "uninstalled")
	p := s.Pod("one", "cart", "node1")
	s.Served(p, "")
	for _, node := range s.Nodes() {
		if has, err := address(s.Ctx(), s, node.Name); err != nil || !has {
			t.Fatalf("%s has no address: %v", node.Name, err)
		}
	}

	s.Step("`podid uninstall` removes")
	s.RunPodid("uninstall", "--yes")

	s.Step("No object of podid is left")
	left := objects(s)
	allowed := []string{"customresourcedefinition", "podidentityassociation", "validatingadmissionpolic"}
	for _, object := range left {
		if !slices.ContainsFunc(allowed, func(kind string) bool { return strings.HasPrefix(object, kind) }) {
			t.Errorf("%s is left", object)
		}
	}
	t.Logf("left on purpose: %s", strings.Join(left, ", "))
	for _, node := range s.Nodes() {
		s.Within(30*time.Second, func(ctx context.Context) error {
			has, err := address(ctx, s, node.Name)
			if err == nil && has {
				err = fmt.Errorf("%s still has the address", node.Name)
			}
			return err
		})
	}

	s.Step("A pod that is made now")
	if after := s.Pod("after", "cart", "node1"); len(after.Spec.Containers[0].Env) != 1 {
		t.Error("it is injected")
	}

	s.Step("`podid uninstall --delete-associations`")
	file := filepath.Join(t.TempDir(), "associations.yaml")
	s.RunPodid("uninstall", "--yes", "--delete-associations", "--export", file)
	if left := objects(s); len(left) > 0 {
		t.Errorf("left: %s", strings.Join(left, ", "))
	}
	saved, err := os.ReadFile(file)
	s.OK(err)
	if !strings.Contains(string(saved), "role/uninstalled") {
		t.Errorf("the file lacks the association: %s", saved)
	}

	s.Step("podid is installed again")
	_, err = s.Install(s.Ctx(), s.Principal)
	s.OK(err)
	if said, err := s.Apply(s.Ctx(), string(saved)); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	var again *lab.Pod
	s.Within(time.Minute, func(ctx context.Context) (err error) {
		if again != nil {
			if err := again.Delete(ctx); err != nil {
				return err
			}
			if err := again.AwaitGone(ctx); err != nil {
				return err
			}
		}
		if again, err = s.StartPod(ctx, lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: "again", Node: "node1"}); err != nil {
			return err
		}
		if len(again.Spec.Containers[0].Env) == 1 {
			return fmt.Errorf("the webhook does not act yet")
		}
		return nil
	})
	s.BecomesServed(again, lab.Takes)
}

// objects are those of podid, of every kind that the cluster has, by name; but for Events, and for what the API server itself
// makes and removes after a custom resource (APIServices).
func objects(s *lab.Scenario) []string {
	s.Helper()
	kinds, err := s.Kubectl(s.Ctx(), "api-resources", "--verbs=list", "-o", "name").Output()
	s.OK(err)
	list := strings.Join(slices.DeleteFunc(strings.Fields(string(kinds)), func(kind string) bool {
		return strings.HasPrefix(kind, "events") || strings.HasPrefix(kind, "apiservices")
	}), ",")
	out, err := s.Kubectl(s.Ctx(), "get", list, "-A", "-o", "name").Output()
	s.OK(err)
	var found []string
	for _, name := range strings.Fields(string(out)) {
		if strings.Contains(name, "podid") || strings.Contains(name, "podidentity") {
			found = append(found, name)
		}
	}
	return found
}

func address(ctx context.Context, s *lab.Scenario, node string) (bool, error) {
	out, err := s.OnNode(ctx, node, "ip", "addr")
	return strings.Contains(out, "169.254.170.23") || strings.Contains(out, "fd00:ec2::23"), err
}
