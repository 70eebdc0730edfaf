package association

import (
	"maps"
	"strconv"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// The problems and transitions that all stores have in common.

// Missing is the problem of a service account without an association. A store
// does not know its cluster; who does completes the fix with [Creating].
func Missing(namespace, serviceAccount string) error {
	return problem.New(problem.AssociationMissing,
		"service account %s/%s has no role association", namespace, serviceAccount)
}

// Creating is how to fix Missing, as a command to be pasted.
func Creating(c podid.Cluster, namespace, serviceAccount string) string {
	return "create one: aws eks create-pod-identity-association --cluster-name " + c.Name +
		" --namespace " + namespace + " --service-account " + serviceAccount + " --role-arn ARN"
}

// NotFound is the problem of an ID that no association has.
func NotFound(id string) error {
	return problem.New(problem.AssociationNotFound, "No service account role association found for ID: %s", id)
}

// Exists is the problem of a service account that has an association already.
func Exists(a podid.Association) error {
	return problem.New(problem.AssociationExists, "Association already exists: %s", a.ID()).
		Because("service account %s/%s has a role, and has only one", a.Namespace, a.ServiceAccount).
		Fixed("update that association, or delete it first")
}

// Full is the problem of a cluster that has [MaxAssociations].
func Full() error {
	return problem.New(problem.AssociationLimit, "the cluster has %d associations already", MaxAssociations)
}

// Behind is the problem of a replica that knows no version as new as the one its
// caller has heard of, and cannot ask.
func Behind(namespace, serviceAccount string, cause error) error {
	return problem.New(problem.ReplicaBehind, "the association of %s/%s that is known here may be out of date", namespace, serviceAccount).From(cause)
}

// VersionOf is a's version, as agents hear of it.
func VersionOf(a podid.Association) stream.Version {
	return stream.Version{UID: a.UID, Revision: Revision(a.Version)}
}

// Revision orders versions, 0 if v is no number. Those of a cluster's objects have one order
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
func Revision(v string) uint64 {
	n, _ := strconv.ParseUint(v, 10, 64)
	return n
}

// AsOf is a, just read from where all replicas write, for who has heard of a version:
// it is true as of then as well, though it may not have changed since. A higher
// version may be one of what was there before, such as an object that hid an
// annotation.
func AsOf(a podid.Association, heard stream.Version) podid.Association {
	if VersionOf(a).Older(heard) {
		a.Version = strconv.FormatUint(heard.Revision, 10)
	}
	return a
}

// Clone copies a with all it refers to. Empty tags become nil.
func Clone(a podid.Association) podid.Association {
	if len(a.Tags) == 0 {
		a.Tags = nil
	}
	a.Tags = maps.Clone(a.Tags)
	return a
}

// Change applies change to a copy of was and returns it, validated, with
// ModifiedAt set to now; changed is false when it is what it was. Stores call it
// in Update.
func Change(was podid.Association, change func(*podid.Association) error, now time.Time) (is podid.Association, changed bool, err error) {
	is = Clone(was)
	if err := change(&is); err != nil {
		return was, false, err
	}
	switch {
	case is.Namespace != was.Namespace:
		return was, false, invalid("the namespace of an association cannot be changed").Fixed("delete the association and create another")
	case is.ServiceAccount != was.ServiceAccount:
		return was, false, invalid("the service account of an association cannot be changed").Fixed("delete the association and create another")
	}
	is.UID, is.Version, is.ClientToken = was.UID, was.Version, was.ClientToken
	is.CreatedAt, is.ModifiedAt = was.CreatedAt, was.ModifiedAt
	if err := Validate(is); err != nil {
		return was, false, err
	}
	if equal(is, was) {
		return was, false, nil
	}
	is.ModifiedAt = now
	// Tags may be the caller's own map.
	return Clone(is), true, nil
}

// equal compares what a change may change.
func equal(a, b podid.Association) bool {
	return a.Role == b.Role && a.Target == b.Target && a.DisableSessionTags == b.DisableSessionTags &&
		a.Policy == b.Policy && maps.Equal(a.Tags, b.Tags)
}
