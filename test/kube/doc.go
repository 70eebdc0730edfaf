//go:build unix

// Package kube gives tests a real Kubernetes: an API server with its etcd that needs
// no root and is ready in seconds, and whole nodes with kubelet and containerd
// in namespaces of their own (Linux, root).
//
// Everything runs from one binary, kubebox, which is built on first use and kept in
// the user's cache directory, and from Debian's packages of containerd, runc, CNI plugins and
// iptables, which are unpacked there and not installed. Whatever a test
// starts ends with the test's process, however that ends; see the README.
package kube
