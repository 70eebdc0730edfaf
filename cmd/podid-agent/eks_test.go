package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/spf13/pflag"
)

const roleARN = "arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role"

// aws is a local AWS whose EKS Auth verifies signatures, with a pod that has a role.
func localAWS(t *testing.T) (w *sandbox.World, token string) {
	t.Helper()
	w, err := sandbox.Start(t.Context(), sandbox.Config{Cluster: "production", AllowSigV4Agents: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	admin := w.AWS.Admin()
	client := iam.New(iam.Options{Region: w.Cluster.Region, BaseEndpoint: &w.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(admin.AccessKeyID, admin.SecretAccessKey, "")})
	_, err = client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("EKS-Pod-Identity-Role"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Associations.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: roleARN}); err != nil {
		t.Fatal(err)
	}
	pod, err := w.Pods.Start("shop", "cart", "", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if token, err = w.Pods.Token(pod.UID, podid.AudiencePods, time.Hour); err != nil {
		t.Fatal(err)
	}
	return w, token
}

// noAWS takes the variables of whoever runs the test away.
func noAWS(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func eks(t *testing.T, args ...string) options {
	t.Helper()
	var o options
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.flags(flags)
	if err := flags.Parse(append([]string{"--eks", "--cluster", "production", "--listen", free(t), "--probes", free(t), "--metrics", "", "--handover", "", "--holder", ""}, args...)); err != nil {
		t.Fatal(err)
	}
	return o
}

func sharedFile(t *testing.T, key podid.Credentials) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key.AccessKeyID, key.SecretAccessKey)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOnEKSItSignsForEKSAuth(t *testing.T) {
	noAWS(t)
	w, token := localAWS(t)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", sharedFile(t, w.AWS.Admin()))
	t.Setenv("AWS_REGION", w.Cluster.Region)
	t.Setenv("AWS_ENDPOINT_URL_EKS_AUTH", w.Endpoint)
	r := start(t, eks(t))
	r.until(t, "/readyz", 200)
	status, body, err := r.asAnSDK(token)
	if err != nil || status != 200 || !strings.Contains(body, "AccessKeyId") {
		t.Fatalf("%d %s, %v\n%s", status, body, err, r.log)
	}
	if _, again, _ := r.ask(token); again != body {
		t.Errorf("the second answer is another: %s", again)
	}
	forged := token[:len(token)-8] + "AAAAAAAA"
	if status, body, _ := r.ask(forged); status != 400 || !strings.Contains(body, "token-forged") {
		t.Errorf("a forged token: %d %s", status, body)
	}
}

func TestOnEKSTheBundleAndTheInstanceRoleAreUsed(t *testing.T) {
	noAWS(t)
	w, token := localAWS(t)
	admin := w.AWS.Admin()
	admin.Expires = time.Now().Add(time.Hour)
	instance := httptest.NewServer(metadata(func() podid.Credentials { return admin }, w.Cluster.Region))
	defer instance.Close()
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, w.CABundle, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.URL)
	t.Setenv("AWS_CA_BUNDLE", bundle)
	r := start(t, eks(t, "--endpoint", w.EndpointTLS))
	r.until(t, "/readyz", 200)
	if status, body, err := r.asAnSDK(token); err != nil || status != 200 {
		t.Fatalf("%d %s, %v\n%s", status, body, err, r.log)
	}
}

// metadata is an instance metadata service (IMDSv2) with one role.
func metadata(now func() podid.Credentials, region string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		_, _ = w.Write([]byte("metadata-token"))
	})
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{role...}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("role") == "" {
			_, _ = w.Write([]byte("node"))
			return
		}
		key := now()
		_ = json.NewEncoder(w).Encode(map[string]string{"Code": "Success", "AccessKeyId": key.AccessKeyID, "SecretAccessKey": key.SecretAccessKey,
			"Token": key.SessionToken, "Expiration": key.Expires.UTC().Format(time.RFC3339Nano)})
	})
	mux.HandleFunc("GET /latest/dynamic/instance-identity/document", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"region": region})
	})
	return mux
}

func TestOnEKSItSaysWhatItLacks(t *testing.T) {
	noAWS(t)
	w, token := localAWS(t)
	o := eks(t, "--endpoint", w.Endpoint)
	if err := serve(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: %v", err)
	}
	o.region, o.cluster = w.Cluster.Region, ""
	if err := serve(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--cluster") {
		t.Errorf("without a cluster: %v", err)
	}
	o.cluster = "production"
	r := start(t, o)
	r.until(t, "/healthz", 200)
	if status, body, _ := r.ask(token); status != 500 || !strings.Contains(body, "base-credentials") || !strings.Contains(body, "eks-auth:AssumeRoleForPodIdentity") {
		t.Errorf("without credentials: %d %s", status, body)
	}
	if body := r.until(t, "/readyz", 503); !strings.HasPrefix(body, "base-credentials: ") {
		t.Errorf("without credentials it says: %s", body)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", sharedFile(t, w.AWS.Admin()))
	r.until(t, "/readyz", 200)

	o = eks(t, "--endpoint", w.Endpoint, "--region", w.Cluster.Region, "--issuer", "https://127.0.0.1:1")
	r = start(t, o)
	r.until(t, "/healthz", 200)
	if body := r.until(t, "/readyz", 503); !strings.Contains(body, "https://127.0.0.1:1") {
		t.Errorf("without the issuer's keys it says: %s", body)
	}
}

func TestOnEKSAWrongKeyIsNotBlamedOnTheRole(t *testing.T) {
	noAWS(t)
	w, token := localAWS(t)
	wrong := w.AWS.Admin()
	wrong.SecretAccessKey += "x"
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", sharedFile(t, wrong))
	r := start(t, eks(t, "--endpoint", w.Endpoint, "--region", w.Cluster.Region))
	r.until(t, "/healthz", 200)
	status, body, err := r.asAnSDK(token)
	if err != nil || status != 403 || !strings.Contains(body, "caller-unproven") || !strings.Contains(body, "InvalidSignatureException") {
		t.Errorf("%d %s, %v\n%s", status, body, err, r.log)
	}
}
