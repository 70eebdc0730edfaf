package kube_test

import (
	"fmt"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/api/v1alpha1"
)

func associationAttempts() []attempt {
	type P = *v1alpha1.PodIdentityAssociation
	cart, till := pia("cart", ""), pia("till", "")
	with := func(name, role, target string) P {
		o := pia(name, role)
		o.Spec.TargetRoleARN = v1alpha1.RoleARN(target)
		return o
	}
	generated := pia("", reader)
	generated.GenerateName = "made-"
	const merge = types.MergePatchType
	ssa := func(name, role string) string { return manifest("shop", name, "roleARN: "+role) }
	return []attempt{
		{"CreateWithPass", "alice", creates(pia("new", reader)), ""},
		{"CreateWithout", "bob", creates(pia("new", reader)), notReader},
		{"CreateWithPassOnAnotherRole", "alice", creates(pia("new", writer)), notWriter},
		{"CreateWithPassOnBoth", "alice", creates(with("new", reader, target)), ""},
		{"CreateWithPassOnRoleOnly", "alice", creates(with("new", reader, writer)), notWriter + " (spec.targetRoleARN)"},
		{"CreateWithPassOnTargetOnly", "alice", creates(with("new", writer, target)), notWriter + " (spec.roleARN)"},
		{"CreateWithPassOnEveryRole", "erin", creates(with("new", writer, target)), ""},
		{"WildcardOnPodidDev", "carol", creates(pia("new", reader)), notReader},
		{"WildcardInTheNamespace", "dave", creates(pia("new", reader)), notReader},
		{"PassByRoleBinding", "frank", creates(pia("new", reader)), notReader},
		{"PassIsNoRightToCreate", "alice", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			o := pia("new", reader)
			o.Namespace = "podid-system"
			return as.Create(t.Context(), o)
		}, `cannot create resource "podidentityassociations"`},
		{"GenerateNameWithPass", "alice", creates(generated), ""},
		{"GenerateNameWithout", "bob", creates(generated), notReader},
		{"DryRunWithPass", "alice", creates(pia("new", reader), client.DryRunAll), ""},
		{"DryRunWithout", "bob", creates(pia("new", reader), client.DryRunAll), notReader},
		{"MalformedARN", "erin", creates(pia("new", "reader")), "this is not the ARN of a role"},
		{"MalformedARNWithout", "bob", creates(pia("new", "arn:aws:iam::1:role/x")), "this is not the ARN of a role"},
		{"SessionARN", "erin", creates(pia("new", "arn:aws:sts::111122223333:assumed-role/reader/x")), "this is the ARN of a role session"},
		{"MalformedTarget", "erin", creates(with("new", reader, "*")), "this is not the ARN of a role"},
		{"AStarIsNoWildcard", "alice", creates(pia("new", "arn:aws:iam::111122223333:role/*")), "this is not the ARN of a role"},
		{"AnotherCaseIsAnotherRole", "alice", creates(pia("new", "arn:aws:iam::111122223333:role/Reader")), "may not pass"},

		{"UpdateToPassedRole", "alice", updates(till, func(o P) { o.Spec.RoleARN = reader }), ""},
		{"UpdateToAnotherRole", "alice", updates(cart, func(o P) { o.Spec.RoleARN = writer }), notWriter},
		{"UpdateAddsTarget", "alice", updates(cart, func(o P) { o.Spec.TargetRoleARN = target }), ""},
		{"UpdateOfTargetAlone", "alice", updates(cart, func(o P) { o.Spec.TargetRoleARN = writer }), notWriter + " (spec.targetRoleARN)"},
		{"UpdateOfTargetAloneWithoutTheRole", "alice", updates(till, func(o P) { o.Spec.TargetRoleARN = target }), notWriter + " (spec.roleARN)"},
		{"PatchOfTargetAlone", "bob", patches(cart, merge, `{"spec":{"targetRoleARN":"`+target+`"}}`), notReader},
		{"SessionPolicyDropped", "bob", patches(cart, merge, `{"spec":{"policy":null}}`), notReader},
		{"SessionPolicyDroppedWithPass", "alice", patches(cart, merge, `{"spec":{"policy":null}}`), ""},
		{"SessionTagsBackOn", "bob", patches(cart, merge, `{"spec":{"policy":null,"disableSessionTags":null}}`), notReader},
		{"SessionTagsOff", "alice", patches(till, merge, `{"spec":{"disableSessionTags":true}}`), notWriter},
		{"TagsOfTheSpec", "bob", patches(cart, merge, `{"spec":{"tags":{"team":"b"}}}`), notReader},
		{"JSONPatch", "bob", patches(till, types.JSONPatchType, `[{"op":"replace","path":"/spec/roleARN","value":"`+reader+`"}]`), notReader},
		{"ApplyCreates", "alice", applies(pia("new", ""), ssa("new", reader)), ""},
		{"ApplyCreatesWithout", "bob", applies(pia("new", ""), ssa("new", reader)), notReader},
		{"ApplyChanges", "alice", applies(till, ssa("till", reader)), ""},
		{"ApplyChangesWithout", "bob", applies(till, ssa("till", reader)), notReader},
		{"ApplyDryRun", "bob", applies(till, ssa("till", reader), client.DryRunAll), notReader},
		{"ApplyOfTheSame", "bob", applies(till, ssa("till", writer)), ""},
		{"UpdateDryRun", "bob", updates(till, func(o P) { o.Spec.RoleARN = reader }, client.DryRunAll), notReader},
		{"KubectlApply", "bob", kubectls(ssa("till", reader), "apply", "-f", "-"), notReader},
		{"KubectlApplyWithPass", "alice", kubectls(ssa("till", reader), "apply", "-f", "-"), ""},
		{"KubectlApplyServerSide", "bob", kubectls(ssa("till", reader), "apply", "--server-side", "--force-conflicts", "-f", "-"), notReader},
		{"KubectlReplace", "bob", kubectls(ssa("till", reader), "replace", "-f", "-"), notReader},
		{"KubectlReplaceForce", "bob", kubectls(ssa("till", reader), "replace", "--force", "-f", "-"), notReader},
		{"KubectlReplaceWithPass", "alice", kubectls(ssa("till", reader), "replace", "-f", "-"), ""},
		{"KubectlEdit", "bob", edits("till", writer, reader), notReader},
		{"KubectlEditWithPass", "alice", edits("till", writer, reader), ""},

		{"Label", "bob", patches(cart, merge, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"Annotate", "bob", patches(cart, merge, `{"metadata":{"annotations":{"a":"b"}}}`), ""},
		{"KubectlLabel", "bob", kubectls("", "label", "pia", "cart", "a=b"), ""},
		{"KubectlAnnotate", "bob", kubectls("", "annotate", "pia", "cart", "a=b"), ""},
		{"UpdateOfLabels", "bob", updates(cart, func(o P) { o.Labels = map[string]string{"a": "b"} }), ""},
		{"LabelAndRoleAtOnce", "bob", updates(cart, func(o P) { o.Labels = map[string]string{"a": "b"}; o.Spec.RoleARN = writer }), notWriter},
		{"Owner", "bob", updates(cart, func(o P) {
			o.OwnerReferences = []meta.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
		}), ""},
		{"FinalizerAddedAndRemoved", "bob", finalizes(cart), ""},
		{"FinalizerOfTheDeletedRemoved", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			o := pia("cart", "")
			if err := as.Patch(t.Context(), o, client.RawPatch(merge, []byte(`{"metadata":{"finalizers":["test.podid.dev/hold"]}}`))); err != nil {
				return err
			}
			if err := as.Delete(t.Context(), o); err != nil {
				return err
			}
			if err := as.Patch(t.Context(), o, client.RawPatch(merge, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
				return err
			}
			if err := as.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		}, ""},
		{"Status", "bob", statusPatched(`{"status":{"externalID":"x"}}`), ""},
		{"StatusCarriesNoSpec", "bob", statusPatched(`{"spec":{"roleARN":"` + writer + `"},"status":{"externalID":"x"}}`), ""},
		{"Delete", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.Delete(t.Context(), pia("cart", ""))
		}, ""},
		{"DeleteCollection", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.DeleteAllOf(t.Context(), pia("", ""), client.InNamespace("shop"))
		}, ""},
	}
}

// finalizes adds a finalizer and removes it.
func finalizes(o client.Object) act {
	return func(t *testing.T, w *passWorld, as client.Client, user string) error {
		for _, finalizers := range []string{`["test.podid.dev/hold"]`, `null`} {
			if err := patches(o, types.MergePatchType, `{"metadata":{"finalizers":`+finalizers+`}}`)(t, w, as, user); err != nil {
				return err
			}
		}
		return nil
	}
}

// statusPatched patches the status and sees that it is the only thing to have changed.
func statusPatched(patch string) act {
	return func(t *testing.T, w *passWorld, as client.Client, _ string) error {
		o := pia("cart", "")
		if err := as.Status().Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			return err
		}
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if o.Spec.RoleARN != reader || o.Status.ExternalID != "x" {
			return fmt.Errorf("after it: %+v", o)
		}
		return nil
	}
}

// edits is kubectl edit, whose editor replaces from with to.
func edits(name, from, to string) act {
	return func(t *testing.T, w *passWorld, _ client.Client, user string) error {
		t.Setenv("KUBE_EDITOR", "sed -i s#"+from+"#"+to+"#")
		return w.kubectl(t, user, "", "edit", "pia", name)
	}
}

func annotationAttempts() []attempt {
	type A = *core.ServiceAccount
	cart, till := annotated("cart", ""), annotated("till", "")
	const merge = types.MergePatchType
	set := func(role string) string {
		return `{"metadata":{"annotations":{"` + roleAnnotation + `":"` + role + `"}}}`
	}
	ssa := func(name, role string) string {
		return `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"` + name + `","namespace":"shop","annotations":{"` + roleAnnotation + `":"` + role + `"}}}`
	}
	generated := annotated("", reader)
	generated.GenerateName = "made-"
	return []attempt{
		{"Create", "alice", creates(annotated("new", reader)), ""},
		{"CreateWithout", "bob", creates(annotated("new", reader)), notReader},
		{"CreateWithPassOnAnotherRole", "alice", creates(annotated("new", writer)), notWriter},
		{"CreateWithoutAnnotation", "bob", creates(annotated("new", "")), ""},
		{"CreateWithEmptyAnnotation", "bob", applies(annotated("new", ""), ssa("new", "")), ""},
		{"WildcardOnPodidDev", "carol", creates(annotated("new", reader)), notReader},
		{"WildcardInTheNamespace", "dave", creates(annotated("new", reader)), notReader},
		{"PassByRoleBinding", "frank", creates(annotated("new", reader)), notReader},
		{"GenerateName", "bob", creates(generated), notReader},
		{"DryRun", "bob", creates(annotated("new", reader), client.DryRunAll), notReader},
		{"MalformedARN", "erin", creates(annotated("new", "reader")), "is not the ARN of a role"},
		{"ARNWithBlanks", "erin", creates(annotated("new", " "+reader)), "is not the ARN of a role"},
		{"SessionARN", "erin", creates(annotated("new", "arn:aws:sts::111122223333:assumed-role/reader/x")), "is not the ARN of a role"},
		{"AStarIsNoWildcard", "erin", creates(annotated("new", "*")), "is not the ARN of a role"},
		{"TooLong", "erin", creates(annotated("new", "arn:aws:iam::111122223333:role/"+strings.Repeat("p", 640)+"/x")), "is not the ARN of a role"},
		{"PatchSets", "alice", patches(till, merge, set(reader)), ""},
		{"PatchSetsWithout", "bob", patches(till, merge, set(reader)), notReader},
		{"PatchChanges", "alice", patches(cart, merge, set(writer)), notWriter},
		{"StrategicPatch", "bob", patches(till, types.StrategicMergePatchType, set(reader)), notReader},
		{"UpdateSets", "bob", updates(till, func(o A) { o.Annotations = map[string]string{roleAnnotation: reader} }), notReader},
		{"ApplyCreates", "bob", applies(annotated("new", ""), ssa("new", reader)), notReader},
		{"ApplyCreatesWithPass", "alice", applies(annotated("new", ""), ssa("new", reader)), ""},
		{"ApplySets", "bob", applies(till, ssa("till", reader)), notReader},
		{"ApplySetsWithPass", "alice", applies(till, ssa("till", reader)), ""},
		{"ApplyOfTheSame", "bob", applies(cart, ssa("cart", reader)), ""},
		{"KubectlAnnotate", "bob", kubectls("", "annotate", "sa", "till", roleAnnotation+"="+reader), notReader},
		{"KubectlAnnotateWithPass", "alice", kubectls("", "annotate", "sa", "till", roleAnnotation+"="+reader), ""},
		{"Removed", "bob", patches(cart, merge, `{"metadata":{"annotations":{"`+roleAnnotation+`":null}}}`), ""},
		{"Emptied", "bob", patches(cart, merge, set("")), ""},
		{"RemovedAndSetAgain", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			if err := as.Patch(t.Context(), annotated("cart", ""), client.RawPatch(merge, []byte(`{"metadata":{"annotations":null}}`))); err != nil {
				return err
			}
			return as.Patch(t.Context(), annotated("cart", ""), client.RawPatch(merge, []byte(set(reader))))
		}, notReader},
		{"UnchangedWhileLabelled", "bob", patches(cart, merge, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"UnchangedWhileAnotherIsSet", "bob", patches(cart, merge, `{"metadata":{"annotations":{"a":"b"}}}`), ""},
		{"UnchangedWhileOtherFieldsChange", "bob", updates(cart, func(o A) {
			o.AutomountServiceAccountToken = new(false)
			o.ImagePullSecrets = []core.LocalObjectReference{{Name: "x"}}
			o.Secrets = []core.ObjectReference{{Name: "x"}}
		}), ""},
		{"UnchangedWhileFinalizersChange", "bob", finalizes(cart), ""},
		{"Tokens", "bob", kubectls("", "create", "token", "cart"), ""},
		{"Delete", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.Delete(t.Context(), annotated("cart", ""))
		}, ""},
	}
}

func accessKeyAttempts() []attempt {
	type S = *core.Secret
	const (
		merge = types.MergePatchType
		not   = "may not impersonate service account shop/deployer"
		other = "may not impersonate service account shop/other"
		none  = "is not a service account, NAMESPACE/NAME"
	)
	k := key("k", "")
	name := func(account string) string {
		return `{"metadata":{"annotations":{"` + accountAnnotation + `":"` + account + `"}}}`
	}
	elsewhere := key("new", "shop/deployer")
	elsewhere.Namespace = "shop"
	opaque := key("new", "shop/deployer")
	opaque.Type = core.SecretTypeOpaque
	generated := key("", "shop/deployer")
	generated.GenerateName = "key-"
	attempts := []attempt{
		{"Create", "grace", creates(key("new", "shop/deployer")), ""},
		{"CreateWithout", "bob", creates(key("new", "shop/deployer")), not},
		{"CreateForAnother", "grace", creates(key("new", "shop/other")), other},
		{"CreateForTheSameNameElsewhere", "grace", creates(key("new", "podid-system/deployer")), "may not impersonate service account podid-system/deployer"},
		{"SuperuserOfTheNamespace", "dave", creates(key("new", "shop/deployer")), ""},
		{"SuperuserOfAnotherNamespace", "dave", creates(key("new", "kube-system/generic-garbage-collector")), "may not impersonate"},
		{"InAnyNamespace", "bob", creates(elsewhere), not},
		{"OtherSecretsAreFree", "bob", creates(opaque), ""},
		{"GenerateName", "bob", creates(generated), not},
		{"DryRun", "bob", creates(key("new", "shop/deployer"), client.DryRunAll), not},
		{"KubectlCreate", "bob", kubectls("", "create", "secret", "generic", "new", "-n", "podid-system", "--type=podid.dev/access-key"), none},
		{"TypeChangedAfterwards", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			if err := as.Create(t.Context(), opaque.DeepCopy()); err != nil {
				return err
			}
			return as.Patch(t.Context(), key("new", ""), client.RawPatch(merge, []byte(`{"type":"podid.dev/access-key"}`)))
		}, "field is immutable"},
		{"TypeTakenAway", "grace", patches(k, merge, `{"type":"Opaque"}`), "field is immutable"},
		{"AccountChangedAfterwards", "grace", patches(k, merge, name("shop/other")), other},
		{"AccountChangedToOneOfOurs", "grace", func(t *testing.T, w *passWorld, as client.Client, _ string) error {
			if err := w.admin.Create(t.Context(), key("theirs", "shop/other")); err != nil {
				return err
			}
			return as.Patch(t.Context(), key("theirs", ""), client.RawPatch(merge, []byte(name("shop/deployer"))))
		}, ""},
		{"AccountRemoved", "grace", patches(k, merge, `{"metadata":{"annotations":null}}`), none},
		{"AccountAndDataApplied", "bob", applies(k, `{"apiVersion":"v1","kind":"Secret","type":"podid.dev/access-key","metadata":{"name":"k","namespace":"podid-system","annotations":{"`+accountAnnotation+`":"shop/other"}}}`), other},
		{"KeyReplaced", "bob", updates(k, func(o S) { o.Data["secret-access-key"] = []byte("mine") }), not},
		{"KeyReplacedByStringData", "bob", patches(k, merge, `{"stringData":{"secret-access-key":"mine"}}`), not},
		{"KeyReplacedByImpersonator", "grace", patches(k, merge, `{"stringData":{"secret-access-key":"mine"}}`), ""},
		{"DataRemoved", "bob", patches(k, merge, `{"data":null}`), not},
		{"Label", "bob", patches(k, merge, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"Annotate", "bob", patches(k, merge, `{"metadata":{"annotations":{"a":"b"}}}`), ""},
		{"FinalizerAddedAndRemoved", "bob", finalizes(k), ""},
		{"Immutable", "bob", patches(k, merge, `{"immutable":true}`), ""},
		{"Delete", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.Delete(t.Context(), k.DeepCopy())
		}, ""},
	}
	// The administrator could impersonate anybody, and still makes no such key.
	for _, account := range []string{
		"", "deployer", "/deployer", "shop/", "shop/a/b", "shop/../kube-system/x", "SHOP/deployer", "shop/deployer ", "*/*", "shop/*",
		"system:admin", "system:masters", "system:serviceaccount:shop:deployer", "system:node:a", "system:serviceaccounts/shop", "shop/system:admin",
		"alice", "user/alice@example.com", "shop/de.p..loyer", "shop/deployer\nshop/other", strings.Repeat("n", 64) + "/deployer",
		"shop/" + strings.Repeat("n", 254),
	} {
		attempts = append(attempts, attempt{"Not" + strings.Map(func(r rune) rune {
			if r == '/' || r == ' ' || r == '\n' {
				return '_'
			}
			return r
		}, account[:min(len(account), 40)]), "alice", func(t *testing.T, w *passWorld, _ client.Client, _ string) error {
			return w.admin.Create(t.Context(), key("new", account))
		}, none})
	}
	return attempts
}
