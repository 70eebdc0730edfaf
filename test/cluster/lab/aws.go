package lab

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/localaws"
	"github.com/openpodidentity/podid/test/kube"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Region and Account are those of the AWS here.
const (
	Region  = "us-east-1"
	Account = "111122223333"
)

// AWS is the small AWS that this process plays.
type AWS struct {
	*localaws.AWS
	// Endpoint is where nodes and pods reach it; this process has clients.
	Endpoint string
	IAM      *iam.Client
	S3       *s3.Client

	client *http.Client
	mu     sync.Mutex
	skew   time.Duration
	calls  map[string]int
}

// startAWS serves an AWS inside the network.
func startAWS(network *kube.Network) (*AWS, error) {
	listener, err := network.Listen("tcp", net.JoinHostPort(kube.Gateway, "4566"))
	if err != nil {
		return nil, err
	}
	a := &AWS{
		Endpoint: "http://" + listener.Addr().String(),
		client:   &http.Client{Transport: &http.Transport{DialContext: network.DialContext}},
		calls:    map[string]int{},
	}
	a.AWS, err = localaws.New(localaws.Config{Account: Account, Region: Region, Now: a.now})
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(a.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	cfg := a.Config(a.Admin())
	a.IAM, a.S3 = iam.NewFromConfig(cfg), s3.NewFromConfig(cfg)
	return a, nil
}

// Config is a client configuration for this process.
func (a *AWS) Config(c podid.Credentials) aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: &a.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		HTTPClient:  a.client,
	}
}

// fill makes the bucket that pods list.
func (a *AWS) fill(ctx context.Context) error {
	if _, err := a.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(Bucket)}); err != nil {
		return err
	}
	for key, content := range map[string]string{"orders/2026-11.csv": "id,total\n1,9.90\n", "readme.txt": "Listed by a pod that has no keys.\n"} {
		if _, err := a.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(Bucket), Key: &key, Body: strings.NewReader(content)}); err != nil {
			return err
		}
	}
	return nil
}

func (a *AWS) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().Add(a.skew)
}

// Skew sets how far AWS's clock is ahead of the cluster's.
func (a *AWS) Skew(by time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.skew = by
}

// Calls is how often an action of STS or IAM was asked for, by anybody.
func (a *AWS) Calls(action string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[action]
}

// serve counts what is asked.
func (a *AWS) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil {
			a.mu.Lock()
			a.calls[form.Get("Action")]++
			a.mu.Unlock()
		}
	}
	a.ServeHTTP(w, r)
}

// Role makes a role that podid may assume and that may do what the policy document says, or changes it.
func (a *AWS) Role(ctx context.Context, name, trust, permissions string) (podid.RoleARN, error) {
	_, err := a.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil && strings.Contains(err.Error(), "EntityAlreadyExists") {
		_, err = a.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: &trust})
	}
	if err != nil {
		return "", err
	}
	_, err = a.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("permissions"), PolicyDocument: &permissions})
	return ARN(name), err
}
