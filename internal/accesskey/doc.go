// Package accesskey admits callers of the EKS REST API in a cluster: it proves that a
// request was signed with an access key, and asks Kubernetes what the service account
// that the key belongs to may do.
//
// A request comes in at [Door.Access], which verifies the signature. What it then does to
// associations goes through [Door.Store], which has the API server review each step for
// that account: the verb on podidentityassociations, and pass on the roles, the same
// question that the policy pass-role.podid.dev asks of everybody else. podid itself
// impersonates nobody.
//
// # Permissions
//
// Of the API server it needs:
//
//	get, list, watch   secrets, in podid's own namespace
//	get                serviceaccounts
//	create             subjectaccessreviews.authorization.k8s.io
package accesskey
