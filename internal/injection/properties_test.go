package injection_test

import (
	"encoding/json"
	"slices"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
)

var (
	names     = rapid.SampledFrom([]string{"app", "proxy", "logs", "migrate", "", "eks-pod-identity-token", "aws-iam-token", "mine"})
	variables = rapid.SampledFrom([]string{
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY_ID",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "PATH",
	})
	texts = rapid.SampledFrom([]string{"", "x", "true", "false", "enabled", "app, proxy", "600", "99999999", "-1", injection.CredentialsURI, injection.TokenFile, "arn:aws:iam::111122223333:role/a"})
	paths = rapid.SampledFrom([]string{"/data", injection.MountPath, injection.MountPath + "/", "/var/run/secrets/eks.amazonaws.com/serviceaccount", ""})
	keys  = rapid.SampledFrom([]string{
		"app", injection.SkipLabel, injection.RequireLabel, injection.InjectedLabel, injection.AnnotationSkipContainers, injection.AnnotationExpiration,
		injection.AnnotationSTSRegional, injection.AnnotationRole, injection.AnnotationAudience, corev1.MirrorPodAnnotationKey,
	})
)

func drawEnv(t *rapid.T) corev1.EnvVar {
	e := corev1.EnvVar{Name: variables.Draw(t, "variable"), Value: texts.Draw(t, "value")}
	if rapid.IntRange(0, 3).Draw(t, "from") == 0 {
		e.Value, e.ValueFrom = "", &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}
	}
	return e
}

func drawContainer(t *rapid.T) corev1.Container {
	return corev1.Container{
		Name: names.Draw(t, "container"), Image: "shop.example/web:1",
		Env: rapid.SliceOfN(rapid.Custom(drawEnv), 0, 5).Draw(t, "env"),
		VolumeMounts: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) corev1.VolumeMount {
			return corev1.VolumeMount{Name: names.Draw(t, "mount"), MountPath: paths.Draw(t, "path"), SubPath: rapid.SampledFrom([]string{"", "", "x"}).Draw(t, "subPath")}
		}), 0, 3).Draw(t, "mounts"),
	}
}

func drawVolume(t *rapid.T) corev1.Volume {
	v := corev1.Volume{Name: names.Draw(t, "volume")}
	if rapid.Bool().Draw(t, "empty") {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
		return v
	}
	v.Projected = &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
		Audience: rapid.SampledFrom([]string{"pods.eks.amazonaws.com", "sts.amazonaws.com", "vault"}).Draw(t, "audience"),
		Path:     rapid.SampledFrom([]string{"eks-pod-identity-token", "token"}).Draw(t, "file"),
	}}}}
	return v
}

func drawPod(t *rapid.T) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace = "web", rapid.SampledFrom([]string{"shop", "shop", "shop", "kube-system", "podid-system"}).Draw(t, "namespace")
	pod.Labels = rapid.MapOfN(keys, texts, 0, 2).Draw(t, "labels")
	pod.Annotations = rapid.MapOfN(keys, texts, 0, 3).Draw(t, "annotations")
	pod.Spec.InitContainers = rapid.SliceOfN(rapid.Custom(drawContainer), 0, 3).Draw(t, "initContainers")
	pod.Spec.Containers = rapid.SliceOfN(rapid.Custom(drawContainer), 0, 3).Draw(t, "containers")
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	pod.Spec.Volumes = rapid.SliceOfN(rapid.Custom(drawVolume), 0, 3).Draw(t, "volumes")
	if rapid.IntRange(0, 9).Draw(t, "os") == 0 {
		pod.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
	}
	return pod
}

func drawAccount(t *rapid.T) injection.Account {
	a := injection.Account{Annotations: rapid.MapOfN(keys, texts, 0, 4).Draw(t, "account")}
	if rapid.IntRange(0, 3).Draw(t, "associated") > 0 {
		a.Association = &podid.Association{Namespace: "shop", ServiceAccount: "default"}
	}
	return a
}

func drawSettings(t *rapid.T) injection.Settings {
	return injection.Settings{
		Region: rapid.SampledFrom([]string{"", "eu-central-1"}).Draw(t, "region"), IPv6: rapid.Bool().Draw(t, "ipv6"),
		GlobalSTS: rapid.Bool().Draw(t, "globalSTS"), IRSA: rapid.Bool().Draw(t, "irsa"), Namespace: "podid-system",
	}
}

func TestInjectingTwiceIsInjectingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, account, settings := drawPod(t), drawAccount(t), drawSettings(t)
		once := injection.Inject(pod, account, settings)
		twice := injection.Inject(once.Pod, account, settings)
		if twice.Changed || twice.Pod != once.Pod || twice.Reason != once.Reason {
			t.Fatalf("changed %t, reason %q then %q:\n%s", twice.Changed, once.Reason, twice.Reason, cmp.Diff(once.Pod, twice.Pod))
		}
	})
}

func TestInjectAddsAndChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, account, settings := drawPod(t), drawAccount(t), drawSettings(t)
		given := pod.DeepCopy()
		result := injection.Inject(pod, account, settings)
		if diff := cmp.Diff(given, pod); diff != "" {
			t.Fatalf("the pod that was given was changed:\n%s", diff)
		}
		if (result.Pod != pod) != result.Changed || result.Changed && result.Reason != "" {
			t.Fatalf("changed %t, reason %q", result.Changed, result.Reason)
		}
		// Take away what may be added; what is left must be what was given.
		left := result.Pod.DeepCopy()
		if _, ok := given.Labels[injection.InjectedLabel]; !ok {
			delete(left.Labels, injection.InjectedLabel)
		}
		left.Spec.Volumes = left.Spec.Volumes[:len(given.Spec.Volumes)]
		for i := range left.Spec.InitContainers {
			shrink(&left.Spec.InitContainers[i], given.Spec.InitContainers[i])
		}
		for i := range left.Spec.Containers {
			shrink(&left.Spec.Containers[i], given.Spec.Containers[i])
		}
		if diff := cmp.Diff(given, left, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("more than added:\n%s", diff)
		}
	})
}

func shrink(c *corev1.Container, given corev1.Container) {
	c.Env, c.VolumeMounts = c.Env[:len(given.Env)], c.VolumeMounts[:len(given.VolumeMounts)]
}

// A pod with two mounts at one place, or two variables of one name, or a mount
// of no volume, would be refused or broken because of podid.
func TestInjectBreaksNoPod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, account, settings := drawPod(t), drawAccount(t), drawSettings(t)
		result := injection.Inject(pod, account, settings)
		after := slices.Concat(result.Pod.Spec.InitContainers, result.Pod.Spec.Containers)
		for i, before := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			for _, m := range after[i].VolumeMounts[len(before.VolumeMounts):] {
				if slices.ContainsFunc(before.VolumeMounts, func(b corev1.VolumeMount) bool { return b.MountPath == m.MountPath }) {
					t.Fatalf("a second mount at %s", m.MountPath)
				}
				if !slices.ContainsFunc(result.Pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.Projected != nil }) {
					t.Fatalf("a mount of volume %q, which is not there", m.Name)
				}
			}
			for _, e := range after[i].Env[len(before.Env):] {
				if slices.ContainsFunc(before.Env, func(b corev1.EnvVar) bool { return b.Name == e.Name }) {
					t.Fatalf("a second %s", e.Name)
				}
			}
		}
		for _, v := range result.Pod.Spec.Volumes[len(pod.Spec.Volumes):] {
			if slices.ContainsFunc(pod.Spec.Volumes, func(b corev1.Volume) bool { return b.Name == v.Name }) {
				t.Fatalf("a second volume %s", v.Name)
			}
		}
	})
}

func TestThePatchMakesThePod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, account, settings := drawPod(t), drawAccount(t), drawSettings(t)
		result := injection.Inject(pod, account, settings)
		if result.Changed {
			checkPatch(t, pod, result.Pod)
		}
	})
}

func checkPatch(t rapid.TB, before, after *corev1.Pod) {
	t.Helper()
	text, err := injection.Patch(before, after)
	if err != nil {
		t.Fatal(err)
	}
	operations, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	original, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := operations.Apply(original)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	got := new(corev1.Pod)
	if err := json.Unmarshal(patched, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(after, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the patch makes another pod (-want +got):\n%s", diff)
	}
}

func FuzzInject(f *testing.F) {
	for _, c := range load(f) {
		text, err := json.Marshal(c.Pod)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, true, c.ServiceAccount.Annotations[injection.AnnotationExpiration])
	}
	f.Add([]byte(`{"spec":{"containers":[null,{"env":[null],"volumeMounts":[null]}],"volumes":[null,{"projected":{"sources":[null]}}]}}`), true, "")
	f.Add([]byte(`null`), false, "-9223372036854775809")
	f.Fuzz(func(t *testing.T, text []byte, associated bool, seconds string) {
		pod := new(corev1.Pod)
		if json.Unmarshal(text, pod) != nil {
			return
		}
		account := injection.Account{Annotations: map[string]string{injection.AnnotationExpiration: seconds, injection.AnnotationRole: seconds}}
		if associated {
			account.Association = new(podid.Association)
		}
		settings := injection.Settings{Region: "eu-central-1", IRSA: true, Namespace: "podid-system"}
		result := injection.Inject(pod, account, settings)
		if again := injection.Inject(result.Pod, account, settings); again.Changed {
			t.Errorf("twice is more than once:\n%s", cmp.Diff(result.Pod, again.Pod))
		}
		if len(result.Warnings) > 10 {
			t.Errorf("%d warnings", len(result.Warnings))
		}
		for _, w := range result.Warnings {
			if len(w) > 256 {
				t.Errorf("a warning of %d bytes", len(w))
			}
		}
		if result.Changed {
			if _, err := injection.Patch(pod, result.Pod); err != nil {
				t.Error(err)
			}
		}
	})
}
