package kube_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
	core "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// asGo asks Go and the policies about made-up pods.
func (w labelledWorld) asGo(t *testing.T) {
	changed := 0
	rapid.Check(t, func(r *rapid.T) {
		pod := drawLabelledPod(r)
		result := injection.Inject(pod, injection.Account{Association: new(podid.Association)}, injectionSettings)
		if result.Changed {
			changed++
		}
		wanted := result.Pod.DeepCopy()
		wanted.Namespace = "unlabelled"
		want, err := w.create(t.Context(), wanted, true)
		if err != nil {
			r.Fatalf("without the policies: %v", err)
		}
		got, err := w.create(t.Context(), pod, true)
		if err != nil {
			r.Fatalf("with the policies: %v", err)
		}
		want.Namespace = got.Namespace
		if diff := cmp.Diff(likened(want), likened(got)); diff != "" {
			r.Fatalf("reason %q (-Go +policies):\n%s", result.Reason, diff)
		}
	})
	if changed == 0 {
		t.Error("none of the pods got anything")
	}
}

// drawLabelledPod makes up a pod that the API server takes.
func drawLabelledPod(t *rapid.T) *core.Pod {
	pod := injectionPod("shop", "first", nil)
	sometimes := func(what string) bool { return rapid.IntRange(0, 4).Draw(t, what) == 0 }
	token := func(audience, path string) core.VolumeProjection {
		return core.VolumeProjection{ServiceAccountToken: &core.ServiceAccountTokenProjection{Audience: audience, Path: path}}
	}
	config := core.VolumeProjection{ConfigMap: &core.ConfigMapProjection{LocalObjectReference: core.LocalObjectReference{Name: "config"}}}
	projected := func(sources ...core.VolumeProjection) core.VolumeSource {
		return core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: sources}}
	}
	claim := core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}
	volumes := map[string]core.VolumeSource{"mine": {EmptyDir: &core.EmptyDirVolumeSource{}}, "disk": claim}
	mountable := []string{"mine"}
	if rapid.Bool().Draw(t, "own volume") {
		volumes[injection.Volume] = rapid.SampledFrom([]core.VolumeSource{
			projected(token(injection.Audience, injection.TokenPath)), projected(config, token(injection.Audience, injection.TokenPath)),
			projected(token("vault", injection.TokenPath)), projected(token("", injection.TokenPath)), projected(token(injection.Audience, "token")),
			projected(config), projected(), {EmptyDir: &core.EmptyDirVolumeSource{}},
		}).Draw(t, "as")
		mountable = append(mountable, injection.Volume)
	}
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, core.Volume{Name: name, VolumeSource: volumes[name]})
	}
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"app", "proxy", "logs", "migrate", "job"}), 1, 4, rapid.ID).Draw(t, "names")
	inits := rapid.IntRange(0, len(names)-1).Draw(t, "inits")
	pod.Spec.Containers = nil
	for i, name := range names {
		c := core.Container{Name: name, Image: "podid.test/probe"}
		for range rapid.IntRange(0, 3).Draw(t, "variables") {
			e := core.EnvVar{Name: rapid.SampledFrom([]string{
				injection.EnvSTSRegionalEndpoints, injection.EnvDefaultRegion, injection.EnvRegion, injection.EnvCredentialsURI, injection.EnvTokenFile,
				"AWS_ACCESS_KEY_ID", "aws_region", "PATH",
			}).Draw(t, "variable")}
			if sometimes("from") {
				e.ValueFrom = &core.EnvVarSource{FieldRef: &core.ObjectFieldSelector{FieldPath: "metadata.name"}}
			} else {
				e.Value = rapid.SampledFrom([]string{"", "x", injection.CredentialsURI, injection.TokenFile}).Draw(t, "value")
			}
			c.Env = append(c.Env, e)
		}
		for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
			"/data", injection.MountPath, injection.MountPath + "/", injection.MountPath + "/.", "/var//run/./secrets/pods.eks.amazonaws.com/serviceaccount",
			injection.MountPath + "/more", "/var/run/secrets",
		}), 0, 3, rapid.ID).Draw(t, "paths") {
			if sometimes("device") {
				c.VolumeDevices = []core.VolumeDevice{{Name: "disk", DevicePath: path}}
				continue
			}
			m := core.VolumeMount{Name: rapid.SampledFrom(mountable).Draw(t, "mount"), MountPath: path}
			switch rapid.IntRange(0, 5).Draw(t, "sub-path") {
			case 0:
				m.SubPath = "x"
			case 1:
				m.SubPathExpr = "x"
			}
			c.VolumeMounts = append(c.VolumeMounts, m)
		}
		if i < inits {
			if rapid.Bool().Draw(t, "sidecar") {
				c.RestartPolicy = new(core.ContainerRestartPolicyAlways)
			}
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		} else {
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
	}
	if sometimes("skips") {
		pod.Annotations = map[string]string{injection.AnnotationSkipContainers: rapid.SampledFrom([]string{
			"", ",", "app", "\tapp ,\nproxy,", "app,proxy,logs,migrate,job", "ap p", "App", "app;proxy",
		}).Draw(t, "list")}
	}
	for _, label := range []string{injection.InjectedLabel, injection.SkipLabel, "app"} {
		if sometimes(label) {
			pod.Labels = map[string]string{label: rapid.SampledFrom([]string{"", "enabled", "x"}).Draw(t, "is")}
		}
	}
	if sometimes("OS") {
		pod.Spec.OS = &core.PodOS{Name: rapid.SampledFrom([]core.OSName{core.Windows, core.Linux}).Draw(t, "named")}
	}
	if sometimes("selects") {
		key := rapid.SampledFrom([]string{"kubernetes.io/os", "beta.kubernetes.io/os", "disk"}).Draw(t, "key")
		pod.Spec.NodeSelector = map[string]string{key: rapid.SampledFrom([]string{"windows", "linux", ""}).Draw(t, "value")}
	}
	return pod
}

// large pods, as large as etcd takes them (1.5 MiB), are within the cost that the API server grants an expression.
func (w labelledWorld) large(t *testing.T) {
	for _, test := range []struct {
		name                                 string
		containers, variables, mounts, skips int
		variable                             string
	}{
		{"many containers", 100, 150, 10, 1000, "AWS_CONTAINER_VARIABLE_"},
		{"many variables", 1, 25_000, 1, 1, "A"},
		{"many mounts", 1, 1, 12_000, 1, "A"},
		{"a long annotation", 1, 1, 1, 10_000, "A"},
	} {
		pod := injectionPod("shop", "first", nil)
		pod.Annotations = map[string]string{injection.AnnotationSkipContainers: strings.Repeat("nobody,", test.skips)}
		pod.Spec.Containers = nil
		for i := range test.containers {
			c := core.Container{Name: fmt.Sprint("c-", i), Image: "podid.test/probe"}
			for v := range test.variables {
				c.Env = append(c.Env, core.EnvVar{Name: fmt.Sprint(test.variable, v)})
			}
			for m := range test.mounts {
				c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: "mine", MountPath: fmt.Sprint("/var/run/secrets/", m)})
			}
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
		pod.Spec.Volumes = []core.Volume{{Name: "mine", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}}
		created := func(labels map[string]string) (*core.Pod, time.Duration) {
			began := time.Now()
			pod.Labels = labels
			got, err := w.create(t.Context(), pod, true)
			if err != nil {
				t.Errorf("%s: %.500v", test.name, err)
				return new(core.Pod), 0
			}
			return got, time.Since(began).Round(time.Millisecond)
		}
		_, without := created(map[string]string{injection.SkipLabel: ""})
		got, with := created(nil)
		t.Logf("%s: %d KiB, %v, without the policies %v", test.name, got.Size()/1024, with, without)
		if err := injected(got); err != nil {
			t.Error(err)
		}
	}
}
