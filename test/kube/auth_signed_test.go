//go:build unix

package kube_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/problem"
)

// signedAgents: who signs as AWS's own agent does is admitted where allowSigV4Agents says so, with the verb create on
// exchanges.iam.podid.dev in the whole cluster, and with nothing less.
func signedAgents(t *testing.T, w *authWorld) {
	settings := map[string]string{"clusterName": "lab", "region": region, "account": "111122223333", "stsEndpoint": w.awsURL, "principal": "service"}
	closed := w.start(t, w.kubeconfig(t, "podid-auth"), settings).isReady(t)
	settings["allowSigV4Agents"] = "true"
	open := w.start(t, w.kubeconfig(t, "podid-auth"), settings).isReady(t)
	w.associate(t, "cart", "reader")
	pod := w.pod(t, "shop", "signed", "cart", "node1")
	defer w.end(t, pod)
	raw := w.token(t, pod, audiencePods)

	makeServiceAccount(t, w.kube, "shop", "aws-agent")
	key := accesskey.New(accesskey.Account{Namespace: "shop", Name: "aws-agent"})
	if _, err := w.kube.CoreV1().Secrets(podidNamespace).Create(t.Context(), accesskey.Object(podidNamespace, key), meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answers := func(r *authReplica, code problem.Code, role string) func(context.Context) error {
		return func(context.Context) error {
			if a := r.askSigned(t, key, raw); a.code != code || a.role != role {
				return fmt.Errorf("%s", a)
			}
			return nil
		}
	}
	eventually(t, "the key is known, and may not", answers(open, problem.PermissionDenied, ""))
	if err := answers(closed, problem.SigV4AgentsOff, "")(t.Context()); err != nil {
		t.Errorf("where signatures are not admitted: %v", err)
	}

	subjects := []rbac.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "aws-agent"}}
	role := &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: "exchanges"},
		Rules: []rbac.PolicyRule{{APIGroups: []string{"iam.podid.dev"}, Resources: []string{"exchanges"}, Verbs: []string{"create"}}}}
	ref := rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "exchanges"}
	if _, err := w.kube.RbacV1().ClusterRoles().Create(t.Context(), role, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.kube.RbacV1().RoleBindings("shop").Create(t.Context(), &rbac.RoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: ref, Subjects: subjects}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the API server has heard of it
	if err := answers(open, problem.PermissionDenied, "")(t.Context()); err != nil {
		t.Errorf("granted in a namespace: %v", err)
	}
	if _, err := w.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbac.ClusterRoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: ref, Subjects: subjects}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is served", answers(open, "", "reader"))
	if !strings.Contains(open.stderr.String(), "node_scope=none") && !strings.Contains(open.stderr.String(), `"node_scope":"none"`) {
		t.Error("the log does not say that node scope did not hold")
	}
	other := key
	other.Secret = "another"
	if a := open.askSigned(t, other, raw); a.code != problem.CallerUnproven {
		t.Errorf("with another secret: %s", a)
	}
}

// askSigned is ask by who has an access key and no token of its own.
func (r *authReplica) askSigned(t *testing.T, key accesskey.Key, raw string) answer {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"token": raw})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.address+"/clusters/lab/assume-role-for-pod-identity", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, request, hex.EncodeToString(sum[:]), "eks-auth", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	return r.answer(t, request)
}
