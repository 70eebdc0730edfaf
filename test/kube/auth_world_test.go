//go:build unix

package kube_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/localaws"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/kube"
)

// authWorld is an API server with podid installed, a local AWS, and podid-auth as a
// program with the rights of its service account. The test is in the place of agents, and
// pods are objects: no kubelet runs them.
type authWorld struct {
	*installed
	kube    kubernetes.Interface
	program string
	aws     *localaws.AWS
	awsURL  string
}

const trustOfService = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`

func newAuthWorld(t *testing.T) *authWorld {
	t.Helper()
	w := &authWorld{program: filepath.Join(t.TempDir(), "podid-auth")}
	err := kube.BuildProgram(t.Context(), "../..", "./cmd/podid-auth", w.program)
	if err != nil {
		t.Fatal(err)
	}
	w.installed = newInstalled(t)
	w.kube = w.client
	if w.aws, err = localaws.New(localaws.Config{Account: "111122223333", Region: "eu-central-1"}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.aws)
	t.Cleanup(server.Close)
	w.awsURL = server.URL
	admin := w.aws.Admin()
	client := iam.NewFromConfig(aws.Config{Region: "eu-central-1", BaseEndpoint: &w.awsURL,
		Credentials: credentials.NewStaticCredentialsProvider(admin.AccessKeyID, admin.SecretAccessKey, "")})
	for _, role := range []string{"reader", "writer"} {
		if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(trustOfService)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, account := range []string{"cart", "other", "editor"} {
		makeServiceAccount(t, w.kube, "shop", account)
	}
	w.pod(t, "podid-system", "agent-1", "podid-agent", "node1")
	w.pod(t, "podid-system", "agent-2", "podid-agent", "node2")
	return w
}

// pod makes a pod that is on a node.
func (w *authWorld) pod(t *testing.T, namespace, name, account, node string) *core.Pod {
	t.Helper()
	pod, err := w.kube.CoreV1().Pods(namespace).Create(t.Context(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PodSpec{ServiceAccountName: account, NodeName: node, AutomountServiceAccountToken: new(false),
			Containers: []core.Container{{Name: "main", Image: "none"}}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// end deletes a pod as the kubelet does when it has stopped.
func (w *authWorld) end(t *testing.T, pod *core.Pod) {
	t.Helper()
	if err := w.kube.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, meta.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
}

// token is what the kubelet mounts: bound to the pod.
func (w *authWorld) token(t *testing.T, pod *core.Pod, audience string) string {
	t.Helper()
	return w.mint(t, w.kube, pod.Namespace, pod.Spec.ServiceAccountName, audience,
		&authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID})
}

func (w *authWorld) mint(t *testing.T, client kubernetes.Interface, namespace, account, audience string, bound *authentication.BoundObjectReference) string {
	t.Helper()
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, BoundObjectRef: bound, ExpirationSeconds: new(int64(3600))},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// associate makes or changes the association of a service account of shop.
func (w *authWorld) associate(t *testing.T, account, role string) stream.Version {
	t.Helper()
	o := &v1alpha1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: account}}
	o.Spec.RoleARN = v1alpha1.RoleARN("arn:aws:iam::111122223333:role/" + role)
	was := new(v1alpha1.PodIdentityAssociation)
	err := w.objects.Get(t.Context(), objectName("shop", account), was)
	if err == nil {
		o.ResourceVersion = was.ResourceVersion
		err = w.objects.Update(t.Context(), o)
	} else {
		err = w.objects.Create(t.Context(), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	v, err := stream.ParseVersion(string(o.UID) + "/" + o.ResourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *authWorld) dissociate(t *testing.T, account string) {
	t.Helper()
	o := &v1alpha1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: account}}
	if err := w.objects.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// authReplica is one podid-auth.
type authReplica struct {
	*authWorld
	address, probes, metrics string
	settings                 string
	process                  *exec.Cmd
	stderr, stdout           lockedBuffer
	http                     *http.Client
	gone                     chan error
}

// start starts a podid-auth that reaches the API server by kubeconfig. It is configured
// already, unless the settings say otherwise.
func (w *authWorld) start(t *testing.T, kubeconfig string, settings map[string]string, flags ...string) *authReplica {
	t.Helper()
	r := &authReplica{authWorld: w, address: freeAddress(t), probes: freeAddress(t), metrics: freeAddress(t), settings: t.TempDir(), gone: make(chan error, 1)}
	if settings == nil {
		settings = map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333", "stsEndpoint": w.awsURL, "principal": "service"}
	}
	r.configure(t, settings)
	service := w.aws.Service()
	r.process = exec.Command(w.program, append([]string{"--kubeconfig", kubeconfig, "--namespace", "podid-system", "--settings", r.settings,
		"--listen", r.address, "--listen-eks", freeAddress(t), "--probes", r.probes, "--metrics", r.metrics, "--drain", "100ms"}, flags...)...)
	r.process.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"AWS_ACCESS_KEY_ID=" + service.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + service.SecretAccessKey, "AWS_SESSION_TOKEN=" + service.SessionToken}
	r.process.Stderr, r.process.Stdout = &r.stderr, &r.stdout
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.gone <- r.process.Wait() }()
	t.Cleanup(func() {
		_ = r.process.Process.Kill()
		select {
		case <-r.gone:
		case <-time.After(10 * time.Second):
		}
		if t.Failed() {
			t.Logf("podid-auth: %s", r.stderr.String())
		}
	})
	return r
}

func (r *authReplica) configure(t *testing.T, settings map[string]string) {
	t.Helper()
	for key, value := range settings {
		if err := os.WriteFile(filepath.Join(r.settings, key), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// readiness is what the kubelet would be told.
func (r *authReplica) readiness(ctx context.Context) error {
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.probes+"/readyz", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	return nil
}

// isReady waits until it is, and trusts the authority that its leader has published.
func (r *authReplica) isReady(t *testing.T) *authReplica {
	t.Helper()
	eventually(t, "podid-auth is ready", r.readiness)
	bundle, err := r.kube.CoreV1().ConfigMaps("podid-system").Get(t.Context(), "podid-ca", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(bundle.Data["ca.crt"])) {
		t.Fatal("no authority in podid-ca")
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "podid-auth.podid-system.svc"}}
	t.Cleanup(transport.CloseIdleConnections)
	r.http = &http.Client{Transport: transport}
	return r
}

// answer is what an agent is told.
type answer struct {
	status  int
	code    problem.Code
	message string
	role    string
	version stream.Version
}

func (a answer) String() string { return fmt.Sprint(a.status, " ", a.code, " ", a.message, a.role) }

// ask asks for the credentials of a pod's token as an agent with its own token does.
func (r *authReplica) ask(t *testing.T, agent, raw string, heard ...stream.Version) answer {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"token": raw})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.address+"/clusters/lab/assume-role-for-pod-identity", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+agent)
	for _, v := range heard {
		request.Header.Set(auth.HeaderAssociation, v.String())
	}
	return r.answer(t, request)
}

func (r *authReplica) answer(t *testing.T, request *http.Request) answer {
	t.Helper()
	response, err := r.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var reply struct {
		Code            problem.Code `json:"code"`
		Message         string       `json:"message"`
		AssumedRoleUser struct {
			ARN string `json:"arn"`
		} `json:"assumedRoleUser"`
	}
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, code: reply.Code, message: reply.Message}
	if parts := strings.Split(reply.AssumedRoleUser.ARN, "/"); len(parts) > 1 {
		a.role = parts[1]
	}
	a.version, _ = stream.ParseVersion(response.Header.Get(auth.HeaderAssociation))
	return a
}

// nodeStream is an agent's stream.
type nodeStream struct {
	snapshot stream.Snapshot
	messages chan stream.Message
	cancel   context.CancelFunc
}

func (r *authReplica) listen(t *testing.T, agent string) *nodeStream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.address+stream.Path, nil)
	request.Header.Set("Authorization", "Bearer "+agent)
	response, err := r.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("%s: %s", response.Status, text)
	}
	lines := stream.NewReader(response.Body)
	first, err := lines.Next()
	if err != nil || first.Snapshot == nil {
		t.Fatalf("the first line is %+v, %v", first, err)
	}
	l := &nodeStream{snapshot: *first.Snapshot, messages: make(chan stream.Message, 1000), cancel: cancel}
	go func() {
		defer close(l.messages)
		defer response.Body.Close()
		for {
			m, err := lines.Next()
			if err != nil {
				return
			}
			l.messages <- m
		}
	}()
	return l
}

// next is the next message that is no ping, and how long it took; nil at the end.
func (l *nodeStream) next(t *testing.T) (*stream.Message, time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		select {
		case m, ok := <-l.messages:
			if !ok {
				return nil, time.Since(began)
			}
			if m.Ping == 0 {
				return &m, time.Since(began)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was told within 30 s")
		}
	}
}

// wayToAPI is the API server behind a proxy that holds watches back, or all.
type wayToAPI struct {
	kubeconfig string
	down       atomic.Bool
	held       atomic.Bool
}

func (w *authWorld) way(t *testing.T) *wayToAPI {
	t.Helper()
	way := &wayToAPI{}
	config := w.as(t, "podid-auth")
	config.NextProtos = []string{"http/1.1"} // one connection a request, to cut off
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, _ := url.Parse(w.URL())
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      discardLog(), // what is cut off on purpose
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ModifyResponse: func(r *http.Response) error {
			r.Body = &delayedBody{ReadCloser: r.Body, way: way, watch: r.Request.URL.Query().Get("watch") != ""}
			return nil
		},
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if way.down.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(rw, r)
	}))
	server.Config.ErrorLog = discardLog()
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server.URL}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c"}},
		CurrentContext: "c",
	}, file); err != nil {
		t.Fatal(err)
	}
	way.kubeconfig = file
	return way
}

// delayedBody hands nothing on while it is held back.
type delayedBody struct {
	io.ReadCloser
	way   *wayToAPI
	watch bool
}

func (b *delayedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for b.watch && b.way.held.Load() {
		time.Sleep(5 * time.Millisecond)
	}
	if b.way.down.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func wantAnswer(t *testing.T, a answer, status int, code problem.Code) {
	t.Helper()
	if a.status != status || a.code != code {
		t.Errorf("got %s, want %d %s", a, status, code)
	}
}

func wantRole(t *testing.T, a answer, role string) {
	t.Helper()
	if a.status != http.StatusOK || a.role != role {
		t.Errorf("got %s, want role %s", a, role)
	}
}

var audiencePods, audienceAuth = podid.AudiencePods, podid.AudienceAuth

// lockedBuffer is what programs and this test write to at once.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
