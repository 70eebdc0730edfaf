package kube

import (
	"context"

	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
)

var (
	Unread = unread
	Absent = absent
)

func Unwritten(ctx context.Context, verb string, a podid.Association, err error) error {
	return unwritten(ctx, verb, a, err)
}

// Told is a store that nothing but the handler feeds; it has no API server.
func Told(onChange func(namespace, serviceAccount string)) (*Store, cache.ResourceEventHandler) {
	s := &Store{index: newIndex(onChange), synced: func() bool { return true }}
	return s, s.index.handler()
}

// ToldAnd is one that asks api.
func ToldAnd(api client.Client) (*Store, cache.ResourceEventHandler) {
	s, events := Told(nil)
	s.api = api
	return s, events
}

// Made is the UID of the association that a token leads to, empty for none.
func (s *Store) Made(token, namespace, serviceAccount string) string {
	if e := s.index.made(token, name{namespace, serviceAccount}); e != nil {
		return e.association.UID
	}
	return ""
}

// Has says whether an event as new as this version of an association was reported.
func (s *Store) Has(a podid.Association) bool {
	done, _ := s.index.has(a)
	return done
}
