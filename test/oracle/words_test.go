package oracle_test

import (
	"slices"

	"github.com/openpodidentity/podid/policy"
)

// The generator draws from few words, so that requests and policies meet often.

const (
	home  = "111122223333" // the account of the principals
	other = "444455556666"
)

// member is a principal with the keys that AWS puts into each of its requests
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// and the table of principal key values in
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
// The simulator is told them; package policy has to derive them.
type member struct {
	principal policy.Principal
	keys      map[string]string
}

func principalKeys(arn, kind string) map[string]string {
	return map[string]string{
		"aws:PrincipalArn": arn, "aws:PrincipalAccount": home, "aws:PrincipalType": kind, "aws:PrincipalIsAWSService": "false",
	}
}

func with(m map[string]string, key, v string) map[string]string {
	m[key] = v
	return m
}

var cast = map[string]member{
	"user": {
		policy.Principal{Kind: policy.User, Account: home, ARN: "arn:aws:iam::111122223333:user/alice"},
		with(principalKeys("arn:aws:iam::111122223333:user/alice", "User"), "aws:username", "alice"),
	},
	"user with a path": {
		policy.Principal{Kind: policy.User, Account: home, ARN: "arn:aws:iam::111122223333:user/blue/bob"},
		with(principalKeys("arn:aws:iam::111122223333:user/blue/bob", "User"), "aws:username", "bob"),
	},
	"session": {
		policy.Principal{Kind: policy.AssumedRole, Account: home, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", RoleARN: "arn:aws:iam::111122223333:role/app"},
		principalKeys("arn:aws:iam::111122223333:role/app", "AssumedRole"),
	},
	"session of a role with a path": {
		policy.Principal{Kind: policy.AssumedRole, Account: home, ARN: "arn:aws:sts::111122223333:assumed-role/deploy/alice", RoleARN: "arn:aws:iam::111122223333:role/blue/deploy"},
		principalKeys("arn:aws:iam::111122223333:role/blue/deploy", "AssumedRole"),
	},
	"federated user": {
		policy.Principal{Kind: policy.FederatedUser, Account: home, ARN: "arn:aws:sts::111122223333:federated-user/alice", UserARN: "arn:aws:iam::111122223333:user/alice"},
		with(principalKeys("arn:aws:sts::111122223333:federated-user/alice", "FederatedUser"), "aws:userid", "111122223333:alice"),
	},
	"root": {
		policy.Principal{Kind: policy.Root, Account: home, ARN: "arn:aws:iam::111122223333:root"},
		with(principalKeys("arn:aws:iam::111122223333:root", "Account"), "aws:userid", home),
	},
	"service": {
		policy.Principal{Kind: policy.Service, ARN: "pods.eks.amazonaws.com"},
		map[string]string{"aws:PrincipalIsAWSService": "true", "aws:PrincipalServiceName": "pods.eks.amazonaws.com"},
	},
	"web identity": {
		policy.Principal{Kind: policy.Federated, ARN: "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"},
		map[string]string{"aws:FederatedProvider": "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"},
	},
	"anonymous": {
		policy.Principal{Kind: policy.Anonymous},
		map[string]string{"aws:PrincipalAccount": "anonymous", "aws:PrincipalType": "Anonymous", "aws:userid": "anonymous"},
	},
}

// entry is an action of the catalogue with resources of one type. A is the
// account. An action that knows no resources is asked of "*".
type entry struct {
	action    string
	resources []string
	guarded   bool     // such resources can have a policy of their own
	keys      []string // that the action knows, besides the global ones
}

var (
	objects  = []string{"arn:aws:s3:::b/k", "arn:aws:s3:::b/home/alice/k", "arn:aws:s3:::b/blue", "arn:aws:s3:::c/home/bob:k"}
	buckets  = []string{"arn:aws:s3:::b", "arn:aws:s3:::blue"}
	roles    = []string{"arn:aws:iam::A:role/target", "arn:aws:iam::A:role/blue/target"}
	tables   = []string{"arn:aws:dynamodb:us-east-1:A:table/blue", "arn:aws:dynamodb:eu-west-1:A:table/alice"}
	queues   = []string{"arn:aws:sqs:us-east-1:A:blue", "arn:aws:sqs:eu-west-1:A:alice"}
	topics   = []string{"arn:aws:sns:us-east-1:A:blue", "arn:aws:sns:eu-west-1:A:alice"}
	clusters = []string{"arn:aws:eks:us-east-1:A:cluster/blue", "arn:aws:eks:eu-west-1:A:cluster/alice"}
	secrets  = []string{"arn:aws:secretsmanager:us-east-1:A:secret:blue-AbCdEf", "arn:aws:secretsmanager:us-east-1:A:secret:home/alice-AbCdEf"}
	cmks     = []string{"arn:aws:kms:us-east-1:A:key/blue", "arn:aws:kms:eu-west-1:A:key/alice"}
	anything = []string{"*"}
)

var catalogue = []entry{
	{"s3:GetObject", objects, true, []string{"s3:VersionId", "s3:ExistingObjectTag/team"}},
	{"s3:PutObject", objects, true, []string{"s3:x-amz-acl", "s3:RequestObjectTagKeys", "s3:RequestObjectTag/team", "s3:object-lock-retain-until-date"}},
	{"s3:DeleteObject", objects, true, nil},
	{"s3:ListBucket", buckets, true, []string{"s3:prefix", "s3:delimiter", "s3:max-keys"}},
	{"s3:ListBucketVersions", buckets, true, []string{"s3:prefix", "s3:max-keys"}},
	{"s3:GetBucketPolicy", buckets, true, nil},
	{"s3:ListAllMyBuckets", anything, false, nil},
	{"iam:PassRole", roles, false, []string{"iam:PassedToService", "iam:AssociatedResourceArn"}},
	{"iam:GetRole", roles, false, nil},
	{"iam:AttachRolePolicy", roles, false, []string{"iam:PolicyARN", "iam:PermissionsBoundary"}},
	{"iam:GetUser", []string{"arn:aws:iam::A:user/alice", "arn:aws:iam::A:user/blue/bob"}, false, nil},
	{"iam:ListUsers", anything, false, nil},
	{"dynamodb:GetItem", tables, true, []string{"dynamodb:LeadingKeys", "dynamodb:Attributes", "dynamodb:Select"}},
	{"dynamodb:Query", tables, true, []string{"dynamodb:LeadingKeys", "dynamodb:Attributes"}},
	{"dynamodb:DescribeTable", tables, true, nil},
	{"sqs:SendMessage", queues, true, nil},
	{"sqs:ReceiveMessage", queues, true, nil},
	{"sns:Publish", topics, true, nil},
	{"sns:Subscribe", topics, true, []string{"sns:Endpoint", "sns:Protocol"}},
	{"kms:ListKeys", anything, false, nil},
	{"kms:Decrypt", cmks, true, []string{"kms:EncryptionContextKeys", "kms:ViaService", "kms:EncryptionContext:team"}},
	{"kms:DescribeKey", cmks, true, nil},
	{"ec2:DescribeInstances", anything, false, nil},
	{"ec2:StartInstances", []string{"arn:aws:ec2:us-east-1:A:instance/i-blue"}, false, []string{"ec2:InstanceType", "ec2:Tenancy"}},
	{"ec2:TerminateInstances", []string{"arn:aws:ec2:us-east-1:A:instance/i-blue"}, false, []string{"ec2:InstanceType"}},
	{"lambda:InvokeFunction", []string{"arn:aws:lambda:us-east-1:A:function:blue"}, true, nil},
	{"lambda:UpdateFunctionConfiguration", []string{"arn:aws:lambda:us-east-1:A:function:blue"}, true, []string{"lambda:Layer", "lambda:SubnetIds"}},
	{"secretsmanager:GetSecretValue", secrets, true, []string{"secretsmanager:VersionStage", "secretsmanager:SecretId"}},
	{"secretsmanager:PutSecretValue", secrets, true, nil},
	{"eks:DescribeCluster", clusters, false, nil},
	{"eks:CreatePodIdentityAssociation", clusters, false, nil},
	{"eks:CreateAccessEntry", clusters, false, []string{"eks:kubernetesGroups", "eks:principalArn", "eks:username"}},
	{"eks:ListClusters", anything, false, nil},
	{"eks-auth:AssumeRoleForPodIdentity", clusters, false, nil},
	{"ecr:BatchGetImage", []string{"arn:aws:ecr:us-east-1:A:repository/home/alice"}, true, nil},
	{"ecr:GetAuthorizationToken", anything, false, nil},
	{"kinesis:PutRecord", []string{"arn:aws:kinesis:us-east-1:A:stream/blue"}, true, nil},
	{"ssm:GetParameter", []string{"arn:aws:ssm:us-east-1:A:parameter/home/alice"}, false, nil},
	{"ec2:DescribeVpcs", anything, false, nil},
	{"states:StartExecution", []string{"arn:aws:states:us-east-1:A:stateMachine:blue"}, false, nil},
	{"events:PutEvents", []string{"arn:aws:events:us-east-1:A:event-bus/blue"}, true, []string{"events:source", "events:detail-type"}},
}

var trusted = []entry{
	{"sts:AssumeRole", roles, true, []string{"sts:ExternalId", "sts:RoleSessionName", "sts:SourceIdentity", "sts:TransitiveTagKeys"}},
	{"sts:TagSession", roles, true, []string{"sts:TransitiveTagKeys"}},
	{"sts:SetSourceIdentity", roles, true, []string{"sts:SourceIdentity"}},
	{"sts:AssumeRoleWithWebIdentity", roles, true, []string{"oidc.example.com:sub", "oidc.example.com:aud", "sts:RoleSessionName"}},
}

// globalKeys may come with every action.
var globalKeys = map[string][]string{
	"String": {"aws:PrincipalTag/team", "aws:PrincipalTag/Team2", "aws:RequestTag/team", "aws:SourceVpce", "aws:PrincipalOrgID", "aws:userid", "aws:SourceAccount", "aws:RequestedRegion", "aws:UserAgent", "aws:SourceIdentity"},
	"Number": {"aws:MultiFactorAuthAge"},
	"Date":   {"aws:CurrentTime", "aws:TokenIssueTime", "aws:EpochTime"},
	"Bool":   {"aws:SecureTransport", "aws:MultiFactorAuthPresent"},
	"IP":     {"aws:SourceIp", "aws:VpcSourceIp"},
	"ARN":    {"aws:SourceArn", "aws:SourceVpcArn", "lambda:SourceFunctionArn"},
	"Binary": {"aws:UserAgent"},
	"List":   {"aws:TagKeys", "aws:CalledVia", "aws:PrincipalOrgPaths", "aws:PrincipalServiceNamesList"},
}

// derivedKeys follow from principal and resource; they are asked for only.
var derivedKeys = []string{"aws:PrincipalArn", "aws:PrincipalAccount", "aws:PrincipalType", "aws:username", "aws:PrincipalIsAWSService", "aws:PrincipalServiceName", "aws:ResourceAccount", "aws:ViaAWSService", "aws:CalledViaFirst", "aws:CalledViaLast", "aws:FederatedProvider"}

// multivalued are the words' keys that hold lists: the simulator is given lists.
var multivalued = map[string]bool{
	"aws:tagkeys": true, "aws:calledvia": true, "aws:principalorgpaths": true, "aws:principalservicenameslist": true,
	"sts:transitivetagkeys": true, "dynamodb:leadingkeys": true, "dynamodb:attributes": true, "s3:requestobjecttagkeys": true,
	"lambda:layer": true, "lambda:subnetids": true, "eks:kubernetesgroups": true, "kms:encryptioncontextkeys": true, "events:source": true, "events:detail-type": true,
}

// kindOf is the kind of the values of an action's own keys; String if it is not here.
var kindOf = map[string]string{
	"s3:max-keys": "Number", "s3:object-lock-retain-until-date": "Date", "iam:AssociatedResourceArn": "ARN", "iam:PolicyARN": "ARN",
	"iam:PermissionsBoundary": "ARN", "secretsmanager:SecretId": "ARN", "eks:principalArn": "ARN",
	"s3:RequestObjectTagKeys": "List", "dynamodb:LeadingKeys": "List", "dynamodb:Attributes": "List", "lambda:Layer": "List", "lambda:SubnetIds": "List",
	"eks:kubernetesGroups": "List", "kms:EncryptionContextKeys": "List", "events:source": "List", "events:detail-type": "List", "sts:TransitiveTagKeys": "List",
}

// asked are the values of requests, good ones first, then those that are not of
// the kind; half the draws are of the first two.
var asked = map[string][]string{
	"String": {"blue", "alice", "Blue", "bob", "bl", "home/alice/x", "b*", "a?c", "abc", "", "10", "x*", "$c", "${aws:username}", "é", "😀", "straße", "ſ", "Σ", "111122223333", "us-east-1"},
	"Number": {"10", "5", "10.0", "-3", "0", "7", "100", "1", "1e1", "5.50", "12abc", "", "ten", "1,0", "99999999999999999999"},
	"Date": {"2026-05-01T00:00:00Z", "2026-05-01", "2026-05", "2026", "1777593600", "2026-05-01T02:00:00+02:00", "2026-05-01T00:00:00.5Z", "2026-05-01T00:00Z", "2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2026-04-30T23:59:59Z", "2025", "1700000000", "2026-05-02",
		"yesterday", "2026-13-01", "2026-05-01 00:00:00", "2026-02-30", ""},
	"Bool":   {"true", "false", "True", "FALSE", "yes", "1", ""},
	"IP":     {"10.1.2.3", "2001:db8::1", "10.200.0.1", "192.168.0.1", "2001:db8:0:0::1", "2001:DB8::1", "2001:db9::1", "::ffff:10.1.2.3", "0.0.0.0", "::", "AWS Internal", "", "10.1.2.3/32", "010.1.2.3", "10.1.2"},
	"ARN":    {"arn:aws:s3:::b", "arn:aws:sns:us-east-1:111122223333:blue", "arn:aws:iam::111122223333:role/app", "arn:aws:iam::111122223333:role/blue", "arn:aws:sns:us-east-1:111122223333:blue:sub", "arn:aws:s3:::B", "blue", "", "arn:aws:s3", "arn:aws:s3::", "urn:aws:s3:::b"},
	"Binary": {"QUJD", "QQ==", "QUI=", "QUJ", "***", ""},
}

// wanted are the values of policies. Those that are not of the operator's kind
// are mistakes of grammar, and not drawn.
var wanted = map[string][]string{
	"String": {"blue", "alice", "bl*", "Blue", "BLUE", "bob", "?lue", "*", "a*c", "b*", "", "home/${aws:username}/*", "${aws:username}", "${aws:PrincipalTag/team}", "${aws:principaltag/TEAM}",
		"${aws:PrincipalTag/none}", "*${aws:PrincipalTag/none}*", "${aws:PrincipalTag/none, 'blue'}", "${aws:PrincipalTag/team, 'alice'}", "b${*}", "${*}", "a${?}c", "${$}c", "x${*}", "${aws:TagKeys}",
		"${aws:TagKeys, 'blue'}", "${aws:RequestTag/team}", "?", "??", "É", "STRASSE", "S", "σ", "${aws:PrincipalAccount}", "us-*-1", "a.c", "b|c", "[b]lue"},
	"Number": {"10", "5", "10.0", "5.5", "1e1", "-3", "0", "1E+1", "99999999999999999998"},
	"Date":   {"2026-05-01T00:00:00Z", "2026-05-01", "2026-05", "2026", "1777593600", "2026-05-01T02:00:00+02:00", "2027-01-01T00:00Z", "2020-01-01T00:00:00Z"},
	"Bool":   {"true", "false", "True", "FALSE"},
	"IP": {"10.1.2.3", "10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "192.168.0.1/32", "192.168.0.1", "10.1.2.0/24", "2001:db8::1", "2001:0db8:0::1", "2001:db8::/32", "2001:DB8::/32", "2001:db8::1/32",
		"::/0", "2001:db8::1/128", "::ffff:10.1.2.3", "::ffff:10.0.0.0/104"},
	"ARN": {"arn:aws:s3:::b", "arn:aws:s3:::*", "arn:aws:sns:us-east-1:111122223333:blue", "arn:aws:*:*:111122223333:*", "arn:*:sns:us-*-1:*:bl??", "arn:aws:iam::*:role/*", "arn:aws:iam::111122223333:role/app",
		"arn:aws:sns:us-east-1:111122223333:*", "*", "arn:*", "arn:aws:s3:*", "arn:aws:sns:*:blue", "arn:aws:iam::111122223333:role/${aws:PrincipalTag/team}", "arn:aws:iam::111122223333:*/${aws:PrincipalTag/none}",
		"${aws:PrincipalArn}", "arn:aws:iam::${aws:PrincipalAccount}:role/app"},
	"Binary": {"QUJD", "QQ==", "QUI="},
}

// families are the operators by the kind of their values.
var families = map[string][]string{
	"String": {"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"},
	"Number": {"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
	"Date":   {"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
	"Bool":   {"Bool"},
	"IP":     {"IpAddress", "NotIpAddress"},
	"ARN":    {"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"},
	"Binary": {"BinaryEquals"},
}

// operators are all of them, without qualifiers.
var operators = slices.Concat([]string{"Null"}, families["String"], families["Number"], families["Date"], families["Bool"], families["IP"], families["ARN"], families["Binary"])

// kinds are drawn as often as they stand here.
var kinds = []string{"String", "String", "String", "String", "String", "Number", "Number", "Number", "Date", "Date", "Date", "Bool", "IP", "IP", "ARN", "ARN", "Binary", "Null"}
