package localaws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/localaws/sts"
	"github.com/openpodidentity/podid/policy"
)

// Signing names of the services.
const (
	serviceIAM     = "iam"
	serviceSTS     = "sts"
	serviceS3      = "s3"
	serviceEKS     = "eks"
	serviceEKSAuth = "eks-auth"
)

// welcome is what a browser sees.
const welcome = `This is the local AWS of podid: IAM, STS, S3, EKS (pod identity associations) and EKS Auth
on one endpoint, for AWS SDKs and tools.

    export AWS_ENDPOINT_URL=%s://%s AWS_DEFAULT_REGION=%s
    aws sts get-caller-identity
`

// ServeHTTP routes by signing scope, host and path.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// AWS's clock, by which SDKs correct theirs when a signature is too old or too new.
	w.Header().Set("Date", a.now().UTC().Format(http.TimeFormat))
	scope, signed := sigv4.Peek(r)
	if !signed {
		a.serveUnsigned(w, r)
		return
	}
	switch scope.Service {
	case serviceIAM:
		a.serveVerified(w, r, scope.Service, a.iamAPI)
	case serviceSTS:
		a.serveVerified(w, r, scope.Service, a.stsAPI)
	case serviceS3:
		a.serveVerified(w, r, scope.Service, a.s3API)
	case serviceEKS:
		a.serveGiven(w, r, "EKS", a.eks)
	case serviceEKSAuth:
		a.serveGiven(w, r, "EKS Auth", a.eksAuth)
	default:
		refuse(w, r, wireOf(r), awswire.NotImplemented("the local AWS", "The service "+clip(scope.Service)))
	}
}

// serveVerified verifies and hands on.
func (a *AWS) serveVerified(w http.ResponseWriter, r *http.Request, service string, next http.Handler) {
	request, err := a.verify(r)
	if err != nil {
		refuse(w, r, service, err)
		return
	}
	next.ServeHTTP(w, r.WithContext(iam.NewContext(r.Context(), request)))
}

func (a *AWS) serveGiven(w http.ResponseWriter, r *http.Request, name string, next http.Handler) {
	if next == nil {
		refuse(w, r, "", awswire.NotImplemented("this local AWS", name))
		return
	}
	next.ServeHTTP(w, r)
}

// verify proves the signature and gathers what the request says of itself.
func (a *AWS) verify(r *http.Request) (*iam.Request, error) {
	// Who has the key is found with the key: a session token is opened once.
	var c *iam.Caller
	verifier := sigv4.Verifier{Now: a.now, Lookup: func(_ context.Context, accessKeyID, sessionToken string) (key sigv4.Key, err error) {
		key, c, err = a.find(accessKeyID, sessionToken)
		return key, err
	}}
	v, err := verifier.Verify(r)
	if err != nil {
		return nil, hinted(err)
	}
	if err := readSource(r, c); err != nil {
		return nil, err
	}
	now := a.now()
	if !isRehearsal(r) {
		a.noteUse(c, iam.Use{At: now.UTC(), Service: v.Service, Region: v.Region})
	}
	return &iam.Request{Caller: c, Keys: requestKeys(r, v, now)}, nil
}

// noteUse keeps when a role, or an access key, was used last.
func (a *AWS) noteUse(c *iam.Caller, use iam.Use) {
	if c.Kind == policy.AssumedRole {
		a.iam.Used(c.Identity.ID, use)
	} else if c.Session == nil && c.Identity != nil {
		a.iam.Used(c.AccessKeyID, use)
	}
}

// hinted adds to a key or session that is not known here what mostly happened to it.
func hinted(err error) error {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidToken":
		h := *e
		h.Message = strings.TrimSuffix(e.Message, ".") + `. This account has no such active key or session; a world in memory has new ones after each start. Fix: eval "$(podid local env)".`
		return &h
	}
	return err
}

// readSource reads what the service principal acts for. The headers are signed:
// sigv4 demands it of every x-amz- header.
func readSource(r *http.Request, c *iam.Caller) error {
	arn, account := r.Header.Values("X-Amz-Source-Arn"), r.Header.Values("X-Amz-Source-Account")
	switch {
	case len(arn)+len(account) == 0:
		return nil
	case c.Kind != policy.Service:
		return awswire.Errorf(http.StatusForbidden, "AccessDenied",
			"User: %s is not an AWS service: x-amz-source-arn and x-amz-source-account are for service principals.", c.ARN)
	case len(arn) > 1 || len(account) > 1:
		return awswire.Errorf(http.StatusBadRequest, "ValidationError", "x-amz-source-arn and x-amz-source-account take one value each.")
	}
	c.SourceARN, c.SourceAccount = strings.Join(arn, ""), strings.Join(account, "")
	return nil
}

// requestKeys are the condition keys that the HTTP request gives.
func requestKeys(r *http.Request, v sigv4.Verified, now time.Time) policy.Keys {
	keys := policy.Keys{
		"aws:CurrentTime":     {now.UTC().Format(time.RFC3339)},
		"aws:EpochTime":       {strconv.FormatInt(now.Unix(), 10)},
		"aws:SecureTransport": {strconv.FormatBool(r.TLS != nil)},
		"aws:RequestedRegion": {v.Region},
		"aws:ViaAWSService":   {"false"},
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		address, _, _ := strings.Cut(host, "%") // without the zone
		keys["aws:SourceIp"] = []string{address}
	}
	if agent := r.UserAgent(); agent != "" {
		keys["aws:UserAgent"] = []string{agent}
	}
	if referer := r.Referer(); referer != "" {
		keys["aws:Referer"] = []string{referer}
	}
	return keys
}

// wireOf guesses the protocol of a service that does not exist here.
func wireOf(r *http.Request) string {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return serviceSTS
	}
	return ""
}

// refuse answers an error in the protocol of a service.
func refuse(w http.ResponseWriter, r *http.Request, service string, err error) {
	id := awswire.RequestID()
	switch service {
	case serviceIAM:
		awswire.WriteQueryError(w, iam.Namespace, id, err)
	case serviceSTS:
		awswire.WriteQueryError(w, sts.Namespace, id, err)
	case serviceS3:
		awswire.WriteXMLError(w, r, id, err)
	default:
		if wireOf(r) == serviceSTS {
			awswire.WriteQueryError(w, sts.Namespace, id, err)
			return
		}
		e := jsonError(err)
		// Where clients of services that speak AWS JSON (DynamoDB, SQS) look.
		e.Extra = map[string]string{"__type": e.Code}
		awswire.WriteJSONError(w, id, e)
	}
}

// jsonError gives an error the name that REST-JSON services use.
func jsonError(err error) *awswire.Error {
	e := *awswire.AsError(err)
	if !strings.HasSuffix(e.Code, "Exception") {
		e.Code += "Exception"
	}
	return &e
}

// clip keeps what a caller sent from filling an answer.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
