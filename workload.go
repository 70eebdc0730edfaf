package podid

import "fmt"

// Workload is one pod speaking as its service account, as its projected token
// proves it. Two pods of one service account are two workloads: their session
// tags differ.
type Workload struct {
	// Issuer is the "iss" claim of the cluster that signed the token.
	Issuer string
	// Namespace of the pod and of the service account.
	Namespace string
	// ServiceAccount is the name, ServiceAccountUID the identity: a service
	// account that was deleted and made again has another UID.
	ServiceAccount    string
	ServiceAccountUID string
	// Pod and PodUID name the pod the token is bound to.
	Pod    string
	PodUID string
	// Node is the node the pod runs on; empty while it is not scheduled.
	Node string
}

// String is NAMESPACE/SERVICEACCOUNT with the pod's name, for people.
func (w Workload) String() string {
	return fmt.Sprintf("%s/%s (pod %s)", w.Namespace, w.ServiceAccount, w.Pod)
}

// Subject is the "sub" claim that Kubernetes gives tokens of this workload's
// service account.
func (w Workload) Subject() string {
	return "system:serviceaccount:" + w.Namespace + ":" + w.ServiceAccount
}

// Cluster says which cluster the workloads belong to. Its three facts are
// security-relevant (trust policies name them), so none has a default.
type Cluster struct {
	Name    string // 1–100 of [0-9A-Za-z][A-Za-z0-9-_]*
	Region  string // such as eu-central-1
	Account string // 12 digits
}

// ARN is the cluster's ARN, the value of the session tag eks-cluster-arn and of
// aws:SourceArn.
func (c Cluster) ARN() string {
	return "arn:" + Partition(c.Region) + ":eks:" + c.Region + ":" + c.Account + ":cluster/" + c.Name
}
