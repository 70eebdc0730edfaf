//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"
)

// The names of the walk-through, those of AWS's own tutorial.
const (
	role      = "EKS-Pod-Identity-Role"
	namespace = "test-namespace"
	account   = "test-sa"
)

func (d *demo) walk(ctx context.Context) error {
	steps := []func(context.Context) error{d.nodes, d.install, d.makeRole, d.object, d.annotation, d.rest, d.javaScript, d.look, d.asBroker, d.fail, d.asBrokerRole, d.uninstall}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) nodes(ctx context.Context) error {
	d.step("The cluster.")
	_, err := d.kubectl(ctx, "get", "nodes", "-o", "wide")
	return err
}

func (d *demo) install(ctx context.Context) error {
	d.step("podid, with the AWS beside it as STS, which has made the base credentials of its service pods.eks.amazonaws.com.")
	d.did("kubectl -n podid-system create secret generic podid-base-credentials --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…")
	d.did("podid install --cluster-name lab --region us-east-1 --account 111122223333 --sts-endpoint " + d.AWS.Endpoint + " --principal service --wait")
	said, err := d.Install(ctx, d.AWS.ServicePrincipal())
	d.say(brief(said))
	if err != nil {
		return err
	}
	_, err = d.kubectl(ctx, "-n", lab.Namespace, "get", "pods", "-o", "wide")
	return err
}

// brief leaves out the middle of what is long.
func brief(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > 12 {
		lines = append(append(lines[:4:4], fmt.Sprintf("… %d more …", len(lines)-8)), lines[len(lines)-4:]...)
	}
	return strings.Join(lines, "\n")
}

func (d *demo) makeRole(ctx context.Context) error {
	d.step("A role that trusts podid and may list one bucket.")
	d.did("podid trust-policy --principal service --cluster-arn " + d.Identity.ARN() + " > trust-policy.json")
	d.say(d.Principal.Trust(d.Identity))
	d.did("aws iam create-role --role-name " + role + " --assume-role-policy-document file://trust-policy.json")
	d.did("aws iam put-role-policy --role-name " + role + " --policy-name list --policy-document file://permissions.json")
	d.say(lab.Permissions)
	_, err := d.Role(ctx, role)
	return err
}

const objectDoor = `apiVersion: v1
kind: Namespace
metadata: {name: test-namespace}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: test-sa, namespace: test-namespace}
---
apiVersion: podid.dev/v1alpha1
kind: PodIdentityAssociation
metadata: {name: test-sa, namespace: test-namespace}   # the name of the service account
spec:
  roleARN: arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role
`

func (d *demo) object(ctx context.Context) error {
	d.step("First door, an object. A pod with an unmodified AWS SDK for Go lists the bucket.")
	if err := d.apply(ctx, objectDoor); err != nil {
		return err
	}
	if said, err := d.kubectl(ctx, "-n", namespace, "get", "pia"); err != nil {
		return err
	} else if err := wants(said, "NAME", "ROLE", "ACCEPTED", account, role); err != nil {
		return err
	}
	return d.lists(ctx, podOf(namespace, account, "list"))
}

// podOf is the pod's manifest, as a person writes it.
func podOf(namespace, account, name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  serviceAccountName: %s
  restartPolicy: Never
  containers:
  - name: app
    image: %s
    args: [list, %s]
    env: [{name: AWS_ENDPOINT_URL, value: "http://10.99.0.1:4566"}]   # the AWS beside the cluster
`, name, namespace, account, lab.Image, lab.Bucket)
}

// lists runs a pod to its end and wants the listing from it.
func (d *demo) lists(ctx context.Context, manifest string) error {
	code, said, err := d.runPod(ctx, manifest)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("the application ended with %d: %s", code, said)
	}
	return wants(said, "I am arn:aws:sts::111122223333:assumed-role/"+role+"/eks-lab-", "readme.txt")
}

// runPod makes a pod, waits for its end, shows what it said, and removes it.
func (d *demo) runPod(ctx context.Context, manifest string) (code int32, said string, err error) {
	if err := d.apply(ctx, manifest); err != nil {
		return 0, "", err
	}
	p, err := d.PodOf(ctx, manifest)
	if err != nil {
		return 0, "", err
	}
	if code, said, err = p.AwaitEnd(ctx); err != nil {
		return 0, "", err
	}
	d.did("kubectl -n " + p.Namespace + " logs " + p.Name)
	d.say(said)
	return code, said, nil
}

func (d *demo) annotation(ctx context.Context) error {
	d.step("Second door, IRSA's annotation. It is closed until an administrator opens it.")
	if _, err := d.podid(ctx, "install", "--annotations", "--yes", "--wait"); err != nil {
		return err
	}
	if err := d.apply(ctx, `apiVersion: v1
kind: Namespace
metadata: {name: annotated}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: test-sa
  namespace: annotated
  annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role"}
`); err != nil {
		return err
	}
	return d.lists(ctx, podOf("annotated", account, "list"))
}

func (d *demo) look(ctx context.Context) error {
	d.step("What there is.")
	if said, err := d.podid(ctx, "get", "associations", "-A"); err != nil {
		return err
	} else if err := wants(said, "annotated", "rest", namespace); err != nil {
		return err
	}
	_, err := d.podid(ctx, "status")
	return err
}

func (d *demo) javaScript(ctx context.Context) error {
	d.step("The same with the AWS SDK for JavaScript on Node 20.")
	if err := d.AddJavaScript(ctx); err != nil {
		d.say("skipped: the image cannot be made here: " + err.Error())
		return nil //nolint:nilerr // it was said
	}
	manifest := strings.NewReplacer(lab.Image, lab.JavaScript, "[list, "+lab.Bucket+"]", "["+lab.Bucket+"]").Replace(podOf(namespace, account, "javascript"))
	return d.lists(ctx, manifest)
}

func (d *demo) asBroker(ctx context.Context) error {
	as, err := d.AWS.BrokerUser(ctx)
	if err != nil {
		return err
	}
	return d.become(ctx, as, "As outside AWS: podid signs with the access key of a user of yours, the broker, and roles trust that.")
}

func (d *demo) asBrokerRole(ctx context.Context) error {
	as, err := d.AWS.BrokerRole(ctx)
	if err != nil {
		return err
	}
	return d.become(ctx, as, "The broker is itself a role, which the SDK's own chain assumes by a configuration file.")
}

func (d *demo) become(ctx context.Context, as lab.Principal, told string) error {
	d.step("%s", told)
	d.did("podid install --principal broker --wait   # with other base credentials")
	if _, err := d.Install(ctx, as); err != nil {
		return err
	}
	d.did("podid trust-policy --principal " + as.ARN + " --cluster-arn " + d.Identity.ARN() + " > trust-policy.json")
	d.say(as.Trust(d.Identity))
	d.did("aws iam update-assume-role-policy --role-name " + role + " --policy-document file://trust-policy.json")
	if _, err := d.Role(ctx, role); err != nil {
		return err
	}
	for _, door := range []string{namespace, "annotated", "rest"} {
		if err := d.lists(ctx, podOf(door, account, "as-"+as.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) uninstall(ctx context.Context) error {
	d.step("Gone again, addresses on the nodes included.")
	said, err := d.podid(ctx, "uninstall", "--yes", "--delete-associations", "--export", d.File("associations.yaml"))
	if err != nil {
		return err
	}
	if err := wants(said, "Nothing of podid is left"); err != nil {
		return err
	}
	for _, node := range d.Nodes() {
		err := lab.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
			out, err := d.OnNode(ctx, node.Name, "ip", "addr")
			if err == nil && strings.Contains(out, "169.254.170.23") {
				err = fmt.Errorf("%s still has the address", node.Name)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
