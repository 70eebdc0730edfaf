package localaws_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/openpodidentity/podid/localaws"
	"github.com/openpodidentity/podid/problem"
)

func TestAdministratorComesBack(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	w := newWorld(t, localaws.Config{Journal: j})
	old := w.aws.Admin()
	if _, err := w.iam().UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: aws.String("admin"), AccessKeyId: &old.AccessKeyID, Status: "Inactive"}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir)
	defer j.Close()
	again := newWorld(t, localaws.Config{Journal: j})
	if again.aws.Admin() == old {
		t.Error("the administrator has the inactive key")
	}
	if _, err := again.iam().ListUsers(t.Context(), &iam.ListUsersInput{}); err != nil {
		t.Error(err)
	}
	_, err := again.stsAs(old).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "InvalidClientTokenId")
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := localaws.New(localaws.Config{Account: "12"}); !problem.Is(err, problem.Usage) {
		t.Errorf("error is %v", err)
	}
	w := newWorld(t, localaws.Config{Account: "999999999999", Region: "cn-north-1"})
	who, err := w.stsAs(w.aws.Admin()).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws-cn:iam::999999999999:user/admin" {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestDataOfAnotherAccountAreRefused(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	newWorld(t, localaws.Config{Journal: j})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir)
	defer j.Close()
	for _, other := range []localaws.Config{{Account: "999999999999"}, {Region: "cn-north-1"}} {
		other.Journal = j
		if _, err := localaws.New(other); !problem.Is(err, problem.Usage) || !strings.Contains(err.Error(), account) {
			t.Errorf("error is %v", err)
		}
	}
	if _, err := localaws.New(localaws.Config{Journal: j, Region: "eu-central-1"}); err != nil {
		t.Errorf("another region of the account: %v", err)
	}
}

func TestConcurrentCallersSeeWholeChanges(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for range 20 {
				var err error
				switch i {
				case 0:
					_, err = w.iam().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("role"), PolicyName: aws.String("p"), PolicyDocument: aws.String(allow("s3:*", "*"))})
				case 1:
					_, err = w.iam().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("role"), Tags: iamTags("a", "b")})
				case 2:
					_, err = w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), Tags: tags("c", "d")})
				case 3:
					_, err = w.iam().ListRoles(t.Context(), &iam.ListRolesInput{})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
