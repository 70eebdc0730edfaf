package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Signed signs requests for AWS's EKS Auth, as an http.RoundTripper: what the agent
// does on EKS, where there is no podid-auth.
type Signed struct {
	Region      string
	Credentials aws.CredentialsProvider
	// Next sends what is signed; http.DefaultTransport if nil.
	Next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s *Signed) RoundTrip(request *http.Request) (*http.Response, error) {
	body := []byte{}
	if request.Body != nil {
		defer request.Body.Close()
	}
	if request.GetBody != nil {
		reader, err := request.GetBody()
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(reader); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
	}
	key, err := s.key(request.Context())
	if err != nil {
		return nil, err
	}
	signed := request.Clone(request.Context())
	signed.Header.Del("Authorization") // the agent's own token is for podid-auth alone
	if request.GetBody != nil {
		if signed.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(request.Context(), key, signed, hex.EncodeToString(sum[:]), "eks-auth", s.Region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	next := s.Next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(signed)
}

// Check says whether there are credentials to sign with.
func (s *Signed) Check(ctx context.Context) error {
	_, err := s.key(ctx)
	return err
}

func (s *Signed) key(ctx context.Context) (aws.Credentials, error) {
	key, err := s.Credentials.Retrieve(ctx)
	if err != nil {
		return key, badKey("the agent has no AWS credentials of its own").From(err)
	}
	return key, nil
}

func badKey(format string, args ...any) *problem.Problem {
	return problem.New(problem.BaseCredentials, format, args...).
		Because("on EKS the agent signs its requests with the node's role, or with the keys of a shared credentials file").
		Fixed("give the node's role eks-auth:AssumeRoleForPodIdentity, and let the agent reach the instance metadata service")
}

// badSigner are the errors of all of AWS's services that are about who signed
// (https://docs.aws.amazon.com/eks/latest/APIReference/CommonErrors.html).
var badSigner = regexp.MustCompile(`^(UnrecognizedClient|InvalidSignature|InvalidClientTokenId|IncompleteSignature|MissingAuthenticationToken|` +
	`SignatureDoesNotMatch|RequestExpired|OptInRequired|NotAuthorized)(Exception)?$`)

// aboutNode reports whether an error of EKS Auth is about the node that signed, not about the pod.
// EKS Auth's own ExpiredTokenException, of the pod's token, has the status 400.
func aboutNode(status int, exception, message string) bool {
	return badSigner.MatchString(exception) || exception == "ExpiredTokenException" && status == http.StatusForbidden ||
		strings.Contains(message, "is not authorized to perform: eks-auth:")
}

// nodeRefused is what pods are told of that. AWS's message names the node's role: it is for the log.
func nodeRefused(exception, message string) *problem.Problem {
	p := badKey("EKS Auth refuses the agent's own AWS credentials (%s)", exception).From(errors.New(message))
	if strings.HasPrefix(message, "Signature expired") || strings.HasPrefix(message, "Signature not yet current") {
		p.Because("the clocks of the node and of AWS differ by more than a signature may be old").Fixed("synchronise the node's clock (NTP)")
	}
	return p
}

// EKSAuthEndpoint is AWS's, over IPv4 and IPv6
// (https://docs.aws.amazon.com/general/latest/gr/eks.html).
func EKSAuthEndpoint(region string) string {
	domain := "api.aws"
	if strings.HasPrefix(region, "cn-") {
		domain = "api.amazonwebservices.com.cn"
	}
	return "https://eks-auth." + region + "." + domain
}

// again is how long credentials of a file are used before the file is read again:
// whoever replaces them need not restart anything.
const again = time.Minute

// NodeCredentials are those of AWS's variables, else of the shared files (keys or a
// credential_process), else of the instance's role. It is the part of the SDK's default chain that
// needs no client of another service: those would add 2 MB to the agent.
func NodeCredentials() aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(nodeCredentials), func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = 10 * time.Second
	})
}

func nodeCredentials(ctx context.Context) (aws.Credentials, error) {
	env, err := config.NewEnvConfig()
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("read AWS's variables: %w", err)
	}
	if env.Credentials.HasKeys() {
		return env.Credentials, nil
	}
	profile, err := sharedProfile(ctx, env)
	switch {
	case err != nil:
		return aws.Credentials{}, err
	case profile.Credentials.HasKeys():
		profile.Credentials.CanExpire, profile.Credentials.Expires = true, time.Now().Add(again)
		return profile.Credentials, nil
	case profile.CredentialProcess != "":
		return processcreds.NewProvider(profile.CredentialProcess).Retrieve(ctx)
	case profile.RoleARN != "" || profile.WebIdentityTokenFile != "" || profile.SSOSessionName != "" || profile.SSOAccountID != "":
		return aws.Credentials{}, fmt.Errorf("the profile %q of the shared files names a role, a web identity or single sign-on: "+
			"the agent takes keys, a credential_process, or the instance's role", profile.Profile)
	}
	return ec2rolecreds.New().Retrieve(ctx)
}

// sharedProfile is the profile that the variables name; empty if there is none and none
// is named.
func sharedProfile(ctx context.Context, env config.EnvConfig) (config.SharedConfig, error) {
	name := env.SharedConfigProfile
	if name == "" {
		name = config.DefaultSharedConfigProfile
	}
	profile, err := config.LoadSharedConfigProfile(ctx, name, func(o *config.LoadSharedConfigOptions) {
		if env.SharedCredentialsFile != "" {
			o.CredentialsFiles = []string{env.SharedCredentialsFile}
		}
		if env.SharedConfigFile != "" {
			o.ConfigFiles = []string{env.SharedConfigFile}
		}
	})
	if _, missing := errors.AsType[config.SharedConfigProfileNotExistError](err); missing && env.SharedConfigProfile == "" {
		return config.SharedConfig{}, nil
	}
	return profile, err
}

// NodeRegion is the region of AWS's variables, else of the shared files, else of the
// instance.
func NodeRegion(ctx context.Context) (string, error) {
	env, err := config.NewEnvConfig()
	if err != nil {
		return "", fmt.Errorf("read AWS's variables: %w", err)
	}
	if env.Region != "" {
		return env.Region, nil
	}
	if profile, err := sharedProfile(ctx, env); err == nil && profile.Region != "" {
		return profile.Region, nil
	}
	instance, err := imds.New(imds.Options{}).GetRegion(ctx, nil)
	if err != nil {
		return "", problem.New(problem.ConfigurationMissing, "the agent does not know its region").
			Because("neither AWS_REGION nor the shared files nor the instance metadata service tells it").
			Fixed("set AWS_REGION, or give --region").From(err)
	}
	return instance.Region, nil
}
