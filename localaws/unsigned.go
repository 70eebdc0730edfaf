package localaws

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/openpodidentity/podid/internal/awswire"
)

// serveUnsigned routes by host, then by path, to whoever can say best what is
// missing. Only EKS Auth has callers that do not sign.
func (a *AWS) serveUnsigned(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	service := serviceOfHost(r.Host)
	switch {
	case service == serviceEKSAuth, service == "" && strings.HasSuffix(path, "/assume-role-for-pod-identity"):
		a.serveGiven(w, r, "EKS Auth", a.eksAuth)
	case service == serviceEKS, service == "" && strings.HasPrefix(path, "/clusters"):
		a.serveGiven(w, r, "EKS", a.eks)
	case service == serviceS3, service == "" && (path != "/" || signedV2(r)):
		refuse(w, r, serviceS3, a.unsignedS3(r))
	case r.Method == http.MethodGet && r.URL.Query().Get("Action") == "" && r.Header.Get("Authorization") == "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		fmt.Fprintf(w, welcome, scheme, clip(r.Host), a.region) //nolint:gosec // plain text, and not to be taken for anything else
	default:
		a.refuseUnsignedQuery(w, r, service)
	}
}

// unsignedS3 says what a request to S3 lacks, in S3's words and then in ours.
func (a *AWS) unsignedS3(r *http.Request) error {
	query, authorization := r.URL.Query(), r.Header.Get("Authorization")
	scheme, _, _ := strings.Cut(authorization, " ")
	const mechanism = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
	switch {
	case signedV2(r):
		return awswire.Errorf(http.StatusBadRequest, "InvalidRequest", mechanism+
			" Fix: aws configure set default.s3.signature_version s3v4, or Config(signature_version='s3v4') in boto3.")
	case strings.HasPrefix(scheme, "AWS4-"), query.Has("X-Amz-Algorithm"), query.Has("X-Amz-Credential"), query.Has("X-Amz-Signature"):
		if _, err := a.verify(r); err != nil {
			return err // what cannot be read of the signature
		}
	case authorization != "":
		return awswire.Errorf(http.StatusBadRequest, "InvalidRequest", mechanism)
	case r.Method == http.MethodPost && strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/form-data"):
		return awswire.NotImplemented("S3", "PostObject")
	}
	return awswire.Errorf(http.StatusForbidden, "AccessDenied", "Access Denied. The request is not signed, and nothing here is public."+
		" Fix: sign it with an AWS SDK or tool, or use a presigned URL (aws s3 presign s3://BUCKET/KEY).")
}

// signedV2 recognises S3's Signature Version 2, in the query or in the header.
// The query protocol's has a SignatureVersion.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
func signedV2(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("AWSAccessKeyId") && query.Has("Signature") && !query.Has("SignatureVersion") ||
		strings.HasPrefix(r.Header.Get("Authorization"), "AWS ")
}

// unsignedOperations are those of STS that AWS takes without a signature.
var unsignedOperations = map[string]bool{"AssumeRoleWithWebIdentity": true, "AssumeRoleWithSAML": true}

func (a *AWS) refuseUnsignedQuery(w http.ResponseWriter, r *http.Request, service string) {
	if q, err := awswire.ParseQuery(r); err == nil && unsignedOperations[q.Action] {
		refuse(w, r, serviceSTS, awswire.NotImplemented("STS", q.Action))
		return
	}
	_, err := a.verify(r) // says what is wrong with the header, or that there is none
	if err == nil {
		err = awswire.Errorf(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	refuse(w, r, cmp.Or(service, serviceSTS), err)
}

// serviceOfHost reads a service from names such as sts.us-east-1.amazonaws.com,
// iam.localhost, bucket.s3.eu-central-1.amazonaws.com; "" if it names none.
func serviceOfHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	labels := strings.Split(strings.ToLower(host), ".")
	if len(labels) < 2 || net.ParseIP(host) != nil {
		return ""
	}
	switch labels[0] {
	case serviceIAM, serviceSTS, serviceEKS, serviceEKSAuth, serviceS3:
		return labels[0]
	}
	for _, label := range labels[1:] {
		if label == serviceS3 || strings.HasPrefix(label, "s3-") {
			return serviceS3
		}
	}
	return ""
}
