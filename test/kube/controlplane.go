//go:build unix

package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Options say what a control plane runs and how. The zero value is etcd and an API
// server, which is enough for custom resources, RBAC, TokenRequest, TokenReview,
// admission webhooks by URL, admission policies in CEL and the token keys (JWKS).
type Options struct {
	// ControllerManager runs kube-controller-manager too: default service accounts,
	// garbage collection, the end of namespaces, Deployments, DaemonSets and endpoints.
	ControllerManager bool
	// Issuer is the iss of service account tokens; https://kubernetes.default.svc if empty.
	Issuer string
	// FeatureGates are the API server's, beside the defaults of this Kubernetes.
	FeatureGates map[string]bool
	// APIServerFlags are added to the API server's, such as --runtime-config=api/all=true.
	APIServerFlags []string
	// Progress gets a line now and then while things are built; os.Stderr if nil.
	Progress io.Writer

	scheduler bool
	place     *placement
}

// placement is a network namespace for the programs, other than our own.
type placement struct {
	address string // where nodes and pods reach the API server
	do      func(func() error) error
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	serviceCIDR     = "10.96.0.0/16"
	firstServiceIP  = "10.96.0.1"
	apiServerInside = "6443" // its port in a namespace of its own
)

// startLimit bounds every start: ten times and more what it takes on two idle cores.
var startLimit = 90 * time.Second

// ControlPlane is a running etcd and API server. Its methods may be called from any goroutine.
type ControlPlane struct {
	options Options
	kubebox string
	run     *runDir
	ca      *authority
	admin   pair
	server  string // https://127.0.0.1:port, for programs on this machine
	port    string // where the API server listens
	forward net.Listener

	mu         sync.Mutex
	etcd       *process
	api        *process
	others     []*process
	generation int // of the token signing key
	verifying  []int
}

// New starts a control plane for a test and stops it when the test ends. When the test has
// failed by then, the end of each log is shown.
func New(t testing.TB, options Options) *ControlPlane {
	t.Helper()
	cp, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs:\n%s", cp.Tails())
		}
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cp
}

// Start starts a control plane and returns when it is ready. Whoever calls it calls Stop;
// if nobody does, it ends with this process.
func Start(ctx context.Context, options Options) (_ *ControlPlane, err error) {
	if options.Progress == nil {
		options.Progress = os.Stderr
	}
	if options.Issuer == "" {
		options.Issuer = "https://kubernetes.default.svc"
	}
	cp := &ControlPlane{options: options}
	if cp.kubebox, err = Kubebox(ctx, options.Progress); err != nil {
		return nil, err
	}
	if cp.run, err = newRunDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, cp.Stop())
		}
	}()
	if err := cp.listen(); err != nil {
		return nil, err
	}
	if err := cp.writeKeys(); err != nil {
		return nil, err
	}
	if err := cp.startEtcd(ctx); err != nil {
		return nil, err
	}
	if err := cp.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	return cp, cp.startOthers(ctx)
}

// listen settles where the API server is reached. In a namespace of its own it keeps port
// 6443 there, and a listener here carries connections to it.
func (cp *ControlPlane) listen() error {
	here, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cp.server = "https://" + here.Addr().String()
	if cp.options.place == nil {
		_, cp.port, err = net.SplitHostPort(here.Addr().String())
		return errors.Join(err, here.Close())
	}
	cp.port = apiServerInside
	cp.forwardFrom(here)
	return nil
}

func (cp *ControlPlane) forwardFrom(here net.Listener) {
	cp.forward = here
	go forward(here, func(ctx context.Context) (net.Conn, error) {
		return cp.options.place.dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", apiServerInside))
	})
}

// command is a program of kubebox.
func (cp *ControlPlane) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(cp.kubebox, append([]string{program}, args...)...)
	cmd.Dir = cp.run.path
	return cmd
}

func (cp *ControlPlane) start(name string, args ...string) (*process, error) {
	var in func(func() error) error
	if cp.options.place != nil {
		in = cp.options.place.do
	}
	return cp.run.start(name, cp.command(name, args...), in)
}

// startEtcd starts etcd on unix sockets: no port to find, nobody else on the machine can reach it.
func (cp *ControlPlane) startEtcd(ctx context.Context) error {
	clients, peers := "unix://"+cp.run.file("etcd"), "unix://"+cp.run.file("peer")
	p, err := cp.start("etcd",
		"--data-dir="+cp.run.file("etcd-data"),
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers,
		"--unsafe-no-fsync", // nothing here outlives the machine
		"--log-level=warn")
	if err != nil {
		return err
	}
	cp.mu.Lock()
	cp.etcd = p
	cp.mu.Unlock()
	return p.await(ctx, startLimit, func(context.Context) error {
		conn, err := net.Dial("unix", cp.run.file("etcd"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// StartAPIServer starts the API server, after StopAPIServer, with the data and keys it had and
// at the address it had. It returns when the API server is ready.
func (cp *ControlPlane) StartAPIServer(ctx context.Context) error {
	cp.mu.Lock()
	if cp.api != nil {
		cp.mu.Unlock()
		return errors.New("the API server runs already")
	}
	p, err := cp.start("kube-apiserver", cp.apiServerFlags()...)
	if err == nil {
		cp.api = p
		err = cp.reopen()
	}
	cp.mu.Unlock()
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(cp.Config())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return p.await(ctx, startLimit, func(ctx context.Context) error {
		_, err := get(ctx, client, cp.server+"/readyz")
		return err
	})
}

func (cp *ControlPlane) apiServerFlags() []string {
	file := cp.run.file
	signing := cp.signingKey(cp.generation)
	flags := []string{
		"--etcd-servers=unix://" + file("etcd"),
		"--secure-port=" + cp.port,
		"--tls-cert-file=" + file("apiserver.crt"), "--tls-private-key-file=" + file("apiserver.key"),
		"--client-ca-file=" + file("ca.crt"),
		"--kubelet-client-certificate=" + file("kubelet-client.crt"), "--kubelet-client-key=" + file("kubelet-client.key"),
		"--kubelet-certificate-authority=" + file("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=" + cp.options.Issuer,
		"--service-account-signing-key-file=" + signing,
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	}
	for _, generation := range cp.verifying {
		flags = append(flags, "--service-account-key-file="+cp.signingKey(generation))
	}
	if place := cp.options.place; place != nil {
		// Service webhooks are called at their pods: no kube-proxy runs beside the API server.
		flags = append(flags, "--bind-address=0.0.0.0", "--advertise-address="+place.address, "--enable-aggregator-routing=true")
	} else {
		flags = append(flags, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none")
	}
	var gates []string
	for _, gate := range slices.Sorted(maps.Keys(cp.options.FeatureGates)) {
		gates = append(gates, fmt.Sprintf("%s=%t", gate, cp.options.FeatureGates[gate]))
	}
	if gates != nil {
		flags = append(flags, "--feature-gates="+strings.Join(gates, ","))
	}
	return append(flags, cp.options.APIServerFlags...)
}

// StopAPIServer kills the API server, as a crash of its machine does. What it wrote stays in etcd.
func (cp *ControlPlane) StopAPIServer() {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.api.kill()
	cp.api = nil
	if cp.forward != nil {
		_ = cp.forward.Close() // clients are refused, as they are where nothing is between
		cp.forward = nil
	}
}

// reopen listens again for the API server, where it is reached through us.
func (cp *ControlPlane) reopen() error {
	if cp.options.place == nil || cp.forward != nil {
		return nil
	}
	here, err := net.Listen("tcp", strings.TrimPrefix(cp.server, "https://"))
	if err != nil {
		return fmt.Errorf("listen for the API server again: %w", err)
	}
	cp.forwardFrom(here)
	return nil
}

func (cp *ControlPlane) startOthers(ctx context.Context) error {
	if cp.options.ControllerManager {
		err := cp.startOther(ctx, "kube-controller-manager", "10257",
			"--service-account-private-key-file="+cp.signingKey(cp.generation),
			"--root-ca-file="+cp.run.file("ca.crt"), "--use-service-account-credentials")
		if err != nil {
			return err
		}
	}
	if cp.options.scheduler {
		return cp.startOther(ctx, "kube-scheduler", "10259")
	}
	return nil
}

// startOther starts a client of the API server and waits until it is well. Its port is
// settled in a namespace of its own, and any free one elsewhere.
func (cp *ControlPlane) startOther(ctx context.Context, name, port string, flags ...string) error {
	user, err := cp.ca.client("system:" + name)
	if err != nil {
		return err
	}
	server := cp.server
	dial := (&net.Dialer{}).DialContext
	if cp.options.place != nil {
		server, dial = "https://127.0.0.1:"+apiServerInside, cp.options.place.dial
	} else if port, err = freePort(); err != nil {
		return err
	}
	if err := writeKubeconfig(cp.run.file(name+".kubeconfig"), server, cp.ca.pem, user); err != nil {
		return err
	}
	p, err := cp.start(name, append([]string{
		"--kubeconfig=" + cp.run.file(name+".kubeconfig"),
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--leader-elect=false",
	}, flags...)...)
	if err != nil {
		return err
	}
	cp.mu.Lock()
	cp.others = append(cp.others, p)
	cp.mu.Unlock()
	// Its certificate is one that it made for itself, and it is asked how it does, nothing else.
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return p.await(ctx, startLimit, func(ctx context.Context) error {
		_, err := get(ctx, client, "https://127.0.0.1:"+port+"/healthz")
		return err
	})
}

// Stop ends everything at once and removes what it wrote.
func (cp *ControlPlane) Stop() error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.run == nil {
		return nil
	}
	if cp.forward != nil {
		_ = cp.forward.Close()
	}
	for _, p := range append(cp.others, cp.api, cp.etcd) {
		p.kill()
	}
	cp.others, cp.api, cp.etcd = nil, nil, nil
	err := cp.run.remove()
	cp.run = nil
	return err
}
