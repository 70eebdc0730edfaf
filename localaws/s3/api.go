package s3

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/problem"
)

// Access is the one thing S3 needs of IAM: it decides whether the caller of r
// (already proved by the front) may perform action on resource. keys are the
// condition keys that S3 adds (s3:prefix, s3:delimiter, s3:max-keys, …). The
// error is an *awswire.Error AccessDenied with AWS's text.
type Access func(r *http.Request, action, resource string, keys map[string][]string) error

// Handler is the S3 of one account and region; New makes it. Its fields may be
// set before it is used.
type Handler struct {
	// Log gets the causes of answers 500; nil for none.
	Log *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time

	account, region string
	access          Access
	state           *state
}

// New returns the S3 of one account and region, loaded from j (nil: in memory,
// 1 GiB at most). The handler, a *Handler, gets requests whose signature is
// verified and whose body is decoded; a body that turns out to be false fails
// while it is read.
func New(account, region string, j *journal.Journal, access Access) (http.Handler, error) {
	s, err := open(j)
	if err != nil {
		return nil, err
	}
	return &Handler{account: account, region: region, access: access, state: s}, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := awswire.RequestID()
	awswire.SetRequestID(w, id)
	if err := h.serve(w, r); err != nil {
		h.refuse(w, r, id, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	c, err := h.parse(r)
	if err != nil {
		return err
	}
	if c.op, err = c.route(); err != nil {
		return err
	}
	if owner := c.header.Get("X-Amz-Expected-Bucket-Owner"); owner != "" && owner != h.account {
		return fail(403, "AccessDenied", "Access Denied")
	}
	return c.op.serve(h, w, c)
}

// refuse writes the error document. What is not an AWS error is a fault of ours:
// the caller learns nothing of it, the log everything.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, id string, err error) {
	e := awswire.AsError(err)
	if e.Code == "InternalFailure" {
		h.log(r, id, err)
		e = &awswire.Error{Status: 500, Code: "InternalError", Message: "We encountered an internal error. Please try again.", Err: err}
		// A full disk is something that the caller can do something about.
		if p, ok := errors.AsType[*problem.Problem](err); ok {
			e.Message = p.Message()
		}
	}
	if errors.Is(err, errAnswered) {
		return
	}
	if e.Resource == "" {
		e = &awswire.Error{Status: e.Status, Code: e.Code, Message: e.Message, Extra: e.Extra, Err: e.Err, Resource: r.URL.Path}
	}
	awswire.WriteXMLError(w, r, id, e)
}

// log tells of what was not the caller's fault, and of answers that broke off,
// for which the caller may have gone.
func (h *Handler) log(r *http.Request, id string, err error) {
	if h.Log == nil {
		return
	}
	level := slog.LevelError
	if errors.Is(err, errAnswered) {
		level = slog.LevelInfo
	}
	h.Log.LogAttrs(r.Context(), level, "s3 request failed", slog.String("requestId", id), slog.Any("error", err))
}

// errAnswered is an error after the answer was begun: nothing more can be said.
var errAnswered = errors.New("s3: the answer broke off")

func (h *Handler) now() time.Time {
	now := time.Now
	if h.Now != nil {
		now = h.Now
	}
	// S3 keeps whole seconds, which is what its headers can say.
	return now().UTC().Truncate(time.Second)
}

// call is a request in S3's terms.
type call struct {
	r           *http.Request
	op          *operation
	bucket, key string
	query       url.Values // without those of a presigned URL
	header      http.Header
}

// parse reads a request. The X-Amz- parameters of a presigned URL count as
// headers, since signers put headers there.
func (h *Handler) parse(r *http.Request) (*call, error) {
	c := &call{r: r, header: r.Header}
	c.bucket, c.key = address(r.Host, r.URL.Path, h.region)
	var err error
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, errInvalidURI()
	}
	for name, values := range c.query {
		if len(values) > 1 {
			return nil, errInvalidArgument(name, values[1], "A parameter occurs twice.")
		}
		if !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return nil, errInvalidURI()
		}
		if !isAmz(name) {
			continue
		}
		delete(c.query, name)
		if c.header.Get(name) == "" {
			c.header = c.header.Clone()
			c.header.Set(name, values[0])
		}
	}
	if c.bucket != "" && !validBucketName(c.bucket) {
		return nil, errInvalidBucketName(c.bucket)
	}
	if c.bucket == "" && c.key != "" {
		return nil, errInvalidBucketName(c.bucket)
	}
	return c, checkKey(c.key)
}

func isAmz(name string) bool { return len(name) > 6 && strings.EqualFold(name[:6], "x-amz-") }

// allow asks whether the caller may do this.
func (h *Handler) allow(c *call, action, resource string, keys map[string][]string) error {
	return h.access(c.r, "s3:"+action, resource, keys)
}

// allowObject asks for an action on the request's object.
func (h *Handler) allowObject(c *call, action string, keys map[string][]string) error {
	return h.allow(c, action, h.objectARN(c.bucket, c.key), keys)
}

// allowBucket asks for an action on the request's bucket.
func (h *Handler) allowBucket(c *call, action string, keys map[string][]string) error {
	return h.allow(c, action, h.bucketARN(c.bucket), keys)
}

func (h *Handler) bucketARN(bucket string) string {
	return "arn:" + podid.Partition(h.region) + ":s3:::" + bucket
}

func (h *Handler) objectARN(bucket, key string) string { return h.bucketARN(bucket) + "/" + key }

// object finds an object for a caller who may read it. That it is missing is
// told only to those who may list the bucket.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (h *Handler) object(c *call, bucket, key string) (*object, func(), error) {
	o, release, err := h.state.object(bucket, key)
	if e, ok := errors.AsType[*awswire.Error](err); ok && e.Code == "NoSuchKey" {
		if denied := h.allow(c, "ListBucket", h.bucketARN(bucket), nil); denied != nil {
			return nil, nil, denied
		}
	}
	return o, release, err
}

// owner is the account's canonical user.
func (h *Handler) owner() owner { return owner{ID: canonicalUser(h.account)} }

// operation is one of S3's, with what it understands.
type operation struct {
	name    string
	level   level
	method  string
	query   string   // parameter that selects the operation
	header  string   // header that selects it
	params  []string // further parameters it understands
	headers []string // X-Amz- headers it understands beside commonHeaders
	body    bool     // it takes content with checksums
	meta    bool     // it takes x-amz-meta-
	serve   func(*Handler, http.ResponseWriter, *call) error
}

type level int

const (
	service level = iota
	ofBucket
	ofObject
)

func (c *call) level() level {
	switch {
	case c.bucket == "":
		return service
	case c.key == "":
		return ofBucket
	}
	return ofObject
}

// route finds the operation, and refuses by name what it does not understand.
func (c *call) route() (*operation, error) {
	i := slices.IndexFunc(operations, func(op operation) bool {
		return op.level == c.level() && op.method == c.r.Method &&
			(op.query == "" || c.query.Has(op.query)) &&
			(op.header == "" || c.header.Get(op.header) != "")
	})
	if i < 0 {
		if name, ok := c.unimplemented(); ok {
			return nil, errNotImplemented(name)
		}
		return nil, fail(405, "MethodNotAllowed", "The specified method is not allowed against this resource.", "Method", c.r.Method)
	}
	op := &operations[i]
	for _, name := range sortedKeys(c.query) {
		if name != op.query && name != "x-id" && !slices.Contains(op.params, name) {
			if operation, ok := c.unimplemented(); ok {
				return nil, errNotImplemented(operation)
			}
			return nil, errNotImplemented("The parameter " + clip(name) + " of " + op.name)
		}
	}
	return op, op.checkHeaders(c.header)
}

// commonHeaders are understood by every operation, mostly by the front.
var commonHeaders = []string{
	"X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-User-Agent",
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Signedheaders", "X-Amz-Expires",
	"X-Amz-Expected-Bucket-Owner",
	// It says who pays, and here nobody does.
	"X-Amz-Request-Payer",
	"X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "X-Amz-Sdk-Checksum-Algorithm",
}

// checkHeaders refuses by name the X-Amz- headers that the operation does not
// understand: each would change what it does.
func (op *operation) checkHeaders(header http.Header) error {
	for _, name := range sortedKeys(header) {
		known := !isAmz(name) || slices.Contains(commonHeaders, name) || slices.Contains(op.headers, name) || op.header == name ||
			op.meta && strings.HasPrefix(name, metaPrefix) ||
			op.body && isChecksumHeader(name)
		if known {
			continue
		}
		// What asks for the default changes nothing.
		if slices.Contains(defaults[name], header.Get(name)) {
			continue
		}
		return errNotImplemented("The header " + clip(strings.ToLower(name)) + ": " + clip(header.Get(name)) + " of " + op.name)
	}
	return nil
}

// defaults are the values of headers that ask for what is done anyway.
var defaults = map[string][]string{
	"X-Amz-Acl":                        {"private", "bucket-owner-full-control"},
	"X-Amz-Storage-Class":              {"STANDARD"},
	"X-Amz-Object-Ownership":           {"BucketOwnerEnforced"},
	"X-Amz-Bucket-Object-Lock-Enabled": {"false", "False"},
}

// unimplemented names the operation that a request asks for by a sub-resource
// that is not served.
func (c *call) unimplemented() (string, bool) {
	if c.level() == ofBucket && c.r.Method == http.MethodPost {
		return "PostObject", len(c.query) == 0
	}
	for _, name := range sortedKeys(c.query) {
		noun, ok := subResources[name]
		if !ok {
			continue
		}
		verb := map[string]string{"GET": "Get", "HEAD": "Head", "PUT": "Put", "POST": "Post", "DELETE": "Delete"}[c.r.Method]
		switch {
		case strings.HasPrefix(noun, "="):
			return noun[1:], true
		case c.level() == ofObject:
			return verb + "Object" + noun, true
		}
		return verb + "Bucket" + noun, true
	}
	return "", false
}

// subResources are S3's; a noun follows verb and Bucket or Object in the
// operation's name, unless "=" gives the whole name.
var subResources = map[string]string{
	"accelerate": "AccelerateConfiguration", "acl": "Acl", "analytics": "AnalyticsConfiguration", "cors": "Cors",
	"encryption": "Encryption", "intelligent-tiering": "IntelligentTieringConfiguration", "inventory": "InventoryConfiguration",
	"legal-hold": "LegalHold", "lifecycle": "LifecycleConfiguration", "logging": "Logging", "metrics": "MetricsConfiguration",
	"notification": "NotificationConfiguration", "object-lock": "=ObjectLockConfiguration", "ownershipControls": "OwnershipControls",
	"policy": "Policy", "policyStatus": "PolicyStatus", "publicAccessBlock": "=PublicAccessBlock", "replication": "Replication",
	"requestPayment": "RequestPayment", "restore": "=RestoreObject", "retention": "Retention", "select": "=SelectObjectContent",
	"session": "=CreateSession", "tagging": "Tagging", "torrent": "Torrent", "versioning": "Versioning",
	"versions": "=ListObjectVersions", "versionId": "=Object versions (versionId)", "website": "Website",
	"renameObject": "=RenameObject", "metadataTable": "MetadataTableConfiguration", "metadataConfiguration": "MetadataConfiguration",
}
