// Package policies holds the admission policies that programs deal with, as they are
// installed.
package policies

import _ "embed"

// PassRoleAnnotation is a ValidatingAdmissionPolicy and its binding, in YAML: whoever
// serves annotations depends on it, and compares it with the cluster's.
//
//go:embed pass-role-annotation.yaml
var PassRoleAnnotation []byte

// Inject is the labelled scope, in YAML, with ${PODID_…} to be filled in.
//
//go:embed inject.yaml
var Inject string
