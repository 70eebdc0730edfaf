package kube

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

// Accepted is the condition that says whether podid would act on an object, and the
// reason when it would.
const Accepted = "Accepted"

// Status is what an object's status should be, for people: err is the problem with
// it, nil if there is none. What the present status has beside that is kept, and a
// condition that has not changed keeps its time.
func Status(o *v1alpha1.PodIdentityAssociation, c podid.Cluster, err error, now time.Time) v1alpha1.PodIdentityAssociationStatus {
	a := Association(o)
	status := *o.Status.DeepCopy()
	status.AssociationID, status.AssociationARN, status.ExternalID = a.ID(), a.ARN(c), a.ExternalID(c)
	condition := metav1.Condition{
		Type: Accepted, Status: metav1.ConditionTrue, Reason: Accepted,
		ObservedGeneration: o.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if err != nil {
		p := problem.Of(err)
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, Reason(p.Code), p.Message()
	}
	meta.SetStatusCondition(&status.Conditions, condition)
	return status
}

// Check is the problem with an object's spec, by all the rules there are.
func Check(o *v1alpha1.PodIdentityAssociation) error { return association.Validate(Association(o)) }

// Reason is a problem's code as the reason of a condition, which Kubernetes wants in
// CamelCase: association-invalid is AssociationInvalid.
func Reason(code problem.Code) string {
	var out strings.Builder
	for word := range strings.SplitSeq(string(code), "-") {
		if word != "" {
			out.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return out.String()
}
