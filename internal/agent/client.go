package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/uuid"
)

// maxReply bounds what is read of an answer of podid-auth, in bytes.
const maxReply = 64 << 10

// AuthClient is the Exchange over HTTP, as podid-auth and EKS Auth speak it.
type AuthClient struct {
	// Endpoint is the base URL of podid-auth, https unless it is on loopback;
	// Cluster the cluster's name.
	Endpoint string
	Cluster  string
	// Token returns the agent's own token (audience auth.podid.dev).
	Token func() (string, error)
	// HTTP sends the requests; http.DefaultClient if nil. Redirects are not followed.
	HTTP *http.Client
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Exchange implements Exchange. Problems of podid-auth come back as problems
// with the same code, what, why and fix; whatever is no usable answer is
// auth-unavailable. When ctx ends first, its error is returned as it is.
func (c *AuthClient) Exchange(ctx context.Context, raw string) (podid.Credentials, error) {
	request, err := c.request(ctx, raw)
	if err != nil {
		return podid.Credentials{}, err
	}
	client := *cmp.Or(c.HTTP, http.DefaultClient)
	// A redirect would take the pod's token to wherever it points.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return podid.Credentials{}, fmt.Errorf("ask podid-auth: %w", ctx.Err())
		}
		return podid.Credentials{}, problem.New(problem.AuthUnavailable, "podid-auth could not be reached").From(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return podid.Credentials{}, fmt.Errorf("read podid-auth's answer: %w", ctx.Err())
	case err != nil:
		return podid.Credentials{}, unusable("it broke off").From(err)
	case len(body) > maxReply:
		return podid.Credentials{}, unusable("it is longer than %d bytes", maxReply)
	case response.StatusCode != http.StatusOK:
		return podid.Credentials{}, restore(response.StatusCode, response.Header.Get("X-Amzn-Errortype"), body)
	}
	return decode(body, c.now())
}

func (c *AuthClient) request(ctx context.Context, raw string) (*http.Request, error) {
	base, err := url.Parse(c.Endpoint)
	if err != nil || base.Host == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return nil, problem.New(problem.AuthUnavailable, "the agent has no usable address of podid-auth").
			Because("tokens are sent over TLS alone; plain HTTP is for loopback").
			Fixed("give the agent the https address of podid-auth").From(err)
	}
	own, err := c.Token()
	if err != nil {
		return nil, problem.New(problem.AuthUnavailable, "the agent cannot read its own token").
			Because("the agent proves its node with a projected token").
			Fixed("check the agent's token volume (audience %s)", podid.AudienceAuth).From(err)
	}
	body, err := json.Marshal(map[string]string{"token": raw})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		base.JoinPath("clusters", url.PathEscape(c.Cluster), "assume-role-for-pod-identity").String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(own))
	request.Header.Set("X-Request-Id", requestID(ctx))
	return request, nil
}

type requestIDKey struct{}

// withRequestID names the call that is made with ctx, for the logs of both sides.
func withRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		return id
	}
	return uuid.NewString()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *AuthClient) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

var (
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html
	accessKeyID = regexp.MustCompile(`^\w{16,128}$`)
	sessionARN  = regexp.MustCompile(`^arn:aws[a-z-]*:sts::([0-9]{12}):assumed-role/`)
)

// decode reads a successful answer. It must hold all that an SDK needs.
func decode(body []byte, now time.Time) (podid.Credentials, error) {
	var reply struct {
		AssumedRoleUser struct {
			ARN string `json:"arn"`
		} `json:"assumedRoleUser"`
		Credentials struct {
			SessionToken    string   `json:"sessionToken"`
			SecretAccessKey string   `json:"secretAccessKey"`
			AccessKeyID     string   `json:"accessKeyId"`
			Expiration      *float64 `json:"expiration"` // epoch seconds
		} `json:"credentials"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		// err may quote what it could not read.
		return podid.Credentials{}, unusable("it is not that of EKS Auth")
	}
	k := reply.Credentials
	account := sessionARN.FindStringSubmatch(reply.AssumedRoleUser.ARN)
	switch {
	case !accessKeyID.MatchString(k.AccessKeyID):
		return podid.Credentials{}, unusable("it has no access key ID")
	case k.SecretAccessKey == "" || len(k.SecretAccessKey) > 256:
		return podid.Credentials{}, unusable("it has no secret access key")
	case k.SessionToken == "":
		return podid.Credentials{}, unusable("it has no session token")
	case account == nil:
		return podid.Credentials{}, unusable("it has no assumed role's ARN")
	case k.Expiration == nil || *k.Expiration < 0 || *k.Expiration > 253402300799: // the year 9999
		return podid.Credentials{}, unusable("it has no expiration")
	}
	whole, fraction := math.Modf(*k.Expiration)
	expires := time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	if !expires.After(now) {
		return podid.Credentials{}, unusable("its credentials expired %s ago", now.Sub(expires).Round(time.Second)).
			Fixed("synchronise the clocks (NTP) of the nodes and of the STS")
	}
	return podid.Credentials{
		AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken,
		Expires: expires, Account: account[1],
	}, nil
}

func unusable(format string, args ...any) *problem.Problem {
	return problem.New(problem.AuthUnavailable, "podid-auth's answer cannot be used: %s", fmt.Sprintf(format, args...))
}

// exceptions are what EKS Auth's errors mean when it is not podid-auth that
// answers (https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html).
var exceptions = map[string]problem.Code{
	"AccessDeniedException":       problem.TrustDenied,
	"ExpiredTokenException":       problem.TokenExpired,
	"InvalidParameterException":   problem.RequestInvalid,
	"InvalidRequestException":     problem.RequestInvalid,
	"InvalidTokenException":       problem.TokenForged,
	"ResourceNotFoundException":   problem.AssociationMissing,
	"ThrottlingException":         problem.TooManyRequests,
	"InternalServerException":     problem.AuthUnavailable,
	"ServiceUnavailableException": problem.AuthUnavailable,
}

// restore makes the problem that an error answer tells of.
func restore(status int, exception string, body []byte) *problem.Problem {
	var told struct {
		Code    problem.Code `json:"code"`
		What    string       `json:"what"`
		Why     string       `json:"why"`
		Fix     string       `json:"fix"`
		Message string       `json:"message"`
	}
	readable := json.Unmarshal(body, &told) == nil
	if readable && problem.Known(told.Code) && told.What != "" {
		p := problem.New(told.Code, "%s", clean(told.What))
		p.Why = cmp.Or(clean(told.Why), p.Why)
		p.Fix = cmp.Or(clean(told.Fix), p.Fix)
		return p
	}
	exception, _, _ = strings.Cut(exception, ":") // a URL may follow the name
	code, ok := exceptions[exception]
	if !ok || !readable {
		return unusable("its status is %d and it names no exception of EKS Auth", status)
	}
	return problem.New(code, "%s", cmp.Or(clean(told.Message), exception))
}

// clean bounds a text of another program, and leaves nothing in it that a
// terminal or a log would obey.
func clean(s string) string {
	const most = 2000
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}
