// Package kube keeps associations as Kubernetes objects: etcd is the disk, and kubectl,
// GitOps and RBAC are an API to them beside the EKS one. The exchange finds a role
// here, in memory; what is not there is read through, once, before a pod is told that
// it has none.
//
// An object is named after its service account, so that one role per service account
// holds by construction. The association's ID and ARN derive from the object's UID,
// its Version is the resourceVersion, and the clientRequestToken of the EKS API is an
// annotation; nothing waits for a status.
//
// # Permissions
//
// Of the API server it needs, on podidentityassociations in the group podid.dev:
//
//	get, list, watch        to read
//	create, patch, delete   where the EKS API is served
//
// Where a policy asks for the verb pass on iamroles in the group iam.podid.dev, whoever
// serves the EKS API needs that too, for every role, and reviews first whether its
// caller has it. The condition of a status is written with patch on
// podidentityassociations/status. Namespaces are never read: the API server itself says
// whether one exists.
package kube
