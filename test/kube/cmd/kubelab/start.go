//go:build unix

package main

import (
	"context"

	"github.com/openpodidentity/podid/test/kube"
)

func startControlPlane(ctx context.Context) (kubeconfig string, stop func() error, err error) {
	cp, err := kube.Start(ctx, kube.Options{ControllerManager: true})
	if err != nil {
		return "", nil, err
	}
	return cp.Kubeconfig(), cp.Stop, nil
}
