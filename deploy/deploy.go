// Package deploy carries what is installed in a cluster.
package deploy

import _ "embed"

// Install is the whole installation with default settings, in YAML.
//
//go:embed install.yaml
var Install []byte
