package kube

import (
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
)

// TokenAnnotation holds the clientRequestToken of the request that made an object.
const TokenAnnotation = "podid.dev/client-request-token"

// Association is what an object says. It is not checked: the schema knows most rules,
// not all of them, and objects may be older than it.
func Association(o *v1alpha1.PodIdentityAssociation) podid.Association {
	a := podid.Association{
		UID:                string(o.UID),
		Version:            o.ResourceVersion,
		Namespace:          o.Namespace,
		ServiceAccount:     o.Name,
		Role:               podid.RoleARN(o.Spec.RoleARN),
		Target:             podid.RoleARN(o.Spec.TargetRoleARN),
		DisableSessionTags: o.Spec.DisableSessionTags,
		Policy:             o.Spec.Policy,
		CreatedAt:          o.CreationTimestamp.UTC(),
		ModifiedAt:         modified(o),
	}
	if len(o.Spec.Tags) > 0 {
		a.Tags = make(map[string]string, len(o.Spec.Tags))
		for key, value := range o.Spec.Tags {
			a.Tags[key] = string(value)
		}
	}
	// Anybody who may edit the object writes annotations.
	if token := o.Annotations[TokenAnnotation]; token != "" && association.ValidateClientToken(token) == nil {
		a.ClientToken = token
	}
	return a
}

// Object is an association as an object to be created. What the API server sets is
// left out.
func Object(a podid.Association) *v1alpha1.PodIdentityAssociation {
	o := &v1alpha1.PodIdentityAssociation{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.ServiceAccount}}
	if a.ClientToken != "" {
		o.Annotations = map[string]string{TokenAnnotation: a.ClientToken}
	}
	setSpec(&o.Spec, a)
	return o
}

func setSpec(spec *v1alpha1.PodIdentityAssociationSpec, a podid.Association) {
	spec.RoleARN = v1alpha1.RoleARN(a.Role)
	spec.TargetRoleARN = v1alpha1.RoleARN(a.Target)
	spec.DisableSessionTags = a.DisableSessionTags
	spec.Policy = a.Policy
	spec.Tags = nil
	if len(a.Tags) > 0 {
		spec.Tags = make(map[string]v1alpha1.TagValue, len(a.Tags))
		for key, value := range a.Tags {
			spec.Tags[key] = v1alpha1.TagValue(value)
		}
	}
}

// modified is when a field of the spec was last set, in seconds, as the API server
// keeps book of it (managedFields): an annotation of ours would miss kubectl's edits.
// To remove a field sets none, and where the book was cleared it is the creation.
func modified(o *v1alpha1.PodIdentityAssociation) time.Time {
	at := o.CreationTimestamp.Time
	for _, entry := range o.ManagedFields {
		if entry.Subresource != "" || entry.Time == nil || entry.FieldsV1 == nil || !entry.Time.After(at) {
			continue
		}
		var fields map[string]json.RawMessage
		if json.NewDecoder(entry.FieldsV1.GetRawReader()).Decode(&fields) == nil && fields["f:spec"] != nil {
			at = entry.Time.Time
		}
	}
	return at.UTC()
}

// Trim is a transformation for the cache that an object comes from: what is not read
// of it is not kept, so that nobody fills the memory with annotations.
func Trim(given any) (any, error) {
	o, ok := given.(*v1alpha1.PodIdentityAssociation)
	if !ok {
		return given, nil
	}
	at := metav1.NewTime(modified(o))
	o.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &at, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}
	token, has := o.Annotations[TokenAnnotation]
	o.Labels, o.Annotations, o.OwnerReferences, o.Finalizers = nil, nil, nil, nil
	if has {
		o.Annotations = map[string]string{TokenAnnotation: token}
	}
	o.Status = v1alpha1.PodIdentityAssociationStatus{}
	return o, nil
}
