package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/internal/roles"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The broker's names in IAM.
const (
	brokerUser = "podid-broker"
	brokerRole = "podid-broker-role"
)

// assumer makes the part of podid-auth that assumes roles, with the base
// credentials of the configured principal.
func (w *World) assumer(ctx context.Context) (*roles.Assumer, error) {
	a := &roles.Assumer{Cluster: w.Cluster}
	switch w.config.Principal {
	case ServicePrincipal:
		a.Principal = roles.Principal{Service: true}
		a.AWS = w.aws(w.AWS.Service())
		a.Duration = 6 * time.Hour // what AWS's pod identity gives
		a.Trust = w.AWS
		return a, nil
	case BrokerUser, BrokerRole:
	default:
		return nil, fmt.Errorf("unknown principal %q", w.config.Principal)
	}
	key, err := w.brokerKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	a.Principal = roles.Principal{ARN: "arn:" + podid.Partition(w.Cluster.Region) + ":iam::" + w.Cluster.Account + ":user/" + brokerUser}
	a.AWS = w.aws(key)
	if w.config.Principal == BrokerRole {
		role := "arn:" + podid.Partition(w.Cluster.Region) + ":iam::" + w.Cluster.Account + ":role/" + brokerRole
		if err := w.makeBrokerRole(ctx, a.Principal.ARN); err != nil {
			return nil, fmt.Errorf("make broker role: %w", err)
		}
		provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(a.AWS), role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "podid-auth"
		})
		a.Principal.ARN = role
		a.AWS.Credentials = aws.NewCredentialsCache(provider)
	}
	a.Trust = roles.IAM{AWS: a.AWS}
	return a, nil
}

func (w *World) aws(c podid.Credentials) aws.Config {
	return aws.Config{
		Region:       w.Cluster.Region,
		BaseEndpoint: &w.Endpoint,
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	}
}

// brokerPolicy is what the broker needs beside being trusted: to assume roles of
// other accounts and target roles, and to read trust policies, so that a refusal
// can be explained.
const brokerPolicy = `{"Version":"2012-10-17","Statement":[
  {"Sid":"AssumeRolesOfWorkloads","Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"},
  {"Sid":"ExplainRefusals","Effect":"Allow","Action":"iam:GetRole","Resource":"*"}]}`

const brokerRecord = "world/broker" // of the journal

// brokerKey returns the broker's access key. A start makes it, with the IAM API,
// the first time and when it was deleted or made inactive since.
func (w *World) brokerKey(ctx context.Context) (podid.Credentials, error) {
	key, err := kept(w.journal, brokerRecord, func() (podid.Credentials, error) { return w.makeBroker(ctx) })
	if err != nil {
		return key, err
	}
	if _, err := w.AWS.Lookup(ctx, key.AccessKeyID, ""); err == nil {
		return key, nil
	}
	if key, err = w.makeBroker(ctx); err != nil {
		return key, err
	}
	return key, w.journal.Commit(journal.Put(brokerRecord, key))
}

func (w *World) makeBroker(ctx context.Context) (key podid.Credentials, err error) {
	client := iam.NewFromConfig(w.aws(w.AWS.Admin()))
	if _, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: new(brokerUser)}); err != nil && !isExisting(err) {
		return key, err
	}
	if _, err := client.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
		UserName: new(brokerUser), PolicyName: new("broker"), PolicyDocument: new(brokerPolicy),
	}); err != nil {
		return key, err
	}
	made, err := client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: new(brokerUser)})
	if err != nil {
		return key, err
	}
	key.AccessKeyID, key.SecretAccessKey = *made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey
	return key, nil
}

func (w *World) makeBrokerRole(ctx context.Context, user string) error {
	client := iam.NewFromConfig(w.aws(w.AWS.Admin()))
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + user + `"},"Action":"sts:AssumeRole"}]}`
	_, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: new(brokerRole), AssumeRolePolicyDocument: &trust})
	if err != nil && !isExisting(err) {
		return err
	}
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: new(brokerRole), PolicyName: new("broker"), PolicyDocument: new(brokerPolicy),
	})
	return err
}

func isExisting(err error) bool {
	_, ok := errors.AsType[*types.EntityAlreadyExistsException](err)
	return ok
}
