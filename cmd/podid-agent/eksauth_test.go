package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
)

// eksAuth gives credentials to whoever signs, and counts.
type eksAuth struct{ calls atomic.Int32 }

func (e *eksAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := e.calls.Add(1)
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, `{"assumedRoleUser":{"arn":"arn:aws:sts::111122223333:assumed-role/cart/eks"},
		"credentials":{"accessKeyId":"ASIAEXAMPLE%09d","secretAccessKey":"S","sessionToken":"T","expiration":%d}}`, n, time.Now().Add(time.Hour).Unix())
}

// newEKSAuth is one on loopback, for an agent that has a key to sign with.
func newEKSAuth(t *testing.T) (*eksAuth, string) {
	t.Helper()
	auth := new(eksAuth)
	server := httptest.NewServer(auth)
	t.Cleanup(server.Close)
	return auth, server.URL
}

// onItsOwn takes the variables of whoever runs the test away, and sets what the agent needs.
func onItsOwn(t *testing.T) {
	t.Helper()
	noAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "eu-central-1")
}

// bundle is a file with the certificate of a server.
func bundle(t *testing.T, server *httptest.Server) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bundle.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOnEKSWithAnIssuerTokensAreVerifiedOnTheNode(t *testing.T) {
	onItsOwn(t)
	auth, endpoint := newEKSAuth(t)
	mux := http.NewServeMux()
	public := httptest.NewTLSServer(mux)
	defer public.Close()
	t.Setenv("AWS_CA_BUNDLE", bundle(t, public))
	issuer, err := token.NewIssuer(public.URL)
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, public.URL, public.URL+"/keys")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(issuer.KeySet())
	})
	mint := func(by *token.Issuer, lifetime time.Duration) string {
		raw, err := by.Mint(podid.Workload{Issuer: public.URL, Namespace: "shop", ServiceAccount: "cart", ServiceAccountUID: "sa-1", Pod: "cart-0", PodUID: "pod-1"},
			podid.AudiencePods, time.Now(), lifetime)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	r := start(t, eks(t, "--endpoint", endpoint, "--issuer", public.URL))
	r.until(t, "/readyz", 200)

	stranger, err := token.NewIssuer(public.URL)
	if err != nil {
		t.Fatal(err)
	}
	good := mint(issuer, time.Hour)
	for code, raw := range map[string]string{"token-forged": good[:len(good)-8] + "AAAAAAAA", "token-key-unknown": mint(stranger, time.Hour)} {
		if status, body, _ := r.ask(raw); status != 400 || !strings.Contains(body, code) {
			t.Errorf("%s: %d %s", code, status, body)
		}
	}
	if n := auth.calls.Load(); n != 0 {
		t.Errorf("%d calls for forged tokens", n)
	}
	status, first, err := r.asAnSDK(good)
	if err != nil || status != 200 {
		t.Fatalf("%d %s, %v\n%s", status, first, err, r.log)
	}
	status, rotated, err := r.ask(mint(issuer, 2*time.Hour))
	if err != nil || status != 200 || rotated != first || auth.calls.Load() != 1 {
		t.Errorf("the rotated token, after %d calls: %d %s, %v", auth.calls.Load(), status, rotated, err)
	}
}

func TestOnEKSTheEndpointIsTheOneThatIsMeantMost(t *testing.T) {
	for name, c := range map[string]struct{ all, eksAuth, flag bool }{
		"for all services": {all: true}, "for EKS Auth": {all: true, eksAuth: true}, "the flag": {all: true, eksAuth: true, flag: true},
	} {
		t.Run(name, func(t *testing.T) {
			onItsOwn(t)
			asked, endpoint := newEKSAuth(t)
			other, otherwise := newEKSAuth(t)
			args := []string{}
			meant := func(is, more bool, set func(string)) {
				switch {
				case is && more:
					set(otherwise)
				case is:
					set(endpoint)
				}
			}
			meant(c.all, c.eksAuth || c.flag, func(url string) { t.Setenv("AWS_ENDPOINT_URL", url) })
			meant(c.eksAuth, c.flag, func(url string) { t.Setenv("AWS_ENDPOINT_URL_EKS_AUTH", url) })
			meant(c.flag, false, func(url string) { args = append(args, "--endpoint", url) })
			r := start(t, eks(t, args...))
			r.until(t, "/readyz", 200)
			if status, body, err := r.asAnSDK(aToken(t)); err != nil || status != 200 || asked.calls.Load() == 0 || other.calls.Load() != 0 {
				t.Errorf("%d %s, %v; %d calls, %d at the other", status, body, err, asked.calls.Load(), other.calls.Load())
			}
		})
	}
}

// aToken is one that EKS Auth would have to prove.
func aToken(t *testing.T) string {
	t.Helper()
	issuer, err := token.NewIssuer("https://oidc.test")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := issuer.Mint(podid.Workload{Namespace: "shop", ServiceAccount: "cart", ServiceAccountUID: "sa-1", Pod: "cart-0", PodUID: "pod-1"},
		podid.AudiencePods, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// proxy takes whoever asks for a connection to one place, and remembers what they asked for.
type proxy struct {
	to   string
	mu   sync.Mutex
	seen []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host)
	p.mu.Unlock()
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(there, here) }()
	_, _ = io.Copy(here, there)
}

// saw is what it was asked for, however often in a row.
func (p *proxy) saw() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Compact(slices.Clone(p.seen))
}

func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// In a process of its own: Go reads these variables once, and never goes to loopback through a proxy.
func TestOnEKSItGoesThroughTheProxy(t *testing.T) {
	onItsOwn(t)
	public := httptest.NewTLSServer(new(eksAuth)) // its certificate is for example.com, too
	defer public.Close()
	between := &proxy{to: public.Listener.Addr().String()}
	front := httptest.NewServer(between)
	defer front.Close()
	t.Setenv("AWS_CA_BUNDLE", bundle(t, public))
	t.Setenv("HTTPS_PROXY", front.URL)
	t.Setenv("NO_PROXY", "direct.invalid")

	r := apart(t, "--endpoint", "https://example.com")
	if status, body, err := r.asAnSDK(aToken(t)); err != nil || status != 200 || !slices.Equal(between.saw(), []string{"CONNECT example.com:443"}) {
		t.Errorf("%d %s, %v; the proxy saw %q\n%s", status, body, err, between.saw(), r.log)
	}
	between.forget()
	r = apart(t, "--endpoint", "https://direct.invalid")
	if status, body, err := r.ask(aToken(t)); err != nil || status != 503 || len(between.saw()) != 0 {
		t.Errorf("%d %s, %v; the proxy saw %q\n%s", status, body, err, between.saw(), r.log)
	}
}

// programArgs has the test's own program be podid-agent (TestMain).
const programArgs = "PODID_AGENT_TEST_ARGS"

// apart is an agent in a process of its own.
func apart(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{log: new(lockedBuffer)}
	r.listen, r.probes = []string{free(t)}, free(t)
	args = append([]string{"--eks", "--cluster", "production", "--listen", r.listen[0], "--probes", r.probes, "--metrics", "", "--handover", "", "--holder", ""}, args...)
	spawn(t, r.log, args...)
	r.until(t, "/readyz", 200)
	return r
}

// spawn runs podid-agent until the test ends, or it is killed.
func spawn(t *testing.T, log io.Writer, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), programArgs+"="+strings.Join(args, "\n"))
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Wait() })
	return c
}
