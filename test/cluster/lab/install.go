package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Install installs podid, or changes how it is installed, and returns when it is ready. Arguments go to `podid install`,
// whose words are returned.
func (l *Lab) Install(ctx context.Context, as Principal, args ...string) (string, error) {
	l.Principal = as
	if err := l.baseCredentials(ctx, as.Secret); err != nil {
		return "", err
	}
	out, err := l.Podid(ctx, append([]string{"install", "--wait", "--cluster-name", l.Identity.Name, "--region", l.Identity.Region, "--account", l.Identity.Account,
		"--sts-endpoint", l.AWS.Endpoint, "--principal", as.kind()}, args...)...)
	if err != nil {
		return out, fmt.Errorf("podid install: %w: %s", err, out)
	}
	return out, nil
}

// Tag gives podid's images another tag on every node, as those of another version have.
func (l *Lab) Tag(ctx context.Context, tag string) error {
	for _, node := range l.Nodes() {
		list, err := l.OnNode(ctx, node.Name, "ctr", "--namespace=k8s.io", "images", "list", "--quiet")
		if err != nil {
			return err
		}
		for _, image := range strings.Fields(list) {
			name, _, found := strings.Cut(path.Base(image), ":")
			if !found || !strings.HasPrefix(name, "podid-") {
				continue
			}
			if _, err := l.OnNode(ctx, node.Name, "ctr", "--namespace=k8s.io", "images", "tag", "--force", image, path.Dir(image)+"/"+name+":"+tag); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) baseCredentials(ctx context.Context, data map[string]string) error {
	_, err := l.Client.CoreV1().Namespaces().Create(ctx, &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: Namespace}}, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	secrets := l.Client.CoreV1().Secrets(Namespace)
	secret := &core.Secret{ObjectMeta: meta.ObjectMeta{Name: "podid-base-credentials"}, StringData: data}
	if err := secrets.Delete(ctx, secret.Name, meta.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	_, err = secrets.Create(ctx, secret, meta.CreateOptions{})
	return err
}

// Podid runs the program podid as an administrator and returns what it said.
func (l *Lab) Podid(ctx context.Context, args ...string) (string, error) {
	return l.administer(ctx, l.podid, args...)
}

func (l *Lab) administer(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.Kubeconfig(), "NO_COLOR=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
