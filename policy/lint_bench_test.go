package policy_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

// BenchmarkLintOfTheWorstDocuments shows that no document keeps lint busy: each
// is as large as a document may be, once with white space before it, and all its parts have to be compared.
func BenchmarkLintOfTheWorstDocuments(b *testing.B) {
	fill := func(head, part, tail string) string {
		var parts []string
		for size, i := len(head)+len(tail), 0; ; i++ {
			one := strings.ReplaceAll(part, "%", fmt.Sprint(i))
			if size += len(one) + 1; size > policy.MaxWithoutSpace || i == 4000 {
				return head + strings.Join(parts, ",") + tail
			}
			parts = append(parts, one)
		}
	}
	documents := map[string]string{
		"values":     fill(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":[`, `"arn:aws:s3:*%"`, `]}}`),
		"patterns":   fill(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`, `"a:*a*a*a%"`, `],"Resource":"*"},{"Effect":"Deny","NotAction":"a:*b*b*b*b*c","Resource":"*"}]}`),
		"statements": fill(`{"Version":"2012-10-17","Statement":[`, `{"Effect":"Allow","Action":"a:%","Resource":"*"}`, `]}`),
		"keys":       fill(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{`, `"aws:prncpal%":"*"`, `}}}}`),
		"principals": fill(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":[`, `"AIDA%AAAAAAAAAAAAAAAA"`, `]},"Condition":{"StringLike":{"aws:RequestTag/eks-cluster-arn":"*"}}}]}`),
	}
	for name, document := range maps.Clone(documents) {
		documents[name+" after white space"] = strings.Repeat(" ", policy.MaxDocument-len(document)) + document
	}
	for name, document := range documents {
		kind := policy.GuessType([]byte(document))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for _, f := range policy.Lint(kind, "", []byte(document)) {
					if f.Rule == "syntax" {
						b.Fatal(f.What)
					}
				}
			}
		})
	}
}
