package sandbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/localaws"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// Question asks whether somebody may do something: a pod of a service account,
// or a user, a role or a session by its ARN.
type Question struct {
	Namespace      string `json:"namespace,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Principal      string `json:"principal,omitempty"` // ARN

	Action          string      `json:"action"`
	Resource        string      `json:"resource"`
	ResourceAccount string      `json:"resourceAccount,omitempty"` // the world's if empty
	Keys            policy.Keys `json:"keys,omitempty"`
}

// Answer is the world's. Either Problem says why the pod has no credentials, or
// Decision what they may do.
type Answer struct {
	// Pod is how a pod gets its role, as far as it gets; nil for others.
	Pod      *PodRole       `json:"pod,omitempty"`
	Problem  *Refusal       `json:"problem,omitempty"`
	Decision *policy.Report `json:"decision,omitempty"`
	// Keys are the condition keys that the world took beside the question's.
	Keys policy.Keys `json:"keys,omitempty"`
}

// PodRole is the role of a pod.
type PodRole struct {
	Namespace          string `json:"namespace"`
	ServiceAccount     string `json:"serviceAccount"`
	Association        string `json:"association,omitempty"` // ID
	Role               string `json:"role,omitempty"`
	TargetRole         string `json:"targetRole,omitempty"`
	DisableSessionTags bool   `json:"disableSessionTags,omitempty"`
	SessionPolicy      bool   `json:"sessionPolicy,omitempty"`
	// Credentials says that the pod gets some.
	Credentials bool `json:"credentials"`
}

// Refusal is a problem, with what STS said.
type Refusal struct {
	wireProblem
	STS string `json:"sts,omitempty"`
}

// Decide answers q. For a pod it is the exchange of podid-auth without a token,
// then the decision of IAM for the credentials that come of it. Nothing of it is
// kept: no pod is made, no use of a role or of an access key noted. An error says
// that the world cannot tell.
func (w *World) Decide(ctx context.Context, q Question) (Answer, error) {
	ask := localaws.Question{Action: q.Action, Resource: q.Resource, ResourceAccount: q.ResourceAccount, Keys: q.Keys}
	if workload, is := w.podOfSession(ctx, q.Principal); is {
		q.Namespace, q.ServiceAccount, q.Principal = workload.Namespace, workload.ServiceAccount, ""
	}
	if q.Principal != "" {
		return answered(Answer{})(w.AWS.DecideAs(q.Principal, ask))
	}
	if err := validate(q.Namespace, q.ServiceAccount, "any"); err != nil {
		return Answer{}, err
	}
	exchange := *w.Exchange
	exchange.Tokens = known(w.Pods.anyOf(q.Namespace, q.ServiceAccount))
	exchange.Roles = w.rehearsed()
	grant, err := exchange.Exchange(ctx, auth.Caller{Node: NodeName}, "")
	a := Answer{Pod: podRole(q, grant.Association)}
	if err != nil {
		p := problem.Of(err)
		if problem.Lookup(p.Code).Kind != problem.Refused {
			return a, p
		}
		a.Problem = &Refusal{wireProblem{p.Code, p.What, p.Why, p.Fix}, said(p.Err)}
		return a, nil
	}
	a.Pod.Credentials = true
	return answered(a)(w.AWS.Decide(grant.Session.Credentials, ask))
}

// answered completes a. What is not there is an answer too.
func answered(a Answer) func(localaws.Answer, error) (Answer, error) {
	return func(d localaws.Answer, err error) (Answer, error) {
		if problem.Is(err, problem.RoleMissing) {
			p := problem.Of(err)
			a.Problem = &Refusal{wireProblem: wireProblem{p.Code, p.What, p.Why, p.Fix}}
			return a, nil
		}
		if err != nil {
			return a, err
		}
		a.Decision, a.Keys = new(policy.ReportCall(d.Call...)), d.Keys
		return a, nil
	}
}

func podRole(q Question, a podid.Association) *PodRole {
	p := &PodRole{Namespace: q.Namespace, ServiceAccount: q.ServiceAccount}
	if a.UID != "" {
		p.Association, p.Role, p.TargetRole = a.ID(), string(a.Role), string(a.Target)
		p.DisableSessionTags, p.SessionPolicy = a.DisableSessionTags, a.Policy != ""
	}
	return p
}

// said is what STS said, without what surrounds it in the SDK's error.
func said(err error) string {
	if api, ok := errors.AsType[interface {
		error
		ErrorMessage() string
	}](err); ok {
		return api.ErrorMessage()
	}
	return ""
}

// known are the tokens of a workload that needs none.
type known podid.Workload

// Verify implements auth.Tokens.
func (k known) Verify(context.Context, string) (token.Token, error) {
	return token.Token{Workload: podid.Workload(k), Audience: podid.AudiencePods}, nil
}

// anyOf is a running pod of the service account, or one as it would be.
func (p *Pods) anyOf(namespace, serviceAccount string) podid.Workload {
	for _, pod := range p.List() {
		if pod.Namespace == namespace && pod.ServiceAccount == serviceAccount {
			return pod.workload()
		}
	}
	return podid.Workload{
		Namespace: namespace, ServiceAccount: serviceAccount, Pod: cut(serviceAccount, 63),
		PodUID: "00000000-0000-4000-8000-000000000000", Node: NodeName,
	}
}

func (pod Pod) workload() podid.Workload {
	return podid.Workload{
		Namespace: pod.Namespace, ServiceAccount: pod.ServiceAccount, ServiceAccountUID: pod.ServiceAccountUID,
		Pod: pod.Name, PodUID: pod.UID, Node: pod.Node,
	}
}

// podOfSession finds whose session an ARN names, as error messages of AWS have
// it: that of a running pod by the session's name, else of the one service
// account with that role.
func (w *World) podOfSession(ctx context.Context, arn string) (found podid.Workload, ok bool) {
	_, path, is := strings.Cut(arn, ":assumed-role/")
	role, session, _ := strings.Cut(path, "/")
	if !is || !strings.HasPrefix(session, "eks-") {
		return found, false
	}
	for _, pod := range w.Pods.List() {
		if podid.SessionName(w.Cluster, pod.workload()) == session {
			return pod.workload(), true
		}
	}
	all := w.serviceAccounts(ctx, func(a podid.Association) bool {
		return cmp.Or(a.Target, a.Role).Name() == role
	})
	if len(all) != 1 {
		return found, false
	}
	found.Namespace, found.ServiceAccount, ok = strings.Cut(all[0], "/")
	return found, ok
}

// serviceAccounts are those, NAMESPACE/NAME, whose associations which picks.
func (w *World) serviceAccounts(ctx context.Context, which func(podid.Association) bool) []string {
	const page, most = 100, 100
	names, cursor := []string{}, ""
	for range most {
		list, next, err := w.Associations.List(ctx, association.Filter{}, cursor, page)
		if err != nil {
			return names
		}
		for _, a := range list {
			if which(a) {
				names = append(names, a.Namespace+"/"+a.ServiceAccount)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.Sort(names)
	return names
}
