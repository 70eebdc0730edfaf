package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/problem"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestAssociationsThatCannotBeWrittenAreNoFaultOfTheCluster(t *testing.T) {
	name := filepath.Join(t.TempDir(), "associations.yaml")
	to, err := newExport(name)
	if err != nil {
		t.Fatal(err)
	}
	to.file.Close() // as if the disk were full
	var said strings.Builder
	err = new(kubeconfig).failed("remove podid", to.write(newUI(&said), []*unstructured.Unstructured{{Object: map[string]any{"kind": "PodIdentityAssociation"}}}))
	if !problem.Is(err, problem.Usage) || !strings.Contains(problem.Of(err).Fix, "--export") || said.Len() > 0 {
		t.Errorf("%v\n%s", err, &said)
	}
	to.close()
	if _, err := os.Stat(name); err == nil {
		t.Error("an export of nothing is left")
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newExport(name); !problem.Is(err, problem.Usage) {
		t.Errorf("a file that is there is written to: %v", err)
	}
}

func TestAssociationsOfTheLastMomentAreAddedOrNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "associations.yaml")
	to, err := newExport(name)
	if err != nil {
		t.Fatal(err)
	}
	association := func(name string) []*unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"kind": "PodIdentityAssociation"}}
		o.SetNamespace("shop")
		o.SetName(name)
		return []*unstructured.Unstructured{o}
	}
	ui := newUI(new(strings.Builder))
	for _, one := range []string{"cart", "till"} {
		if err := to.write(ui, association(one)); err != nil {
			t.Fatal(err)
		}
	}
	to.close()
	if text, err := os.ReadFile(name); err != nil || strings.Count(string(text), "---\n") != 2 || !strings.Contains(string(text), "name: till") {
		t.Errorf("%v\n%s", err, text)
	}
	if err := to.write(ui, association("late")); !problem.Is(err, problem.Usage) || !strings.Contains(problem.Of(err).Message(), "shop/late") {
		t.Errorf("what is in no file is not named: %v", err)
	}
}
