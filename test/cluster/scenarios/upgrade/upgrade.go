// Package upgrade is the scenario that its README tells.
package upgrade

import (
	_ "embed"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)
	s.OK(s.Tag(s.Ctx(), "next"))

	s.Step("Pods ask ten times a second")
	s.Bind("cart", "upgraded")
	pods := []*lab.Pod{s.Pod("one", "cart", "node1"), s.Pod("two", "cart", "node2")}
	for _, p := range pods {
		s.Served(p, "")
		s.OK(p.Load(s.Ctx(), 100*time.Millisecond, "agent"))
	}
	stop := s.KeepChanging("cart")
	defer stop()
	before, err := s.Client.CoreV1().ConfigMaps(lab.Namespace).Get(s.Ctx(), "podid", meta.GetOptions{})
	s.OK(err)

	s.Step("`podid install` with images")
	began := time.Now()
	out, err := s.Podid(s.Ctx(), "install", "--wait", "--image-tag", "next")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%v: %s", time.Since(began).Round(100*time.Millisecond), out)

	s.Step("Every container of podid")
	for _, program := range []string{"auth", "webhook", "agent", "address"} {
		running, err := s.PodidPods(s.Ctx(), program)
		s.OK(err)
		for _, pod := range running {
			for _, c := range pod.Spec.Containers {
				if pod.DeletionTimestamp == nil && !strings.HasSuffix(c.Image, ":next") {
					t.Errorf("%s runs %s", pod.Name, c.Image)
				}
			}
		}
	}
	after, err := s.Client.CoreV1().ConfigMaps(lab.Namespace).Get(s.Ctx(), "podid", meta.GetOptions{})
	s.OK(err)
	for key, value := range before.Data {
		if after.Data[key] != value {
			t.Errorf("the setting %s was %q and is %q", key, value, after.Data[key])
		}
	}
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
