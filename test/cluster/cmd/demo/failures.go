//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"
)

// failure is one way to break the walk-through, and to mend it again.
type failure struct {
	name string
	// did says what is done to break it, as a person would.
	did string
	// says are facts that the application's error must name; events those of the pod's Events.
	says, events []string
	// asks is what is asked where podid cannot know, with what the application said.
	asks         func(ctx context.Context, d *demo, pod, said string) error
	breaks, mend func(context.Context, *demo) error
	// pod changes the manifest; "" leaves the ordinary one.
	pod func(manifest string) string
	// running breaks it under a pod that runs, instead of before one is made.
	running bool
	// mendTells is a failure whose Event comes with the mend: until then the pod was right to go without.
	mendTells bool
}

var failures = []failure{
	{
		name:   "The association is missing",
		did:    "kubectl -n test-namespace delete pia test-sa   # under a pod that runs",
		says:   []string{string(problem.AssociationMissing), "Fix:"},
		events: []string{"AssociationMissing", "Fix: create one"},
		breaks: func(ctx context.Context, d *demo) error { return d.Dissociate(ctx, namespace, account) },
		mend: func(ctx context.Context, d *demo) error {
			_, err := d.Apply(ctx, objectDoor)
			return err
		},
		running: true,
	},
	{
		name:   "The trust policy lacks sts:TagSession",
		did:    "aws iam update-assume-role-policy …   # without \"sts:TagSession\"",
		says:   []string{string(problem.TrustTagSession), "sts:TagSession", "Fix:"},
		events: []string{"TrustTagSession", "Fix: add \"sts:TagSession\""},
		breaks: func(ctx context.Context, d *demo) error {
			return d.trust(ctx, strings.Replace(d.Principal.Trust(d.Identity), `"sts:TagSession"`, `"sts:SetSourceIdentity"`, 1))
		},
		mend: mendTrust,
	},
	{
		name:   "The trust policy names another principal",
		did:    "aws iam update-assume-role-policy …   # \"Principal\": {\"Service\": \"ec2.amazonaws.com\"}",
		says:   []string{string(problem.TrustPrincipal), role, "Fix:"},
		events: []string{"TrustPrincipal", role, "podid trust-policy"},
		breaks: func(ctx context.Context, d *demo) error {
			return d.trust(ctx, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`)
		},
		mend: mendTrust,
	},
	{
		name: "The role may not list the bucket",
		did:  "aws iam put-role-policy --policy-document file://permissions.json …   # it names another bucket",
		says: []string{"AccessDenied", "is not authorized to perform: s3:ListBucket"},
		asks: canI,
		breaks: func(ctx context.Context, d *demo) error {
			_, err := d.AWS.Role(ctx, role, d.Principal.Trust(d.Identity), otherBucket)
			return err
		},
		mend: func(ctx context.Context, d *demo) error { _, err := d.Role(ctx, role); return err },
	},
	{
		name:   "The application has keys of its own",
		did:    "# the manifest sets AWS_ACCESS_KEY_ID, which every SDK takes first",
		says:   []string{"InvalidClientTokenId"},
		events: []string{"CredentialsShadowed", "AWS_ACCESS_KEY_ID"},
		pod: func(manifest string) string {
			return strings.Replace(manifest, "env: [", "env: [{name: AWS_ACCESS_KEY_ID, value: AKIAIOSFODNN7EXAMPLE}, {name: AWS_SECRET_ACCESS_KEY, value: forgotten}, ", 1)
		},
	},
	{
		name:      "The pod was there before its association",
		did:       "# pods are injected when they are made",
		says:      []string{"failed to refresh cached credentials"},
		events:    []string{"PodNotInjected", "Fix:"},
		mendTells: true,
		breaks:    func(ctx context.Context, d *demo) error { return d.Dissociate(ctx, namespace, account) },
		mend: func(ctx context.Context, d *demo) error {
			_, err := d.Apply(ctx, objectDoor)
			return err
		},
	},
	{
		name:   "The agent is missing",
		did:    "kubectl -n podid-system patch daemonset podid-agent …   # on no node",
		says:   []string{"169.254.170.23"},
		events: []string{"AgentMissing", "Fix: podid status", "describe daemonset podid-agent"},
		breaks: func(ctx context.Context, d *demo) error {
			return d.place(ctx, `{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"true"}}}}}`, 0)
		},
		mend: func(ctx context.Context, d *demo) error {
			return d.place(ctx, `{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":null}}}}}`, 2)
		},
	},
}

func (d *demo) fail(ctx context.Context) error {
	d.step("Now what goes wrong: what was done, what the application prints, and the pod's Events.")
	if err := d.mayNot(ctx); err != nil {
		return err
	}
	for i, f := range failures {
		fmt.Fprintf(d.out, "\n✗ %s\n", f.name)
		d.did(f.did)
		if err := d.show(ctx, f, fmt.Sprintf("failure-%d", i+1)); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func (d *demo) show(ctx context.Context, f failure, name string) error {
	manifest := podOf(namespace, account, name)
	if f.pod != nil {
		manifest = f.pod(manifest)
	}
	if f.running {
		manifest = strings.Replace(manifest, "[list, "+lab.Bucket+"]", "[loop, "+lab.Bucket+", 200ms]", 1)
	} else if err := f.do(ctx, d); err != nil {
		return err
	}
	if said, err := d.Apply(ctx, manifest); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	p, err := d.PodOf(ctx, manifest)
	if err != nil {
		return err
	}
	if f.running {
		if err := d.awaitLog(ctx, p, "readme.txt"); err != nil {
			return err
		}
		if err := f.do(ctx, d); err != nil {
			return err
		}
		if err := d.awaitLog(ctx, p, f.says...); err != nil {
			return err
		}
	}
	if err := d.said(ctx, f, p); err != nil {
		return err
	}
	if err := p.Delete(ctx); err != nil {
		return err
	}
	if f.mend == nil {
		return nil
	}
	return f.mend(ctx, d)
}

func (f failure) do(ctx context.Context, d *demo) error {
	if f.breaks == nil {
		return nil
	}
	return f.breaks(ctx, d)
}

// said shows what the application said, and the Events, and checks both.
func (d *demo) said(ctx context.Context, f failure, p *lab.Pod) error {
	said := ""
	if f.running {
		text, err := p.Log(ctx)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		said = lines[len(lines)-1]
	} else {
		code, text, err := p.AwaitEnd(ctx)
		if err != nil {
			return err
		}
		if said = text; code == 0 {
			return fmt.Errorf("the application was not refused: %s", said)
		}
	}
	d.did("kubectl -n " + namespace + " logs " + p.Name)
	d.say(said)
	if err := wants(said, f.says...); err != nil {
		return err
	}
	if f.mendTells {
		if err := f.mend(ctx, d); err != nil {
			return err
		}
	}
	if f.events != nil {
		var events string
		err := lab.Eventually(ctx, eventsWithin, func(ctx context.Context) (err error) {
			if events, err = d.Events(ctx, namespace, p.Name); err != nil {
				return err
			}
			return wants(events, f.events...)
		})
		d.did("kubectl -n " + namespace + " get events --field-selector involvedObject.name=" + p.Name)
		for line := range strings.Lines(events) {
			if strings.Contains(line, "Fix:") {
				d.say(line)
			}
		}
		if err != nil {
			return err
		}
	}
	if f.asks != nil {
		return f.asks(ctx, d, p.Name, said)
	}
	return nil
}

// eventsWithin is more than the minute that an agent is waited for.
const eventsWithin = 100 * time.Second

// otherBucket are permissions that were meant to let the role list the bucket.
var otherBucket = strings.ReplaceAll(lab.Permissions, lab.Bucket, "another-bucket")

// canI asks what the role lacks. podid is not there when AWS refuses the pod something, so it has no Event of that.
func canI(ctx context.Context, d *demo, pod, said string) error {
	file := d.File("permissions.json")
	if err := os.WriteFile(file, []byte(otherBucket), 0o600); err != nil {
		return err
	}
	d.did(`podid can-i --denied "$(kubectl -n ` + namespace + " logs " + pod + `)" --identity permissions.json`)
	answer, err := d.Podid(ctx, "can-i", "--denied", said, "--identity", file)
	answer = strings.ReplaceAll(answer, file, "permissions.json")
	d.say(answer)
	if no, is := errors.AsType[*exec.ExitError](err); !is || no.ExitCode() != 1 {
		return fmt.Errorf("podid can-i ends with %w, which is no no", err)
	}
	return wants(answer, "may not s3:ListBucket", "permissions.json", "To allow it")
}

// awaitLog waits until a pod that runs has said something.
func (d *demo) awaitLog(ctx context.Context, p *lab.Pod, facts ...string) error {
	return lab.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		said, err := p.Log(ctx)
		if err != nil {
			return err
		}
		return wants(said, facts...)
	})
}

func (d *demo) trust(ctx context.Context, document string) error {
	_, err := d.AWS.Role(ctx, role, document, lab.Permissions)
	return err
}

func mendTrust(ctx context.Context, d *demo) error {
	return d.trust(ctx, d.Principal.Trust(d.Identity))
}

// place patches the agents' DaemonSet and waits until n of them are ready.
func (d *demo) place(ctx context.Context, patch string, n int) error {
	said, err := d.Kubectl(ctx, "-n", lab.Namespace, "patch", "daemonset", "podid-agent", "--type=merge", "-p", patch).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return lab.Eventually(ctx, time.Minute, func(ctx context.Context) error { return d.AllReady(ctx, "agent", n) })
}

// mayNot is somebody who may write associations, but not pass the role.
func (d *demo) mayNot(ctx context.Context) error {
	fmt.Fprintf(d.out, "\n✗ Somebody may write associations, and may not pass the role\n")
	if said, err := d.Kubectl(ctx, "-n", namespace, "create", "rolebinding", "dora", "--clusterrole=admin", "--user=dora").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	d.did("kubectl --as dora apply -f association.yaml   # she is admin of the namespace")
	cmd := d.Kubectl(ctx, "--as", "dora", "create", "-f", "-")
	cmd.Stdin = strings.NewReader("apiVersion: podid.dev/v1alpha1\nkind: PodIdentityAssociation\nmetadata: {name: other-sa, namespace: test-namespace}\nspec: {roleARN: \"arn:aws:iam::111122223333:role/Admin\"}\n")
	said, err := cmd.CombinedOutput()
	d.say(string(said))
	if err == nil {
		return fmt.Errorf("she was let")
	}
	return wants(string(said), "dora may not pass arn:aws:iam::111122223333:role/Admin", "an administrator grants it with")
}
