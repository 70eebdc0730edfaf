//go:build unix

package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid/problem"
)

// refusedPods are told by two replicas with the rights of install.yaml, once.
func refusedPods(t *testing.T, w *authWorld) {
	replicas := []*authReplica{
		w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t),
		w.start(t, w.kubeconfig(t, "podid-auth"), nil).isReady(t),
	}
	agent := w.agent(t, 1)
	pod := w.pod(t, "shop", "refused", "other", "node1")
	defer w.end(t, pod)
	raw := w.token(t, pod, audiencePods)
	var asking sync.WaitGroup
	for _, r := range replicas {
		for range 10 {
			asking.Go(func() { wantAnswer(t, r.ask(t, agent, raw), http.StatusNotFound, problem.AssociationMissing) })
		}
	}
	asking.Wait()
	e := w.toldPod(t, pod, "AssociationMissing")[0]
	if e.Type != "Warning" || e.Namespace != "shop" || !strings.Contains(e.Message, "Fix: create one: aws eks create-pod-identity-association --cluster-name lab") {
		t.Errorf("%s %s", e.Type, e.Message)
	}
	// The role that there is then refuses: another Event.
	w.associate(t, "other", "nobody")
	eventually(t, "the role is asked for", func(context.Context) error {
		for _, r := range replicas {
			if a := r.ask(t, agent, raw); a.code != problem.TrustDenied {
				return fmt.Errorf("%s", a)
			}
		}
		return nil
	})
	w.toldPod(t, pod, "TrustDenied")
	w.dissociate(t, "other")

	// An agent of another node, and a token that is forged, make none.
	elsewhere := w.pod(t, "shop", "elsewhere", "other", "node2")
	defer w.end(t, elsewhere)
	foreign := w.token(t, elsewhere, audiencePods)
	wantAnswer(t, replicas[0].ask(t, agent, foreign), http.StatusBadRequest, problem.NodeMismatch)
	wantAnswer(t, replicas[0].ask(t, w.agent(t, 2), foreign[:len(foreign)-8]+"AAAAAAAA"), http.StatusBadRequest, problem.TokenForged)
	time.Sleep(2 * time.Second)
	if all := w.eventsOf(t, elsewhere); len(all) != 0 {
		t.Errorf("%s: %s", all[0].Reason, all[0].Message)
	}
	if all := w.eventsOf(t, pod); len(all) != 2 {
		t.Errorf("%d Events: %+v", len(all), all)
	}
	made := 0
	for _, r := range replicas {
		if w.metric(t, r, `podid_events_total{code="association-missing"}`) == "1" {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d replicas count the Event", made)
	}
}

// toldPod waits for the Events with a reason of a pod.
func (w *authWorld) toldPod(t *testing.T, pod *core.Pod, reason string) (found []core.Event) {
	t.Helper()
	eventually(t, "the pod has an Event "+reason, func(context.Context) error {
		for _, e := range w.eventsOf(t, pod) {
			if e.Reason == reason {
				found = append(found, e)
			}
		}
		if len(found) == 0 {
			return fmt.Errorf("it has none")
		}
		return nil
	})
	return found
}

func (w *authWorld) eventsOf(t *testing.T, pod *core.Pod) []core.Event {
	t.Helper()
	list, err := w.kube.CoreV1().Events(pod.Namespace).List(t.Context(), meta.ListOptions{FieldSelector: "source=podid,involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
