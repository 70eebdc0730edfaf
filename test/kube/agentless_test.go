//go:build unix

package kube_test

import (
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/reconcile"
)

// patience is how long a node of the tests may be without an agent before its pods are told.
const patience = 3 * time.Second

// onNode makes a pod that its node's kubelet has started.
func (w *installed) onNode(t *testing.T, pod *core.Pod, name, node string, phase core.PodPhase, ready bool) {
	t.Helper()
	pod.Name, pod.GenerateName, pod.Spec.NodeName = name, "", node
	made, err := w.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status.Phase, made.Status.StartTime = phase, new(meta.Now())
	if ready {
		made.Status.Conditions = []core.PodCondition{{Type: core.ContainersReady, Status: core.ConditionTrue}, {Type: core.PodReady, Status: core.ConditionTrue}}
	}
	if _, err := w.client.CoreV1().Pods(pod.Namespace).UpdateStatus(t.Context(), made, meta.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *installed) agentOn(t *testing.T, name, node string, ready bool) {
	t.Helper()
	w.onNode(t, injectionPod(podidNamespace, reconcile.AgentAccount, nil), name, node, core.PodRunning, ready)
}

// goes deletes a pod as the kubelet does when it has stopped.
func (w *installed) goes(t *testing.T, namespace, name string) {
	t.Helper()
	if err := w.client.CoreV1().Pods(namespace).Delete(t.Context(), name, meta.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
}

func (w *installed) agentless(t *testing.T) {
	for _, account := range []string{"roled", "roleless"} {
		makeServiceAccount(t, w.client, "shop", account)
	}
	if err := w.associate(t.Context(), "shop", "roled"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // times of objects are in seconds
	injected := func(account string) *core.Pod {
		return injection.Inject(injectionPod("shop", account, nil), injection.Account{Association: new(podid.Association)}, injectionSettings).Pod
	}
	w.agentOn(t, "agent-served", "served", true)
	w.agentOn(t, "agent-rolled-1", "rolled", true)
	w.agentOn(t, "agent-starting", "bereft", false)
	w.onNode(t, injected("roled"), "on-served", "served", core.PodRunning, true)
	w.onNode(t, injected("roled"), "on-rolled", "rolled", core.PodRunning, true)
	began := time.Now()
	w.onNode(t, injected("roled"), "runs", "bereft", core.PodRunning, false)
	w.onNode(t, injected("roled"), "failed", "bereft", core.PodFailed, false)
	w.onNode(t, injected("roled"), "succeeded", "bereft", core.PodSucceeded, false)
	w.onNode(t, injected("roleless"), "needs-none", "bereft", core.PodRunning, false)
	// An agent that is replaced, for a moment without any.
	w.goes(t, podidNamespace, "agent-rolled-1")
	time.Sleep(patience / 3)
	w.agentOn(t, "agent-rolled-2", "rolled", true)

	for _, name := range []string{"runs", "failed"} {
		e := w.told(t, name, "AgentMissing")
		if e.Type != "Warning" || !strings.Contains(e.Message, "node bereft") || !strings.Contains(e.Message, "Fix: podid status") {
			t.Errorf("%s: %s %s", name, e.Type, e.Message)
		}
	}
	if waited := time.Since(began); waited < patience-time.Second { // the pods' start is in whole seconds
		t.Errorf("told after %v", waited)
	}
	time.Sleep(patience + time.Second)
	for _, e := range w.events(t, "shop") {
		if name := e.InvolvedObject.Name; e.Reason == "AgentMissing" && name != "runs" && name != "failed" {
			t.Errorf("%s is told %s", name, e.Message)
		}
	}

	// The agent leaves under a pod that runs.
	w.goes(t, podidNamespace, "agent-served")
	w.told(t, "on-served", "AgentMissing")
}
