package problem

import (
	"maps"
	"slices"
)

// Kind says how a code may be answered at every edge.
type Kind int

// The kinds. Only Transient heals by itself and may become 429 or 5xx;
// Broken is a fault of the set-up or of podid that a retry does not heal, and is
// 500.
const (
	Refused   Kind = iota // the answer is no until somebody changes something: 4xx
	Transient             // try again: 429 or 503
	Broken                // 500
)

// Entry is what the catalogue knows of a code.
type Entry struct {
	Code  Code
	Kind  Kind
	Title string
	Why   string
	Fix   string
}

// The codes, in the order of a request: the token, the workload, the
// association, the role, the session, the caller's own permissions, podid.
const (
	TokenMissing         Code = "token-missing"
	TokenMalformed       Code = "token-malformed"
	TokenUnsigned        Code = "token-unsigned"
	TokenAlgorithm       Code = "token-algorithm"
	TokenKeyUnknown      Code = "token-key-unknown"
	TokenForged          Code = "token-forged"
	TokenIssuer          Code = "token-issuer"
	TokenAudience        Code = "token-audience"
	TokenExpired         Code = "token-expired"
	TokenNotYetValid     Code = "token-not-yet-valid"
	TokenUnbound         Code = "token-unbound"
	PodGone              Code = "pod-gone"
	PodFinished          Code = "pod-finished"
	ServiceAccountGone   Code = "service-account-gone"
	ClusterUnavailable   Code = "cluster-unavailable"
	CallerUnproven       Code = "caller-unproven"
	SigV4AgentsOff       Code = "sigv4-agents-off"
	NodeMismatch         Code = "node-mismatch"
	ClusterUnknown       Code = "cluster-unknown"
	RequestInvalid       Code = "request-invalid"
	AssociationMissing   Code = "association-missing"
	AssociationNotFound  Code = "association-not-found"
	AssociationExists    Code = "association-exists"
	AssociationInvalid   Code = "association-invalid"
	AssociationLimit     Code = "association-limit"
	TagLimit             Code = "tag-limit"
	RoleMissing          Code = "role-missing"
	TrustInvalid         Code = "trust-invalid"
	TrustDenied          Code = "trust-denied"
	TrustPrincipal       Code = "trust-principal"
	TrustTagSession      Code = "trust-tag-session"
	TrustCondition       Code = "trust-condition"
	TargetRoleDenied     Code = "target-role-denied"
	SessionTagsTooLarge  Code = "session-tags-too-large"
	SessionPolicyInvalid Code = "session-policy-invalid"
	PolicyInvalid        Code = "policy-invalid"
	DurationTooLong      Code = "duration-too-long"
	STSThrottled         Code = "sts-throttled"
	STSUnavailable       Code = "sts-unavailable"
	BaseCredentials      Code = "base-credentials"
	PermissionDenied     Code = "permission-denied"
	AuthUnavailable      Code = "auth-unavailable"
	TooManyRequests      Code = "too-many-requests"
	ReplicaBehind        Code = "replica-behind"
	ConfigurationMissing Code = "configuration-missing"
	ConfigurationInvalid Code = "configuration-invalid"
	PassPolicyMissing    Code = "pass-policy-missing"
	ConsentMissing       Code = "consent-missing"
	AssociationShadowed  Code = "association-shadowed"
	PodNotInjected       Code = "pod-not-injected"
	CredentialsShadowed  Code = "credentials-shadowed"
	CertificateMissing   Code = "certificate-missing"
	CertificateInvalid   Code = "certificate-invalid"
	AddressUnavailable   Code = "address-unavailable"
	AgentMissing         Code = "agent-missing"
	ClusterUnreachable   Code = "cluster-unreachable"
	InstallIncomplete    Code = "install-incomplete"
	NotImplemented       Code = "not-implemented"
	WorldNotRunning      Code = "world-not-running"
	DataDamaged          Code = "data-damaged"
	DataLocked           Code = "data-locked"
	DataUnwritable       Code = "data-unwritable"
	Usage                Code = "usage"
	Internal             Code = "internal"
)

var catalogue = byCode([]Entry{
	{TokenMissing, Refused, "The request carries no token",
		"the SDK sends the pod's token in the Authorization header; this request had none",
		"let the SDK fetch the credentials: keep AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE as injected, and make sure the file is mounted"},
	{TokenMalformed, Refused, "The token is not a JSON Web Token",
		"a service-account token is three base64url parts joined by dots; this text is cut off or is something else",
		"let the SDK read the mounted token file; do not copy, trim or wrap its content"},
	{TokenUnsigned, Refused, "The token is not signed",
		"nothing proves who wrote it: anybody could have, whatever it says",
		"use the token that the kubelet mounted; no Kubernetes cluster hands out tokens without a signature"},
	{TokenAlgorithm, Refused, "The token is signed in a way that proves nothing",
		"only RS256, RS384, RS512, ES256, ES384 and ES512 are accepted; symmetric algorithms, whose key would be known to all, never are",
		"use the token that the kubelet mounted; no Kubernetes cluster signs with this algorithm"},
	{TokenKeyUnknown, Refused, "The token is signed with a key this cluster does not have",
		"the key ID in the token's header is not among the issuer's keys: the token is of another cluster, or the key was withdrawn",
		"restart the pod to get a new token; if that does not help, compare the cluster's JWKS with the one that podid reads"},
	{TokenForged, Refused, "The token's signature does not verify",
		"the token was changed after it was signed, or was never signed by this cluster",
		"use the token that the kubelet mounted, unchanged"},
	{TokenIssuer, Refused, "The token is of another issuer",
		"podid accepts tokens of the one issuer it is configured with; this one names another",
		"use a token of this cluster, or correct the issuer in podid's configuration"},
	{TokenAudience, Refused, "The token is for another audience",
		"a token is good only for the audience it was issued for; the one in the token volume must be pods.eks.amazonaws.com",
		"point AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE at the injected token, not at the API server's or at the IRSA one"},
	{TokenExpired, Refused, "The token has expired",
		"the kubelet renews the mounted file long before its token expires; an expired one means that an old copy was sent",
		"let the SDK read the file at each retrieval instead of keeping a copy; if the file itself is old, check the kubelet and the node's clock"},
	{TokenNotYetValid, Refused, "The token is not valid yet",
		"its nbf or iat claim lies in the future: the clocks of the API server and of podid differ",
		"synchronise the clocks (NTP) of the nodes and of the control plane"},
	{TokenUnbound, Refused, "The token is not bound to a pod",
		"podid answers pods; a token made with `kubectl create token` or kept in a Secret names no pod, so nobody can tell who uses it",
		"use the projected token that podid injects into the pod"},
	{PodGone, Refused, "The pod of this token is gone",
		"the token is bound to a pod that does not exist any more, or another pod has taken its name",
		"ask from the running pod; a token does not outlive its pod"},
	{PodFinished, Refused, "The pod of this token has finished",
		"the pod is Succeeded or Failed: nothing of it runs, so nothing of it can need credentials",
		"ask from a running pod"},
	{ServiceAccountGone, Refused, "The service account of this token is gone",
		"the service account was deleted, and perhaps made again under the same name: the token speaks for the old one",
		"restart the pod, so that it runs as the present service account"},
	{ClusterUnavailable, Transient, "The cluster's state is not known",
		"podid has no recent news of pods from the API server and will not guess",
		"nothing in the pod; look at the API server and at podid-auth's connection to it"},
	{CallerUnproven, Refused, "The caller did not prove who it is",
		"podid-auth answers agents that show their own pod-bound token, or, where allowed, callers with a known access key and a valid signature",
		"check the agent's token volume (audience auth.podid.dev) and its service account"},
	{SigV4AgentsOff, Refused, "Signed callers are not admitted",
		"a caller that signs with an access key, as AWS's own agent does, proves no node, so podid-auth admits it only where that was switched on",
		"use podid-agent, or set allowSigV4Agents in the ConfigMap podid (podid local: --allow-sigv4-agents) and accept that node scope does not hold"},
	{NodeMismatch, Refused, "The pod runs on another node",
		"an agent gets credentials only for the pods of its own node, so that a stolen node cannot collect the roles of others",
		"ask the agent of the node the pod runs on"},
	{ClusterUnknown, Refused, "This is not the cluster's name",
		"podid answers for one cluster, by the name it was configured with",
		"use that name in the request, or correct the cluster name in podid's configuration"},
	{RequestInvalid, Refused, "The request is malformed",
		"a field is missing, of the wrong type or out of its range",
		"correct the field that the message names"},
	{AssociationMissing, Refused, "No role is associated with the service account",
		"a pod gets a role through an association of its namespace and service account, and there is none",
		"create one: aws eks create-pod-identity-association --cluster-name CLUSTER --namespace NAMESPACE --service-account NAME --role-arn ARN"},
	{AssociationNotFound, Refused, "There is no association with this ID",
		"it was deleted, or belongs to another cluster",
		"list the associations: aws eks list-pod-identity-associations --cluster-name CLUSTER"},
	{AssociationExists, Refused, "The service account has an association already",
		"a service account has one role",
		"update the association that exists, or delete it first"},
	{AssociationInvalid, Refused, "The association is not valid",
		"a field breaks a rule of the EKS API",
		"correct the field that the message names"},
	{AssociationLimit, Refused, "The cluster is full of associations",
		"a cluster has at most 5,000 associations",
		"delete associations that no pod uses"},
	{TagLimit, Refused, "Too many tags",
		"an association has at most 50 tags",
		"remove tags first"},
	{RoleMissing, Refused, "The role does not exist",
		"the association names a role that IAM does not have",
		"create the role, or correct the association's role ARN"},
	{TrustInvalid, Refused, "The role's trust policy does not admit pod identity",
		"the trust policy must allow both sts:AssumeRole and sts:TagSession to the principal that podid assumes roles as",
		"print the statement with `podid trust-policy` and put it into the role's trust policy"},
	{TrustDenied, Refused, "The role's trust policy refuses the session",
		"STS answered that the principal may not assume the role",
		"compare the role's trust policy with what `podid trust-policy` prints, and look for Deny statements"},
	{TrustPrincipal, Refused, "The role does not trust podid's principal",
		"no statement of the role's trust policy names the principal that podid assumes roles as",
		"print the statement with `podid trust-policy` and put it into the role's trust policy"},
	{TrustTagSession, Refused, "The trust policy lacks sts:TagSession",
		"the session carries tags that say which pod it is; without sts:TagSession beside sts:AssumeRole STS refuses the whole call",
		"add \"sts:TagSession\" to the Action of the trust statement"},
	{TrustCondition, Refused, "A condition of the trust policy does not hold",
		"the trust statement that names podid's principal has a condition that this workload's session does not meet",
		"correct the condition in the role's trust policy, or bind the role to the workload it is meant for"},
	{TargetRoleDenied, Refused, "The target role refuses the association's role",
		"with a target role, the association's role assumes it with sts:AssumeRole, sts:TagSession and the association's external ID; both its own policy and the target's trust policy must allow that",
		"allow both actions on the target role in the role's policy, name the role in the target's trust policy, and compare sts:ExternalId with the association's externalId"},
	{SessionTagsTooLarge, Refused, "The session tags and policy are too large",
		"STS packs session tags and session policy into one token, and they do not fit",
		"set disableSessionTags on the association, shorten the session policy, or remove transitive tags from the base credentials"},
	{SessionPolicyInvalid, Refused, "The association's session policy is not valid",
		"a session policy is an IAM policy in JSON of at most 2,048 characters, and needs disableSessionTags",
		"correct the policy of the association"},
	{PolicyInvalid, Refused, "A policy document is not valid",
		"IAM takes documents of its policy grammar only",
		"correct the document at the position named; podid policy lint FILE checks it"},
	{DurationTooLong, Refused, "The session is asked for longer than STS allows",
		"a session lasts at most as long as the role's MaxSessionDuration, and one hour if the caller is a role session itself",
		"shorten the session duration in podid's configuration, or raise the role's MaxSessionDuration"},
	{STSThrottled, Transient, "STS is throttling",
		"more AssumeRole calls reached STS than the account may make",
		"nothing in the pod: podid retries; ask AWS for a higher limit if this lasts"},
	{STSUnavailable, Transient, "STS does not answer",
		"the STS endpoint could not be reached or failed",
		"check the STS endpoint in podid's configuration and the way there"},
	{BaseCredentials, Broken, "podid's own credentials do not work",
		"podid signs AssumeRole with base credentials of its own; STS does not know them, or they have expired",
		"renew podid's base credentials"},
	{PermissionDenied, Refused, "The role lacks a permission",
		"the pod has its role, and no policy of the role allows what was asked, or one denies it",
		"allow the action on the resource in a policy of the role, and look at its permissions boundary and session policy"},
	{AuthUnavailable, Transient, "podid-auth does not answer",
		"the agent could not reach podid-auth, or got an answer it cannot use",
		"look at podid-auth's pods and logs; the agent goes on by itself"},
	{TooManyRequests, Transient, "Too many requests",
		"this workload or this node asks faster than podid answers",
		"keep one SDK client (it caches credentials) instead of making one per call"},
	{ReplicaBehind, Transient, "This replica of podid-auth is behind",
		"the agent has heard of a newer association than this replica knows, and the API server could not be asked; an older role is not given out",
		"nothing in the pod: the agent asks another replica; if this lasts, look at podid-auth's connection to the API server"},
	{ConfigurationMissing, Broken, "podid is not configured yet",
		"the name, the region and the account of the cluster are in every session tag and trust policy, so none of them has a default",
		"set clusterName, region and account in the ConfigMap podid of podid's namespace"},
	{ConfigurationInvalid, Broken, "podid's configuration is not valid",
		"a key of the ConfigMap podid is unknown, or its value is not of the kind it must be",
		"correct the key that the message names"},
	{PassPolicyMissing, Refused, "Annotations are not served while nothing guards them",
		"the policy pass-role-annotation.podid.dev, which lets only those annotate a role who may pass it, or its binding, is missing or was changed",
		"install it again: podid install, helm upgrade, or kubectl apply -f deploy/policies/pass-role-annotation.yaml"},
	{ConsentMissing, Refused, "The annotation was there before anything guarded it",
		"nobody checked whether who annotated this service account may pass the role",
		"consent to it: podid consent; or remove the annotation and, half a minute later, have somebody who may pass the role set it again"},
	{AssociationShadowed, Refused, "The annotation has no effect",
		"the service account also has a PodIdentityAssociation, and that decides",
		"remove the annotation, or delete the PodIdentityAssociation"},
	{PodNotInjected, Refused, "The pod has no access to its role",
		"its service account has an association, and the pod was made without the variables and the token that an SDK needs",
		"delete the pod, so that it is made anew"},
	{CredentialsShadowed, Refused, "Other credentials of the pod win over its role",
		"SDKs look for static keys and web identity before they ask podid, and the pod has some",
		"remove them from the pod's environment"},
	{CertificateMissing, Transient, "There is no certificate to serve with yet",
		"the leader of podid-auth, or cert-manager where that was chosen, issues it and has not done so",
		"look at the log of podid-auth's leader (the holder of the Lease podid-auth), or at cert-manager"},
	{CertificateInvalid, Broken, "A certificate cannot be used",
		"it has expired, or what is in its Secret is none",
		"look at the log of podid-auth's leader (the holder of the Lease podid-auth), or at cert-manager"},
	{AddressUnavailable, Broken, "The agent's address cannot be had",
		"SDKs ask 169.254.170.23 or fd00:ec2::23, so the node must have that address",
		"give podid-address the capability NET_ADMIN, and look at its log"},
	{AgentMissing, Broken, "No agent is ready on the pod's node",
		"the agent of its node answers a pod's SDK, and nobody else can",
		"podid status says on which nodes no agent is ready; kubectl -n podid-system describe daemonset podid-agent says why"},
	{ClusterUnreachable, Refused, "The cluster cannot be asked",
		"the API server that the kubeconfig names does not answer, or refuses",
		"check the kubeconfig: kubectl cluster-info"},
	{InstallIncomplete, Refused, "podid is not running everywhere",
		"a part of podid is not ready, or is missing",
		"see what the message names, and podid status"},
	{NotImplemented, Refused, "The local AWS does not implement this",
		"the local AWS refuses by name what it does not implement, and never answers with a guess",
		"see docs/compatibility.md for what it implements"},
	{WorldNotRunning, Refused, "No local world is running",
		"the command talks to a running `podid local`, and found none",
		"start one in another terminal: podid local"},
	{DataDamaged, Broken, "The data directory is damaged",
		"a record in the middle of the journal does not have the checksum it was written with: the file was changed or the disk lost data",
		"restore the directory from a copy, or move it away and start anew"},
	{DataLocked, Refused, "The data directory is in use",
		"another process keeps its data there, and two would destroy each other's",
		"stop the other process, or choose another directory"},
	{DataUnwritable, Broken, "The data directory cannot be written",
		"the disk may be full or failing; changes are refused from now on, and nothing acknowledged before is lost",
		"make room or mend the disk, and start again"},
	{Usage, Refused, "The command was called wrongly",
		"an argument or a flag is missing, unknown or malformed",
		"read the command's --help"},
	{Internal, Broken, "podid failed",
		"this is a fault in podid or in its surroundings; the log has the cause",
		"look in podid's log at this moment, or for the request ID that the message names, and report what you find"},
})

// Lookup returns the catalogue's entry for code. A code that is not in the
// catalogue is a fault of the program and is treated as [Internal].
func Lookup(code Code) Entry {
	if e, ok := catalogue[code]; ok {
		return e
	}
	return catalogue[Internal]
}

// Known reports whether code is in the catalogue.
func Known(code Code) bool {
	_, ok := catalogue[code]
	return ok
}

// Codes returns all codes in alphabetical order.
func Codes() []Code { return slices.Sorted(maps.Keys(catalogue)) }

func byCode(entries []Entry) map[Code]Entry {
	m := make(map[Code]Entry, len(entries))
	for _, e := range entries {
		m[e.Code] = e
	}
	return m
}
