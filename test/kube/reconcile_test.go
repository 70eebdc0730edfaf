//go:build unix

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/reconcile"

	core "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestLeader runs what the leader of podid-auth does with the rights that install.yaml gives it.
func TestLeader(t *testing.T) {
	w := newInstalled(t)
	t.Run("PodsOfBefore", func(t *testing.T) { w.makePods(t) })
	stop := w.lead(t, time.Second)
	t.Run("AnAssociationHasItsStatus", func(t *testing.T) { w.status(t) })
	t.Run("APodIsToldWhyItHasNoAccess", func(t *testing.T) { w.findings(t) })
	t.Run("AnAnnotationThatLosesIsToldSo", func(t *testing.T) { w.shadowed(t) })
	t.Run("ANodeLosesItsTaintWhenItsAgentIsReady", func(t *testing.T) { w.taint(t) })
	t.Run("APodIsToldThatItsNodeHasNoAgent", func(t *testing.T) { w.agentless(t) })
	t.Run("AnotherLeaderRepeatsNothing", func(t *testing.T) {
		before := w.events(t, "shop")
		stop()
		stop = w.lead(t, time.Second)
		eventually(t, "the next leads", func(context.Context) error {
			if strings.Count(w.log.String(), "msg=leading") < 2 {
				return errors.New("not yet")
			}
			return nil
		})
		// It has looked at everything when it has told of what is new.
		w.pod(t, "late", "late", nil, nil)
		if err := w.associate(t.Context(), "shop", "late"); err != nil {
			t.Fatal(err)
		}
		w.told(t, "late", "PodNotInjected")
		if after := w.events(t, "shop"); len(after) != len(before)+1 {
			t.Errorf("%d Events became %d", len(before), len(after))
		}
	})
	t.Run("WhatCertManagerIssuesIsPassedOn", func(t *testing.T) {
		stop()
		w.certManager(t)
	})
}

// pod makes one of a service account, as if no webhook had been asked.
func (w *installed) pod(t *testing.T, name, account string, labels map[string]string, env []core.EnvVar) {
	t.Helper()
	if _, err := w.client.CoreV1().ServiceAccounts("shop").Get(t.Context(), account, meta.GetOptions{}); err != nil {
		makeServiceAccount(t, w.client, "shop", account)
	}
	pod := injectionPod("shop", account, labels)
	pod.Name, pod.GenerateName, pod.Spec.Containers[0].Env = name, "", env
	if _, err := w.client.CoreV1().Pods("shop").Create(t.Context(), pod, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *installed) makePods(t *testing.T) {
	w.pod(t, "early", "early", nil, nil)
	w.pod(t, "unbound", "unbound", nil, nil)
	time.Sleep(1100 * time.Millisecond) // times of objects are in seconds
	for _, account := range []string{"early", "skipped", "missed", "keys"} {
		if err := w.associate(t.Context(), "shop", account); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	w.pod(t, "skipped", "skipped", map[string]string{injection.SkipLabel: "yes"}, nil)
	w.pod(t, "missed", "missed", nil, nil)
	makeServiceAccount(t, w.client, "shop", "keys")
	pod := injection.Inject(injectionPod("shop", "keys", nil), injection.Account{Association: new(podid.Association)}, injectionSettings).Pod
	pod.Name, pod.GenerateName = "keys", ""
	pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, core.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: "AKIA"})
	if _, err := w.client.CoreV1().Pods("shop").Create(t.Context(), pod, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *installed) status(t *testing.T) {
	object := func(ctx context.Context) (*v1alpha1.PodIdentityAssociation, error) {
		o := new(v1alpha1.PodIdentityAssociation)
		return o, w.objects.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "early"}, o)
	}
	eventually(t, "the association is accepted", func(ctx context.Context) error {
		o, err := object(ctx)
		if err == nil && (!apimeta.IsStatusConditionTrue(o.Status.Conditions, "Accepted") || o.Status.AssociationID == "" || o.Status.AssociationARN == "") {
			err = fmt.Errorf("%+v", o.Status)
		}
		return err
	})
	o, err := object(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	version := o.ResourceVersion
	patch := client.MergeFrom(o.DeepCopy())
	o.Spec.TargetRoleARN = target
	if err := w.objects.Patch(t.Context(), o, patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has its external ID", func(ctx context.Context) error {
		o, err := object(ctx)
		if err == nil && o.Status.ExternalID != "eu-central-1/111122223333/lab/shop/early" {
			err = fmt.Errorf("%+v", o.Status)
		}
		return err
	})
	// The schema takes what is only partly checked there: a session policy that is no policy.
	patch = client.MergeFrom(o.DeepCopy())
	o.Spec.TargetRoleARN, o.Spec.Policy, o.Spec.DisableSessionTags = "", `{"Version":"2012-10-17","Statement":3}`, true
	if err := w.objects.Patch(t.Context(), o, patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not accepted any more", func(ctx context.Context) error {
		o, err := object(ctx)
		if err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(o.Status.Conditions, "Accepted")
		// The reason is the problem's code, in Kubernetes' way of writing.
		if c == nil || c.Status != meta.ConditionFalse || c.Reason != "SessionPolicyInvalid" || c.Message == "" || c.ObservedGeneration != o.Generation || o.Status.ExternalID != "" {
			return fmt.Errorf("%+v", o.Status)
		}
		return nil
	})
	// What people see of it at a glance.
	for args, want := range map[string][]string{
		"":        {"NAME", "ROLE", "ACCEPTED", "REASON", "AGE"},
		"-o=wide": {"NAME", "ROLE", "TARGET", "ID", "ACCEPTED", "REASON", "AGE"},
	} {
		lines := strings.Split(w.kubectl(t, append([]string{"get", "pia", "-n", "shop", "early"}, strings.Fields(args)...)...), "\n")
		if got := strings.Fields(lines[0]); !slices.Equal(got, want) {
			t.Errorf("kubectl get pia %s has the columns %v, not %v", args, got, want)
		}
		if got := strings.Fields(lines[1]); got[0] != "early" || got[1] != reader || !slices.Contains(got, "False") || !slices.Contains(got, "SessionPolicyInvalid") ||
			args != "" && !slices.Contains(got, o.Status.AssociationID) {
			t.Errorf("kubectl get pia %s says %v", args, got)
		}
	}
	// Two changes of ours, and a status after each; nothing else was written.
	if o, err = object(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	again, err := object(t.Context())
	if err != nil || again.ResourceVersion != o.ResourceVersion {
		t.Errorf("the status is written over and over: %s, then %s, then %s: %v", version, o.ResourceVersion, again.ResourceVersion, err)
	}
	patch = client.MergeFrom(again.DeepCopy())
	again.Spec.Policy, again.Spec.DisableSessionTags = "", false
	if err := w.objects.Patch(t.Context(), again, patch); err != nil {
		t.Fatal(err)
	}
}

// told waits for an Event of a pod of shop, and gives it.
func (w *installed) told(t *testing.T, name, reason string) core.Event {
	t.Helper()
	var found core.Event
	eventually(t, fmt.Sprintf("%s has an Event %s", name, reason), func(context.Context) error {
		for _, e := range w.events(t, "shop") {
			if e.InvolvedObject.Name == name && e.Reason == reason {
				found = e
				return nil
			}
		}
		return errors.New("not yet")
	})
	return found
}

func (w *installed) events(t *testing.T, namespace string) []core.Event {
	t.Helper()
	list, err := w.client.CoreV1().Events(namespace).List(t.Context(), meta.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func (w *installed) findings(t *testing.T) {
	for _, want := range []struct{ pod, reason, kind, text string }{
		{"early", "PodNotInjected", "Warning", "pods get what they need when they are made"},
		{"skipped", "PodNotInjected", "Normal", injection.SkipLabel},
		{"missed", "PodNotInjected", "Warning", "podid-webhook did not answer"},
		{"keys", "CredentialsShadowed", "Warning", "AWS_ACCESS_KEY_ID"},
	} {
		e := w.told(t, want.pod, want.reason)
		if e.Type != want.kind || !strings.Contains(e.Message, want.text) || !strings.Contains(e.Message, "Fix: ") || e.InvolvedObject.UID == "" {
			t.Errorf("%s: %s %s", want.pod, e.Type, e.Message)
		}
	}
	// An association that comes later concerns the pods that are there.
	w.pod(t, "waiting", "waiting", nil, nil)
	time.Sleep(1100 * time.Millisecond)
	if err := w.associate(t.Context(), "shop", "waiting"); err != nil {
		t.Fatal(err)
	}
	w.told(t, "waiting", "PodNotInjected")
	// A pod that changes is not told again.
	w.kubectl(t, "label", "pod", "-n", "shop", "waiting", "changed=yes")
	w.pod(t, "last", "early", nil, nil)
	w.told(t, "last", "PodNotInjected")
	seen := map[string]int{}
	for _, e := range w.events(t, "shop") {
		seen[e.InvolvedObject.Name]++
		if e.Count > 1 {
			t.Errorf("%s: %d times", e.InvolvedObject.Name, e.Count)
		}
	}
	if seen["unbound"] != 0 || seen["waiting"] != 1 {
		t.Errorf("Events: %v", seen)
	}
	if out := w.kubectl(t, "describe", "pod", "-n", "shop", "waiting"); !strings.Contains(out, "PodNotInjected") {
		t.Errorf("kubectl describe does not show it:\n%s", out)
	}
}

func (w *installed) shadowed(t *testing.T) {
	makeServiceAccount(t, w.client, "shop", "both")
	w.kubectl(t, "annotate", "serviceaccount", "-n", "shop", "both", injection.AnnotationRole+"="+writer)
	if err := w.associate(t.Context(), "shop", "both"); err != nil {
		t.Fatal(err)
	}
	e := w.told(t, "both", "AssociationShadowed")
	if e.InvolvedObject.Kind != "ServiceAccount" || !strings.Contains(e.Message, writer) || !strings.Contains(e.Message, reader) {
		t.Errorf("%+v %s", e.InvolvedObject, e.Message)
	}
}

func (w *installed) taint(t *testing.T) {
	other := core.Taint{Key: "example.com/gpu", Effect: core.TaintEffectNoSchedule}
	for _, name := range []string{"node-a", "node-b"} {
		node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: core.NodeSpec{Taints: []core.Taint{other, {Key: reconcile.StartupTaint, Effect: core.TaintEffectNoSchedule}}}}
		if _, err := w.client.CoreV1().Nodes().Create(t.Context(), node, meta.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		agent := injectionPod(podidNamespace, reconcile.AgentAccount, nil)
		agent.Name, agent.GenerateName, agent.Spec.NodeName = "agent-"+name, "", name
		if _, err := w.client.CoreV1().Pods(podidNamespace).Create(t.Context(), agent, meta.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.kubectl(t, "patch", "pod", "-n", podidNamespace, "agent-node-a", "--subresource=status", "--type=merge",
		"-p", `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
	taints := func(ctx context.Context, name string) []core.Taint {
		node, err := w.client.CoreV1().Nodes().Get(ctx, name, meta.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return node.Spec.Taints
	}
	has := func(all []core.Taint, key string) bool {
		return slices.ContainsFunc(all, func(one core.Taint) bool { return one.Key == key })
	}
	eventually(t, "node-a has lost its taint", func(ctx context.Context) error {
		if has(taints(ctx, "node-a"), reconcile.StartupTaint) {
			return errors.New("not yet")
		}
		return nil
	})
	if !has(taints(t.Context(), "node-a"), other.Key) || !has(taints(t.Context(), "node-b"), reconcile.StartupTaint) {
		t.Errorf("node-a %v, node-b %v", taints(t.Context(), "node-a"), taints(t.Context(), "node-b"))
	}
}
