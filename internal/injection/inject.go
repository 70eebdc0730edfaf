package injection

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/settings"
)

// What a pod's labels and annotations say.
const (
	// SkipLabel, with any value, keeps podid away from a pod.
	SkipLabel = "eks.amazonaws.com/skip-pod-identity-webhook"
	// RequireLabel, with the value "true", has a pod refused that would go
	// without.
	RequireLabel = "podid.dev/require"
	// InjectedLabel, with the value "enabled", marks the pods that got
	// something.
	InjectedLabel      = "eks.amazonaws.com/pod-identity"
	InjectedLabelValue = "enabled"
	// AnnotationSkipContainers lists containers and init containers that are
	// left alone, separated by commas.
	AnnotationSkipContainers = "eks.amazonaws.com/skip-containers"
	// AnnotationExpiration is the token's life in seconds, 600 to 86400: on the
	// pod, or else on its service account.
	AnnotationExpiration = "eks.amazonaws.com/token-expiration"
	// AnnotationSTSRegional, "false" on a service account, leaves
	// AWS_STS_REGIONAL_ENDPOINTS out.
	AnnotationSTSRegional = "eks.amazonaws.com/sts-regional-endpoints"
	// AnnotationRole and AnnotationAudience, on a service account, are IRSA's.
	AnnotationRole     = "eks.amazonaws.com/role-arn"
	AnnotationAudience = "eks.amazonaws.com/audience"
)

// Settings are the cluster's: the same for all its pods.
type Settings struct {
	// Region is what containers get that name none; empty for nothing.
	Region string `json:"region,omitempty"`
	// IPv6 says that the nodes' agents are reached over IPv6.
	IPv6 bool `json:"ipv6,omitempty"`
	// GlobalSTS leaves AWS_STS_REGIONAL_ENDPOINTS out, unless the service
	// account asks for it.
	GlobalSTS bool `json:"globalSTS,omitempty"`
	// IRSA gives web identity to pods whose service account has no association
	// and is annotated with a role.
	IRSA bool `json:"irsa,omitempty"`
	// Namespace is podid's own: its pods are never touched, nor are those of
	// kube-system.
	Namespace string `json:"namespace,omitempty"`
}

// SettingsOf are those of the cluster's settings that matter here; namespace is podid's own.
func SettingsOf(s settings.Settings, namespace string) Settings {
	return Settings{Region: s.Cluster.Region, IPv6: s.IPv6, GlobalSTS: s.GlobalSTS, IRSA: s.IRSA, Namespace: namespace}
}

// Account is what is known of a pod's service account.
type Account struct {
	// Association is nil if it has none.
	Association *podid.Association
	Annotations map[string]string
}

// Reason says why a pod, or a container of it, was left alone.
type Reason string

// The reasons. The first three hold whatever the service account has.
const (
	SkipLabelled    Reason = "skip-label"
	ExemptNamespace Reason = "exempt-namespace"
	MirrorPod       Reason = "mirror-pod"
	NoAssociation   Reason = "no-association"
	RoleInvalid     Reason = "role-invalid"
	WindowsPod      Reason = "windows"
	VolumeTaken     Reason = "volume-taken"
	NoContainer     Reason = "no-container"
	// Of a container:
	SkipListed Reason = "skip-containers"
	MountTaken Reason = "mount-taken"
)

// Result is what became of a pod.
type Result struct {
	// Pod is the pod as it is to be. It is the one that was given if that needs
	// nothing, and a copy otherwise.
	Pod *corev1.Pod
	// Reason is empty if the pod has what it needs, now or before.
	Reason Reason
	// Containers are the init containers and containers, in the pod's order;
	// nil if none was looked at.
	Containers []Container
	// Warnings are for whoever creates the pod: at most 10, of 256 bytes each.
	Warnings []string
	// Changed says that the pod is another than the one that was given.
	Changed bool
}

// Container is what became of a container.
type Container struct {
	Name string
	// Reason is empty if it has what it needs.
	Reason Reason
	// Added are the names of the variables it got.
	Added []string

	changed bool
}

// Inject says what pod becomes, given what is known of its service account.
// It adds, and changes nothing that is there; on a pod that has all it adds
// nothing.
func Inject(pod *corev1.Pod, account Account, settings Settings) Result {
	if reason := exempt(pod, settings); reason != "" {
		return Result{Pod: pod, Reason: reason}
	}
	var w warnings
	leave := func(reason Reason) Result { return Result{Pod: pod, Reason: reason, Warnings: w.texts()} }
	gift, reason := giftFor(account, settings, &w)
	if reason != "" {
		return leave(reason)
	}
	if windows(pod) {
		w.add("this is a Windows pod, and podid gives credentials to Linux pods only: it gets none")
		return leave(WindowsPod)
	}
	there, taken := gift.volumeOf(pod)
	if taken {
		w.add("the pod has a volume %q that is another than podid's: it gets no AWS credentials; rename the volume", gift.volume)
		return leave(VolumeTaken)
	}

	out := pod.DeepCopy()
	result := Result{Pod: pod, Containers: gift.fill(out, &w)}
	result.Warnings = w.texts()
	if !slices.ContainsFunc(result.Containers, func(c Container) bool { return c.Reason == "" }) {
		result.Reason = NoContainer
		return result
	}
	result.Changed = slices.ContainsFunc(result.Containers, func(c Container) bool { return c.changed })
	if !there {
		seconds := expiration(pod, account, &w)
		result.Warnings = w.texts()
		out.Spec.Volumes = append(out.Spec.Volumes, gift.projected(seconds))
		result.Changed = true
	}
	if gift.label && setLabel(out) {
		result.Changed = true
	}
	if result.Changed {
		result.Pod = out
	}
	return result
}

// exempt is why a pod is not touched whatever its service account has.
func exempt(pod *corev1.Pod, settings Settings) Reason {
	if _, ok := pod.Labels[SkipLabel]; ok {
		return SkipLabelled
	}
	if pod.Namespace == "kube-system" || settings.Namespace != "" && pod.Namespace == settings.Namespace {
		return ExemptNamespace
	}
	if _, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		return MirrorPod
	}
	return ""
}

// ServiceAccount is the name of the pod's service account: "default" if it
// names none.
func ServiceAccount(pod *corev1.Pod) string {
	switch {
	case pod.Spec.ServiceAccountName != "":
		return pod.Spec.ServiceAccountName
	case pod.Spec.DeprecatedServiceAccount != "":
		return pod.Spec.DeprecatedServiceAccount
	}
	return "default"
}

func windows(pod *corev1.Pod) bool {
	if pod.Spec.OS != nil {
		return pod.Spec.OS.Name == corev1.Windows
	}
	return pod.Spec.NodeSelector[corev1.LabelOSStable] == "windows" ||
		pod.Spec.NodeSelector["beta.kubernetes.io/os"] == "windows"
}

func setLabel(pod *corev1.Pod) bool {
	if _, ok := pod.Labels[InjectedLabel]; ok {
		return false
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[InjectedLabel] = InjectedLabelValue
	return true
}

// skipped are the containers that a pod's annotation names.
func skipped(pod *corev1.Pod) map[string]bool {
	names := map[string]bool{}
	for name := range strings.SplitSeq(pod.Annotations[AnnotationSkipContainers], ",") {
		names[strings.TrimSpace(name)] = true
	}
	return names
}

// at reports whether a mount lies at a path, which the API server and the
// container runtime compare differently.
func at(mount, wanted string) bool { return path.Clean(mount) == wanted }
