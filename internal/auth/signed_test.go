package auth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var known = aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}

// signed makes the request as AWS's own agent does: signed by the SDK.
func signed(t *testing.T, key aws.Credentials, service, region, signedBody, sentBody string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://podid-auth.test/clusters/lab/assume-role-for-pod-identity", strings.NewReader(sentBody))
	r.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(signedBody))
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), service, region, time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

func newSignedWorld(t *testing.T) *world {
	w := newWorld(t)
	w.associate(t)
	w.handler.SigV4 = &sigv4.Verifier{Lookup: func(_ context.Context, id, _ string) (sigv4.Key, error) {
		switch id {
		case known.AccessKeyID:
			return sigv4.Key{Secret: known.SecretAccessKey}, nil
		case "AKIABROKENBROKEN2222":
			return sigv4.Key{}, errors.New("connection refused")
		}
		return sigv4.Key{}, sigv4.ErrUnknownKey
	}}
	return w
}

func TestCallersThatSignAreAdmittedWithoutNodeScope(t *testing.T) {
	w := newSignedWorld(t)
	w.move("test-namespace/reader", "node-7") // any node
	body := w.body(t)
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, signed(t, known, "eks-auth", "eu-central-1", body, body))
	if recorder.Code != http.StatusOK {
		t.Fatalf("got %d %s", recorder.Code, recorder.Body)
	}
	for _, want := range []string{`"caller_access_key":"` + known.AccessKeyID, `"node_scope":"none"`} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("log lacks %s: %s", want, w.log.String())
		}
	}
}

func TestSignaturesAreVerified(t *testing.T) {
	w := newSignedWorld(t)
	body := w.body(t)
	other := known
	other.SecretAccessKey = "another"
	unknown, broken := known, known
	unknown.AccessKeyID, broken.AccessKeyID = "AKIAOTHEROTHEROTHER2", "AKIABROKENBROKEN2222"
	for _, c := range []struct {
		name    string
		request *http.Request
		code    problem.Code
		says    string
	}{
		{"another secret", signed(t, other, "eks-auth", "eu-central-1", body, body), problem.CallerUnproven, "signature"},
		{"an unknown key", signed(t, unknown, "eks-auth", "eu-central-1", body, body), problem.CallerUnproven, "UnrecognizedClient"},
		{"another body", signed(t, known, "eks-auth", "eu-central-1", "{}", body), problem.CallerUnproven, "signature"},
		{"another service", signed(t, known, "sts", "eu-central-1", body, body), problem.CallerUnproven, "must sign for eks-auth in the cluster's region. Fix: sign for the service eks-auth"},
		{"S3, whose payloads need not be signed", signed(t, known, "s3", "eu-central-1", body, body), problem.CallerUnproven, ""},
		{"another region", signed(t, known, "eks-auth", "us-east-1", body, body), problem.CallerUnproven, "must sign for eks-auth in the cluster's region. Fix: set the client's region to eu-central-1"},
		{"keys away", signed(t, broken, "eks-auth", "eu-central-1", body, body), problem.AuthUnavailable, "looked up"},
		{"too large", signed(t, known, "eks-auth", "eu-central-1", strings.Repeat(" ", 40<<10), strings.Repeat(" ", 40<<10)), problem.RequestInvalid, "32768"},
	} {
		recorder := httptest.NewRecorder()
		w.handler.ServeHTTP(recorder, c.request)
		got := decode(t, recorder.Result())
		if got["code"] != string(c.code) || !strings.Contains(got["message"].(string), c.says) {
			t.Errorf("%s: got %d %v", c.name, recorder.Code, got)
		}
	}
}

func TestAgentsAreAdmittedBesideSignedCallers(t *testing.T) {
	w := newSignedWorld(t)
	if r := w.ask(t, w.body(t)); r.StatusCode != http.StatusOK {
		t.Errorf("got %v", decode(t, r))
	}
	w.move("test-namespace/reader", "node-2")
	if got := decode(t, w.ask(t, w.body(t))); got["code"] != string(problem.NodeMismatch) {
		t.Errorf("node scope does not hold: %v", got)
	}
}
