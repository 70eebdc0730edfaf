package bench_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"
)

const podidTrust = `{"Version":"2012-10-17","Statement":[{"Sid":"AllowEksAuthToAssumeRoleForPodIdentity","Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"aws:SourceAccount":"111122223333","aws:RequestTag/kubernetes-namespace":"shop"},"ArnEquals":{"aws:SourceArn":"arn:aws:eks:us-east-1:111122223333:cluster/local"}}}]}`

// BenchmarkTrustPolicyAgainstJSONDecoding is the decision on the pod identity trust policy, against
// encoding/json decoding the same document.
func BenchmarkTrustPolicyAgainstJSONDecoding(b *testing.B) {
	compiled, err := policy.Parse(policy.Trust, "trust policy", []byte(podidTrust))
	if err != nil {
		b.Fatal(err)
	}
	request := policy.Request{
		Principal: policy.Principal{Kind: policy.Service, ARN: podid.ServicePrincipal},
		Action:    "sts:AssumeRole", Resource: role, ResourceAccount: "111122223333",
		Keys: policy.Keys{
			"aws:SourceArn":                       {"arn:aws:eks:us-east-1:111122223333:cluster/local"},
			"aws:SourceAccount":                   {"111122223333"},
			"aws:RequestTag/kubernetes-namespace": {"shop"},
			"sts:RoleSessionName":                 {"eks-local-cart"},
		},
	}
	set := policy.Set{Resource: []*policy.Policy{compiled}}
	evaluate(b, []byte(podidTrust), request, set)
}

// BenchmarkRoleOf50StatementsAgainstJSONDecoding is the decision on a role of 50 statements of which the
// last one allows.
func BenchmarkRoleOf50StatementsAgainstJSONDecoding(b *testing.B) {
	var document bytes.Buffer
	document.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for range 49 {
		document.WriteString(`{"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:Query"],"Resource":"arn:aws:dynamodb:*:111122223333:table/orders-*"},`)
	}
	document.WriteString(`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::podid-*"}]}`)
	compiled, err := policy.Parse(policy.Identity, "role", document.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	request := policy.Request{
		Principal: policy.Principal{
			Kind: policy.AssumedRole, Account: "111122223333", RoleARN: role,
			ARN: "arn:aws:sts::111122223333:assumed-role/bench/session",
		},
		Action: "s3:ListBucket", Resource: "arn:aws:s3:::podid-demo",
	}
	evaluate(b, document.Bytes(), request, policy.Set{Identity: []*policy.Policy{compiled}})
}

func evaluate(b *testing.B, document []byte, request policy.Request, set policy.Set) {
	b.Helper()
	if !policy.Evaluate(request, set).Allowed {
		b.Fatal("the benchmark measures a denial")
	}
	compare(b, 1000, func(n int) {
		for range n {
			var decoded any
			if err := json.Unmarshal(document, &decoded); err != nil {
				b.Fatal(err)
			}
		}
	}, func(n int) {
		for range n {
			policy.Evaluate(request, set)
		}
	})
	b.ReportMetric(testing.AllocsPerRun(1000, func() { policy.Evaluate(request, set) }), "podid-allocs")
}

// BenchmarkThousandRolesAgainstJSONDecoding asks each of 1,000 roles for each of 100 actions, as a
// review of an account does: an operation is one decision, against encoding/json decoding that
// role's document.
func BenchmarkThousandRolesAgainstJSONDecoding(b *testing.B) {
	const roles, actions = 1000, 100
	documents := make([][]byte, roles)
	sets := make([]policy.Set, roles)
	requests := make([]policy.Request, roles)
	for i := range roles {
		documents[i] = fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":[
			{"Sid":"Read","Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::team-%[1]d","arn:aws:s3:::team-%[1]d/*"]},
			{"Sid":"Own","Effect":"Allow","Action":"dynamodb:*Item","Resource":"arn:aws:dynamodb:*:*:table/orders","Condition":{"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":"${aws:PrincipalTag/kubernetes-namespace}"}}},
			{"Sid":"Queue","Effect":"Allow","Action":"sqs:*","Resource":"arn:aws:sqs:*:*:team-%[1]d-*"},
			{"Sid":"NoSecrets","Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::team-%[1]d/secret/*"}]}`, i)
		compiled, err := policy.Parse(policy.Identity, "role", documents[i])
		if err != nil {
			b.Fatal(err)
		}
		sets[i].Identity = []*policy.Policy{compiled}
		requests[i] = policy.Request{
			Principal: policy.Principal{
				Kind: policy.AssumedRole, Account: "111122223333", RoleARN: role,
				ARN: "arn:aws:sts::111122223333:assumed-role/bench/session",
			},
			Resource: fmt.Sprintf("arn:aws:s3:::team-%d/2026/orders.csv", i),
			Keys:     policy.Keys{"aws:PrincipalTag/kubernetes-namespace": {"shop"}},
		}
	}
	asked := make([]string, actions)
	for i := range asked {
		asked[i] = fmt.Sprintf("service%d:Operation%d", i%10, i)
	}
	asked[actions/2] = "s3:GetObject"
	compare(b, roles*actions, func(n int) {
		for i := range n {
			var decoded any
			if err := json.Unmarshal(documents[i%roles], &decoded); err != nil {
				b.Fatal(err)
			}
		}
	}, func(n int) {
		allowed := 0
		for i := range n {
			request := requests[i%roles]
			request.Action = asked[i/roles%actions]
			if policy.Evaluate(request, sets[i%roles]).Allowed {
				allowed++
			}
		}
		if allowed != n/actions {
			b.Fatalf("%d of %d allowed", allowed, n)
		}
	})
}
