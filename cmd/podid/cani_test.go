package main

import (
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

func TestWhoAsksIsReadFromEveryFormThatAWSHas(t *testing.T) {
	const role = "arn:aws:iam::111122223333:role/shop/cart"
	for _, test := range []struct {
		as, action, resource string
		want                 policy.Principal
	}{
		{"anonymous", "s3:GetObject", "*", policy.Principal{}},
		{"111122223333", "s3:GetObject", "arn:aws-cn:s3:::b/k", policy.Principal{Kind: policy.Root, Account: "111122223333", ARN: "arn:aws-cn:iam::111122223333:root"}},
		{"arn:aws:iam::111122223333:root", "s3:GetObject", "*", policy.Principal{Kind: policy.Root, Account: "111122223333", ARN: "arn:aws:iam::111122223333:root"}},
		{"arn:aws:iam::111122223333:user/a/alice", "s3:GetObject", "*", policy.Principal{Kind: policy.User, Account: "111122223333", ARN: "arn:aws:iam::111122223333:user/a/alice"}},
		{role, "s3:GetObject", "*", policy.Principal{Kind: policy.AssumedRole, Account: "111122223333", RoleARN: role, ARN: "arn:aws:sts::111122223333:assumed-role/cart/podid-can-i"}},
		{"arn:aws-us-gov:sts::111122223333:assumed-role/cart/s1", "s3:GetObject", "*", policy.Principal{Kind: policy.AssumedRole, Account: "111122223333", RoleARN: "arn:aws-us-gov:iam::111122223333:role/cart", ARN: "arn:aws-us-gov:sts::111122223333:assumed-role/cart/s1"}},
		{"arn:aws:sts::111122223333:federated-user/bob", "s3:GetObject", "*", policy.Principal{Kind: policy.FederatedUser, Account: "111122223333", ARN: "arn:aws:sts::111122223333:federated-user/bob"}},
		{"pods.eks.amazonaws.com", "sts:AssumeRole", role, policy.Principal{Kind: policy.Service, ARN: "pods.eks.amazonaws.com"}},
		{"ec2.amazonaws.com.cn", "sts:AssumeRole", role, policy.Principal{Kind: policy.Service, ARN: "ec2.amazonaws.com.cn"}},
		{"cognito-identity.amazonaws.com", "sts:AssumeRoleWithWebIdentity", role, policy.Principal{Kind: policy.Federated, ARN: "cognito-identity.amazonaws.com"}},
		{"accounts.google.com", "sts:AssumeRoleWithWebIdentity", role, policy.Principal{Kind: policy.Federated, ARN: "accounts.google.com"}},
		{"oidc.eks.eu-central-1.amazonaws.com/id/ABC", "sts:AssumeRoleWithWebIdentity", role, policy.Principal{Kind: policy.Federated, ARN: "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC"}},
		{"arn:aws:iam::111122223333:saml-provider/corp", "sts:AssumeRoleWithSAML", role, policy.Principal{Kind: policy.Federated, ARN: "arn:aws:iam::111122223333:saml-provider/corp"}},
	} {
		got, err := parseWho(test.as, test.action, test.resource)
		if err != nil {
			t.Errorf("%s: %v", test.as, err)
			continue
		}
		if got.Principal != test.want || got.isPod() {
			t.Errorf("%s is read as %+v, want %+v", test.as, got, test.want)
		}
	}
	pod, err := parseWho("shop/cart.v1", "s3:GetObject", "*")
	if err != nil || pod.namespace != "shop" || pod.serviceAccount != "cart.v1" || !pod.isPod() {
		t.Errorf("shop/cart.v1 is read as %+v, %v", pod, err)
	}
}

func TestNobodyCanAskAsWhatIsNoPrincipal(t *testing.T) {
	for _, as := range []string{
		"", "bob", "Shop/cart", "shop/cart/x", "shop/", "1111", "arn:", "arn:aws:iam::111122223333:", "*",
		"arn:aws:iam::111122223333:user/", "arn:aws:iam::111122223333:role/*", "arn:aws:iam::aws:policy/X", "arn:aws:iam:::user/x",
		"arn:aws:sts::111122223333:assumed-role/cart", "arn:aws:sts::111122223333:assumed-role//x", "arn:aws:sts::111122223333:assumed-role/a/b/c",
		"arn:aws:s3:::bucket", "arn:aws:iam::111122223333:group/devs", "arn:aws:iam::111122223333:instance-profile/x",
	} {
		if got, err := parseWho(as, "s3:GetObject", "*"); err == nil {
			t.Errorf("%q is taken for %+v", as, got)
		}
	}
}

func FuzzWho(f *testing.F) {
	for _, seed := range []string{"shop/cart", "anonymous", "111122223333", "arn:aws:iam::111122223333:role/x", "arn:aws:sts::111122223333:assumed-role/a/b", "pods.eks.amazonaws.com", "arn:aws:iam::111122223333:user//"} {
		f.Add(seed, "sts:AssumeRoleWithWebIdentity", "arn:aws:iam::111122223333:role/x")
	}
	f.Fuzz(func(t *testing.T, as, action, resource string) {
		w, err := parseWho(as, action, resource)
		if err != nil {
			return
		}
		if w.isPod() != (w.namespace != "") {
			t.Errorf("%q is half a pod: %+v", as, w)
		}
		if w.Kind == policy.AssumedRole && (w.RoleARN == "" || !twelve.MatchString(w.Account)) {
			t.Errorf("%q is a session of nothing: %+v", as, w)
		}
		if !w.isPod() && w.Kind != policy.Anonymous && w.ARN == "" {
			t.Errorf("%q has no name: %+v", as, w)
		}
	})
}

func TestADenialIsReadAsAWSWordsIt(t *testing.T) {
	for _, test := range []struct {
		text string
		want denial
	}{
		{`User: arn:aws:iam::777788889999:user/JohnDoe is not authorized to perform: codecommit:ListRepositories because no service control policy allows the codecommit:ListRepositories action`,
			denial{as: "arn:aws:iam::777788889999:user/JohnDoe", action: "codecommit:ListRepositories", resource: ""}},
		{`An error occurred (AccessDenied) when calling the GetObject operation: User: arn:aws:sts::111122223333:assumed-role/cart/eks-x is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::orders/a b.txt" because no identity-based policy allows the s3:GetObject action`,
			denial{as: "arn:aws:sts::111122223333:assumed-role/cart/eks-x", action: "s3:GetObject", resource: "arn:aws:s3:::orders/a b.txt"}},
		{"AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/a/b\nis not authorized to perform: kms:Decrypt on resource:\narn:aws:kms:us-east-2:111122223333:key/f1.",
			denial{as: "arn:aws:sts::111122223333:assumed-role/a/b", action: "kms:Decrypt", resource: "arn:aws:kms:us-east-2:111122223333:key/f1"}},
		{`{"errorMessage": "User: arn:aws:sts::111111111111:assumed-role/r/i-11111is not authorized to perform: iam:GetRole on resource: role cdk-x because no identity-based policy allows the iam:GetRole action"}`,
			denial{as: "arn:aws:sts::111111111111:assumed-role/r/i-11111", action: "iam:GetRole", resource: "arn:aws:iam::111111111111:role/cdk-x"}},
		{`{"msg":"User: arn:aws:iam::111122223333:user/a is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b/k\" with an explicit deny in a resource-based policy"}`,
			denial{as: "arn:aws:iam::111122223333:user/a", action: "s3:PutObject", resource: "arn:aws:s3:::b/k"}},
		{`{"Message":"User: anonymous is not authorized to perform: es:ESHttpGet"}`, denial{as: "anonymous", action: "es:ESHttpGet", resource: ""}},
		{`You are not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-east-1:111122223333:instance/* with an explicit deny`,
			denial{as: "", action: "ec2:RunInstances", resource: "arn:aws:ec2:us-east-1:111122223333:instance/*"}},
		{`AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity`, denial{as: "", action: "sts:AssumeRoleWithWebIdentity", resource: ""}},
		{`Unauthorized Exception! EKS does not have permissions to assume the associated role.`, denial{as: "", action: "sts:AssumeRole", resource: ""}},
		{`User: pods.eks.amazonaws.com is not authorized to perform: sts:TagSession on resource: arn:aws:iam::111122223333:role/R because no role trust policy allows the sts:TagSession action`,
			denial{as: "pods.eks.amazonaws.com", action: "sts:TagSession", resource: "arn:aws:iam::111122223333:role/R"}},
		{`arn:aws:iam::111122223333:role/pipeline is not authorized to perform AssumeRole on role arn:aws:iam::444455556666:role/deploy`,
			denial{as: "arn:aws:iam::111122223333:role/pipeline", action: "sts:AssumeRole", resource: "arn:aws:iam::444455556666:role/deploy"}},
		{`is not authorized to perform: sts:TagSession on resource: arn:aws:iam::444455556666:role/automation`,
			denial{action: "sts:TagSession", resource: "arn:aws:iam::444455556666:role/automation"}},
		{`An error occurred (AccessDenied) when calling the ListObjectsV2 operation: Access Denied`, denial{action: "s3:ListBucket"}},
		{`operation error S3: PutObject, https response error StatusCode: 403, api error AccessDenied: Access Denied`, denial{action: "s3:PutObject"}},
	} {
		got, err := parseDenied(test.text)
		got.reason = reason{}
		if err != nil || got != test.want {
			t.Errorf("%s\nis read as %+v, %v\nwant       %+v", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{"", "Access Denied", "is not authorized to perform:", "You are not authorized to perform this operation. Encoded authorization failure message: 0l-KPWQ"} {
		if got, err := parseDenied(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestADenialSaysWhichPolicyDenied(t *testing.T) {
	const user = "User: arn:aws:iam::111122223333:user/a is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k "
	for text, want := range map[string]reason{
		"with an explicit deny in a service control policy":               {"", "service control policy", "", true},
		"with an explicit deny in an identity-based policy":               {"", "identity-based policy", "", true},
		"with an explicit deny in a VPC endpoint policy":                  {"", "VPC endpoint policy", "", true},
		"with an explicit deny in the role trust policy":                  {"", "role trust policy", "", true},
		"because no permissions boundary allows the s3:GetObject action":  {"", "permissions boundary", "", false},
		"because no resource-based policy allows the s3:GetObject action": {"", "resource-based policy", "", false},
		"with an explicit deny in a service control policy: arn:aws:organizations::111122223333:policy/o-1/service_control_policy/p-1": {
			"", "service control policy", "arn:aws:organizations::111122223333:policy/o-1/service_control_policy/p-1", true},
		"": {},
	} {
		got, err := parseDenied(user + text)
		if want.text = text; err != nil || got.reason != want {
			t.Errorf("%s\nis read as %+v, %v\nwant       %+v", text, got.reason, err, want)
		}
	}
}

func FuzzDenied(f *testing.F) {
	f.Add(`User: arn:aws:iam::111122223333:user/a is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b/k\" with`)
	f.Add("User: arn:aws:sts::111111111111:assumed-role/r/i is not authorized to perform: iam:GetRole on resource: instance profile x")
	f.Add("Not authorized to perform sts:AssumeRoleWithWebIdentity")
	f.Add("is not authorized to perform: a:b on resource: \" ")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDenied(text)
		if err != nil {
			return
		}
		if checkAction(d.action) != nil {
			t.Errorf("%q gives the action %q", text, d.action)
		}
		if strings.Contains(d.as, " ") {
			t.Errorf("%q gives the principal %q", text, d.as)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add("aws:TagKeys=a", "AWS:tagkeys=b")
	f.Add("aws:principaltag/Team=x", "aws:PrincipalTag/Team=")
	f.Fuzz(func(t *testing.T, a, b string) {
		keys, err := keyFlags([]string{a, b})
		if err != nil {
			return
		}
		values := 0
		for _, v := range keys {
			values += len(v)
		}
		if values != 2 {
			t.Errorf("%q and %q give %v", a, b, keys)
		}
	})
}
