package lab

import (
	"context"
	"fmt"
	"strings"

	"github.com/openpodidentity/podid"
	podidv1 "github.com/openpodidentity/podid/api/v1alpha1"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Bucket is what roles made by Allow may list.
const Bucket = "podid-demo"

// Permissions let a role list Bucket.
const Permissions = `{"Version":"2012-10-17","Statement":[{"Sid":"ListTheBucket","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::` + Bucket + `"}]}`

// Role makes a role that trusts podid and may list the bucket.
func (l *Lab) Role(ctx context.Context, name string) (podid.RoleARN, error) {
	return l.AWS.Role(ctx, name, l.Principal.Trust(l.Identity), Permissions)
}

// Associate binds a service account to a role, or changes what binds it, and returns the object.
func (l *Lab) Associate(ctx context.Context, namespace, account string, role podid.RoleARN) (*podidv1.PodIdentityAssociation, error) {
	if err := l.Account(ctx, namespace, account); err != nil {
		return nil, err
	}
	a := &podidv1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: account}}
	a.Spec.RoleARN = podidv1.RoleARN(role)
	err := l.Objects.Create(ctx, a)
	if client.IgnoreAlreadyExists(err) != nil || err == nil {
		return a, err
	}
	patch := fmt.Appendf(nil, `{"spec":{"roleARN":%q}}`, role)
	return a, l.Objects.Patch(ctx, a, client.RawPatch("application/merge-patch+json", patch))
}

// Dissociate takes a service account's role away.
func (l *Lab) Dissociate(ctx context.Context, namespace, account string) error {
	return l.Objects.Delete(ctx, &podidv1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: account}})
}

// Drop begins the end of a namespace.
func (l *Lab) Drop(ctx context.Context, namespace string) error {
	return client.IgnoreNotFound(l.Client.CoreV1().Namespaces().Delete(ctx, namespace, meta.DeleteOptions{}))
}

// Events are what was told about an object, one a line: REASON: message.
func (l *Lab) Events(ctx context.Context, namespace, name string) (string, error) {
	list, err := l.Client.CoreV1().Events(namespace).List(ctx, meta.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.name", name).String(),
	})
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&out, "%s: %s\n", e.Reason, e.Message)
	}
	return out.String(), nil
}

// PodidPods are podid's own pods of one program: address, agent, auth or webhook.
func (l *Lab) PodidPods(ctx context.Context, program string) ([]core.Pod, error) {
	list, err := l.Client.CoreV1().Pods(Namespace).List(ctx, meta.ListOptions{LabelSelector: "app.kubernetes.io/name=podid-" + program})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Said is what podid's programs said last, for whoever has to find out why something failed.
func (l *Lab) Said(ctx context.Context) string {
	var out strings.Builder
	for _, program := range []string{"auth", "agent", "address", "webhook"} {
		pods, err := l.PodidPods(ctx, program)
		if err != nil {
			fmt.Fprintln(&out, err)
			continue
		}
		for _, pod := range pods {
			fmt.Fprintf(&out, "%s on %s, %s\n%s", pod.Name, pod.Spec.NodeName, pod.Status.Phase, l.logs(pod, 25))
		}
	}
	return out.String()
}

// logs are the last lines of every container of a pod.
func (l *Lab) logs(pod core.Pod, lines int64) string {
	var out strings.Builder
	for _, c := range pod.Spec.Containers {
		text, err := l.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &core.PodLogOptions{Container: c.Name, TailLines: &lines}).DoRaw(context.Background())
		if err != nil {
			text = []byte(err.Error())
		}
		for line := range strings.Lines(string(text)) {
			fmt.Fprintf(&out, "  %s: %.500s\n", c.Name, strings.TrimSuffix(line, "\n"))
		}
	}
	return out.String()
}

// Logs are what all pods of one program of podid have logged.
func (l *Lab) Logs(ctx context.Context, program string) (string, error) {
	pods, err := l.PodidPods(ctx, program)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, pod := range pods {
		text, err := l.LogOf(ctx, &pod, program)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// LogOf is what one container of a pod has logged.
func (l *Lab) LogOf(ctx context.Context, pod *core.Pod, container string) (string, error) {
	text, err := l.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &core.PodLogOptions{Container: container}).DoRaw(ctx)
	return string(text), err
}

// Apply applies a manifest with kubectl and returns what that says.
func (l *Lab) Apply(ctx context.Context, manifest string) (string, error) {
	cmd := l.Kubectl(ctx, "apply", "--server-side", "--validate=strict", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
