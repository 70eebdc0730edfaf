package interop_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/sandbox"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestTheWalkThroughWithTheGoSDK is the walk-through with the AWS SDK for Go: as
// administrator, then with what the default configuration finds in a pod.
func TestTheWalkThroughWithTheGoSDK(t *testing.T) {
	w := start(t)
	ctx, admin := t.Context(), w.config()
	roles, associations := iam.NewFromConfig(admin), eks.NewFromConfig(admin)
	made, err := roles.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: aws.String("go"), AssumeRolePolicyDocument: aws.String(w.must(t, t.TempDir(), podid, "trust-policy")),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String("go"), PolicyName: aws.String("files"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::go-${aws:PrincipalTag/kubernetes-namespace}","arn:aws:s3:::go-${aws:PrincipalTag/kubernetes-namespace}/*"]}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s3.NewFromConfig(admin).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("go-shop")}); err != nil {
		t.Fatal(err)
	}
	ask := &eks.CreatePodIdentityAssociationInput{ClusterName: &w.Cluster, Namespace: aws.String("shop"), ServiceAccount: aws.String("cart"), RoleArn: made.Role.Arn}
	bound, err := associations.CreatePodIdentityAssociation(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	again, err := associations.CreatePodIdentityAssociation(ctx, ask) // with the token that the SDK put in
	if err != nil || *again.Association.AssociationId != *bound.Association.AssociationId {
		t.Errorf("the same call again: %v", err)
	}
	ask.ClientRequestToken = nil
	_, err = associations.CreatePodIdentityAssociation(ctx, ask)
	if _, typed := errors.AsType[*ekstypes.ResourceInUseException](err); !typed {
		t.Errorf("a second association: %v", err)
	}
	_, err = roles.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("none")})
	if _, typed := errors.AsType[*iamtypes.NoSuchEntityException](err); !typed {
		t.Errorf("a role that does not exist: %v", err)
	}

	asPod(t, w)
	inPod, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := sts.NewFromConfig(inPod).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`:assumed-role/go/eks-local-cart-0-[0-9a-f-]{36}$`).MatchString(*caller.Arn) {
		t.Errorf("the pod is %s", *caller.Arn)
	}
	files := s3.NewFromConfig(inPod)
	roundTrip(t, files, "go-shop")
	_, err = files.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("go-shop"), Key: aws.String("none")})
	if _, typed := errors.AsType[*s3types.NoSuchKey](err); !typed {
		t.Errorf("an object that does not exist: %v", err)
	}
	_, err = files.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("go-mail")})
	if err == nil || !strings.Contains(err.Error(), "is not authorized to perform: s3:ListBucket") {
		t.Errorf("the bucket of another namespace: %v", err)
	}
	_, err = associations.DeletePodIdentityAssociation(ctx, &eks.DeletePodIdentityAssociationInput{
		ClusterName: &w.Cluster, AssociationId: bound.Association.AssociationId,
	})
	if err != nil {
		t.Error(err)
	}
}

// asPod gives this process what injection gives a pod of shop/cart.
func asPod(t *testing.T, w *world) {
	t.Helper()
	pod, err := w.StartPod(t.Context(), "shop", "cart", "cart-0", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	container := &sandbox.Container{Connection: w.Connection, Pod: pod}
	if err := container.Mount(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := container.Unmount(); err != nil {
			t.Error(err)
		}
	})
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for _, variable := range container.Environment() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
		}
	}
}

// roundTrip sends 100 MB in parts, as the SDK's defaults have it, and compares
// what comes back.
func roundTrip(t *testing.T, files *s3.Client, bucket string) {
	t.Helper()
	content := make([]byte, 100_000_000)
	_, _ = rand.Read(content)
	upload, err := files.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("big")})
	if err != nil {
		t.Fatal(err)
	}
	var parts []s3types.CompletedPart
	const size = 8 << 20
	for n := int32(1); int(n-1)*size < len(content); n++ {
		body := content[int(n-1)*size : min(int(n)*size, len(content))]
		part, err := files.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: aws.String("big"), UploadId: upload.UploadId, PartNumber: &n, Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, s3types.CompletedPart{ETag: part.ETag, PartNumber: aws.Int32(n), ChecksumCRC32: part.ChecksumCRC32})
	}
	_, err = files.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: aws.String("big"), UploadId: upload.UploadId, MultipartUpload: &s3types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil {
		t.Fatal(err)
	}
	object, err := files.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("big")})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	back, err := io.ReadAll(object.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, back) {
		t.Error("100 MB came back different")
	}
}
