package main

import (
	"context"

	"github.com/openpodidentity/podid/test/kube"
)

func start(ctx context.Context, nodes int) (kubeconfig string, stop func() error, err error) {
	if nodes == 0 {
		return startControlPlane(ctx)
	}
	c, err := kube.StartCluster(ctx, kube.ClusterOptions{Nodes: nodes})
	if err != nil {
		return "", nil, err
	}
	return c.Kubeconfig(), c.Stop, nil
}
