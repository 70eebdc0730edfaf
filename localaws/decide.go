package localaws

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/localaws/s3"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// Question is one action on one resource.
type Question struct {
	Action, Resource string
	ResourceAccount  string // this account if empty
	// Keys are the condition keys that the question gives; they win.
	Keys policy.Keys
}

// Answer is the decision, and the condition keys beside the question's that
// were taken for it: those of a request from this machine over plain HTTP, now,
// and those that follow from the resource as it is.
type Answer struct {
	// Decision is the one that decides: the first that refuses, or the first.
	Decision policy.Decision
	// Call is the decision for each action that the call needs, in the order in which
	// it is asked, for [policy.ReportCall]: an sts:AssumeRole to which the caller's
	// session hands down tags needs sts:TagSession too.
	Call []policy.Decision
	Keys policy.Keys
}

// Decide says whether whoever has credentials c may do what q asks, by what
// decides requests that are signed with them. Nothing is done, and nothing
// noted. Errors are problems: role-missing, request-invalid.
func (a *AWS) Decide(c podid.Credentials, q Question) (Answer, error) {
	_, caller, err := a.find(c.AccessKeyID, c.SessionToken)
	if err != nil || caller == nil {
		return Answer{}, problem.New(problem.RequestInvalid, "the credentials are not known here").From(err)
	}
	return a.decide(caller, q)
}

// DecideAs says the same for a user of the account, by its ARN, or for a session
// without tags and session policy of one of its roles, by the ARN of either.
func (a *AWS) DecideAs(arn string, q Question) (Answer, error) {
	caller, err := a.callerOf(arn)
	if err != nil {
		return Answer{}, err
	}
	return a.decide(caller, q)
}

// rehearsedSession is what a session is called that nobody asked for by name.
const rehearsedSession = "podid-can-i"

func (a *AWS) callerOf(arn string) (*iam.Caller, error) {
	missing := func(kind iam.Kind) error {
		return problem.New(problem.RequestInvalid, "the local AWS has no %s %s", kind, arn).
			Because("it answers for the users and roles of its own account %s", a.account).
			Fixed("correct the ARN, create it, or give its policies as files")
	}
	kind, name, session := iam.User, arn[strings.LastIndexByte(arn, '/')+1:], ""
	prefix := "arn:" + a.iam.Partition + ":sts::" + a.account + ":assumed-role/"
	if rest, is := strings.CutPrefix(arn, prefix); is {
		kind = iam.Role
		name, session, _ = strings.Cut(rest, "/")
	} else if role := podid.RoleARN(arn).Name(); role != "" {
		kind, name, session = iam.Role, role, rehearsedSession
	}
	i, err := a.iam.Identity(kind, name)
	if err != nil || !strings.HasPrefix(arn, prefix) && i.ARN != arn {
		return nil, missing(kind)
	}
	c := &iam.Caller{Principal: policy.Principal{Kind: policy.User, Account: a.account, ARN: i.ARN}, Identity: i, UserID: i.ID}
	if kind == iam.Role {
		c.Kind, c.RoleARN, c.ARN = policy.AssumedRole, i.ARN, prefix+i.Name+"/"+session
		c.UserID += ":" + session
		c.Session = &iam.Session{Issued: a.now()}
	}
	return c, nil
}

func (a *AWS) decide(c *iam.Caller, q Question) (Answer, error) {
	r := &http.Request{RemoteAddr: "127.0.0.1:0", Header: http.Header{}}
	taken := requestKeys(r, sigv4.Verified{Scope: sigv4.Scope{Region: a.region}}, a.now())
	if h, ok := a.s3API.(*s3.Handler); ok {
		maps.Copy(taken, h.Keys(q.Action, q.Resource))
	}
	trust, err := a.roleAsked(c, q, taken)
	if err != nil {
		return Answer{}, err
	}
	maps.DeleteFunc(taken, func(key string, _ []string) bool {
		for given := range q.Keys {
			if strings.EqualFold(key, given) {
				return true
			}
		}
		return false
	})
	ask := iam.Question{Action: q.Action, Resource: q.Resource, ResourceAccount: q.ResourceAccount, Keys: q.Keys, Trust: trust}
	call := []policy.Decision{a.iam.Decide(&iam.Request{Caller: c, Keys: taken}, ask)}
	if _, tags := taken["sts:TransitiveTagKeys"]; tags && strings.EqualFold(q.Action, "sts:AssumeRole") {
		ask.Action = "sts:TagSession"
		call = append(call, a.iam.Decide(&iam.Request{Caller: c, Keys: taken}, ask))
	}
	decides := max(0, slices.IndexFunc(call, func(d policy.Decision) bool { return !d.Allowed }))
	return Answer{Decision: call[decides], Call: call, Keys: taken}, nil
}

// roleAsked adds the keys that IAM and STS give for a role or a user, and returns
// the role that is to be assumed, whose trust policy decides with; nil if none is.
func (a *AWS) roleAsked(c *iam.Caller, q Question, keys policy.Keys) (*iam.Identity, error) {
	action := strings.ToLower(q.Action)
	if !strings.HasPrefix(action, "sts:") && !strings.HasPrefix(action, "iam:") {
		return nil, nil
	}
	kind := iam.User
	if podid.RoleARN(q.Resource).Name() != "" {
		kind = iam.Role
	}
	i, err := a.iam.Identity(kind, q.Resource[strings.LastIndexByte(q.Resource, '/')+1:])
	found := err == nil && i.ARN == q.Resource
	if found {
		i.AddTagKeys(keys)
	}
	assumes := strings.HasPrefix(action, "sts:assumerole") || action == "sts:tagsession" || action == "sts:setsourceidentity"
	switch {
	case !assumes || kind != iam.Role:
		return nil, nil
	case !found:
		return nil, problem.New(problem.RoleMissing, "the local AWS has no role %s", q.Resource).
			Because("nothing that is not there can be assumed").Fixed("create the role, or correct its ARN")
	}
	if c.Session != nil {
		for _, tag := range c.Session.Tags {
			if slices.Contains(c.Session.Transitive, tag.Key) {
				keys["aws:RequestTag/"+tag.Key] = []string{tag.Value}
				keys["aws:TagKeys"] = append(keys["aws:TagKeys"], tag.Key)
				keys["sts:TransitiveTagKeys"] = append(keys["sts:TransitiveTagKeys"], tag.Key)
			}
		}
	}
	return i, nil
}

type rehearsal struct{}

// Rehearsal marks requests that leave no trace: they are answered as ever, and
// it is not noted that a role or an access key was used. Contexts do not travel:
// only what calls ServeHTTP itself can mark a request.
func Rehearsal(ctx context.Context) context.Context {
	return context.WithValue(ctx, rehearsal{}, true)
}

func isRehearsal(r *http.Request) bool { return r.Context().Value(rehearsal{}) != nil }
