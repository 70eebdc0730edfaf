package lab

import (
	"context"
	"os"
	"path/filepath"

	"github.com/openpodidentity/podid/test/kube"
)

// Helm runs Helm as an administrator and returns what it said. The first time it is built, from the module in the
// folder helm.
func (l *Lab) Helm(ctx context.Context, args ...string) (string, error) {
	helm := l.File("helm")
	if _, err := os.Stat(helm); err != nil {
		root, err := l.root(ctx)
		if err != nil {
			return "", err
		}
		l.say("building Helm (the first time a minute)")
		if err := kube.BuildProgram(ctx, filepath.Join(root, "test", "cluster", "helm"), "helm.sh/helm/v4/cmd/helm", helm); err != nil {
			return "", err
		}
	}
	return l.administer(ctx, helm, args...)
}

// Chart is the folder of the chart, and the values with which it is what Install installs.
func (l *Lab) Chart(ctx context.Context, as Principal) ([]string, error) {
	l.Principal = as
	if err := l.baseCredentials(ctx, as.Secret); err != nil {
		return nil, err
	}
	root, err := l.root(ctx)
	return []string{filepath.Join(root, "deploy", "chart"), "--namespace", Namespace,
		"--set", "settings.clusterName=" + l.Identity.Name, "--set", "settings.region=" + l.Identity.Region,
		"--set-string", "settings.account=" + l.Identity.Account, "--set", "settings.stsEndpoint=" + l.AWS.Endpoint,
		"--set", "settings.principal=" + as.kind()}, err
}
