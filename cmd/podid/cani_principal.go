package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// who is whom a question is asked for: a pod of a service account, or a principal
// of AWS.
type who struct {
	// Of a pod; its Principal is then a session, or zero while its role is not known.
	namespace, serviceAccount string
	policy.Principal
	called string // what answers call the principal, if its ARN is made up
}

func (w who) isPod() bool { return w.serviceAccount != "" }

// session is what a role's session is called that nobody asked for by name.
const session = "podid-can-i"

var (
	arnForm = regexp.MustCompile(`^arn:(aws[a-z-]*):([a-z0-9-]+):([^:\s]*):([^:\s]*):(.+)$`)
	twelve  = regexp.MustCompile(`^[0-9]{12}$`)
	// Kubernetes' names; a namespace is a DNS label, a service account a subdomain.
	podForm    = regexp.MustCompile(`^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)/([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)$`)
	plainName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	domainForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)+(/\S*)?$`)
)

// part is one of an ARN's: 1 the partition, 2 the service, 3 the region, 4 the
// account, 5 the rest; empty if arn is none.
func part(arn string, n int) string {
	if m := arnForm.FindStringSubmatch(arn); m != nil {
		return m[n]
	}
	return ""
}

const whoForms = "a pod NAMESPACE/SERVICEACCOUNT, the ARN of a user, role, role session, federated user, account root or identity provider, a 12-digit account, a service such as pods.eks.amazonaws.com, or anonymous"

// builtIn are the identity providers that need no object in IAM: policies name
// them by their domains.
var builtIn = []string{"cognito-identity.amazonaws.com", "www.amazon.com", "graph.facebook.com", "accounts.google.com"}

// parseWho reads --as. The resource gives what s leaves out: the partition of an
// account, the account of an OpenID Connect provider. The action tells a
// service's name from an identity provider's.
func parseWho(s, action, resource string) (who, error) {
	var w who
	partition := cmp.Or(part(resource, 1), "aws")
	switch {
	case strings.EqualFold(s, "anonymous"):
		return w, nil
	case twelve.MatchString(s):
		w.Kind, w.Account, w.ARN = policy.Root, s, "arn:"+partition+":iam::"+s+":root"
		return w, nil
	case strings.HasPrefix(s, "arn:"):
		return parsePrincipalARN(s)
	case podForm.MatchString(s):
		m := podForm.FindStringSubmatch(s)
		w.namespace, w.serviceAccount = m[1], m[2]
		return w, nil
	case domainForm.MatchString(s):
		w.Kind, w.ARN = policy.Service, s
		if isProvider(s, action) {
			w.Kind = policy.Federated
		}
		if account := part(resource, 4); w.Kind == policy.Federated && account != "" && !slices.Contains(builtIn, s) {
			w.ARN = "arn:" + part(resource, 1) + ":iam::" + account + ":oidc-provider/" + s
		}
		return w, nil
	}
	p := problem.New(problem.Usage, "--as %s is nobody who could ask", clip(s)).Because("").Fixed("give %s", whoForms)
	if _, sa, is := strings.Cut(s, "system:serviceaccount:"); is && strings.Count(sa, ":") == 1 {
		p = p.Fixed("give --as %s", strings.Replace(sa, ":", "/", 1))
	} else if plainName.MatchString(s) {
		p = p.Fixed("give the namespace of a service account, --as NAMESPACE/%s, or the whole ARN of a user or role, --as arn:aws:iam::ACCOUNT:role/%[1]s", s)
	}
	return w, p
}

// isProvider tells the domain of an identity provider from the name of a service
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html).
func isProvider(domain, action string) bool {
	action = strings.ToLower(action)
	return action == "sts:assumerolewithwebidentity" || action == "sts:assumerolewithsaml" ||
		slices.Contains(builtIn, domain) ||
		!strings.HasSuffix(domain, ".amazonaws.com") && !strings.HasSuffix(domain, ".amazonaws.com.cn")
}

func parsePrincipalARN(s string) (w who, err error) {
	m := arnForm.FindStringSubmatch(s)
	wrong := func(why, fix string) error {
		return problem.New(problem.Usage, "--as %s is nobody who could ask", clip(s)).Because("%s", why).Fixed("%s", fix)
	}
	if m == nil || strings.ContainsAny(s, " \t\n*?") {
		return who{}, wrong("it is not the whole ARN of a principal", "give "+whoForms)
	}
	w.Account, w.ARN = m[4], s
	kind, name, _ := strings.Cut(m[5], "/")
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch service := m[2] + ":" + kind; {
	case !twelve.MatchString(w.Account):
		return who{}, wrong("it names no account", "give "+whoForms)
	case service == "iam:root" && m[5] == "root":
		w.Kind = policy.Root
	case service == "iam:user" && last != "":
		w.Kind = policy.User
	case service == "iam:role" && podid.RoleARN(s).Name() != "":
		w.Principal, w.called = sessionOf(podid.RoleARN(s)), "a session of "+s
	case service == "sts:assumed-role" && strings.Count(name, "/") == 1 && last != "" && name[0] != '/':
		role, _, _ := strings.Cut(name, "/")
		w.Kind, w.RoleARN = policy.AssumedRole, "arn:"+m[1]+":iam::"+w.Account+":role/"+role
	case service == "sts:federated-user" && last != "":
		w.Kind = policy.FederatedUser
	case (service == "iam:oidc-provider" || service == "iam:saml-provider") && last != "":
		w.Kind, w.Account = policy.Federated, ""
	case service == "iam:group":
		return who{}, wrong("a group is no principal: its users ask", "give the ARN of a user, and the group's policies with --identity")
	case service == "iam:instance-profile":
		return who{}, wrong("an instance profile is no principal: the role in it asks", "give the ARN of the role")
	default:
		return who{}, wrong("it is the ARN of no principal", "give "+whoForms)
	}
	return w, nil
}

// sessionOf is a session of a role.
func sessionOf(role podid.RoleARN) policy.Principal {
	return policy.Principal{
		Kind: policy.AssumedRole, Account: role.Account(), RoleARN: string(role),
		ARN: "arn:" + part(string(role), 1) + ":sts::" + role.Account() + ":assumed-role/" + role.Name() + "/" + session,
	}
}

// keyFlags are --key KEY=VALUE; a key given more than once has several values.
func keyFlags(flags []string) (policy.Keys, error) {
	keys := policy.Keys{}
	spelled := map[string]string{} // the first spelling of a key, which ignores case
	for _, flag := range flags {
		key, value, found := strings.Cut(flag, "=")
		service, name, _ := strings.Cut(key, ":")
		if !found || service == "" || name == "" {
			return nil, problem.New(problem.Usage, "--key %s is not KEY=VALUE", clip(flag)).Because("").
				Fixed("give a condition key and its value, such as --key aws:SourceIp=192.0.2.1; twice for a key with two values")
		}
		lower := strings.ToLower(key)
		spelled[lower] = cmp.Or(spelled[lower], inAWSCase(key))
		keys[spelled[lower]] = append(keys[spelled[lower]], value)
	}
	return keys, nil
}

// inAWSCase spells keys that a tag's key ends as AWS does, so that --key wins over
// what the session has.
func inAWSCase(key string) string {
	for _, prefix := range []string{"aws:PrincipalTag/", "aws:RequestTag/", "aws:ResourceTag/", "s3:ExistingObjectTag/"} {
		if len(key) > len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) {
			return prefix + key[len(prefix):]
		}
	}
	return key
}

// hasKey reports whether keys has a key, whose case does not count.
func hasKey(keys policy.Keys, key string) bool {
	for k := range keys {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

var actionForm = regexp.MustCompile(`^[A-Za-z0-9-]+:[A-Za-z0-9_./-]+$`)

func checkAction(action string) error {
	if actionForm.MatchString(action) {
		return nil
	}
	p := problem.New(problem.Usage, "%s is not an action", clip(action)).
		Because("an action is SERVICE:ACTION, such as s3:GetObject").Fixed("give the action that was refused, as the error names it")
	if known := actionOfS3(action); known != "" {
		p = p.Fixed("give %s", known)
	}
	if strings.ContainsAny(action, "*?") {
		p = p.Because("the question is about one request, and a request is one action").Fixed("give one action, such as s3:GetObject")
	}
	return p
}

func checkResource(action, resource string) error {
	if resource == "*" || arnForm.MatchString(resource) {
		return nil
	}
	p := problem.New(problem.Usage, "%s is not the ARN of a resource", clip(resource)).
		Because("policies name resources by their ARNs, arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE").
		Fixed("give the whole ARN, or * for an action that has no resource")
	path, is := strings.CutPrefix(resource, "s3://")
	if is || strings.HasPrefix(strings.ToLower(action), "s3:") && !strings.Contains(resource, ":") {
		p = p.Fixed("give arn:aws:s3:::%s", clip(strings.TrimSuffix(path, "/")))
	}
	return p
}

// S3's actions on objects and on buckets that are mixed up most often
// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html).
var (
	objectActions = []string{"s3:getobject", "s3:putobject", "s3:deleteobject", "s3:getobjecttagging", "s3:putobjecttagging", "s3:abortmultipartupload", "s3:getobjectversion"}
	bucketActions = []string{"s3:listbucket", "s3:getbucketlocation", "s3:listbucketversions", "s3:listbucketmultipartuploads", "s3:createbucket", "s3:deletebucket"}
)

// mismatch warns of an action that never applies to such a resource, and of a
// principal that never reaches it.
func mismatch(action, resource, principal string) string {
	path := part(resource, 5)
	if here, there := part(principal, 1), part(resource, 1); here != there && here != "" && there != "" {
		return "a principal of partition " + here + " reaches nothing in " + there + ": partitions have nothing in common"
	}
	if part(resource, 2) != "s3" || part(resource, 4) != "" {
		return ""
	}
	bucket, _, isObject := strings.Cut(path, "/")
	arn := "arn:" + part(resource, 1) + ":s3:::" + bucket
	switch lower := strings.ToLower(action); {
	case isObject && slices.Contains(bucketActions, lower):
		return action + " is an action on buckets: S3 asks for it on " + arn + ", never on an object"
	case !isObject && slices.Contains(objectActions, lower):
		return action + " is an action on objects: S3 asks for it on " + arn + "/KEY, never on the bucket"
	}
	return ""
}

// clip keeps what was typed from filling a message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
