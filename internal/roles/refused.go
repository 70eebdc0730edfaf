package roles

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/smithy-go"
)

// refused turns an error of the call that assumes the association's role into a
// problem.
func (s *Assumer) refused(ctx context.Context, w podid.Workload, a podid.Association, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok:
		return unavailable(err)
	case accessDenied[api.ErrorCode()]:
		return s.explain(ctx, w, a, api, err)
	case badCredentials[api.ErrorCode()]:
		return badBase(api).From(err)
	}
	return s.invalid(a.Role, api, err)
}

// targetRefused does the same for the call in which that role's session assumes
// the target role.
func (s *Assumer) targetRefused(ctx context.Context, w podid.Workload, a podid.Association, session Session, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok:
		return unavailable(err)
	case accessDenied[api.ErrorCode()]:
		return s.explainTarget(ctx, w, a, session, api, err)
	case badCredentials[api.ErrorCode()]:
		// They are seconds old: not the set-up's fault, and it passes.
		return problem.New(problem.STSUnavailable, "STS does not know the session of %s that it has just given out", a.Role).
			Because("a new session takes a moment until every part of STS knows it").From(err)
	}
	return s.invalid(a.Target, api, err)
}

// The codes of AWS's common errors
// (https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html) and
// of S3-compatible storage that speaks STS.
var (
	accessDenied   = set("AccessDenied", "AccessDeniedException")
	badCredentials = set("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId",
		"SignatureDoesNotMatch", "InvalidSignatureException", "UnrecognizedClientException", "IncompleteSignature",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidToken", "RequestExpired",
		"RequestTimeTooSkewed", "OptInRequired", "NotAuthorized")
	badPolicy = set("MalformedPolicyDocument", "MalformedPolicyDocumentException")
	tooLarge  = set("PackedPolicyTooLarge", "PackedPolicyTooLargeException")
)

func set(codes ...string) map[string]bool {
	m := make(map[string]bool, len(codes))
	for _, code := range codes {
		m[code] = true
	}
	return m
}

// badBase is the problem of base credentials that STS rejects.
func badBase(api smithy.APIError) *problem.Problem {
	p := problem.New(problem.BaseCredentials, "STS rejects podid's own credentials (%s)", api.ErrorCode())
	switch code, message := api.ErrorCode(), api.ErrorMessage(); {
	case code == "RequestExpired", code == "RequestTimeTooSkewed",
		strings.HasPrefix(message, "Signature expired"), strings.HasPrefix(message, "Signature not yet current"):
		return p.Because("the clocks of podid and of STS differ by more than a signature may be old").
			Fixed("synchronise the clock (NTP) of the machine podid runs on")
	case strings.HasPrefix(code, "Expired"):
		return p.Because("they have expired")
	}
	return p
}

// invalid is the problem of a request that STS finds fault with.
func (s *Assumer) invalid(role podid.RoleARN, api smithy.APIError, err error) error {
	code, message := api.ErrorCode(), api.ErrorMessage()
	switch {
	case throttled(err):
		return problem.New(problem.STSThrottled, "STS is throttling (%s)", code).From(err)
	case tooLarge[code]:
		return problem.New(problem.SessionTagsTooLarge, "the session tags and policy for %s do not fit into a session", role).From(err)
	case badPolicy[code]:
		return problem.New(problem.SessionPolicyInvalid, "STS does not take the association's session policy for %s", role).From(err)
	case code == "RegionDisabledException":
		return problem.New(problem.BaseCredentials, "STS is not activated in region %s for podid's account", s.AWS.Region).
			Because("an account's administrator chooses the regions in which STS answers").
			Fixed("activate STS for that region in the account's IAM settings, or configure the STS endpoint of another region").From(err)
	case strings.Contains(message, "transitive tag key from the calling session"):
		return problem.New(problem.BaseCredentials, "podid's own session hands down a session tag of the same key").
			Because("STS refuses a tag whose key the caller's session carries as a transitive session tag already").
			Fixed("take base credentials whose session carries none of the six eks- and kubernetes- tags as transitive").From(err)
	case code == "ValidationError" && strings.Contains(strings.ToLower(message), "durationseconds"):
		p := problem.New(problem.DurationTooLong, "STS does not give %s sessions as long as podid asks for", role).From(err)
		if strings.Contains(message, "chaining") {
			p.Because("podid's own credentials are a role session, and STS gives whoever asks as one an hour at most").
				Fixed("set the session duration in podid's configuration to an hour or less")
		}
		return p
	case api.ErrorFault() == smithy.FaultServer, serverError(err):
		return unavailable(err)
	}
	return problem.New(problem.Internal, "STS refused the request for %s (%s)", role, code).
		Because("podid does not know this answer of STS").From(err)
}

func unavailable(err error) *problem.Problem {
	p := problem.New(problem.STSUnavailable, "STS does not answer").From(err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		p.What = "STS did not answer in time"
	case errors.Is(err, errIncomplete), isDeserialization(err):
		p.What = "STS gave an answer that podid cannot read"
		p.Why = "what answers at the STS endpoint does not speak the STS protocol, or broke off"
	}
	return p
}

func isDeserialization(err error) bool {
	_, ok := errors.AsType[*smithy.DeserializationError](err)
	return ok
}

func serverError(err error) bool {
	response, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	return ok && response.HTTPStatusCode() >= 500
}

// deniedAction finds what STS's own message says was not allowed.
var deniedAction = regexp.MustCompile(`not authorized to perform: (sts:[A-Za-z]+)`)

func actionIn(message string) string {
	if m := deniedAction.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}
