package main

import (
	"cmp"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// denial is what a message of AWS says of the request it denies; what it does not
// name is empty.
type denial struct {
	as, action, resource string
	reason
}

// reason is the end of such a message: which type of policy denied, as AWS calls
// it, explicitly or not, and the ARN of the policy if it is named.
type reason struct {
	text, kind, arn string
	explicit        bool
}

// Messages as AWS words them
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html);
// the user's name and "is" are sometimes written without a space between them.
var (
	deniedForm = regexp.MustCompile(`(?:(?:User: )?(\S+?) ?)?(?:is|are) not authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z0-9]+)` +
		`(?: on resource: ("[^"]+"|(?:role|user|group|policy|instance profile|server certificate) \S+|\S+))?`)
	// Without the one who asked: sts:AssumeRoleWithWebIdentity.
	deniedAction = regexp.MustCompile(`[Nn]ot authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z0-9]+)`)
	spaces       = regexp.MustCompile(`\s+`)
	// As CodePipeline words it.
	deniedRole = regexp.MustCompile(`(\S+) is not authorized to perform:? AssumeRole on role:? (arn:\S+)`)
	// The name of the call, as the SDKs put it around a bare "Access Denied".
	deniedCall  = regexp.MustCompile(`when calling the ([A-Z]\w+) operation|operation error S3: ([A-Z]\w+)`)
	deniedSince = regexp.MustCompile(`(with an explicit deny in|because no) (?:an |a |the )?([A-Za-z -]+? policy|permissions boundary)(?: allows the \S+ action)?(?:: (arn:\S+))?`)
)

// podIdentityDenied is EKS Auth's text for a role that pod identity may not assume.
const podIdentityDenied = "EKS does not have permissions to assume the associated role"

const maxDenied = 64 << 10

// parseDenied reads an error message, or a log line around it.
func parseDenied(text string) (denial, error) {
	text = spaces.ReplaceAllString(strings.ReplaceAll(text, `\"`, `"`), " ")
	since := reasonIn(text)
	if m := deniedRole.FindStringSubmatch(text); m != nil {
		return denial{as: principalIn(m[1]), action: "sts:AssumeRole", resource: strings.TrimRight(m[2], `.,;:)}'"`), reason: since}, nil
	}
	if m := deniedForm.FindStringSubmatch(text); m != nil {
		d := denial{reason: since, as: principalIn(m[1]), action: m[2], resource: strings.Trim(m[3], `"`)}
		if m[3] != "" && m[3][0] != '"' {
			d.resource = strings.TrimRight(d.resource, `.,;:)}'"`)
		}
		d.resource = iamARN(d.resource, d.as)
		return d, nil
	}
	if m := deniedAction.FindStringSubmatch(text); m != nil {
		return denial{action: m[1], reason: since}, nil
	}
	if strings.Contains(text, podIdentityDenied) {
		return denial{action: "sts:AssumeRole"}, nil
	}
	if m := deniedCall.FindStringSubmatch(text); m != nil {
		if action := actionOfS3(m[1] + m[2]); action != "" {
			return denial{action: action}, nil
		}
	}
	p := problem.New(problem.Usage, "--denied has no message of AWS that says what was denied").
		Because(`such a message reads "User: ARN is not authorized to perform: ACTION on resource: ARN"; services that answer a bare "Access Denied" do not say`).
		Fixed("give ACTION, RESOURCE and --as instead")
	if strings.Contains(text, "Encoded authorization failure message") {
		p = p.Because("the message is encoded").Fixed("decode it, aws sts decode-authorization-message --encoded-message …, and give ACTION, RESOURCE and --as from it")
	}
	return denial{}, p
}

func reasonIn(text string) reason {
	m := deniedSince.FindStringSubmatch(text)
	if m == nil {
		return reason{}
	}
	return reason{m[0], m[2], strings.TrimRight(m[3], `.,;:)}'"`), strings.HasPrefix(m[1], "with")}
}

// actionOfS3 is the action of a call that only S3 has.
func actionOfS3(call string) string {
	action := "s3:" + call
	if permission := policy.Permission(action); permission != "" {
		return permission
	}
	if lower := strings.ToLower(action); slices.Contains(objectActions, lower) || slices.Contains(bucketActions, lower) {
		return action
	}
	return ""
}

// doubt says that AWS's message and the answer contradict each other: then the
// policies that decided are not those that were given.
func (f *canIFlags) doubt(r *canIReply) string {
	if f.said.text == "" || strings.Contains(r.Because, f.said.kind) && f.said.explicit == (r.Decision == policy.ExplicitDeny) {
		return ""
	}
	what := "AWS denied it " + f.said.text + "."
	if !f.any() {
		return what + " Here it is not so: another policy applies in the local world."
	}
	for kind, flag := range map[string]struct {
		name  string
		given int
	}{
		policy.Identity.String():        {"identity", len(f.identity)},
		policy.Resource.String():        {"resource-policy", len(f.resource)},
		policy.Trust.String():           {"trust", len(f.trust)},
		policy.Boundary.String():        {"boundary", len(f.boundary)},
		policy.Session.String():         {"session", len(f.session)},
		policy.ServiceControl.String():  {"scp", len(f.scp)},
		policy.ResourceControl.String(): {"rcp", len(f.rcp)},
	} {
		switch {
		case kind != f.said.kind:
		case flag.given == 0:
			return what + " No " + kind + " is given: add --" + flag.name + " FILE. Without it:"
		default:
			return what + " The files given with --" + flag.name + " do not say so: they are not what AWS evaluated, or not all of it. By them:"
		}
	}
	return what + " A " + f.said.kind + " is none of the policies that podid can-i reads. Without it:"
}

// principalIn is the one who asked, if the message names them: "You" and "User"
// are nobody.
func principalIn(s string) string {
	s = strings.TrimLeft(s, `"'({[`)
	if strings.HasPrefix(s, "arn:") || strings.EqualFold(s, "anonymous") || domainForm.MatchString(s) {
		return s
	}
	return ""
}

// iamARN is the ARN of what IAM calls "role NAME" in its messages.
func iamARN(resource, as string) string {
	kind, name, named := strings.Cut(resource, " ")
	if !named || part(as, 4) == "" || strings.HasPrefix(resource, "arn:") {
		return resource
	}
	if rest, is := strings.CutPrefix(resource, "instance profile "); is {
		kind, name = "instance-profile", rest
	}
	if strings.Contains(name, " ") {
		return resource
	}
	return "arn:" + part(as, 1) + ":iam::" + part(as, 4) + ":" + kind + "/" + name
}

// fill completes what was not given by what the message says; - is standard input.
func (f *canIFlags) fill(stdin io.Reader, args []string) ([]string, error) {
	text := f.denied
	if text == "-" {
		read, err := io.ReadAll(io.LimitReader(stdin, maxDenied))
		if err != nil {
			return nil, problem.New(problem.Usage, "the message could not be read from standard input").Because("%v", err)
		}
		text = string(read)
	}
	d, err := parseDenied(text[:min(len(text), maxDenied)])
	if err != nil {
		return nil, err
	}
	f.said = d.reason
	switch {
	case d.action == "":
	case len(args) == 0:
		args = append(args, d.action)
	case len(args) == 1 && (args[0] == "*" || strings.HasPrefix(args[0], "arn:")): // no action looks like this
		args = []string{d.action, args[0]}
	}
	if len(args) == 1 && d.resource == "" && f.trust != nil && strings.HasPrefix(strings.ToLower(args[0]), "sts:assumerole") {
		d.resource = cmp.Or(f.role, roleOfThePod("aws", "111122223333")) // its trust policy is what counts
	}
	if len(args) == 1 && d.resource != "" {
		args = append(args, d.resource)
	}
	if f.as == "" {
		f.as = d.as
	}
	var missing []string
	if len(args) < 2 {
		missing = append(missing, "the resource")
	}
	if f.as == "" {
		missing = append(missing, "who asked")
	}
	if len(missing) > 0 {
		return nil, problem.New(problem.Usage, "the message does not name %s", strings.Join(missing, " or ")).
			Because("AWS leaves it out of this one").Fixed("%s", fixMissing(args, f.as))
	}
	return args, nil
}

// fixMissing is the command with what is to be filled in.
func fixMissing(args []string, as string) string {
	action := strings.ToLower(args[0])
	as = cmp.Or(as, "WHO")
	if len(args) > 1 && strings.Contains(args[1], ":role/") && strings.HasPrefix(action, "sts:") && as == "WHO" {
		as = "NAMESPACE/SERVICEACCOUNT"
	}
	switch {
	case action == "sts:assumerolewithwebidentity" && as == "NAMESPACE/SERVICEACCOUNT":
		return "add --as NAMESPACE/SERVICEACCOUNT, whose token it is (outside Kubernetes --as PROVIDER-ARN --key PROVIDER:sub=… --key PROVIDER:aud=…)"
	case len(args) > 1:
		return "add --as " + as
	case strings.HasPrefix(action, "sts:assumerole"):
		return "podid can-i " + args[0] + " ROLE-ARN --as NAMESPACE/SERVICEACCOUNT --trust FILE"
	case slices.Contains(bucketActions, action):
		return "podid can-i " + args[0] + " arn:aws:s3:::BUCKET --as " + as + " --identity FILE"
	case slices.Contains(objectActions, action):
		return "podid can-i " + args[0] + " arn:aws:s3:::BUCKET/KEY --as " + as + " --identity FILE"
	}
	return "podid can-i " + args[0] + " RESOURCE --as " + as + " --identity FILE; RESOURCE is * for an action that has none"
}
