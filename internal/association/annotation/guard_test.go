package annotation_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/openpodidentity/podid/deploy/policies"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/problem"
)

// policy and binding are as they are installed, made with this UID.
func policy(t failer, uid string) *admissionv1.ValidatingAdmissionPolicy {
	o := guardFile(t).policy.DeepCopy()
	o.SetUID("policy-" + types.UID(uid))
	o.SetGeneration(1)
	return o
}

func binding(t failer, uid string) *admissionv1.ValidatingAdmissionPolicyBinding {
	o := guardFile(t).binding.DeepCopy()
	o.SetUID("binding-" + types.UID(uid))
	o.SetGeneration(1)
	return o
}

type guardParts struct {
	policy  admissionv1.ValidatingAdmissionPolicy
	binding admissionv1.ValidatingAdmissionPolicyBinding
}

var readGuardFile = sync.OnceValues(func() (parts guardParts, err error) {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(policies.PassRoleAnnotation), 4096)
	return parts, errors.Join(documents.Decode(&parts.policy), documents.Decode(&parts.binding))
})

func guardFile(t failer) *guardParts {
	t.Helper()
	parts, err := readGuardFile()
	if err != nil {
		t.Fatal(err)
	}
	return &parts
}

// spoil makes a part of the guard refuse nothing, or what it was.
func spoil(o client.Object, harmless bool) {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		if harmless {
			o.Spec.Validations = o.Spec.Validations[:1]
		}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		if harmless {
			o.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit}
		}
	}
}

type failer interface {
	Helper()
	Fatal(...any)
}

func TestAGuardThatIsNotAsInstalledIsNone(t *testing.T) {
	type P = *admissionv1.ValidatingAdmissionPolicy
	type B = *admissionv1.ValidatingAdmissionPolicyBinding
	for name, spoil := range map[string]func(P, B){
		"as installed":             func(P, B) {},
		"ignores its own failures": func(p P, _ B) { p.Spec.FailurePolicy = new(admissionv1.Ignore) },
		"one validation less":      func(p P, _ B) { p.Spec.Validations = p.Spec.Validations[:1] },
		"another expression":       func(p P, _ B) { p.Spec.Validations[1].Expression = "true" },
		"no updates": func(p P, _ B) {
			p.Spec.MatchConstraints.ResourceRules[0].Operations = []admissionv1.OperationType{admissionv1.Create}
		},
		"one more condition": func(p P, _ B) {
			p.Spec.MatchConditions = append(p.Spec.MatchConditions, admissionv1.MatchCondition{Name: "never", Expression: "false"})
		},
		"only labelled namespaces": func(p P, _ B) {
			p.Spec.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		},
		"only labelled accounts": func(p P, _ B) {
			p.Spec.MatchConstraints.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		},
		"an exception":      func(p P, _ B) { p.Spec.MatchConstraints.ExcludeResourceRules = p.Spec.MatchConstraints.ResourceRules },
		"the binding warns": func(_ P, b B) { b.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn} },
		"the binding is of some places": func(_ P, b B) {
			b.Spec.MatchResources = &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
		},
		"the binding is of another": func(_ P, b B) { b.Spec.PolicyName = "pass-role.podid.dev" },
	} {
		t.Run(name, func(t *testing.T) {
			p, b := policy(t, "1"), binding(t, "1")
			spoil(p, b)
			err := annotation.ReadGuard(t.Context(), fake.NewClientBuilder().WithObjects(p, b).Build())
			if want := name == "as installed"; (err == nil) != want || !want && !problem.Is(err, problem.PassPolicyMissing) {
				t.Errorf("%v", err)
			}
		})
	}
	for _, o := range []client.Object{policy(t, "1"), binding(t, "1")} {
		if err := annotation.ReadGuard(t.Context(), fake.NewClientBuilder().WithObjects(o).Build()); !problem.Is(err, problem.PassPolicyMissing) {
			t.Errorf("only %T: %v", o, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("policy-1/1 binding-1/1", "AAAA\nBBBB\n")
	f.Add("a/1 b/2 c/3", "\n \n\x00")
	f.Add("", strings.Repeat("x", 300))
	f.Fuzz(func(t *testing.T, guard, refused string) {
		again, digests, known := annotation.DecodeRecord(guard, refused)
		if known && again != guard {
			t.Errorf("guard %q is taken for %q", guard, again)
		}
		if digests > strings.Count(refused, "\n")+1 {
			t.Errorf("%d digests in %q", digests, refused)
		}
	})
}
