package annotation

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ReadGuard is the error of a guard.
func ReadGuard(ctx context.Context, api client.Reader) error {
	_, err := readGuard(ctx, api)
	return err
}
