package podid

// Tag is one session tag.
type Tag struct{ Key, Value string }

// The six session tags, all transitive
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html).
const (
	TagClusterARN     = "eks-cluster-arn"
	TagClusterName    = "eks-cluster-name"
	TagNamespace      = "kubernetes-namespace"
	TagServiceAccount = "kubernetes-service-account"
	TagPodName        = "kubernetes-pod-name"
	TagPodUID         = "kubernetes-pod-uid"
)

// SessionTags are the tags that a session of workload w in cluster c carries.
func SessionTags(c Cluster, w Workload) []Tag {
	return []Tag{
		{TagClusterARN, c.ARN()},
		{TagClusterName, c.Name},
		{TagNamespace, w.Namespace},
		{TagServiceAccount, w.ServiceAccount},
		{TagPodName, w.Pod},
		{TagPodUID, w.PodUID},
	}
}

// SessionName is eks-CLUSTER-POD-UUID, cluster and pod cut to ten characters as
// AWS cuts them so that 64 are never exceeded. The UUID is the pod's UID: the
// name stays the same over renewals and leads back to the pod. Characters that a
// session name may not have (STS wants [\w+=,.@-]) do not occur in Kubernetes
// names or in cluster names.
func SessionName(c Cluster, w Workload) string {
	name := "eks-" + cut(c.Name, 10) + "-" + cut(w.Pod, 10) + "-" + w.PodUID
	return cut(name, 64)
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// Audiences of the projected tokens.
const (
	// AudiencePods is the audience of the token a pod shows to the agent.
	AudiencePods = "pods.eks.amazonaws.com"
	// AudienceAuth is the audience of the token an agent shows to podid-auth.
	AudienceAuth = "auth.podid.dev"
)

// ServicePrincipal is the principal that AWS's pod identity assumes roles as.
const ServicePrincipal = "pods.eks.amazonaws.com"
