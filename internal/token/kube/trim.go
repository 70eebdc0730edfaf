package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrimPod is a transformation for the cache that pods come from: what is not read of
// them is not kept, environments and annotations least of all.
func TrimPod(given any) (any, error) {
	pod, ok := given.(*corev1.Pod)
	if !ok {
		return given, nil
	}
	return &corev1.Pod{
		ObjectMeta: trimMeta(pod.ObjectMeta),
		Spec:       corev1.PodSpec{ServiceAccountName: pod.Spec.ServiceAccountName, NodeName: pod.Spec.NodeName},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase},
	}, nil
}

// TrimServiceAccount does the same for service accounts. The annotations stay that say
// which role one has.
func TrimServiceAccount(given any) (any, error) {
	account, ok := given.(*corev1.ServiceAccount)
	if !ok {
		return given, nil
	}
	trimmed := &corev1.ServiceAccount{ObjectMeta: trimMeta(account.ObjectMeta)}
	for key, value := range account.Annotations {
		if len(value) <= maxAnnotation && (strings.HasPrefix(key, "eks.amazonaws.com/") || strings.HasPrefix(key, "podid.dev/")) {
			if trimmed.Annotations == nil {
				trimmed.Annotations = map[string]string{}
			}
			trimmed.Annotations[key] = value
		}
	}
	return trimmed, nil
}

// maxAnnotation is longer than any role's ARN; Kubernetes admits 256 KB.
const maxAnnotation = 4096

func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}
