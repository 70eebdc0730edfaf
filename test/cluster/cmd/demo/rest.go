//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
)

// What a caller of the EKS API may do is Kubernetes' RBAC: its service account's.
const deployer = `apiVersion: v1
kind: Namespace
metadata: {name: rest}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: rest}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: associations, namespace: rest}
rules:
- {apiGroups: [podid.dev], resources: [podidentityassociations], verbs: [get, list, create, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: rest}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: associations}
subjects: [{kind: ServiceAccount, name: deployer, namespace: rest}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pass-the-role}
rules:
- apiGroups: [iam.podid.dev]
  resources: [iamroles]
  verbs: [pass]
  resourceNames: ["arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: pass-the-role}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pass-the-role}
subjects: [{kind: ServiceAccount, name: deployer, namespace: rest}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: test-sa, namespace: rest}
`

func (d *demo) rest(ctx context.Context) error {
	d.step("Third door, the EKS API: `aws eks`, Terraform. Its callers have access keys that belong to service accounts.")
	if err := d.apply(ctx, deployer); err != nil {
		return err
	}
	if _, err := d.podid(ctx, "access-key", "create", "--service-account", "rest/deployer"); err != nil {
		return err
	}
	variables, stop, err := d.way(ctx)
	if err != nil {
		return err
	}
	defer stop()
	create := []string{"eks", "create-pod-identity-association", "--cluster-name", d.Identity.Name, "--namespace", "rest", "--service-account", account,
		"--role-arn", "arn:aws:iam::111122223333:role/" + role}
	d.did("aws " + strings.Join(create, " "))
	if said, err := awsCLI(ctx, variables, create...); err == nil {
		d.say(said)
	} else if !errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("aws eks: %w: %s", err, said)
	} else if err := d.bySDK(ctx, variables); err != nil {
		return err
	}
	return d.lists(ctx, podOf("rest", account, "list"))
}

// way is what `podid eks env` prints, with the port-forward that it proposes, on a free port.
func (d *demo) way(ctx context.Context) (variables map[string]string, stop func(), err error) {
	address, stop, err := d.Forward(ctx, "service/podid-eks", 443)
	if err != nil {
		return nil, nil, err
	}
	d.did("kubectl port-forward -n podid-system service/podid-eks 8444:443 &")
	d.did("eval \"$(podid eks env --service-account rest/deployer)\"")
	out, err := d.Podid(ctx, "eks", "env", "--service-account", "rest/deployer", "--ca-bundle", d.File("eks-ca.crt"), "-o", "json")
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("podid eks env: %w: %s", err, out)
	}
	var env struct{ Region, CABundle, AccessKeyID, SecretAccessKey string }
	if err := json.Unmarshal([]byte(out), &env); err != nil {
		stop()
		return nil, nil, fmt.Errorf("podid eks env: %w: %s", err, out)
	}
	return map[string]string{
		"AWS_ENDPOINT_URL_EKS": "https://localhost:" + address, "AWS_CA_BUNDLE": env.CABundle, "AWS_REGION": env.Region, "AWS_DEFAULT_REGION": env.Region,
		"AWS_ACCESS_KEY_ID": env.AccessKeyID, "AWS_SECRET_ACCESS_KEY": env.SecretAccessKey, "AWS_PAGER": "",
	}, stop, nil
}

// awsCLI runs the AWS CLI where the machine has it.
func awsCLI(ctx context.Context, variables map[string]string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "aws", args...)
	// Only what leads to podid: a profile of the caller's would win.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// bySDK does what the AWS CLI would.
func (d *demo) bySDK(ctx context.Context, variables map[string]string) error {
	d.say("(this machine has no AWS CLI; the AWS SDK for Go asks instead)")
	client, err := d.TLSClient(ctx)
	if err != nil {
		return err
	}
	made, err := eks.New(eks.Options{
		Region: variables["AWS_REGION"], BaseEndpoint: aws.String(variables["AWS_ENDPOINT_URL_EKS"]), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider(variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], ""),
	}).CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: &d.Identity.Name, Namespace: aws.String("rest"), ServiceAccount: aws.String(account), RoleArn: aws.String("arn:aws:iam::111122223333:role/" + role),
	})
	if err != nil {
		return err
	}
	d.say(*made.Association.AssociationArn)
	return nil
}
