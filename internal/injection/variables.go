package injection

import "slices"

// The projected token and where it is mounted, as EKS Pod Identity has it
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html).
const (
	// Volume is the name of the projected volume, TokenPath the file within it.
	Volume    = "eks-pod-identity-token"
	TokenPath = "eks-pod-identity-token"
	// Audience is whom the token is for.
	Audience = "pods.eks.amazonaws.com"
	// MountPath is where containers see the volume, read-only.
	MountPath = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
	// TokenFile is the token's path in a container.
	TokenFile = MountPath + "/" + TokenPath
	// TokenExpirationSeconds is what the kubelet is asked for; it renews the
	// token at 80 % of that.
	TokenExpirationSeconds = 86400
)

// CredentialsURI is the address SDKs ask; the second one on IPv6 nodes. SDKs
// accept plain HTTP from no other addresses but loopback.
const (
	CredentialsURI     = "http://169.254.170.23/v1/credentials"
	CredentialsURIIPv6 = "http://[fd00:ec2::23]/v1/credentials"
)

// The names of the variables.
const (
	EnvSTSRegionalEndpoints = "AWS_STS_REGIONAL_ENDPOINTS"
	EnvDefaultRegion        = "AWS_DEFAULT_REGION"
	EnvRegion               = "AWS_REGION"
	EnvCredentialsURI       = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	EnvTokenFile            = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
)

// Variable is one environment variable of a container.
type Variable struct{ Name, Value string }

// Variables are what a container gets, in the order of the EKS webhook, less
// what it says itself: present are the names it has. The two regions, and
// address and token file, belong together: a container that sets one of a pair
// gets neither. Without a region there are no region variables.
func Variables(region, credentialsURI, tokenFile string, present ...string) []Variable {
	return missing([][]Variable{
		{{EnvSTSRegionalEndpoints, "regional"}},
		regions(region),
		{{EnvCredentialsURI, credentialsURI}, {EnvTokenFile, tokenFile}},
	}, present)
}

func regions(region string) []Variable {
	if region == "" {
		return nil
	}
	return []Variable{{EnvDefaultRegion, region}, {EnvRegion, region}}
}

// missing are the variables of each group of which nothing is present.
func missing(groups [][]Variable, present []string) []Variable {
	var vs []Variable
	for _, group := range groups {
		if !slices.ContainsFunc(group, func(v Variable) bool { return slices.Contains(present, v.Name) }) {
			vs = append(vs, group...)
		}
	}
	return vs
}
