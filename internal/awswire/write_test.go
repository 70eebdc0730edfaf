package awswire_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/openpodidentity/podid/internal/awswire"
)

const (
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	requestID    = "0f4e9a3c-6d6e-4f0e-9d0b-7c1f5a3f9c11"
)

// serve gives an SDK configuration whose every call is answered by h, once.
func serve(t *testing.T, h http.HandlerFunc) aws.Config {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(server.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func TestQueryResultsAreReadByTheSDK(t *testing.T) {
	type role struct {
		Arn                      string
		RoleName                 string
		AssumeRolePolicyDocument string
		CreateDate               string
	}
	type result struct {
		Role role
	}
	created := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q, err := awswire.ParseQuery(r)
		if err != nil {
			awswire.WriteQueryError(w, iamNamespace, requestID, err)
			return
		}
		awswire.WriteQuery(w, iamNamespace, q.Action, requestID, result{role{
			Arn: "arn:aws:iam::111122223333:role/r", RoleName: q.String("RoleName"),
			AssumeRolePolicyDocument: "%7B%7D <&>", CreateDate: awswire.ISO(created)}})
	})
	out, err := iam.NewFromConfig(config).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("r ö<")})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Role.RoleName != "r ö<" || *out.Role.AssumeRolePolicyDocument != "%7B%7D <&>" || !out.Role.CreateDate.Equal(created) {
		t.Errorf("%+v", out.Role)
	}
}

func TestQueryCallsWithoutResult(t *testing.T) {
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q, err := awswire.ParseQuery(r)
		if err != nil || q.Action != "DeleteRole" {
			t.Errorf("%v, %v", q, err)
		}
		awswire.WriteQuery(w, iamNamespace, q.Action, requestID, nil)
	})
	if _, err := iam.NewFromConfig(config).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("r")}); err != nil {
		t.Error(err)
	}
}

func TestQueryErrorsBecomeTheSDKsTypes(t *testing.T) {
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		awswire.WriteQueryError(w, iamNamespace, requestID,
			fmt.Errorf("get role: %w", awswire.Errorf(404, "NoSuchEntity", "The role with name %s cannot be found.", "<r>")))
	})
	_, err := iam.NewFromConfig(config).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("r")})
	if e, ok := errors.AsType[*iamtypes.NoSuchEntityException](err); !ok || e.ErrorMessage() != "The role with name <r> cannot be found." {
		t.Errorf("%v", err)
	}
	if err == nil || !strings.Contains(err.Error(), "RequestID: "+requestID) {
		t.Errorf("%v does not name the request", err)
	}

	config = serve(t, func(w http.ResponseWriter, r *http.Request) {
		awswire.WriteQueryError(w, stsNamespace, requestID, awswire.Errorf(403, "AccessDenied", "no"))
	})
	_, err = sts.NewFromConfig(config).GetCallerIdentity(t.Context(), nil)
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "AccessDenied" {
		t.Errorf("%v", err)
	}
}

func TestS3ErrorsBecomeTheSDKsTypes(t *testing.T) {
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		awswire.WriteXMLError(w, r, requestID, &awswire.Error{Status: 404, Code: "NoSuchKey",
			Message: "The specified key does not exist.", Resource: r.URL.Path, Extra: map[string]string{"Key": "k & <k>"}})
	})
	client := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if _, ok := errors.AsType[*s3types.NoSuchKey](err); !ok {
		t.Errorf("%v", err)
	}
	if err == nil || !strings.Contains(err.Error(), "RequestID: "+requestID+", HostID: podid") {
		t.Errorf("%v does not name the request", err)
	}
	// No body with HEAD: the SDK goes by the status.
	_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if _, ok := errors.AsType[*s3types.NotFound](err); !ok {
		t.Errorf("%v", err)
	}
}

func TestS3DocumentsAreReadByTheSDK(t *testing.T) {
	type document struct {
		XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		LocationConstraint string   `xml:",chardata"`
	}
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		awswire.WriteXML(w, http.StatusOK, document{LocationConstraint: "eu-central-1"})
	})
	client := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
	out, err := client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("b")})
	if err != nil || out.LocationConstraint != "eu-central-1" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestJSONErrorsBecomeTheSDKsTypes(t *testing.T) {
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		awswire.WriteJSONError(w, requestID, &awswire.Error{Status: 404, Code: "ResourceNotFoundException",
			Message: "No cluster found for name: <x>.", Extra: map[string]string{"clusterName": "<x>"}})
	})
	_, err := eks.NewFromConfig(config).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("x")})
	e, ok := errors.AsType[*ekstypes.ResourceNotFoundException](err)
	if !ok || e.ErrorMessage() != "No cluster found for name: <x>." || aws.ToString(e.ClusterName) != "<x>" {
		t.Errorf("%v", err)
	}
	if err == nil || !strings.Contains(err.Error(), "RequestID: "+requestID) {
		t.Errorf("%v does not name the request", err)
	}
}

func TestJSONDocumentsAreReadByTheSDK(t *testing.T) {
	created := time.Date(2026, 9, 1, 12, 36, 0, 123e6, time.UTC)
	config := serve(t, func(w http.ResponseWriter, r *http.Request) {
		awswire.WriteJSON(w, http.StatusOK, map[string]any{"cluster": map[string]any{"name": "x", "createdAt": awswire.Epoch(created)}})
	})
	out, err := eks.NewFromConfig(config).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("x")})
	if err != nil {
		t.Fatal(err)
	}
	if !out.Cluster.CreatedAt.Equal(created) {
		t.Errorf("createdAt = %v", out.Cluster.CreatedAt)
	}
}

func TestWhatCannotBeEncodedIsAnInternalFailure(t *testing.T) {
	bad := struct{ F func() }{}
	for name, answer := range map[string]func(w http.ResponseWriter){
		"query": func(w http.ResponseWriter) { awswire.WriteQuery(w, iamNamespace, "GetRole", requestID, bad) },
		"xml":   func(w http.ResponseWriter) { awswire.WriteXML(w, 200, bad) },
		"json":  func(w http.ResponseWriter) { awswire.WriteJSON(w, 200, bad) },
	} {
		w := httptest.NewRecorder()
		answer(w)
		if w.Code != 500 || strings.Contains(w.Body.String(), "func") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

type signatureError struct{}

func (signatureError) Error() string { return "secret detail" }
func (signatureError) Exception() (int, string, string) {
	return 403, "SignatureDoesNotMatch", "no match"
}

func TestUnknownErrorsAreStripped(t *testing.T) {
	cause := io.ErrUnexpectedEOF
	e := awswire.AsError(fmt.Errorf("disk /var/secret: %w", cause))
	if e.Status != 500 || e.Code != "InternalFailure" || strings.Contains(e.Error(), "secret") || !errors.Is(e, cause) {
		t.Errorf("%+v", e)
	}
	if e := awswire.AsError(fmt.Errorf("verify: %w", signatureError{})); e.Status != 403 || e.Code != "SignatureDoesNotMatch" || e.Message != "no match" {
		t.Errorf("%+v", e)
	}
	if e := awswire.AsError(&http.MaxBytesError{Limit: 10}); e.Status != 400 || e.Code != "EntityTooLarge" {
		t.Errorf("%+v", e)
	}
	if awswire.AsError(nil) != nil {
		t.Error("nil became an error")
	}
	// A status that net/http would panic on.
	w := httptest.NewRecorder()
	awswire.WriteJSONError(w, "", &awswire.Error{Code: "X"})
	if w.Code != 500 || w.Header().Get("X-Amzn-Requestid") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestNotImplementedNamesTheOperation(t *testing.T) {
	if e := awswire.NotImplemented("s3", "PutBucketAcl"); e.Status != 501 || !strings.Contains(e.Message, "PutBucketAcl of s3") {
		t.Errorf("%+v", e)
	}
}

func TestEveryProtocolNamesTheRequest(t *testing.T) {
	w := httptest.NewRecorder()
	awswire.SetRequestID(w, requestID)
	h := w.Header()
	if h.Get("x-amzn-requestid") != requestID || h.Get("x-amz-request-id") != requestID || h.Get("x-amz-id-2") == "" {
		t.Errorf("%v", h)
	}
	awswire.WriteXML(w, 200, struct{ X string }{"x"})
	if h.Get("x-amz-request-id") != requestID {
		t.Errorf("the request was renamed: %v", h)
	}
	if id := awswire.RequestID(); len(id) != 36 || id == awswire.RequestID() {
		t.Errorf("request ID %q", id)
	}
}

func TestTimesAreWrittenAsAWSWritesThem(t *testing.T) {
	at := time.Date(2015, 8, 30, 14, 36, 0, 7e6, time.FixedZone("CEST", 7200))
	if got := awswire.ISO(at); got != "2015-08-30T12:36:00Z" {
		t.Error(got)
	}
	if got := awswire.ISOMillis(at); got != "2015-08-30T12:36:00.007Z" {
		t.Error(got)
	}
	if got := awswire.Epoch(at); got != 1440938160.007 {
		t.Error(got)
	}
}
