package policy

import (
	"fmt"
	"slices"
	"strings"
)

// podIdentity is the service principal of EKS Pod Identity.
const podIdentity = "pods.eks.amazonaws.com"

// podIdentityTags are the session tags of pod identity
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html).
var podIdentityTags = []string{
	"eks-cluster-arn", "eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account", "kubernetes-pod-name", "kubernetes-pod-uid",
}

// trustTagSession finds pod identity's principals that may assume the role and
// may not tag the session, which pod identity always does.
func (l *linter) trustTagSession() {
	if l.policy.Type != Trust {
		return
	}
	for i := range l.statements {
		s := &l.statements[i]
		if s.deny || s.matchesAction("sts:AssumeRole") == s.notAction {
			continue
		}
		for j := range s.principals {
			g := &s.principals[j]
			if !s.admitsPods(g) {
				continue
			}
			_, who, _ := strings.Cut(g.source, ":")
			what, fix := who+" may assume the role, and may not tag the session: ", `write "Action": ["sts:AssumeRole", "sts:TagSession"]`
			if deny := l.deniesTags(s, g); deny != nil {
				what, fix = what+deny.called()+" denies sts:TagSession", "take sts:TagSession out of the Deny"
			} else if !slices.ContainsFunc(l.statements, func(t lintStatement) bool { return l.tags(&t, s, g) }) {
				what += "no statement allows it sts:TagSession"
				if len(s.conditions) > 0 {
					what += " under these conditions"
				}
			} else {
				continue
			}
			l.add(s, s.element("Action").start, Error, what,
				"pod identity tags each session with cluster, namespace, service account and pod; without sts:TagSession the whole call is refused", fix)
			break
		}
	}
}

// admitsPods reports whether the grantee is surely pod identity: the service, or a
// principal under a Sid or a condition of pod identity.
func (s *lintStatement) admitsPods(g *grantee) bool {
	if g.kind == serviceGrantee {
		return g.value == podIdentity
	}
	if g.kind != arnGrantee && g.kind != accountGrantee {
		return false
	}
	return s.sid == TrustSid || slices.ContainsFunc(s.conditions, func(k lintCondition) bool {
		tag, ok := strings.CutPrefix(k.key.lower, "aws:requesttag/")
		return ok && slices.Contains(podIdentityTags, tag)
	})
}

// deniesTags is a statement that denies sts:TagSession to g whenever s applies.
func (l *linter) deniesTags(s *lintStatement, g *grantee) *lintStatement {
	for i := range l.statements {
		t := &l.statements[i]
		if t.deny && t.matchesAction("sts:TagSession") != t.notAction && principalsCover(t.statement, &statement{principals: []grantee{*g}}) && conditionsCover(t.statement, s.statement) {
			return t
		}
	}
	return nil
}

// tags reports whether t may allow sts:TagSession to g together with s.
func (l *linter) tags(t, s *lintStatement, g *grantee) bool {
	if t.deny || t.matchesAction("sts:TagSession") == t.notAction || !principalsCover(t.statement, &statement{principals: []grantee{*g}}) {
		return false
	}
	for i := range t.conditions {
		for j := range s.conditions {
			if l.contradict(t.conditions[i].condition, s.conditions[j].condition) {
				return false
			}
		}
	}
	return true
}

// limits reports whether the condition surely holds for some values of its key only.
func (k *condition) limits() bool {
	if k.negated || k.kind == null || !k.demands() {
		return false
	}
	return !slices.ContainsFunc(k.values, func(v operand) bool {
		everything := k.kind == stringLike && v.parts == nil && newPattern(v.pattern).universal()
		return everything || k.kind == ipAddress && v.prefix.IsValid() && v.prefix.Bits() == 0
	})
}

// impersonal are the keys, and in the second list the beginnings of keys, that
// say nothing about who calls: anyone can fulfil conditions on them.
var impersonal = []string{
	"aws:securetransport", "aws:currenttime", "aws:epochtime", "aws:useragent", "aws:requestedregion", "aws:tagkeys",
	"aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths",
	"sts:externalid", "sts:rolesessionname", "sts:sourceidentity", "sts:durationseconds", "sts:transitivetagkeys",
}
var impersonalPrefixes = []string{"aws:requesttag/", "aws:resourcetag/", "s3:"}

func (k *condition) personal() bool {
	name := k.key.lower
	return k.limits() && (strings.HasPrefix(name, "s3:dataaccesspoint") ||
		!slices.Contains(impersonal, name) && !slices.ContainsFunc(impersonalPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }))
}

// open reports whether nothing but the Principal element limits who the statement is for.
func (s *lintStatement) open() bool {
	return !slices.ContainsFunc(s.conditions, func(k lintCondition) bool { return k.personal() })
}

// wildcardPrincipal finds Allow statements for everyone.
func (l *linter) wildcardPrincipal() {
	if !l.grants() {
		return
	}
	for i := range l.statements {
		s := &l.statements[i]
		if s.deny || s.notPrincipal || !s.open() || l.policy.Type == Trust && !s.assumes() || !slices.ContainsFunc(s.principals, func(g grantee) bool { return g.kind == everyone }) {
			continue
		}
		severity, what := Warning, "everyone is allowed this, signed in to AWS or not"
		fix := `name the principals, or add a condition that says who: {"StringEquals": {"aws:PrincipalOrgID": "o-…"}}`
		switch {
		case l.policy.Type == Trust:
			severity, what = Error, "every AWS account may assume the role"
		case l.publishes(s):
			severity, what, fix = Notice, "everyone may read these objects", "nothing, if they are meant to be public; serve them by CloudFront otherwise"
		}
		l.add(s, s.element("Principal").start, severity, what, "the Principal is \"*\", and no condition limits it to callers who are known", fix)
	}
}

// publishes reports whether all that the statement allows is to read objects: the
// policy of a public website.
func (l *linter) publishes(s *lintStatement) bool {
	return !s.notAction && !slices.ContainsFunc(s.actions, func(a action) bool { return a.pattern != "s3:getobject" && a.pattern != "s3:getobjectversion" })
}

// sourceServices are services of which AWS documents that they give aws:SourceArn
// and aws:SourceAccount when they assume a role.
var sourceServices = map[string]string{
	podIdentity:                 `{"StringEquals": {"aws:SourceAccount": "ACCOUNT"}, "ArnEquals": {"aws:SourceArn": "arn:aws:eks:REGION:ACCOUNT:cluster/NAME"}}; podid trust-policy --cluster-arn ARN prints it`,
	"appstream.amazonaws.com":   `{"ArnLike": {"aws:SourceArn": "arn:aws:appstream:REGION:ACCOUNT:fleet/NAME"}}`,
	"ecs-tasks.amazonaws.com":   `{"StringEquals": {"aws:SourceAccount": "ACCOUNT"}, "ArnLike": {"aws:SourceArn": "arn:aws:ecs:REGION:ACCOUNT:*"}}`,
	"personalize.amazonaws.com": `{"StringEquals": {"aws:SourceAccount": "ACCOUNT"}, "ArnLike": {"aws:SourceArn": "arn:aws:personalize:REGION:ACCOUNT:*"}}`,
}

// withoutSource are services whose documented resource policies have no
// conditions: where the access goes is confined otherwise, or they give no keys.
var withoutSource = []string{"logdelivery.elasticloadbalancing.amazonaws.com", "events.amazonaws.com"}

// confusedDeputy finds services that may act for anyone.
func (l *linter) confusedDeputy() {
	for i := range l.statements {
		s := &l.statements[i]
		if s.deny || !s.open() || l.policy.Type == Trust && !s.assumes() {
			continue
		}
		for j := range s.principals {
			g := &s.principals[j]
			if g.kind != serviceGrantee {
				continue
			}
			severity, add := Warning, `{"StringEquals": {"aws:SourceAccount": "ACCOUNT"}}, and aws:SourceArn with the ARN of the resource that the service acts for`
			if l.policy.Type == Trust {
				var ok bool
				if add, ok = sourceServices[g.value]; !ok {
					continue
				}
				severity = Notice // iam:PassRole keeps other accounts from handing the role to the service
			} else if slices.Contains(withoutSource, g.value) {
				continue
			}
			l.add(s, s.element("Principal").start, severity, g.value+" may do this for whichever resource it acts for",
				"the service acts for many customers and resources; without aws:SourceArn or aws:SourceAccount it may be led to act on this one for somebody else (the confused deputy)",
				`add "Condition": `+add)
			break
		}
	}
}

// sharedIssuers are issuers of tokens for the public, of which IAM demands a
// condition on the subject
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc_secure-by-default.html).
var sharedIssuers = []string{"agent.buildkite.com", "app.terraform.io", "gitlab.com", "token.actions.githubusercontent.com"}

// audienceTenants are issuers that tell their customers apart by the audience (the same page).
var audienceTenants = []string{"api.pulumi.com/oidc", "oidc.vercel.com", "sandboxes.cloud"}

// oidcSubject finds federated principals of which any identity is admitted.
func (l *linter) oidcSubject() {
	if l.policy.Type != Trust {
		return
	}
	for i := range l.statements {
		s := &l.statements[i]
		if s.deny || s.matchesAction("sts:AssumeRoleWithWebIdentity") == s.notAction {
			continue
		}
		for j := range s.principals {
			if g := &s.principals[j]; g.kind == federatedGrantee {
				l.federated(s, g)
			}
		}
	}
}

func (l *linter) federated(s *lintStatement, g *grantee) {
	_, issuer, registered := strings.Cut(g.value, ":oidc-provider/")
	if !registered {
		issuer = g.value // of an issuer that IAM knows by itself
		if strings.HasPrefix(issuer, "arn:") {
			return
		}
	}
	audience, identity := false, false
	for j := range s.conditions {
		k := &s.conditions[j]
		claim, ok := strings.CutPrefix(k.key.lower, asciiLower(issuer)+":")
		if meant := otherClaim(claim, k.condition); ok && meant != "" {
			l.add(s, k.at, Warning, k.key.name+" is compared with what only "+issuer+":"+meant+" can be",
				"the audience says whom a token is for, the subject whose it is: as it stands no token is admitted", "write "+issuer+":"+meant)
			return
		}
		switch {
		case !ok || !k.limits():
		case claim == "aud" || claim == "app_id":
			audience = true
			identity = identity || slices.ContainsFunc(audienceTenants, func(t string) bool { return strings.HasPrefix(asciiLower(issuer), t) })
		case claim != "amr" && claim != "iss":
			identity = true
		}
	}
	at := s.element("Principal").start
	switch {
	case !identity && registered:
		severity := Warning
		if slices.Contains(sharedIssuers, asciiLower(issuer)) {
			severity = Error
		}
		l.add(s, at, severity, "anyone with a token of "+issuer+" may assume the role",
			"no condition limits the token's subject: every service account, or every repository, of the issuer is admitted",
			fmt.Sprintf(`add "Condition": {"StringEquals": {"%s:sub": "SUBJECT"}}`, issuer))
	case !identity && !audience:
		l.add(s, at, Warning, "every application that signs in with "+issuer+" may assume the role",
			"no condition limits the token's audience or subject, and IAM does not know which application is yours",
			fmt.Sprintf(`add "Condition": {"StringEquals": {"%s:aud": "APPLICATION"}}`, issuer))
	case !audience && registered:
		l.add(s, at, Notice, "tokens of "+issuer+" for every audience that the provider has are admitted",
			"no condition limits the token's audience", fmt.Sprintf(`add "%s:aud": "sts.amazonaws.com", or the audience that your tokens have, to the conditions`, issuer))
	}
}

// otherClaim is the claim that is meant where a condition on the audience wants a
// subject, or the other way round.
func otherClaim(claim string, k *condition) string {
	meant := func(other string, is func(v operand) bool) string {
		if len(k.values) > 0 && !k.negated && k.kind != null && !slices.ContainsFunc(k.values, func(v operand) bool { return !is(v) }) {
			return other
		}
		return ""
	}
	switch claim {
	case "aud":
		return meant("sub", func(v operand) bool {
			return strings.HasPrefix(v.source, "system:serviceaccount:") || strings.HasPrefix(v.source, "repo:")
		})
	case "sub":
		return meant("aud", func(v operand) bool { return v.source == "sts.amazonaws.com" })
	}
	return ""
}

// sourceKeys finds conditions that hold for services alone in statements for IAM
// principals.
func (l *linter) sourceKeys() {
	for i := range l.statements {
		s := &l.statements[i]
		if s.deny || s.principals == nil || slices.ContainsFunc(s.principals, func(g grantee) bool { return g.kind != arnGrantee && g.kind != accountGrantee }) {
			continue
		}
		for j := range s.conditions {
			k := &s.conditions[j]
			facts, _ := catalogued(k.key.lower)
			if !facts.serviceOnly || !k.demands() {
				continue
			}
			fix := "remove the condition, or name the service in Principal"
			if l.policy.Type == Trust {
				fix = "remove the condition; for the principal of podid-auth (the broker) limit the session tags instead: aws:RequestTag/eks-cluster-arn, aws:RequestTag/kubernetes-namespace, aws:RequestTag/kubernetes-service-account"
			}
			l.add(s, k.at, Error, k.label+" on "+facts.name+" never holds here: the statement allows nothing",
				facts.name+" exists only when an AWS service calls, and the Principal is of IAM", fix)
		}
	}
}
