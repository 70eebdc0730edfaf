//go:build unix

package kube_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/certificate"
	"github.com/openpodidentity/podid/internal/reconcile"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/test/kube"

	"github.com/go-logr/logr"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const podidNamespace = "podid-system"

// installed is an API server to which deploy/install.yaml was applied: programs run as processes of this
// machine, each with the rights of its service account and no more.
type installed struct {
	*kube.ControlPlane
	client   *kubernetes.Clientset
	objects  client.Client
	settings settings.Settings
	config   string // the settings, as the programs read them
	log      *lockedBuffer
}

func newInstalled(t testing.TB) *installed {
	t.Helper()
	output := new(lockedBuffer)
	log.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(output, nil))) // the first one counts
	c := newAssociations(t)
	w := &installed{ControlPlane: c.ControlPlane, client: kubernetes.NewForConfigOrDie(c.Config()), objects: c.admin, log: output}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("programs:\n%s", w.log.String())
		}
	})
	// --server-side: the CRD is too large for the annotation of a client-side one.
	w.kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", "../../deploy/install.yaml")
	data := map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333", "startupTaint": "true", "annotations": "true"}
	var err error
	if w.settings, err = settings.Parse(data); err != nil {
		t.Fatal(err)
	}
	// What the chart adds where the startup taint is switched on.
	w.kubectl(t, "create", "clusterrolebinding", "podid-startup-taint", "--clusterrole=podid-startup-taint", "--serviceaccount="+podidNamespace+":podid-auth")
	// And where the annotation door is open.
	w.kubectl(t, "apply", "-f", passPolicy)
	w.config = t.TempDir()
	for key, value := range data {
		if err := os.WriteFile(filepath.Join(w.config, key), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *installed) kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := w.Kubectl(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// as is a client configuration with the rights of one of podid's service accounts.
func (w *installed) as(t testing.TB, account string) *rest.Config {
	t.Helper()
	config, err := w.ConfigFor("system:serviceaccount:"+podidNamespace+":"+account, "system:serviceaccounts", "system:serviceaccounts:"+podidNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// lead runs what the leader of podid-auth does until stop is called.
func (w *installed) lead(t testing.TB, settle time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	leader := &reconcile.Leader{
		Config: w.as(t, "podid-auth"), Namespace: podidNamespace, Settings: w.settings,
		Rotation: certificate.Rotation{Settle: settle}, Patience: patience, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	var done sync.WaitGroup
	done.Go(func() { leader.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}

// webhookProcess is podid-webhook, asked by the API server.
type webhookProcess struct {
	cmd     *exec.Cmd
	address string
	probes  string
	metrics string
}

// webhook starts podid-webhook.
func (w *installed) webhook(t testing.TB) *webhookProcess {
	t.Helper()
	program := filepath.Join(t.TempDir(), "podid-webhook")
	if err := kube.BuildProgram(t.Context(), "../..", "./cmd/podid-webhook", program); err != nil {
		t.Fatal(err)
	}
	h := &webhookProcess{address: freeAddress(t), probes: freeAddress(t), metrics: freeAddress(t)}
	h.cmd = exec.Command(program, "--kubeconfig", w.kubeconfig(t, "podid-webhook"), "--settings", w.config,
		"--listen", h.address, "--probes", h.probes, "--metrics", h.metrics, "--drain", "1s")
	h.cmd.Stderr, h.cmd.Stdout = w.log, w.log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.stop(t) })
	return h
}

func (h *webhookProcess) stop(t testing.TB) {
	if h.cmd.ProcessState != nil {
		return
	}
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("podid-webhook: %v", err)
	}
}

// ready is what /readyz says.
func (h *webhookProcess) ready(ctx context.Context) error {
	return fetch(ctx, "http://"+h.probes+"/readyz", nil)
}

func fetch(ctx context.Context, url string, to io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	if to != nil {
		_, err = to.Write(body)
	}
	return err
}

// direct has the API server ask a webhook on this machine, in the place of the Service.
func (w *installed) direct(t testing.TB, h *webhookProcess) {
	t.Helper()
	to := fmt.Sprintf(`{"url":"https://%s/inject"}`, h.address)
	w.kubectl(t, "patch", "mutatingwebhookconfiguration", "podid", "--type=json",
		"-p", fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/clientConfig","value":%s},{"op":"replace","path":"/webhooks/1/clientConfig","value":%s}]`, to, to))
}

// bind makes a service account with an association.
func (w *installed) bind(ctx context.Context, namespace, name string) error {
	if _, err := w.client.CoreV1().ServiceAccounts(namespace).Create(ctx, &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{}); err != nil {
		return err
	}
	return w.associate(ctx, namespace, name)
}

func (w *installed) associate(ctx context.Context, namespace, name string) error {
	return w.objects.Create(ctx, &v1alpha1.PodIdentityAssociation{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.PodIdentityAssociationSpec{RoleARN: reader},
	})
}

// kubeconfig is one with the rights of a service account of podid.
func (w *installed) kubeconfig(t testing.TB, account string) string {
	t.Helper()
	config := w.as(t, account)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"lab": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{account: {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{account: {Cluster: "lab", AuthInfo: account}},
		CurrentContext: account,
	}, file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
