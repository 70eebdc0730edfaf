//go:build !linux

package cluster_test

import (
	"runtime"
	"testing"
)

func TestScenarios(t *testing.T) { t.Skip("real nodes need Linux; this is " + runtime.GOOS) }
