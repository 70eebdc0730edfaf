package injection

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid/problem"
)

// Finding is what keeps a pod that is there from the role of its service account.
type Finding struct {
	Problem *problem.Problem
	// Meant says that somebody asked for it, by a label or an annotation.
	Meant bool
}

// Examine says what keeps a pod from its role, now that it is there and its containers
// are as they are: pod-not-injected, credentials-shadowed. Nothing does if it has what
// it needs, or its service account has no association.
func Examine(pod *corev1.Pod, account Account, settings Settings) []Finding {
	if account.Association == nil {
		return nil
	}
	if reason := exempt(pod, settings); reason != "" {
		return []Finding{untouched(pod, reason)}
	}
	gift, _ := giftFor(account, settings, new(warnings))
	if windows(pod) {
		return []Finding{untouched(pod, WindowsPod)}
	}
	if _, taken := gift.volumeOf(pod); taken {
		return []Finding{untouched(pod, VolumeTaken)}
	}
	var findings []Finding
	bare, served, skipped := gift.sort(pod)
	switch {
	case len(bare) > 0:
		findings = append(findings, Finding{Problem: bareProblem(pod, account, bare, len(served) == 0)})
	case len(served) == 0 && len(skipped) > 0:
		findings = append(findings, untouched(pod, NoContainer))
	}
	if shadows := gift.shadows(served); len(shadows) > 0 {
		findings = append(findings, Finding{Problem: problem.New(problem.CredentialsShadowed, "other credentials win over the pod's role").
			Because("%s", strings.Join(shadows, "; ")).
			Fixed("remove these variables from the pod, and what belongs to them; or delete the association, if they are meant")})
	}
	return findings
}

// sort tells containers apart: those that lack what they should have, those that have
// it, and those that are left alone.
func (g *gift) sort(pod *corev1.Pod) (bare, served, left []corev1.Container) {
	skip := skipped(pod)
	pair := g.variables[len(g.variables)-1]
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		there, taken := g.mountOf(&c)
		points := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == pair[0].Name || e.Name == pair[1].Name })
		switch {
		case skip[c.Name]:
			left = append(left, c)
		case taken, !there, !points:
			bare = append(bare, c)
		default:
			served = append(served, c)
		}
	}
	return bare, served, left
}

func untouched(pod *corev1.Pod, reason Reason) Finding {
	p := problem.New(problem.PodNotInjected, "the pod has no access to its role")
	meant := false
	switch reason {
	case SkipLabelled:
		meant = true
		p.Because("it has the label %s", SkipLabel).
			Fixed("remove the label where the pod comes from, and let it be made anew; or delete the association, if the label is meant")
	case NoContainer:
		meant = true
		p.Because("its annotation %s names each of its containers", AnnotationSkipContainers).
			Fixed("shorten the annotation where the pod comes from, and let it be made anew; or delete the association, if it is meant")
	case WindowsPod:
		p.Because("it is a Windows pod, and podid gives credentials to Linux pods only").Fixed("delete the association, or run the pod on Linux")
	case VolumeTaken:
		p.Because("it has a volume %s that is another than podid's", Volume).Fixed("rename the volume where the pod comes from")
	default:
		p.Because("podid never touches pods of the namespace %s, nor those that a kubelet runs by itself", pod.Namespace).
			Fixed("run the pod in another namespace, or delete the association")
	}
	return Finding{Problem: p, Meant: meant}
}

// bareProblem is that of containers that have not what they should: all, or some.
func bareProblem(pod *corev1.Pod, account Account, bare []corev1.Container, all bool) *problem.Problem {
	p := problem.New(problem.PodNotInjected, "the pod has no access to its role")
	if !all {
		p.What = "containers of the pod have no access to its role: " + names(bare)
	}
	const again = "delete the pod, so that it is made anew, or kubectl rollout restart what it belongs to"
	made := account.Association.CreatedAt
	switch {
	case !made.IsZero() && !pod.CreationTimestamp.After(made): // in whole seconds
		return p.Because("it was made at %s, and the association of its service account %s at %s: pods get what they need when they are made",
			clock(pod.CreationTimestamp), ServiceAccount(pod), clock(metav1.NewTime(made))).Fixed(again)
	case all && made.IsZero():
		return p.Because("pods get what they need when they are made: its service account was annotated later, or podid-webhook did not answer").Fixed(again)
	case !all:
		return p.Because("something else is mounted at %s, or they were added after podid-webhook was asked", MountPath).
			Fixed("free that path; a webhook that adds containers acts before podid's, or podid's is asked again: reinvocationPolicy: IfNeeded")
	}
	return p.Because("it was made without the variables and the token that SDKs need, although there was an association: podid-webhook did not answer, or the API server did not ask it").
		Fixed(again + "; kubectl get mutatingwebhookconfiguration podid, and podid-webhook's log, show whether it would be asked now")
}

func clock(t metav1.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func names(containers []corev1.Container) string {
	const most = 10
	var all []string
	for _, c := range containers {
		all = append(all, c.Name)
	}
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(containers)-most))
	}
	return strings.Join(all, ", ")
}

// shadows says which variables of containers keep their SDKs from asking podid.
func (g *gift) shadows(containers []corev1.Container) []string {
	const most = 5
	var all []string
	for _, c := range containers {
		for _, text := range g.shadowsOf(&c) {
			if len(all) == most {
				return append(all, "and more")
			}
			all = append(all, text)
		}
	}
	return all
}

// Trim is a copy of a pod with no more than what Examine looks at: caches hold many.
func Trim(pod *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp,
		Labels:      only(pod.Labels, SkipLabel),
		Annotations: only(pod.Annotations, corev1.MirrorPodAnnotationKey, AnnotationSkipContainers),
	}}
	out.Spec.ServiceAccountName, out.Spec.DeprecatedServiceAccount, out.Spec.OS = pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount, pod.Spec.OS
	out.Spec.NodeSelector = only(pod.Spec.NodeSelector, corev1.LabelOSStable, "beta.kubernetes.io/os")
	for _, v := range pod.Spec.Volumes {
		if v.Name == Volume {
			out.Spec.Volumes = append(out.Spec.Volumes, v)
		}
	}
	out.Spec.InitContainers, out.Spec.Containers = trimContainers(pod.Spec.InitContainers), trimContainers(pod.Spec.Containers)
	return out
}

func trimContainers(containers []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(containers))
	for i, c := range containers {
		out[i].Name = c.Name
		for _, e := range c.Env {
			switch e.Name {
			case EnvCredentialsURI, EnvTokenFile, envAccessKeyID, envWebIdentityFile, envRelativeURI:
				out[i].Env = append(out[i].Env, e)
			}
		}
		for _, m := range c.VolumeMounts {
			if at(m.MountPath, MountPath) {
				out[i].VolumeMounts = append(out[i].VolumeMounts, m)
			}
		}
		for _, d := range c.VolumeDevices {
			if at(d.DevicePath, MountPath) {
				out[i].VolumeDevices = append(out[i].VolumeDevices, d)
			}
		}
	}
	return out
}

func only(all map[string]string, keys ...string) map[string]string {
	var out map[string]string
	for _, key := range keys {
		if value, ok := all[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}
