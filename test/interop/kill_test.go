package interop_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var kills = flag.Int("kills", 10, "how often TestAKilledWorldLosesNothingAcknowledged kills the world")

// acknowledged is what writers were told is done.
type acknowledged struct {
	mu                      sync.Mutex
	objects, roles, deleted []string
	pods, associations      []string
}

func (a *acknowledged) add(to *[]string, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*to = append(*to, name)
}

// TestAKilledWorldLosesNothingAcknowledged ends `podid local --data` with SIGKILL
// under writes, again and again: each time it starts, and everything that was
// acknowledged in any life is there.
func TestAKilledWorldLosesNothingAcknowledged(t *testing.T) {
	data := t.TempDir()
	known := &acknowledged{}
	w := start(t, "--data", data)
	if _, err := s3.NewFromConfig(w.config()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Fatal(err)
	}
	for life := range *kills {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for n := range 4 {
			writers.Go(func() { writeUntilKilled(ctx, w, known, fmt.Sprintf("%d-%d", life, n)) })
		}
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond) // the moment of death is what is drawn
		w.kill()
		cancel()
		writers.Wait()
		w = start(t, "--data", data)
	}
	known.check(t, w)
	t.Logf("after %d kills: %d objects, %d roles, %d deletions, %d pods, %d associations, all there",
		*kills, len(known.objects), len(known.roles), len(known.deleted), len(known.pods), len(known.associations))
	if len(known.objects) == 0 || len(known.roles) == 0 || len(known.pods) == 0 || len(known.associations) == 0 {
		t.Error("some kind of write was never acknowledged: the test shows nothing")
	}
}

const anyTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`

// writeUntilKilled makes and removes things until the world is gone.
func writeUntilKilled(ctx context.Context, w *world, known *acknowledged, writer string) {
	cfg := w.config()
	cfg.RetryMaxAttempts = 1 // a retry would hide which life acknowledged
	objects, roles, associations := s3.NewFromConfig(cfg), iam.NewFromConfig(cfg), eks.NewFromConfig(cfg)
	for n := range 10_000 {
		name := fmt.Sprintf("k%s-%d", writer, n)
		_, err := objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("kept"), Key: &name, Body: strings.NewReader(strings.Repeat(name, 1000))})
		if err != nil {
			return
		}
		if n%3 == 2 {
			if _, err := objects.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("kept"), Key: &name}); err != nil {
				return // deleted or not: nobody was told
			}
			known.add(&known.deleted, name)
		} else {
			known.add(&known.objects, name)
		}
		made, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(anyTrust)})
		if err != nil {
			return
		}
		known.add(&known.roles, name)
		_, err = associations.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
			ClusterName: &w.Cluster, Namespace: aws.String("kept"), ServiceAccount: &name, RoleArn: made.Role.Arn,
		})
		if err != nil {
			return
		}
		known.add(&known.associations, name)
		pod, err := w.StartPod(ctx, "kept", name, "", 0)
		if err != nil {
			return
		}
		known.add(&known.pods, pod.UID)
	}
}

func (a *acknowledged) check(t *testing.T, w *world) {
	t.Helper()
	objects, roles, associations := s3.NewFromConfig(w.config()), iam.NewFromConfig(w.config()), eks.NewFromConfig(w.config())
	there := map[string]bool{}
	keys := s3.NewListObjectsV2Paginator(objects, &s3.ListObjectsV2Input{Bucket: aws.String("kept")})
	for keys.HasMorePages() {
		page, err := keys.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range page.Contents {
			there["object "+*object.Key] = *object.Size == int64(1000*len(*object.Key))
		}
	}
	named := iam.NewListRolesPaginator(roles, &iam.ListRolesInput{})
	for named.HasMorePages() {
		page, err := named.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range page.Roles {
			there["role "+*role.RoleName] = true
		}
	}
	bound := eks.NewListPodIdentityAssociationsPaginator(associations, &eks.ListPodIdentityAssociationsInput{ClusterName: &w.Cluster})
	for bound.HasMorePages() {
		page, err := bound.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, association := range page.Associations {
			there["association "+*association.ServiceAccount] = true
		}
	}
	pods, err := w.ListPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		there["pod "+pod.UID] = true
	}
	for kind, names := range map[string][]string{"object ": a.objects, "role ": a.roles, "association ": a.associations, "pod ": a.pods} {
		for _, name := range names {
			if !there[kind+name] {
				t.Errorf("%s%s was acknowledged and is not there, or not whole", kind, name)
			}
		}
	}
	for _, name := range a.deleted {
		if there["object "+name] {
			t.Errorf("object %s was deleted, acknowledged, and is there", name)
		}
	}
}
