package kube_test

import (
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

const (
	role   = "arn:aws:iam::111122223333:role/reader"
	target = "arn:aws:iam::444455556666:role/target"
	allow  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
)

var (
	cluster = podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"}
	created = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
)

// drawAssociation is one that a caller may create.
func drawAssociation(t *rapid.T) podid.Association {
	arn := rapid.Custom(func(t *rapid.T) podid.RoleARN {
		return podid.RoleARN(rapid.StringMatching(`arn:aws(-cn)?:iam::[0-9]{12}:role/([!-.0-9A-~]{1,9}/){0,3}[0-9A-Za-z_+=,.@-]{1,64}`).
			Filter(func(s string) bool { return !strings.Contains(s, ":assumed-role/") }).Draw(t, "arn"))
	})
	a := podid.Association{
		Namespace:          rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?`).Draw(t, "namespace"),
		ServiceAccount:     rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]{1,9})?`).Draw(t, "account"),
		Role:               arn.Draw(t, "role"),
		DisableSessionTags: rapid.Bool().Draw(t, "disable"),
		Tags: rapid.MapOfN(rapid.StringMatching(`[b-zB-Z0-9_.:/=+@ äß日-]{1,20}`), rapid.StringMatching(`[b-zB-Z0-9_.:/=+@ äß日-]{0,20}`),
			0, association.MaxTags).Draw(t, "tags"),
	}
	if rapid.Bool().Draw(t, "has target") {
		a.Target = arn.Draw(t, "target")
	}
	if a.DisableSessionTags && rapid.Bool().Draw(t, "has policy") {
		a.Policy = allow
	}
	if rapid.Bool().Draw(t, "has token") {
		a.ClientToken = rapid.StringN(33, 126, -1).Draw(t, "token")
	}
	return association.Clone(a)
}

// drawObject is one that the API server may hold, whoever wrote it.
func drawObject(t *rapid.T) *v1alpha1.PodIdentityAssociation {
	text := rapid.StringN(0, 40, -1)
	o := &v1alpha1.PodIdentityAssociation{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: text.Draw(t, "name"), UID: types.UID(text.Draw(t, "uid")), ResourceVersion: text.Draw(t, "version"),
			Generation: rapid.Int64().Draw(t, "generation"), CreationTimestamp: metav1.NewTime(created),
			Labels:      rapid.MapOfN(text, text, 0, 3).Draw(t, "labels"),
			Annotations: rapid.MapOfN(text, text, 0, 3).Draw(t, "annotations"),
			Finalizers:  rapid.SliceOfN(text, 0, 3).Draw(t, "finalizers"),
		},
		Spec: v1alpha1.PodIdentityAssociationSpec{
			RoleARN: v1alpha1.RoleARN(text.Draw(t, "role")), TargetRoleARN: v1alpha1.RoleARN(text.Draw(t, "target")),
			DisableSessionTags: rapid.Bool().Draw(t, "disable"), Policy: text.Draw(t, "policy"),
		},
	}
	if tags := rapid.MapOfN(text, text, 0, 3).Draw(t, "tags"); len(tags) > 0 {
		o.Spec.Tags = map[string]v1alpha1.TagValue{}
		for key, value := range tags {
			o.Spec.Tags[key] = v1alpha1.TagValue(value)
		}
	}
	if rapid.Bool().Draw(t, "has token") {
		o.Annotations[kube.TokenAnnotation] = rapid.StringN(0, 130, -1).Draw(t, "token")
	}
	for range rapid.IntRange(0, 3).Draw(t, "managers") {
		entry := metav1.ManagedFieldsEntry{Subresource: rapid.SampledFrom([]string{"", "status"}).Draw(t, "subresource")}
		if rapid.Bool().Draw(t, "has fields") {
			entry.FieldsV1 = metav1.NewFieldsV1(rapid.SampledFrom([]string{`{"f:spec":{}}`, `{"f:metadata":{"f:spec":{}}}`, `{`, ``, `[]`}).Draw(t, "fields"))
		}
		if rapid.Bool().Draw(t, "has time") {
			entry.Time = new(metav1.NewTime(created.Add(time.Duration(rapid.IntRange(-9, 9).Draw(t, "seconds")) * time.Second)))
		}
		o.ManagedFields = append(o.ManagedFields, entry)
	}
	if rapid.Bool().Draw(t, "is ending") {
		o.DeletionTimestamp = new(metav1.NewTime(created))
	}
	return o
}

func TestAnAssociationSurvivesBeingAnObject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawAssociation(t)
		if err := association.Validate(want); err != nil {
			t.Fatalf("the generator is wrong: %v", err)
		}
		got := kube.Association(kube.Object(want))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(podid.Association{}, "CreatedAt", "ModifiedAt")); diff != "" {
			t.Errorf("back again (-want +got):\n%s", diff)
		}
	})
}

func TestAnObjectsSpecSurvivesBeingAnAssociation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObject(t)
		a := kube.Association(o)
		if diff := cmp.Diff(o.Spec, kube.Object(a).Spec); diff != "" {
			t.Errorf("back again (-want +got):\n%s", diff)
		}
		if a.ClientToken != "" && association.ValidateClientToken(a.ClientToken) != nil {
			t.Errorf("token %q", a.ClientToken)
		}
		if a.ModifiedAt.Before(a.CreatedAt) {
			t.Errorf("modified at %v, created at %v", a.ModifiedAt, a.CreatedAt)
		}
		a.Tags = maps.Clone(a.Tags)
		for key := range a.Tags {
			a.Tags[key] += "spoilt"
		}
		if diff := cmp.Diff(o.Spec.Tags, kube.Object(kube.Association(o)).Spec.Tags); diff != "" {
			t.Errorf("the association shares its tags with the object:\n%s", diff)
		}
	})
}

func TestTrimTakesNothingThatIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObject(t)
		for range 2 { // the informer may transform what it has transformed
			trimmed, err := kube.Trim(o.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			got := trimmed.(*v1alpha1.PodIdentityAssociation)
			if diff := cmp.Diff(kube.Association(o), kube.Association(got)); diff != "" {
				t.Errorf("trimmed (-want +got):\n%s", diff)
			}
			if got.Generation != o.Generation || (got.DeletionTimestamp == nil) != (o.DeletionTimestamp == nil) {
				t.Errorf("generation or deletion are lost: %+v", got.ObjectMeta)
			}
			if len(got.Labels)+len(got.Finalizers) > 0 || len(got.Annotations) > 1 || len(got.ManagedFields) > 1 {
				t.Errorf("kept: %+v", got.ObjectMeta)
			}
			o = got
		}
	})
}

func TestModifiedAtIsWhenTheSpecWasLastSet(t *testing.T) {
	at := func(seconds int, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Time: new(metav1.NewTime(created.Add(time.Duration(seconds) * time.Second))),
			Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	for name, test := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    int
	}{
		"never":           {nil, 0},
		"by two":          {[]metav1.ManagedFieldsEntry{at(5, "", `{"f:spec":{"f:tags":{}}}`), at(3, "", `{"f:spec":{"f:roleARN":{}}}`)}, 5},
		"a label":         {[]metav1.ManagedFieldsEntry{at(5, "", `{"f:metadata":{"f:labels":{"f:spec":{}}}}`)}, 0},
		"a status":        {[]metav1.ManagedFieldsEntry{at(5, "status", `{"f:spec":{}}`)}, 0},
		"before it began": {[]metav1.ManagedFieldsEntry{at(-5, "", `{"f:spec":{}}`)}, 0},
		"no JSON":         {[]metav1.ManagedFieldsEntry{at(5, "", `{"f:spec"`)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := &v1alpha1.PodIdentityAssociation{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created), ManagedFields: test.entries}}
			if got := kube.Association(o).ModifiedAt; !got.Equal(created.Add(time.Duration(test.want) * time.Second)) {
				t.Errorf("modified at %v, want %d s after %v", got, test.want, created)
			}
		})
	}
}

func TestEveryCodeIsAReasonOfItsOwn(t *testing.T) {
	// https://github.com/kubernetes/apimachinery/blob/v0.37.2/pkg/apis/meta/v1/types.go, Condition.Reason
	form := regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)
	codes := map[string]problem.Code{}
	for _, code := range problem.Codes() {
		reason := kube.Reason(code)
		if !form.MatchString(reason) {
			t.Errorf("reason %q of %s is not what Kubernetes takes", reason, code)
		}
		if other, taken := codes[reason]; taken {
			t.Errorf("%s and %s are both %s", code, other, reason)
		}
		codes[reason] = code
	}
	if got := kube.Reason(problem.AssociationInvalid); got != "AssociationInvalid" {
		t.Errorf("reason %q", got)
	}
}

func TestAStatusTellsWhatIsDerivedAndWhatIsWrong(t *testing.T) {
	o := kube.Object(podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: role, Target: target})
	o.UID, o.Generation = "3f2c", 7
	o.Status = kube.Status(o, cluster, kube.Check(o), created)
	a := kube.Association(o)
	if o.Status.AssociationID != a.ID() || o.Status.AssociationARN != a.ARN(cluster) || o.Status.ExternalID != "eu-central-1/111122223333/lab/shop/cart" {
		t.Errorf("status %+v", o.Status)
	}
	want := []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", ObservedGeneration: 7, LastTransitionTime: metav1.NewTime(created)}}
	if diff := cmp.Diff(want, o.Status.Conditions); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}

	later := created.Add(time.Hour)
	if diff := cmp.Diff(o.Status, kube.Status(o, cluster, kube.Check(o), later)); diff != "" {
		t.Errorf("written again though nothing changed:\n%s", diff)
	}
	o.Spec.Policy, o.Spec.DisableSessionTags = `{"a":1}`, true
	o.Status = kube.Status(o, cluster, kube.Check(o), later)
	got := meta.FindStatusCondition(o.Status.Conditions, kube.Accepted)
	if got.Status != "False" || got.Reason != "SessionPolicyInvalid" || !strings.Contains(got.Message, "not an IAM policy") || !got.LastTransitionTime.Time.Equal(later) {
		t.Errorf("condition %+v", got)
	}
	o.Status = kube.Status(o, cluster, errors.New("secret"), later)
	if got := meta.FindStatusCondition(o.Status.Conditions, kube.Accepted); got.Reason != "Internal" || strings.Contains(got.Message, "secret") {
		t.Errorf("condition %+v", got)
	}
}
