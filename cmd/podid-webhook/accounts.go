package main

import (
	"context"
	"fmt"

	"github.com/openpodidentity/podid/internal/injection"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// accounts reads the annotations of service accounts: as they were told, and from the API
// server where nothing was told yet, since a service account and its first pod are often
// made in the same moment.
type accounts struct {
	cached client.Reader
	api    client.Reader
}

// Annotations implements injection.ServiceAccounts.
func (a *accounts) Annotations(ctx context.Context, namespace, name string) (map[string]string, error) {
	account := new(corev1.ServiceAccount)
	key := types.NamespacedName{Namespace: namespace, Name: name}
	err := a.cached.Get(ctx, key, account)
	if apierrors.IsNotFound(err) {
		err = a.api.Get(ctx, key, account)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read service account %s: %w", key, err)
	}
	return account.Annotations, nil
}

// trimAccount keeps the annotations that are read.
func trimAccount(given any) (any, error) {
	account, ok := given.(*corev1.ServiceAccount)
	if !ok {
		return given, nil
	}
	kept := map[string]string{}
	for _, key := range []string{
		injection.AnnotationRole, injection.AnnotationAudience, injection.AnnotationExpiration, injection.AnnotationSTSRegional,
	} {
		if value, has := account.Annotations[key]; has {
			kept[key] = value
		}
	}
	account.ManagedFields, account.Labels, account.OwnerReferences, account.Annotations = nil, nil, nil, kept
	account.Secrets, account.ImagePullSecrets = nil, nil
	return account, nil
}
