// Package uninstall is the scenario that its README tells.
package uninstall

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
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
		if has, err := s.HasAddress(s.Ctx(), node.Name); err != nil || !has {
			t.Fatalf("%s has no address: %v", node.Name, err)
		}
	}

	s.Step("`podid uninstall` removes")
	s.RunPodid("uninstall", "--yes")

	s.Step("No object of podid is left")
	s.LeftOnly("customresourcedefinition", "podidentityassociation", "validatingadmissionpolic")
	s.NoAddress(30 * time.Second)

	s.Step("A pod that is made now")
	if after := s.Pod("after", "cart", "node1"); len(after.Spec.Containers[0].Env) != 1 {
		t.Error("it is injected")
	}

	s.Step("`podid uninstall --delete-associations`")
	file := filepath.Join(t.TempDir(), "associations.yaml")
	s.RunPodid("uninstall", "--yes", "--delete-associations", "--export", file)
	s.LeftOnly()
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
