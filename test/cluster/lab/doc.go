// Package lab is a cluster of two real nodes with podid on it, and a small AWS beside it that this process plays: what
// the scenarios and the demo on a real Kubernetes run in. Linux, root; see package kube.
//
// The AWS is package localaws at the cluster network's gateway, over plain HTTP: pods, podid-auth and this process
// reach the same one.
package lab
