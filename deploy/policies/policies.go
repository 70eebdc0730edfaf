// Package policies holds the admission policy that the annotation door depends on, as
// it is installed: whoever serves annotations compares it with the cluster's.
package policies

import _ "embed"

// PassRoleAnnotation is a ValidatingAdmissionPolicy and its binding, in YAML.
//
//go:embed pass-role-annotation.yaml
var PassRoleAnnotation []byte
