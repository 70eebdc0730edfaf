package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// failure is one way to break the walk-through, and to mend it again.
type failure struct {
	name string
	// did says what is done to break it, as a person would.
	did string
	// code is the problem that the application must see, and says names what
	// else its error must name: the facts of this case.
	code problem.Code
	says []string
	// world breaks what is outside the pod, mend undoes it; pod breaks what is in it.
	world, mend func(context.Context, *demo) error
	pod         func(context.Context, *demo, *sandbox.Container) error
}

var failures = []failure{
	{
		name:  "The association is missing",
		did:   "aws eks delete-pod-identity-association --cluster-name local --association-id …",
		code:  problem.AssociationMissing,
		says:  []string{demoNamespace + "/" + demoAccount, "create-pod-identity-association"},
		world: dissociate,
		mend:  reassociate,
	},
	{
		name: "The trust policy lacks sts:TagSession",
		did:  "aws iam update-assume-role-policy … # without \"sts:TagSession\"",
		code: problem.TrustTagSession,
		says: []string{"sts:TagSession", demoRole},
		world: func(ctx context.Context, d *demo) error {
			trust, err := d.trust("")
			return errors.Join(err, d.setTrust(ctx, strings.Replace(trust, `"sts:TagSession"`, `"sts:SetSourceIdentity"`, 1)))
		},
		mend: mendTrust,
	},
	{
		name:  "The trust policy names another principal",
		did:   "aws iam update-assume-role-policy … # \"Principal\": {\"Service\": \"ec2.amazonaws.com\"}",
		code:  problem.TrustPrincipal,
		says:  []string{demoRole, "podid trust-policy"},
		world: func(ctx context.Context, d *demo) error { return d.setTrust(ctx, otherTrust) },
		mend:  mendTrust,
	},
	{
		name: "A condition of the trust policy wants another namespace",
		did:  "podid trust-policy -n production > trust-policy.json && aws iam update-assume-role-policy …",
		code: problem.TrustCondition,
		says: []string{"aws:RequestTag/kubernetes-namespace", demoNamespace},
		world: func(ctx context.Context, d *demo) error {
			trust, err := d.trust("production")
			return errors.Join(err, d.setTrust(ctx, trust))
		},
		mend: mendTrust,
	},
	{
		name: "The role may not list the bucket",
		did:  "aws iam delete-role-policy --role-name " + demoRole + " --policy-name list",
		code: "", // S3 says this one, in AWS's own words
		says: []string{"AccessDenied", "is not authorized to perform: s3:ListBucket", "because no identity-based policy allows the s3:ListBucket action"},
		world: func(ctx context.Context, d *demo) error {
			_, err := d.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: new(demoRole), PolicyName: new("list")})
			return err
		},
		mend: func(ctx context.Context, d *demo) error { return d.permit(ctx) },
	},
	{
		name: "The application sends an old copy of the token",
		did:  "cp saved-token $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE # it expired a minute ago",
		code: problem.TokenExpired,
		says: []string{"expired"},
		pod: func(_ context.Context, d *demo, c *sandbox.Container) error {
			token, err := d.world.Pods.ExpiredToken(c.Pod.UID)
			return errors.Join(err, c.WriteToken(token))
		},
	},
	{
		name: "The token is of a pod that is gone",
		did:  "kubectl delete pod … # and its token is used once more",
		code: problem.PodGone,
		pod: func(ctx context.Context, d *demo, c *sandbox.Container) error {
			return d.connection.EndPod(ctx, c.Pod.UID)
		},
	},
	{
		name: "The token is for another audience",
		did:  "# the token file holds a token for sts.amazonaws.com, as IRSA mounts it",
		code: problem.TokenAudience,
		says: []string{podid.AudiencePods},
		pod: func(ctx context.Context, d *demo, c *sandbox.Container) error {
			token, err := d.connection.Token(ctx, c.Pod.UID, "sts.amazonaws.com", 0)
			return errors.Join(err, c.WriteToken(token))
		},
	},
	{
		name: "The token was changed",
		did:  "# the signature in the token file is reversed",
		code: problem.TokenForged,
		pod: func(ctx context.Context, d *demo, c *sandbox.Container) error {
			token, err := d.connection.Token(ctx, c.Pod.UID, podid.AudiencePods, 0)
			head, signature, _ := cutLast(token, ".")
			return errors.Join(err, c.WriteToken(head+"."+swap(signature)))
		},
	},
	{
		name: "The role was deleted",
		did:  "aws iam delete-role --role-name " + demoRole,
		code: problem.RoleMissing,
		says: []string{demoRole},
		world: func(ctx context.Context, d *demo) error {
			_, err := d.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: new(demoRole), PolicyName: new("list")})
			if err != nil {
				return err
			}
			_, err = d.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: new(demoRole)})
			return err
		},
		mend: func(ctx context.Context, d *demo) error {
			trust, err := d.trust("")
			if err != nil {
				return err
			}
			if _, err = d.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: new(demoRole), AssumeRolePolicyDocument: &trust}); err != nil {
				return err
			}
			return d.permit(ctx)
		},
	},
}

// show breaks the walk-through, lets the application run into it, prints what the
// application printed, checks that it names the cause, and mends it.
func (d *demo) show(ctx context.Context, f failure) error {
	d.printf("\n%s %s\n", d.bad("✗"), d.title(f.name))
	if strings.HasPrefix(f.did, "# ") {
		d.printf("   %s\n", d.faint(f.did))
	} else {
		d.did(f.did)
	}
	if f.world != nil {
		if err := f.world(ctx, d); err != nil {
			return err
		}
	}
	err := d.inPod(ctx, func(c *sandbox.Container) error {
		if f.pod != nil {
			if err := f.pod(ctx, d, c); err != nil {
				return err
			}
		}
		said, err := d.application(ctx, c)
		if err == nil {
			return fmt.Errorf("the application was not refused: %s", said)
		}
		d.printf("%s\n", indent(wrap(said, 110), "   "))
		if f.code != "" {
			d.printf("   %s\n", d.faint("more: podid explain "+string(f.code)))
		}
		for _, fact := range append([]string{string(f.code), "Fix:"}, f.says...) {
			if !strings.Contains(said, fact) {
				return fmt.Errorf("the application's error does not say %q", fact)
			}
		}
		return nil
	})
	if err != nil || f.mend == nil {
		return err
	}
	return f.mend(ctx, d)
}

func dissociate(ctx context.Context, d *demo) error {
	_, err := d.eks.DeletePodIdentityAssociation(ctx, &eks.DeletePodIdentityAssociationInput{
		ClusterName: &d.connection.Cluster, AssociationId: &d.association,
	})
	return err
}

func reassociate(ctx context.Context, d *demo) error {
	made, err := d.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: &d.connection.Cluster, Namespace: new(demoNamespace), ServiceAccount: new(demoAccount), RoleArn: new(d.roleARN()),
	})
	if err != nil {
		return err
	}
	d.association = *made.Association.AssociationId
	return nil
}

// otherTrust trusts EC2 alone, as a role made for instances does.
const otherTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`

func mendTrust(ctx context.Context, d *demo) error {
	trust, err := d.trust("")
	return errors.Join(err, d.setTrust(ctx, trust))
}

func (d *demo) setTrust(ctx context.Context, document string) error {
	_, err := d.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: new(demoRole), PolicyDocument: &document})
	return err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// swap reverses a signature: as long, as well-formed, and wrong.
func swap(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
