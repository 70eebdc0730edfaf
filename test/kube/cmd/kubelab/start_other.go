//go:build unix && !linux

package main

import (
	"context"
	"errors"
)

func start(ctx context.Context, nodes int) (kubeconfig string, stop func() error, err error) {
	if nodes > 0 {
		return "", nil, errors.New("nodes need Linux; -nodes 0 is an API server alone")
	}
	return startControlPlane(ctx)
}
