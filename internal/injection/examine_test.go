package injection_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/injection/injectiontest"
	"github.com/openpodidentity/podid/problem"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func examined(change func(*corev1.Pod)) (bare, full *corev1.Pod) {
	make := func() *corev1.Pod {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", CreationTimestamp: metav1.NewTime(noon)},
			Spec: corev1.PodSpec{ServiceAccountName: "web", Containers: []corev1.Container{{Name: "app"}, {Name: "proxy"}},
				InitContainers: []corev1.Container{{Name: "setup"}}},
		}
		change(pod)
		return pod
	}
	bare, full = make(), make()
	return bare, injection.Inject(full, injection.Account{Association: new(podid.Association)}, injection.Settings{}).Pod
}

func TestAPodThatWentWithoutIsToldWhy(t *testing.T) {
	late := podid.Association{CreatedAt: noon.Add(time.Minute)}
	early := podid.Association{CreatedAt: noon.Add(-time.Minute)}
	env := func(name, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: name, Value: value}}
		}
	}
	for name, c := range map[string]struct {
		association podid.Association
		injected    bool
		change      func(*corev1.Pod)
		code        problem.Code
		text        string
		meant       bool
	}{
		"all is well":                  {early, true, func(*corev1.Pod) {}, "", "", false},
		"all is well, and later":       {late, true, func(*corev1.Pod) {}, "", "", false},
		"the association is later":     {late, false, func(*corev1.Pod) {}, problem.PodNotInjected, "at 2026-11-01 12:00:00 UTC", false},
		"nobody was asked":             {early, false, func(*corev1.Pod) {}, problem.PodNotInjected, "podid-webhook did not answer", false},
		"annotated, nobody knows when": {podid.Association{}, false, func(*corev1.Pod) {}, problem.PodNotInjected, "annotated later, or", false},
		"the skip label": {early, false, func(pod *corev1.Pod) { pod.Labels = map[string]string{injection.SkipLabel: ""} },
			problem.PodNotInjected, injection.SkipLabel, true},
		"all containers are skipped": {early, false, func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{injection.AnnotationSkipContainers: "setup, app,proxy"}
		}, problem.PodNotInjected, "names each of its containers", true},
		"one container is skipped": {early, true, func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{injection.AnnotationSkipContainers: "proxy"}
		}, "", "", false},
		"kube-system": {early, false, func(pod *corev1.Pod) { pod.Namespace = "kube-system" }, problem.PodNotInjected, "kube-system", false},
		"Windows":     {early, false, func(pod *corev1.Pod) { pod.Spec.OS = &corev1.PodOS{Name: "windows"} }, problem.PodNotInjected, "Windows", false},
		"the volume's name is taken": {early, false, func(pod *corev1.Pod) { pod.Spec.Volumes = []corev1.Volume{{Name: injection.Volume}} },
			problem.PodNotInjected, "rename the volume", false},
		"one mount path is taken": {early, true, func(pod *corev1.Pod) {
			pod.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: injection.MountPath}}
		}, problem.PodNotInjected, "containers of the pod have no access to its role: proxy", false},
		"static keys": {early, true, env("AWS_ACCESS_KEY_ID", "AKIA"), problem.CredentialsShadowed, "AWS_ACCESS_KEY_ID", false},
		"empty keys":  {early, true, env("AWS_ACCESS_KEY_ID", ""), "", "", false},
		"IRSA":        {early, true, env("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), problem.CredentialsShadowed, "IRSA", false},
		"podid's other address": {early, true, func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{
				{Name: injection.EnvCredentialsURI, Value: injection.CredentialsURIIPv6}, {Name: injection.EnvTokenFile, Value: injection.TokenFile}}
		}, "", "", false},
		"podid's address and no token": {early, true, env(injection.EnvCredentialsURI, injection.CredentialsURI), problem.CredentialsShadowed, "leaves it as it is", false},
		"another address":              {early, true, env(injection.EnvCredentialsURI, "http://localhost"), problem.CredentialsShadowed, "leaves it as it is", false},
	} {
		pod, full := examined(c.change)
		if c.injected {
			pod = full
		}
		found := injection.Examine(pod, injection.Account{Association: &c.association}, injection.Settings{})
		switch {
		case c.code == "" && len(found) > 0:
			t.Errorf("%s: %v", name, found[0].Problem)
		case c.code == "":
		case len(found) != 1 || found[0].Problem.Code != c.code || found[0].Meant != c.meant ||
			!strings.Contains(found[0].Problem.Message(), c.text) && !strings.Contains(found[0].Problem.What, c.text):
			t.Errorf("%s: %+v", name, found)
		}
		if found := injection.Examine(pod, injection.Account{}, injection.Settings{}); found != nil {
			t.Errorf("%s, and no association: %v", name, found)
		}
	}
}

// Every case of the suite, before and after: what Inject mended is in order, and what is kept of a pod says the same.
func TestTheCasesAreInOrderOnceInjectedAndSayTheSameTrimmed(t *testing.T) {
	cases, err := injectiontest.Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		var settings injection.Settings
		if err := yaml.Unmarshal(c.Settings, &settings); err != nil {
			t.Fatal(err)
		}
		account := injection.Account{Association: c.Association, Annotations: c.ServiceAccount.Annotations}
		for _, pod := range []*corev1.Pod{c.Pod, c.Want} {
			if pod.Namespace == "" {
				pod.Namespace = "shop"
			}
			whole, trimmed := injection.Examine(pod, account, settings), injection.Examine(injection.Trim(pod), account, settings)
			if !reflect.DeepEqual(whole, trimmed) {
				t.Errorf("%s: %v, and trimmed %v", c.Name, whole, trimmed)
			}
		}
		result := injection.Inject(c.Pod, account, settings)
		after := injection.Examine(result.Pod, account, settings)
		if whole := result.Reason == "" && len(result.Warnings) == 0; whole && len(after) > 0 {
			t.Errorf("%s: injected without a warning, and then %v", c.Name, after[0].Problem)
		}
	}
}
