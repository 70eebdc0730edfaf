package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// Principal says who podid assumes roles as, and gives it the base credentials.
type Principal struct {
	Name string // service, broker or broker-role
	// ARN is what trust policies name; empty for the service.
	ARN string
	// Secret is what goes into podid-base-credentials.
	Secret map[string]string
}

// kind is the setting principal.
func (p Principal) kind() string {
	if p.ARN == "" {
		return "service"
	}
	return "broker"
}

const brokerPolicy = `{"Version":"2012-10-17","Statement":[
  {"Sid":"AssumeRolesOfWorkloads","Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"},
  {"Sid":"ExplainRefusals","Effect":"Allow","Action":"iam:GetRole","Resource":"*"}]}`

// Service is the principal pods.eks.amazonaws.com: the AWS here mints the one credential that is it.
func (a *AWS) ServicePrincipal() Principal {
	c := a.Service()
	return Principal{Name: "service", Secret: map[string]string{"AWS_ACCESS_KEY_ID": c.AccessKeyID, "AWS_SECRET_ACCESS_KEY": c.SecretAccessKey}}
}

// BrokerUser is a user of the account, by an access key.
func (a *AWS) BrokerUser(ctx context.Context) (Principal, error) {
	key, arn, err := a.broker(ctx)
	return Principal{Name: "broker", ARN: arn, Secret: map[string]string{
		"AWS_ACCESS_KEY_ID": *key.AccessKeyId, "AWS_SECRET_ACCESS_KEY": *key.SecretAccessKey,
	}}, err
}

// BrokerRole is a role that the user's key assumes first: the SDK's own chain does that by a configuration file.
func (a *AWS) BrokerRole(ctx context.Context) (Principal, error) {
	key, user, err := a.broker(ctx)
	if err != nil {
		return Principal{}, err
	}
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%q},"Action":"sts:AssumeRole"}]}`, user)
	role, err := a.Role(ctx, "podid-broker-role", trust, brokerPolicy)
	return Principal{Name: "broker-role", ARN: string(role), Secret: map[string]string{
		"config": fmt.Sprintf("[default]\nrole_arn = %s\nsource_profile = base\nrole_session_name = podid-auth\nregion = %s\nendpoint_url = %s\n",
			role, Region, a.Endpoint),
		"credentials": fmt.Sprintf("[base]\naws_access_key_id = %s\naws_secret_access_key = %s\n", *key.AccessKeyId, *key.SecretAccessKey),
	}}, err
}

func (a *AWS) broker(ctx context.Context) (*types.AccessKey, string, error) {
	user := aws.String("podid-broker")
	_, err := a.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: user})
	if _, exists := errors.AsType[*types.EntityAlreadyExistsException](err); err != nil && !exists {
		return nil, "", err
	}
	if _, err := a.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: user, PolicyName: aws.String("broker"), PolicyDocument: aws.String(brokerPolicy)}); err != nil {
		return nil, "", err
	}
	made, err := a.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	if err != nil {
		return nil, "", err
	}
	return made.AccessKey, "arn:aws:iam::" + Account + ":user/" + *user, nil
}

// Trust is a trust policy for the principal, for cluster alone.
func (p Principal) Trust(cluster podid.Cluster) string {
	statement := policy.TrustStatement{AWS: p.ARN, Tags: map[string]string{podid.TagClusterARN: cluster.ARN()}}
	if p.ARN == "" {
		statement = policy.TrustStatement{Service: podid.ServicePrincipal, SourceARN: cluster.ARN(), SourceAccount: cluster.Account}
	}
	document, err := statement.Document()
	if err != nil {
		panic(err) // the ARNs above are well-formed
	}
	return string(document)
}
