// Package kube tells package token what a Kubernetes cluster knows: which pods there are
// and run where, which service accounts, and the keys that the cluster signs tokens with.
//
// Everything comes from watches, so that tokens are proved while the API server is
// away. What a watch has not told of yet, or tells otherwise than a token says, is asked
// for once before a pod is refused.
//
// # Permissions
//
// Of the API server it needs get, list and watch on pods and serviceaccounts, and what
// every service account may do already: to read /.well-known/openid-configuration and
// /openid/v1/jwks.
package kube
