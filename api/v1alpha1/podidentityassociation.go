package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodIdentityAssociation gives the service account of the same name, in the same
// namespace, an IAM role. Being named after its service account, it is the only one
// that this service account can have.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=pia,categories=podid
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.spec.roleARN`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.targetRoleARN`,priority=1
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.status.associationID`,priority=1
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PodIdentityAssociation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PodIdentityAssociationSpec `json:"spec"`
	// +optional
	Status PodIdentityAssociationStatus `json:"status,omitempty,omitzero"`
}

// PodIdentityAssociationSpec says which role, and how it is assumed. The fields are
// those of the EKS API's association.
//
// +kubebuilder:validation:XValidation:rule="!has(self.policy) || (has(self.disableSessionTags) && self.disableSessionTags)",message="policy is set and disableSessionTags is not; set disableSessionTags: true together with policy",reason=FieldValueInvalid
type PodIdentityAssociationSpec struct {
	// RoleARN is the role that pods of the service account get.
	//
	// +required
	RoleARN RoleARN `json:"roleARN"`

	// TargetRoleARN is a role, of any account, that the role assumes in its turn; pods
	// then get the target's credentials. The role presents the association's external ID.
	//
	// +optional
	TargetRoleARN RoleARN `json:"targetRoleARN,omitempty"`

	// DisableSessionTags leaves out the session tags that name cluster, namespace,
	// service account and pod.
	//
	// +optional
	DisableSessionTags bool `json:"disableSessionTags,omitempty"`

	// Policy is a session policy in JSON, which narrows what the credentials may do:
	// those of the target role if there is one, else of the role. It needs
	// disableSessionTags.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\t\\n\\r ]*[{]')",message="policy is a JSON object, so it begins with {"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\t\\n\\r\\u0020-\\u00ff]*$')",message="policy has characters that STS does not take: only tab, line breaks and U+0020 to U+00FF"
	// +optional
	Policy string `json:"policy,omitempty"`

	// Tags are the association's own, for people and inventories; pods do not get
	// them. Keys have 1 to 128 characters: letters, digits, spaces and _.:/=+-@, and
	// do not begin with aws:, in any case.
	// ---
	// CEL bounds the cost of an expression beforehand and knows no bound of a map's
	// keys: they cannot be matched here, nor their case be folded. Their characters
	// are podid-auth's to check.
	//
	// +kubebuilder:validation:MaxProperties=50
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) >= 1 && size(k) <= 128)",message="a tag key has 1 to 128 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !['aws:', 'Aws:', 'aWs:', 'awS:', 'AWs:', 'AwS:', 'aWS:', 'AWS:'].exists(p, k.startsWith(p)))",message="a tag key does not begin with aws:, which is reserved for AWS"
	// +optional
	Tags map[string]TagValue `json:"tags,omitempty"`
}

// RoleARN is the ARN of an IAM role.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=640
// +kubebuilder:validation:XValidation:rule="!self.contains(':assumed-role/')",message="this is the ARN of a role session; give the role's own, arn:aws:iam::ACCOUNT:role/NAME"
// +kubebuilder:validation:XValidation:rule="self.contains(':assumed-role/') || self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-.0-~]+/)*[0-9A-Za-z_+=,.@-]{1,64}$')",message="this is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME"
type RoleARN string

// TagValue is the value of a tag.
//
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="!self.matches('^[aA][wW][sS]:')",message="a tag value does not begin with aws:, which is reserved for AWS"
// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\pL\\\\pZ\\\\pN_.:/=+@-]*$')",message="a tag value has letters, digits, spaces and _.:/=+-@"
type TagValue string

// PodIdentityAssociationStatus is for people. It is written after the fact, and
// nothing that hands out credentials reads it.
type PodIdentityAssociationStatus struct {
	// AssociationID is the ID in the EKS API, derived from the object's UID.
	//
	// +kubebuilder:validation:MaxLength=19
	// +optional
	AssociationID string `json:"associationID,omitempty"`

	// AssociationARN is the ARN in the EKS API.
	//
	// +kubebuilder:validation:MaxLength=256
	// +optional
	AssociationARN string `json:"associationARN,omitempty"`

	// ExternalID is what the role presents to the target role, for the condition
	// sts:ExternalId of the target's trust policy. Empty without a target role.
	//
	// +kubebuilder:validation:MaxLength=512
	// +optional
	ExternalID string `json:"externalID,omitempty"`

	// Conditions: Accepted is True when podid would act on this association, with
	// the reason Accepted. Otherwise the reason is the code of the problem in
	// CamelCase (association-invalid is AssociationInvalid), and the message its text.
	//
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PodIdentityAssociationList is a list of associations.
//
// +kubebuilder:object:root=true
type PodIdentityAssociationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PodIdentityAssociation `json:"items"`
}
