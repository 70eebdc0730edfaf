package injection_test

import (
	"testing"

	"github.com/openpodidentity/podid/internal/injection"

	"github.com/google/go-cmp/cmp"
)

func TestVariablesAreThoseOfTheEKSWebhook(t *testing.T) {
	sts := injection.Variable{Name: "AWS_STS_REGIONAL_ENDPOINTS", Value: "regional"}
	regions := []injection.Variable{{Name: "AWS_DEFAULT_REGION", Value: "eu-central-1"}, {Name: "AWS_REGION", Value: "eu-central-1"}}
	credentials := []injection.Variable{
		{Name: "AWS_CONTAINER_CREDENTIALS_FULL_URI", Value: "http://169.254.170.23/v1/credentials"},
		{Name: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Value: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"},
	}
	join := func(groups ...[]injection.Variable) (all []injection.Variable) {
		for _, g := range groups {
			all = append(all, g...)
		}
		return all
	}
	first := []injection.Variable{sts}
	for _, c := range []struct {
		name    string
		present []string
		want    []injection.Variable
	}{
		{"a container without variables", nil, join(first, regions, credentials)},
		{"unrelated variables", []string{"PATH", "AWS_PROFILE"}, join(first, regions, credentials)},
		{"its own STS mode", []string{"AWS_STS_REGIONAL_ENDPOINTS"}, join(regions, credentials)},
		{"its own region", []string{"AWS_REGION"}, join(first, credentials)},
		{"its own default region", []string{"AWS_DEFAULT_REGION"}, join(first, credentials)},
		{"its own address", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI"}, join(first, regions)},
		{"its own token file", []string{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}, join(first, regions)},
		{"all its own", []string{"AWS_STS_REGIONAL_ENDPOINTS", "AWS_REGION", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := injection.Variables("eu-central-1", injection.CredentialsURI, injection.TokenFile, c.present...)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
