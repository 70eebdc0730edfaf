package main

import (
	"io"
	"regexp"
	"strings"

	"github.com/openpodidentity/podid/problem"
)

// denial is what a message of AWS says of the request it denies; what it does not
// name is empty.
type denial struct{ as, action, resource string }

// Messages as AWS words them
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html);
// the user's name and "is" are sometimes written without a space between them.
var (
	deniedForm = regexp.MustCompile(`(?:User: )?(\S+?) ?(?:is|are) not authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z0-9]+)` +
		`(?: on resource: ("[^"]+"|(?:role|user|group|policy|instance profile|server certificate) \S+|\S+))?`)
	// Without the one who asked: sts:AssumeRoleWithWebIdentity.
	deniedAction = regexp.MustCompile(`[Nn]ot authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z0-9]+)`)
	spaces       = regexp.MustCompile(`\s+`)
)

// podIdentityDenied is EKS Auth's text for a role that pod identity may not assume.
const podIdentityDenied = "EKS does not have permissions to assume the associated role"

const maxDenied = 64 << 10

// parseDenied reads an error message, or a log line around it.
func parseDenied(text string) (denial, error) {
	text = spaces.ReplaceAllString(strings.ReplaceAll(text, `\"`, `"`), " ")
	if m := deniedForm.FindStringSubmatch(text); m != nil {
		d := denial{as: principalIn(m[1]), action: m[2], resource: strings.Trim(m[3], `"`)}
		if m[3] != "" && m[3][0] != '"' {
			d.resource = strings.TrimRight(d.resource, `.,;:)}'"`)
		}
		d.resource = iamARN(d.resource, d.as)
		return d, nil
	}
	if m := deniedAction.FindStringSubmatch(text); m != nil {
		return denial{action: m[1]}, nil
	}
	if strings.Contains(text, podIdentityDenied) {
		return denial{action: "sts:AssumeRole"}, nil
	}
	p := problem.New(problem.Usage, "--denied has no message of AWS that says what was denied").
		Because(`such a message reads "User: ARN is not authorized to perform: ACTION on resource: ARN"; services that answer a bare "Access Denied" do not say`).
		Fixed("give ACTION, RESOURCE and --as instead")
	if strings.Contains(text, "Encoded authorization failure message") {
		p = p.Because("the message is encoded").Fixed("decode it, aws sts decode-authorization-message --encoded-message …, and give ACTION, RESOURCE and --as from it")
	}
	return denial{}, p
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
	if len(args) == 0 && d.action != "" {
		args = append(args, d.action)
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
			Because("AWS leaves it out of this one").Fixed("%s", fixMissing(args))
	}
	return args, nil
}

func fixMissing(args []string) string {
	action := strings.ToLower(args[0])
	switch {
	case strings.HasPrefix(action, "sts:assumerolewith"):
		return "podid can-i " + args[0] + " ROLE-ARN --as PROVIDER-ARN --trust FILE --key PROVIDER:sub=… --key PROVIDER:aud=…"
	case action == "sts:assumerole":
		return "podid can-i " + args[0] + " ROLE-ARN --as NAMESPACE/SERVICEACCOUNT --trust FILE"
	}
	return "give it beside --denied: podid can-i " + args[0] + " RESOURCE --as WHO; RESOURCE is * for an action that has none"
}
