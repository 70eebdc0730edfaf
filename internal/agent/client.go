package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// maxReply bounds what is read of an answer of podid-auth, in bytes.
const maxReply = 64 << 10

// AuthClient is the Exchange over HTTP, as podid-auth and EKS Auth speak it.
type AuthClient struct {
	Upstream Upstream
	// Endpoint is its base URL, https unless it is on loopback.
	Endpoint string
	// Cluster is the cluster's name; empty, the one that the stream tells.
	Cluster string
	// Token returns the agent's own token (audience auth.podid.dev).
	Token func() (string, error)
	// HTTP sends the requests (see [Replicas]); http.DefaultClient if nil. Redirects are
	// not followed. It must not bound how long an answer takes: the stream has no end.
	HTTP *http.Client
	// Now is the clock; time.Now if nil.
	Now func() time.Time

	told atomic.Pointer[string] // the cluster's name, by the stream
}

// headerAssociation is UID/RESOURCEVERSION: what the node has heard of, and what the
// answer is for.
const headerAssociation = "X-Podid-Association"

// Exchange implements Exchange. Problems of podid-auth come back as problems
// with the same code, what, why and fix; whatever is no usable answer is
// auth-unavailable. When ctx ends first, its error is returned as it is.
func (c *AuthClient) Exchange(ctx context.Context, ask Ask) (Reply, error) {
	cluster := c.Cluster
	if cluster == "" {
		told := c.told.Load()
		if told == nil {
			return Reply{}, problem.New(problem.AuthUnavailable, "podid-auth has not told the cluster's name yet").
				Because("the agent has just started, or cannot reach it")
		}
		cluster = *told
	}
	body, err := json.Marshal(map[string]string{"token": ask.Token})
	if err != nil {
		return Reply{}, fmt.Errorf("encode request: %w", err)
	}
	request, err := c.request(ctx, http.MethodPost, "/clusters/"+url.PathEscape(cluster)+"/assume-role-for-pod-identity", body)
	if err != nil {
		return Reply{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-Id", ask.ID)
	if heard := ask.Association.String(); heard != "" {
		request.Header.Set(headerAssociation, heard)
	}
	response, err := c.send(request)
	if err != nil {
		return Reply{}, err
	}
	defer response.Body.Close()
	body, err = c.read(ctx, response)
	if err != nil {
		return Reply{}, err
	}
	association, err := stream.ParseVersion(response.Header.Get(headerAssociation))
	if err != nil {
		return Reply{}, c.Upstream.unusable("it is for no version of an association")
	}
	reply := Reply{Association: association}
	if response.StatusCode != http.StatusOK {
		return reply, c.Upstream.restore(response, body)
	}
	reply.Credentials, err = c.Upstream.decode(body, c.now())
	return reply, err
}

// Open implements Stream.
func (c *AuthClient) Open(ctx context.Context, within time.Duration) (Lines, error) {
	request, err := c.request(ctx, http.MethodGet, stream.Path, nil)
	if err != nil {
		return nil, err
	}
	if within > 0 {
		request.Header.Set(stream.HeaderWithin, strconv.Itoa(int(within/time.Second)))
	}
	response, err := c.send(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		body, err := c.read(ctx, response)
		if err != nil {
			return nil, err
		}
		return nil, c.Upstream.restore(response, body)
	}
	return &authLines{Closer: response.Body, reader: stream.NewReader(response.Body), ctx: ctx, client: c}, nil
}

// authLines are an answer of podid-auth that is being read.
type authLines struct {
	io.Closer
	reader *stream.Reader
	ctx    context.Context // of the request
	client *AuthClient
	begun  bool
}

// Next implements Lines.
func (l *authLines) Next() (stream.Message, error) {
	m, err := l.reader.Next()
	switch first := !l.begun; {
	case err != nil && l.ctx.Err() != nil:
		return m, context.Cause(l.ctx)
	case err != nil:
		return m, problem.New(problem.AuthUnavailable, "the stream of podid-auth broke off").From(err)
	case first != (m.Snapshot != nil):
		return m, l.client.Upstream.unusable("its stream does not begin with the one snapshot")
	case first && (len(m.Snapshot.Cluster) > 100 || !clusterName.MatchString(m.Snapshot.Cluster)):
		return m, l.client.Upstream.unusable("its stream names no cluster")
	case first:
		l.begun = true
		l.client.told.Store(&m.Snapshot.Cluster)
	}
	return m, nil
}

// Lengths are checked beside the expressions: {0,99} is a hundred states, and so many
// kilobytes on every node.
var clusterName = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9_-]*$`)

// request makes a request that proves which agent sends it.
func (c *AuthClient) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	base, err := url.Parse(c.Endpoint)
	if err != nil || base.Host == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return nil, problem.New(problem.AuthUnavailable, "the agent has no usable address of %s", c.Upstream).
			Because("tokens are sent over TLS alone; plain HTTP is for loopback").
			Fixed("give the agent the https address of %s", c.Upstream).From(err)
	}
	own, err := c.Token()
	if err != nil {
		return nil, problem.New(problem.AuthUnavailable, "the agent cannot read its own token").
			Because("the agent proves its node with a projected token").
			Fixed("check the agent's token volume (audience %s)", podid.AudienceAuth).From(err)
	}
	request, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(own))
	return request, nil
}

func (c *AuthClient) send(request *http.Request) (*http.Response, error) {
	client := *cmp.Or(c.HTTP, http.DefaultClient)
	// A redirect would take the pod's token to wherever it points.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err == nil {
		return response, nil
	}
	if ctx := request.Context(); ctx.Err() != nil {
		return nil, fmt.Errorf("ask %s: %w", c.Upstream, context.Cause(ctx))
	}
	if told, is := errors.AsType[*problem.Problem](err); is {
		return nil, told // what sends it knows better
	}
	return nil, c.Upstream.unavailable("%s could not be reached", c.Upstream).From(err)
}

func (c *AuthClient) read(ctx context.Context, response *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("read %s's answer: %w", c.Upstream, context.Cause(ctx))
	case err != nil:
		return nil, c.Upstream.unusable("it broke off").From(err)
	case len(body) > maxReply:
		return nil, c.Upstream.unusable("it is longer than %d bytes", maxReply)
	}
	return body, nil
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
	accessKeyID = regexp.MustCompile(`^\w+$`)
	sessionARN  = regexp.MustCompile(`^arn:aws[a-z-]*:sts::([0-9]{12}):assumed-role/`)
)

// decode reads a successful answer. It must hold all that an SDK needs.
func (u Upstream) decode(body []byte, now time.Time) (podid.Credentials, error) {
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
		return podid.Credentials{}, u.unusable("it is not that of EKS Auth")
	}
	k := reply.Credentials
	account := sessionARN.FindStringSubmatch(reply.AssumedRoleUser.ARN)
	switch {
	case len(k.AccessKeyID) < 16 || len(k.AccessKeyID) > 128 || !accessKeyID.MatchString(k.AccessKeyID):
		return podid.Credentials{}, u.unusable("it has no access key ID")
	case k.SecretAccessKey == "" || len(k.SecretAccessKey) > 256:
		return podid.Credentials{}, u.unusable("it has no secret access key")
	case k.SessionToken == "":
		return podid.Credentials{}, u.unusable("it has no session token")
	case account == nil:
		return podid.Credentials{}, u.unusable("it has no assumed role's ARN")
	case k.Expiration == nil || *k.Expiration < 0 || *k.Expiration > 253402300799: // the year 9999
		return podid.Credentials{}, u.unusable("it has no expiration")
	}
	whole, fraction := math.Modf(*k.Expiration)
	expires := time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	if !expires.After(now) {
		return podid.Credentials{}, u.unusable("its credentials expired %s ago", now.Sub(expires).Round(time.Second)).
			Fixed("synchronise the clocks (NTP) of the nodes and of the STS")
	}
	return podid.Credentials{
		AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken,
		Expires: expires, Account: account[1],
	}, nil
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

// restore makes the problem that an error answer tells of, with the pause that it asks for.
func (u Upstream) restore(response *http.Response, body []byte) error {
	p := u.toldBy(response.StatusCode, response.Header.Get("X-Amzn-Errortype"), body)
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 3600 {
		return refusal{after: time.Duration(seconds) * time.Second, error: p}
	}
	return p
}

func (u Upstream) toldBy(status int, exception string, body []byte) *problem.Problem {
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
	switch {
	case readable && aboutNode(status, exception, told.Message):
		return nodeRefused(exception, clean(told.Message))
	case !ok || !readable:
		return u.unusable("its status is %d and it names no exception of EKS Auth", status)
	}
	what := cmp.Or(clean(told.Message), exception)
	if code == problem.AuthUnavailable {
		return u.unavailable("%s", what)
	}
	return problem.New(code, "%s", what)
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
