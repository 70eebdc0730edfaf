// Package annotation is the door that IRSA's own annotation opens: a service account
// annotated with eks.amazonaws.com/role-arn has an association with that role, unless a
// PodIdentityAssociation says otherwise. It is a store over the store of objects; the
// exchange finds a role here when no object names one.
//
// Anybody who may edit a service account may annotate it, so the annotation counts only
// while the policy pass-role-annotation.podid.dev and its binding check who sets it
// ([problem.PassPolicyMissing] otherwise). They look at changes, not at what there is. So
// each time they come (are made, or changed more than an upgrade does), a record is made
// of what is annotated by then, in the ConfigMap podid-annotations. What the record holds
// gives no role until somebody consents ([problem.ConsentMissing]); what is annotated
// later was checked. docs/design/annotations.md has the reasoning.
//
// # Permissions
//
// Of the API server it needs:
//
//	get, list, watch   serviceaccounts
//	get, list, watch   validatingadmissionpolicies and validatingadmissionpolicybindings of the
//	                   group admissionregistration.k8s.io named pass-role-annotation.podid.dev
//	get                the ConfigMap podid-annotations in podid's namespace
//	create, update     that ConfigMap, where the record is kept ([Recorder])
package annotation
