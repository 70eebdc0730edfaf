// Package podid is the vocabulary of Open Pod Identity: IAM roles for pods on
// any Kubernetes cluster.
//
// Four words and one sentence: a [Workload] asks; an [Association] names the
// role it may use; an STS trades both for [Credentials]; when the answer is no,
// a problem (package problem) says what, why and how to fix it.
//
// Everything else in this module carries, checks, stores, serves or explains
// these types. The package depends on the standard library and on package
// problem alone.
package podid
