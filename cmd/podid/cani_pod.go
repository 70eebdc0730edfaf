package main

import (
	"cmp"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// podGuess is what files do not say of a pod.
type podGuess struct {
	role, principal, cluster string
	noTags                   bool
}

func (g *podGuess) flags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&g.role, "role", "", "with files: `ARN` of the pod's role (default: a made-up one), or with its path that of the session in --as")
	flags.StringVar(&g.cluster, "cluster-arn", "", "with files: `ARN` of the pod's cluster (default: the one that the trust policy names, or a made-up one)")
	flags.StringVar(&g.principal, "principal", "service", "with files: who assumes the pod's role, the service, or the `ARN` of podid-auth's user or role")
	flags.BoolVar(&g.noTags, "disable-session-tags", false, "with files: the pod's association disables session tags")
	must(c.RegisterFlagCompletionFunc("principal", cobra.FixedCompletions([]string{"service"}, cobra.ShellCompDirectiveNoFileComp)))
}

// given is the name of a flag that was given, if any.
func (g *podGuess) given() string {
	switch {
	case g.role != "":
		return "role"
	case g.principal != "service":
		return "principal"
	case g.cluster != "":
		return "cluster-arn"
	case g.noTags:
		return "disable-session-tags"
	}
	return ""
}

// ofSession completes a session by its role, whose path its own ARN does not have.
func (g *podGuess) ofSession(w *who) error {
	role, err := podid.ParseRoleARN(g.role)
	if err != nil {
		return problem.New(problem.Usage, "--role: %v", err).Because("")
	}
	if plain := sessionOf(role); plain.Account != w.Account || !strings.HasPrefix(w.ARN, strings.TrimSuffix(plain.ARN, session)) {
		return problem.New(problem.Usage, "%s is no session of --role %s", w.ARN, role).Because("")
	}
	w.RoleARN = string(role)
	return nil
}

// podSession is the pod whose session files decide about.
type podSession struct {
	role     podid.RoleARN
	cluster  podid.Cluster
	workload podid.Workload
	assumer  policy.Principal // who assumes the role
	tagged   bool
	guessed  string // the cluster's ARN, if nobody gave it
}

// note says what was guessed.
func (s *podSession) note(r *canIReply) {
	if s.guessed != "" {
		r.Notes = append(r.Notes, "the pod is taken to be in "+s.guessed+", the cluster that the trust policy names; --cluster-arn says otherwise")
	}
}

// settle completes the guess.
func (g *podGuess) settle(q question, trust []*policy.Policy) (s podSession, err error) {
	partition := cmp.Or(part(q.resource, 1), "aws")
	if g.cluster == "" {
		g.cluster = clusterIn(trust)
		s.guessed = g.cluster
	}
	if g.cluster != "" && !clusterARN.MatchString(g.cluster) {
		return s, problem.New(problem.Usage, "--cluster-arn %s is not the ARN of a cluster, arn:aws:eks:REGION:ACCOUNT:cluster/NAME", clip(g.cluster))
	}
	account := cmp.Or(part(g.role, 4), part(g.cluster, 4), q.account, "111122223333")
	s.role = podid.RoleARN(cmp.Or(g.role, roleOfThePod(partition, account)))
	if s.role, err = podid.ParseRoleARN(string(s.role)); err != nil {
		return s, problem.New(problem.Usage, "--role: %v", err).Because("")
	}
	s.cluster = podid.Cluster{Name: "CLUSTER", Account: account, Region: map[string]string{
		"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1",
	}[partition]}
	s.cluster.Region = cmp.Or(part(g.cluster, 3), part(q.resource, 3), s.cluster.Region, "us-east-1")
	if g.cluster != "" {
		s.cluster.Account = part(g.cluster, 4)
		s.cluster.Name = strings.TrimPrefix(part(g.cluster, 5), "cluster/")
	}
	s.workload = podid.Workload{
		Namespace: q.namespace, ServiceAccount: q.serviceAccount, Pod: q.serviceAccount + "-0",
		PodUID: "00000000-0000-4000-8000-000000000000",
	}
	if s.assumer, err = assumer(g.principal); err != nil {
		return s, err
	}
	s.tagged = !g.noTags
	return s, nil
}

// roleOfThePod is a made-up role.
func roleOfThePod(partition, account string) string {
	return "arn:" + partition + ":iam::" + account + ":role/ROLE-OF-THE-POD"
}

var clusterInPolicy = regexp.MustCompile(`"(arn:aws[a-z-]*:eks:[a-z0-9-]+:[0-9]{12}:cluster/[0-9A-Za-z][A-Za-z0-9_-]{0,99})"`)

// clusterIn is the one cluster that the policies name; empty for none and for more.
func clusterIn(policies []*policy.Policy) (arn string) {
	for _, p := range policies {
		text, err := p.MarshalJSON()
		if err != nil {
			return ""
		}
		for _, m := range clusterInPolicy.FindAllSubmatch(text, -1) {
			if arn != "" && arn != string(m[1]) {
				return ""
			}
			arn = string(m[1])
		}
	}
	return arn
}

func assumer(principal string) (policy.Principal, error) {
	if principal == "service" || principal == podid.ServicePrincipal {
		return policy.Principal{Kind: policy.Service, ARN: podid.ServicePrincipal}, nil
	}
	w, err := parseWho(principal, "", "")
	if err != nil || w.Kind != policy.User && w.Kind != policy.AssumedRole {
		return policy.Principal{}, problem.New(problem.Usage, "--principal %s is neither \"service\" nor the ARN of a user or a role", clip(principal)).
			Because("").Fixed("give the ARN that podid-auth signs as")
	}
	return w.Principal, nil
}

// principal is the pod's session.
func (s *podSession) principal() policy.Principal {
	p := sessionOf(s.role)
	p.ARN = strings.TrimSuffix(p.ARN, session) + podid.SessionName(s.cluster, s.workload)
	return p
}

// tags adds the session tags under a prefix.
func (s *podSession) tags(keys policy.Keys, prefix string) (names []string) {
	if !s.tagged {
		return nil
	}
	for _, tag := range podid.SessionTags(s.cluster, s.workload) {
		keys[prefix+tag.Key] = []string{tag.Value}
		names = append(names, tag.Key)
	}
	return names
}

// requestKeys are those of an sts:AssumeRole that hands the tags on.
func (s *podSession) requestKeys(keys policy.Keys) {
	keys["sts:RoleSessionName"] = []string{podid.SessionName(s.cluster, s.workload)}
	if names := s.tags(keys, "aws:RequestTag/"); names != nil {
		keys["aws:TagKeys"], keys["sts:TransitiveTagKeys"] = names, names
	}
}

// unchecked says that the role is taken for the pod's, whether or not the pod gets it.
func (f *canIFlags) unchecked(q question, s podSession, d documents) string {
	how := q.as + " is taken for a session of " + string(s.role)
	if f.role == "" {
		how += " (--role names its own)"
	}
	how += "; whether it gets that role is not checked"
	if !q.assumesRole() {
		how += ": --trust FILE does that"
	}
	how += "."
	if d.Session != nil {
		how += " With a session policy it has no session tags."
	}
	return how
}

// decidePod answers for a pod: whether it gets its role, if that role's trust
// policy is given, then what it may do as a session of it.
func (f *canIFlags) decidePod(q question, d documents) (*canIReply, error) {
	if strings.EqualFold(q.action, "sts:AssumeRoleWithWebIdentity") {
		return f.decideToken(q, d)
	}
	s, err := f.settle(q, d.trust)
	if err != nil {
		return nil, err
	}
	if d.Session != nil { // EKS takes a session policy only without session tags
		s.tagged = false
	}
	if q.assumesRole() && (f.role == "" || f.role == q.resource) {
		s.role = podid.RoleARN(q.resource)
		r := s.trusted(q, d)
		r.Pod = s.pod(q, d)
		r.Pod.Credentials = r.Decision == policy.Allowed
		return r, nil
	}
	how := f.unchecked(q, s, d)
	if d.trust != nil && !q.assumesRole() {
		r := s.trusted(q, d)
		if r.Decision != policy.Allowed {
			r.Pod, r.lead = s.pod(q, d), q.as+" gets no credentials, so it may do nothing: "+string(s.role)+" refuses "+s.assumer.String()+"."
			return r, nil
		}
		how = q.as + " gets " + string(s.role) + ": its trust policy allows that to " + s.assumer.String() + "."
	}
	q.Principal, q.called = s.principal(), q.as
	keys := assumedKeys(q.Principal, q.resource, time.Now())
	s.tags(keys, "aws:PrincipalTag/")
	if q.assumesRole() {
		s.requestKeys(keys)
		keys["sts:ExternalId"] = []string{podid.Association{
			Namespace: q.namespace, ServiceAccount: q.serviceAccount, Target: podid.RoleARN(q.resource),
		}.ExternalID(s.cluster)}
		d.Resource = d.trust
	}
	actions := []string{q.action}
	if q.assumesRole() && s.tagged {
		actions = q.tagging()
	}
	r := q.evaluateAll(actions, d.Set, keys)
	r.Pod, r.lead = s.pod(q, d), how
	r.Pod.Credentials = true
	if q.assumesRole() || d.trust != nil {
		s.note(r)
	}
	if id := keys["sts:ExternalId"]; id != nil && r.fails("sts:ExternalId") {
		r.Notes = append(r.Notes, "an association cannot choose its external ID, which is region, account, cluster, namespace and service account: if "+
			q.as+" is meant, write "+strconv.Quote(id[0])+" into the trust policy")
	}
	if len(actions) > 1 && r.Decision != policy.Allowed && strings.EqualFold(r.Action, "sts:TagSession") {
		r.Notes = append(r.Notes, "the tags are those of pod identity, which go along; an association that disables session tags passes none, and needs no sts:TagSession")
	}
	return r, nil
}

// decideToken answers for a service account's token, as IAM roles for service
// accounts use it, of the provider that the trust policy names.
func (f *canIFlags) decideToken(q question, d documents) (*canIReply, error) {
	var providers []string
	for _, p := range d.trust {
		for _, name := range p.Providers() {
			if issuerOf(name) != "" {
				providers = append(providers, name)
			}
		}
	}
	named := ", the issuer that the trust policy names,"
	if providers == nil {
		providers = []string{"arn:" + cmp.Or(part(q.resource, 1), "aws") + ":iam::" + cmp.Or(q.account, "111122223333") + ":oidc-provider/ISSUER-OF-THE-CLUSTER"}
		named = ""
	}
	if len(providers) > 1 {
		return nil, problem.New(problem.Usage, "the trust policy names %d OpenID Connect providers, so it is not clear whose token %s has", len(providers), q.as).
			Because("").Fixed("give --as PROVIDER-ARN with --key ISSUER:sub=system:serviceaccount:%s:%s --key ISSUER:aud=sts.amazonaws.com", q.namespace, q.serviceAccount)
	}
	issuer := issuerOf(providers[0])
	subject, audience := "system:serviceaccount:"+q.namespace+":"+q.serviceAccount, "sts.amazonaws.com" // as the projected tokens of EKS
	q.keys = maps.Clone(q.keys)
	for key, value := range map[string]string{issuer + ":sub": subject, issuer + ":aud": audience} {
		if !hasKey(q.keys, key) {
			q.keys[key] = []string{value}
		}
	}
	q.Principal, q.called = policy.Principal{Kind: policy.Federated, ARN: providers[0]}, q.as
	r := q.evaluateAll([]string{q.action}, policy.Set{Resource: d.trust, ResourceControl: d.ResourceControl}, assumedKeys(q.Principal, "", time.Now()))
	r.lead = q.as + " is taken to have a token of " + issuer + named + " with its own name as :sub and " + audience + " as :aud."
	r.Pod = &sandbox.PodRole{Namespace: q.namespace, ServiceAccount: q.serviceAccount, Role: q.resource, Credentials: r.Decision == policy.Allowed}
	return r, nil
}

func (s *podSession) pod(q question, d documents) *sandbox.PodRole {
	return &sandbox.PodRole{
		Namespace: q.namespace, ServiceAccount: q.serviceAccount, Role: string(s.role),
		DisableSessionTags: !s.tagged, SessionPolicy: d.Session != nil,
	}
}

// trusted says whether the trust policy lets pod identity have a session of the
// role, for sts:AssumeRole and, with session tags, for sts:TagSession: the first
// that is refused, or sts:AssumeRole.
func (s *podSession) trusted(q question, d documents) *canIReply {
	set := policy.Set{Resource: d.trust, ResourceControl: d.ResourceControl}
	q.Principal, q.resource, q.account = s.assumer, string(s.role), s.role.Account()
	keys := assumedKeys(q.Principal, "", time.Now())
	s.requestKeys(keys)
	var notes []string
	if s.assumer.Kind == policy.Service {
		keys["aws:SourceArn"], keys["aws:SourceAccount"] = []string{s.cluster.ARN()}, []string{s.cluster.Account}
	} else {
		set.Identity = []*policy.Policy{ownPolicies}
		notes = []string{"the policies of " + s.assumer.String() + " are not given, and were taken to allow it"}
	}
	actions := []string{"sts:AssumeRole"}
	if s.tagged {
		actions = append(actions, "sts:TagSession")
	}
	if s.tagged && strings.EqualFold(q.action, "sts:TagSession") {
		actions = q.tagging()
	}
	r := q.evaluateAll(actions, set, keys)
	r.Notes = append(r.Notes, notes...)
	s.note(r)
	if s.assumer.Kind == policy.Service && r.fails("aws:SourceOrgID") {
		r.Notes = append(r.Notes, "EKS brings aws:SourceOrgID for clusters of accounts that are in an organization, which files do not say: --key aws:SourceOrgID=o-…, and --key aws:ResourceOrgID=o-… for the role's")
	}
	if r.Decision == policy.ImplicitDeny {
		r.Notes = append(r.Notes, "podid trust-policy prints the whole statement that pod identity needs, and with --merge FILE puts it into a trust policy")
	}
	return r
}

// ownPolicies stands in for the policies of podid's own principal.
var ownPolicies = func() *policy.Policy {
	p, err := policy.Parse(policy.Identity, "podid's own policies (assumed)",
		[]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"}}`))
	must(err)
	return p
}()
