package kube_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid/internal/token/kube"

	"github.com/google/go-cmp/cmp"
)

func TestOfAPodIsKeptWhatIsReadOfIt(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "1", ResourceVersion: "7"}
	whole := &corev1.Pod{
		ObjectMeta: meta,
		Spec: corev1.PodSpec{ServiceAccountName: "cart", NodeName: "node1", Containers: []corev1.Container{{
			Name: "main", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Message: "long"},
	}
	whole.Annotations = map[string]string{"a": "b"}
	whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	got, err := kube.TrimPod(whole)
	want := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{ServiceAccountName: "cart", NodeName: "node1"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	if diff := cmp.Diff(any(want), got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestOfAServiceAccountIsKeptWhichRoleItHas(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "1", ResourceVersion: "7"}
	whole := &corev1.ServiceAccount{ObjectMeta: meta, Secrets: []corev1.ObjectReference{{Name: "s"}}}
	whole.Annotations = map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/reader", "kubectl.kubernetes.io/last-applied-configuration": "{}",
		"eks.amazonaws.com/audience": string(make([]byte, 1<<20))}
	got, err := kube.TrimServiceAccount(whole)
	want := &corev1.ServiceAccount{ObjectMeta: meta}
	want.Annotations = map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/reader"}
	if diff := cmp.Diff(any(want), got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
