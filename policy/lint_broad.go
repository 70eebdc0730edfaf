package policy

import (
	"fmt"
	"slices"
	"strings"
)

// notPrincipals finds NotPrincipal, which the grammar takes with Deny only.
func (l *linter) notPrincipals() {
	for i := range l.statements {
		if s := &l.statements[i]; s.notPrincipal {
			l.add(s, s.element("Principal").start, Warning, "NotPrincipal denies more than it seems to",
				"a role's session is exempt only if account, role and session are all listed, and who has a permissions boundary never is",
				`use "Principal": "*" with a condition: {"ArnNotEquals": {"aws:PrincipalArn": "ARN"}}`)
		}
	}
}

// grants reports whether policies of the type give permissions, and do not only limit them.
func (l *linter) grants() bool {
	return l.policy.Type == Identity || l.policy.Type == Resource || l.policy.Type == Trust
}

// notActions finds statements that allow all but some actions.
func (l *linter) notActions() {
	for i := range l.statements {
		if s := &l.statements[i]; l.grants() && !s.deny && s.notAction {
			l.add(s, s.element("Action").start, Warning, "the statement allows every action but "+quotedSources(s.actionSet.items),
				"NotAction with Allow includes the actions of every other service, and those that AWS adds later",
				"list the actions under Action; to take some away from a wide grant, add a Deny for them")
		}
	}
}

// notResources finds statements that allow something on all but some resources.
func (l *linter) notResources() {
	for i := range l.statements {
		if s := &l.statements[i]; l.grants() && !s.deny && s.notResource {
			l.add(s, s.element("Resource").start, Warning, "the statement allows its actions on every resource but "+quotedSources(s.resources.items),
				"NotResource with Allow includes the resources of other accounts, and those that are made later",
				"list the resources under Resource; to take some away from a wide grant, add a Deny for them")
		}
	}
}

func quotedSources(items []setItem) string {
	list := make([]string, len(items))
	for i := range items {
		list[i] = clip(items[i].source, maxExcerpt)
	}
	return quoted(list, "and")
}

// Actions of S3 on objects alone and on buckets alone, in lower case
// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html).
var (
	objectActions = []string{
		"s3:abortmultipartupload", "s3:deleteobject", "s3:deleteobjecttagging", "s3:deleteobjectversion", "s3:getobject", "s3:getobjectacl",
		"s3:getobjectattributes", "s3:getobjecttagging", "s3:getobjectversion", "s3:listmultipartuploadparts", "s3:putobject", "s3:putobjectacl",
		"s3:putobjecttagging", "s3:restoreobject",
	}
	bucketActions = []string{
		"s3:createbucket", "s3:deletebucket", "s3:getbucketlocation", "s3:getbucketpolicy", "s3:getbucketversioning", "s3:listbucket",
		"s3:listbucketmultipartuploads", "s3:listbucketversions", "s3:putbucketpolicy",
	}
)

// deletedPrincipals finds IDs in place of ARNs: IAM shows a user or a role that
// was deleted so.
func (l *linter) deletedPrincipals() {
	for i := range l.statements {
		s := &l.statements[i]
		for j := range s.principals {
			if g := &s.principals[j]; g.kind == uniqueIDGrantee {
				l.add(s, s.element("Principal").start, Warning, g.value+" is a user or role that was deleted",
					"IAM leaves the ID in place of the ARN; one made again under the same name has another ID, and this statement is not for it",
					"write the ARN of the user or role that is meant, or remove the ID")
				break
			}
		}
	}
}

// actionNames finds calls of S3 in place of the actions that they need.
func (l *linter) actionNames() {
	for i := range l.statements {
		s := &l.statements[i]
		nodes := values(s.element("Action"))
		for j := range s.actions {
			if permission := Permission(s.actions[j].source); permission != "" {
				l.add(s, nodes[j].start, Warning, s.actions[j].source+" is a call and no action: it matches nothing",
					"policies name the permission that a call takes, and this call takes that of another name", "write "+permission)
			}
		}
	}
}

// lists reports whether the document allows to list a bucket, some bucket.
func (l *linter) lists() bool {
	return slices.ContainsFunc(l.statements, func(s lintStatement) bool {
		return !s.deny && s.matchesAction("s3:ListBucket") != s.notAction && (s.notResource || s.resources.every ||
			slices.ContainsFunc(s.resources.items, func(r setItem) bool { return !strings.Contains(r.source, "/") }))
	})
}

// resourceShape finds actions on objects that are given buckets alone, and the
// other way round.
func (l *linter) resourceShape() {
	for i := range l.statements {
		s := &l.statements[i]
		if s.notAction || s.notResource || s.resources.every {
			continue
		}
		buckets, objects := true, true
		for _, r := range s.resources.items {
			name, s3 := strings.CutPrefix(r.source, "arn:aws:s3:::")
			buckets = buckets && s3 && !r.variables && !strings.ContainsAny(name, "/*?")
			objects = objects && s3 && strings.Contains(name, "/") && !r.variables
		}
		nodes := values(s.element("Action"))
		for j := range s.actions {
			name := s.actions[j].pattern
			switch {
			case buckets && slices.Contains(objectActions, name):
				l.add(s, nodes[j].start, Warning, s.actions[j].source+" is about objects, and the statement has buckets alone",
					"the ARN of an object is that of its bucket, a slash and its key: this action never matches here", "add "+excerpt(s.resources.items[0].source+"/*")+" to Resource")
			case objects && slices.Contains(bucketActions, name):
				bucket, _, _ := strings.Cut(s.resources.items[0].source, "/")
				l.add(s, nodes[j].start, Warning, s.actions[j].source+" is about buckets, and the statement has objects alone",
					"the ARN of a bucket has no slash: this action never matches here", "add "+excerpt(bucket)+" to Resource")
			case objects && name == string([]byte{'s', '3', ':', star}) && !s.deny && !l.lists():
				bucket, _, _ := strings.Cut(s.resources.items[0].source, "/")
				l.add(s, nodes[j].start, Notice, s.actions[j].source+" is about objects alone here: nothing in this document lists a bucket",
					"s3:ListBucket and the other actions on buckets match the bucket's ARN, which has no slash",
					fmt.Sprintf(`to list as well, add {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": %s}`, excerpt(bucket)))
			}
		}
	}
}
