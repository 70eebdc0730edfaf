package annotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/deploy/policies"
	"github.com/openpodidentity/podid/problem"
)

// PolicyName is the name of the policy that guards annotations, and of its binding.
const PolicyName = "pass-role-annotation.podid.dev"

// guard is a policy and its binding, as they were installed. Kubernetes itself keeps book
// of them: made anew they have another UID, and each change of a spec has the next
// generation. So two equal guards are one that was there all the time between.
type guard struct {
	policy, binding edition
}

type edition struct {
	uid        types.UID
	generation int64
}

func (e edition) String() string { return fmt.Sprintf("%s/%d", e.uid, e.generation) }

// String is how a record names it.
func (g guard) String() string { return g.policy.String() + " " + g.binding.String() }

// follows says that g came of was without a gap: each of its parts is the same, or was
// changed in one step, by which one that was as expected became another that is. An
// upgrade does that.
func (g guard) follows(was guard) bool {
	return g.policy.follows(was.policy) && g.binding.follows(was.binding)
}

func (e edition) follows(was edition) bool {
	return e.uid == was.uid && (e.generation == was.generation || e.generation == was.generation+1)
}

// readGuard asks the API server. The error is pass-policy-missing when the guard is not
// as it is installed, cluster-unavailable when that cannot be told.
func readGuard(ctx context.Context, api client.Reader) (guard, error) {
	want, err := installed()
	if err != nil {
		return guard{}, err
	}
	name := types.NamespacedName{Name: PolicyName}
	var policy admissionv1.ValidatingAdmissionPolicy
	if err := read(ctx, api, name, &policy); err != nil {
		return guard{}, err
	}
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	if err := read(ctx, api, name, &binding); err != nil {
		return guard{}, err
	}
	switch {
	case policy.UID == "":
		return guard{}, missing("the policy " + PolicyName + " is not there")
	case binding.UID == "":
		return guard{}, missing("the policy " + PolicyName + " has no binding")
	case policy.DeletionTimestamp != nil || binding.DeletionTimestamp != nil:
		return guard{}, missing("the policy " + PolicyName + " or its binding is being deleted")
	case !equality.Semantic.DeepEqual(defaulted(policy.Spec), want.policy):
		return guard{}, spoilt("the policy " + PolicyName)
	case !equality.Semantic.DeepEqual(binding.Spec, want.binding):
		return guard{}, spoilt("the binding of the policy " + PolicyName)
	}
	return guard{edition{policy.UID, policy.Generation}, edition{binding.UID, binding.Generation}}, nil
}

// read leaves o as it is when it is not there.
func read(ctx context.Context, api client.Reader, name types.NamespacedName, o client.Object) error {
	err := api.Get(ctx, name, o)
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return unread(ctx, err)
}

func unread(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("read what guards annotations: %w", ctx.Err())
	}
	p := problem.New(problem.ClusterUnavailable, "it cannot be told whether annotations are guarded").From(err)
	if apierrors.IsForbidden(err) {
		return p.Because("podid may not read the policy, its binding, or its own record").
			Fixed("give podid's service account the rights that podid install gives it")
	}
	return p.Because("the API server does not answer, or answers with an error")
}

// spoilt has another fix: who applies a manifest leaves what others have added to its lists.
func spoilt(what string) error {
	return missing(what+" is not as podid installs it").
		Fixed("delete it and install it again: kubectl delete validatingadmissionpolicy,validatingadmissionpolicybinding %s && podid install", PolicyName)
}

func missing(why string) *problem.Problem {
	return problem.New(problem.PassPolicyMissing, "the annotation %s gives no role at present", Role).
		Because("%s, so that anybody who may edit service accounts could bind any role", why)
}

type specs struct {
	policy  admissionv1.ValidatingAdmissionPolicySpec
	binding admissionv1.ValidatingAdmissionPolicyBindingSpec
}

// installed is what the guard has to be.
var installed = sync.OnceValues(func() (specs, error) {
	var s specs
	documents := yaml.NewYAMLToJSONDecoder(bytes.NewReader(policies.PassRoleAnnotation))
	for {
		var o struct {
			metav1.TypeMeta
			Spec json.RawMessage
		}
		err := documents.Decode(&o)
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err == nil && o.Kind == "ValidatingAdmissionPolicy" {
			err = json.Unmarshal(o.Spec, &s.policy)
			s.policy = defaulted(s.policy)
		} else if err == nil {
			err = json.Unmarshal(o.Spec, &s.binding)
		}
		if err != nil {
			return s, fmt.Errorf("read the policy that podid installs: %w", err)
		}
	}
})

// defaulted is a spec with what the API server fills in
// (https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/apis/admissionregistration/v1/defaults.go).
func defaulted(given admissionv1.ValidatingAdmissionPolicySpec) admissionv1.ValidatingAdmissionPolicySpec {
	s := *given.DeepCopy()
	if s.FailurePolicy == nil {
		s.FailurePolicy = new(admissionv1.Fail)
	}
	match := s.MatchConstraints
	if match == nil {
		return s
	}
	if match.MatchPolicy == nil {
		match.MatchPolicy = new(admissionv1.Equivalent)
	}
	if match.NamespaceSelector == nil {
		match.NamespaceSelector = new(metav1.LabelSelector)
	}
	if match.ObjectSelector == nil {
		match.ObjectSelector = new(metav1.LabelSelector)
	}
	for i := range match.ResourceRules {
		if rule := &match.ResourceRules[i].Rule; rule.Scope == nil {
			rule.Scope = new(admissionv1.AllScopes)
		}
	}
	return s
}
