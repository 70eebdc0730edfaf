package sandbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const role = "arn:aws:iam::111122223333:role/cart"

func TestAPodGetsItsRoleWhoeverAssumesIt(t *testing.T) {
	for _, principal := range []sandbox.Principal{sandbox.ServicePrincipal, sandbox.BrokerUser, sandbox.BrokerRole} {
		t.Run(string(principal), func(t *testing.T) {
			w := start(t, sandbox.Config{Principal: principal})
			bind(t, w)
			pod := run(t, w, "cart-0")
			answer := ask(t, w, token(t, w, pod))
			if answer.AccountID != "111122223333" || !strings.HasPrefix(answer.AccessKeyID, "ASIA") {
				t.Errorf("the agent answered %+v", answer)
			}
			lifetime := time.Until(answer.Expiration)
			if want := map[sandbox.Principal]time.Duration{sandbox.ServicePrincipal: 6 * time.Hour, sandbox.BrokerUser: time.Hour, sandbox.BrokerRole: time.Hour}[principal]; lifetime > want || lifetime < want-5*time.Minute {
				t.Errorf("the session lasts %s, not %s", lifetime, want)
			}
		})
	}
}

func TestAWorldKeepsWhatItIsGiven(t *testing.T) {
	for _, principal := range []sandbox.Principal{sandbox.ServicePrincipal, sandbox.BrokerUser, sandbox.BrokerRole} {
		t.Run(string(principal), func(t *testing.T) {
			data := t.TempDir()
			first, err := sandbox.Start(t.Context(), sandbox.Config{Data: data, Principal: principal})
			if err != nil {
				t.Fatal(err)
			}
			bind(t, first)
			pod := run(t, first, "cart-0")
			old := token(t, first, pod)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}

			second := start(t, sandbox.Config{Data: data, Principal: principal})
			if string(second.CABundle) != string(first.CABundle) || second.AWS.Admin() != first.AWS.Admin() {
				t.Error("the certificate authority or the administrator's key changed")
			}
			if pods := second.Pods.List(); !slices.Contains(pods, pod) {
				t.Errorf("the pod is not among %+v", pods)
			}
			if answer := ask(t, second, old); answer.AccessKeyID == "" {
				t.Errorf("the token of before is answered %+v", answer)
			}
		})
	}
}

func TestAStartMendsTheBroker(t *testing.T) {
	data := t.TempDir()
	first, err := sandbox.Start(t.Context(), sandbox.Config{Data: data, Principal: sandbox.BrokerUser})
	if err != nil {
		t.Fatal(err)
	}
	bind(t, first)
	keys, err := admin(first).ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: aws.String("podid-broker")})
	if err != nil || len(keys.AccessKeyMetadata) != 1 {
		t.Fatal(keys, err)
	}
	if _, err := admin(first).DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{
		UserName: aws.String("podid-broker"), AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId,
	}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, first, token(t, first, run(t, first, "cart-0"))); got.Code != string(problem.BaseCredentials) {
		t.Errorf("without its key podid-auth is answered %+v", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, sandbox.Config{Data: data, Principal: sandbox.BrokerUser})
	if got := ask(t, second, token(t, second, run(t, second, "cart-1"))); got.AccessKeyID == "" {
		t.Errorf("after a start it is answered %+v", got)
	}
}

func TestAWorldStaysWhatItIs(t *testing.T) {
	data := t.TempDir()
	for _, c := range []struct {
		config sandbox.Config
		code   problem.Code
	}{
		{sandbox.Config{Region: "eu-central-1"}, ""},
		{sandbox.Config{}, ""},
		{sandbox.Config{Region: "us-east-1"}, problem.Usage},
		{sandbox.Config{Cluster: "other"}, problem.Usage},
		{sandbox.Config{Account: "222233334444"}, problem.Usage},
		{sandbox.Config{Account: "1"}, problem.Usage},
		{sandbox.Config{Region: "eu central"}, problem.Usage},
		{sandbox.Config{Cluster: "a/b"}, problem.Usage},
	} {
		c.config.Data = data
		w, err := sandbox.Start(t.Context(), c.config)
		if c.code != "" {
			if !problem.Is(err, c.code) {
				t.Errorf("%+v: %v", c.config, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := (podid.Cluster{Name: "local", Region: "eu-central-1", Account: "111122223333"}); w.Cluster != want {
			t.Errorf("the cluster is %+v", w.Cluster)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAChangeTakesEffectAtOnce(t *testing.T) {
	w := start(t, sandbox.Config{})
	association := bind(t, w)
	pod := run(t, w, "cart-0")
	proof := token(t, w, pod)
	if answer := ask(t, w, proof); answer.AccessKeyID == "" {
		t.Fatalf("the agent answered %+v", answer)
	}
	if _, err := w.Associations.Delete(t.Context(), association.ID()); err != nil {
		t.Fatal(err)
	}
	if answer := ask(t, w, proof); answer.Code != string(problem.AssociationMissing) {
		t.Errorf("without its association the pod is answered %+v", answer)
	}
	bind(t, w)
	if answer := ask(t, w, proof); answer.AccessKeyID == "" {
		t.Errorf("with a new association the pod is answered %+v", answer)
	}
	if err := w.Pods.End(pod.UID); err != nil {
		t.Fatal(err)
	}
	if answer := ask(t, w, proof); answer.Code != string(problem.PodGone) {
		t.Errorf("after its end the pod is answered %+v", answer)
	}
}

func TestAPodEndsWithItsProcess(t *testing.T) {
	w := start(t, sandbox.Config{})
	process := exec.Command("true")
	if err := process.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Pods.Start("shop", "cart", "cart-0", process.Process.Pid); err != nil {
		t.Fatal(err)
	}
	w.Reap()
	for _, pod := range w.Pods.List() {
		if pod.Name == "cart-0" {
			t.Error("the pod outlived its process")
		}
	}
}

func TestPodNamesAreUniqueAndValid(t *testing.T) {
	w := start(t, sandbox.Config{})
	run(t, w, "cart-0")
	for _, c := range []struct{ namespace, account, name string }{
		{"shop", "cart", "cart-0"}, {"Shop", "cart", ""}, {"", "cart", ""}, {"shop", "", ""},
		{"shop", "cart", "-"}, {"shop", "cart", "a..b"}, {"shop", "a.-b", ""}, {"shop", strings.Repeat("a", 300), ""}, {"shop", "cart", "a/b"},
	} {
		_, err := w.Pods.Start(c.namespace, c.account, c.name, 0)
		if !problem.Is(err, problem.RequestInvalid) || strings.Contains(err.Error(), "of the wrong type") {
			t.Errorf("pod %+v: %v", c, err)
		}
	}
}

func TestAWorldThatIsFullSaysOfWhat(t *testing.T) {
	w := start(t, sandbox.Config{})
	for i := range 10_001 {
		if _, err := w.Pods.Start("shop", "cart", fmt.Sprint("cart-", i), 0); err == nil {
			continue
		} else if !problem.Is(err, problem.TooManyRequests) || !strings.Contains(err.Error(), "at most 10000 pods") || strings.Contains(err.Error(), "SDK client") {
			t.Errorf("got %v", err)
		}
		return
	}
	t.Error("there is no bound")
}

func TestTheControlAPIAsksForTheSecretAndTheAddress(t *testing.T) {
	w := start(t, sandbox.Config{})
	for name, change := range map[string]func(*http.Request){
		"no secret":    func(r *http.Request) { r.Header.Del("Authorization") },
		"wrong secret": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.ToLower(w.Secret)) },
		"a host name":  func(r *http.Request) { r.Host = "attacker.example:80" },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Control+"/v1/pods", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.Secret)
		change(r)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Errorf("%s: admitted", name)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAContainerRunsWithAFreshToken(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "of the developer")
	w := start(t, sandbox.Config{})
	pod := run(t, w, "cart-0")
	c := &sandbox.Container{Connection: w.Connection(), Pod: pod}
	if err := c.Mount(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	for _, variable := range c.Environment() {
		if strings.Contains(variable, "of the developer") {
			t.Errorf("the developer's %s reached the container", variable)
		}
	}
	command := exec.Command("sh", "-c", `cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"`)
	var said strings.Builder
	command.Stdout = &said
	if err := c.Run(t.Context(), command, nil); err != nil {
		t.Fatal(err)
	}
	if strings.Count(said.String(), ".") != 2 {
		t.Errorf("the token file holds %q", said.String())
	}
	if err := c.Unmount(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.TokenFile()); !os.IsNotExist(err) {
		t.Errorf("the token outlived its pod: %v", err)
	}
}

func TestAConnectionFileIsPrivateAndNotTaken(t *testing.T) {
	w := start(t, sandbox.Config{})
	file := filepath.Join(t.TempDir(), "sub", "world.json")
	mine := w.Connection()
	if err := mine.Save(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got, err := sandbox.LoadConnection(file); err != nil || got != mine {
		t.Errorf("read back %+v, %v", got, err)
	}
	other := mine
	other.Process++
	if err := other.Save(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := mine.Save(t.Context(), file); !problem.Is(err, problem.Usage) {
		t.Errorf("the file of another process's world that answers was taken: %v", err)
	}
	other.Secret += "x"
	if err := other.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a world removed another's file: %v", err)
	}
	if _, err := sandbox.LoadConnection(file + ".none"); !problem.Is(err, problem.WorldNotRunning) {
		t.Errorf("no file: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func start(t *testing.T, c sandbox.Config) *sandbox.World {
	t.Helper()
	w, err := sandbox.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

// bind makes the role, with the trust policy of the world's principal, and binds it.
func bind(t *testing.T, w *sandbox.World) podid.Association {
	t.Helper()
	kind := "AWS"
	if w.Principal() == podid.ServicePrincipal {
		kind = "Service"
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"` + kind + `":"` + w.Principal() + `"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
	client := admin(w)
	if _, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("cart")}); err != nil {
		_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
			RoleName: aws.String("cart"), AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(43200),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	association, err := w.Associations.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return association
}

// admin is IAM as the administrator.
func admin(w *sandbox.World) *iam.Client {
	key := w.AWS.Admin()
	return iam.New(iam.Options{
		Region: w.Cluster.Region, BaseEndpoint: &w.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, ""),
	})
}

func run(t *testing.T, w *sandbox.World, name string) sandbox.Pod {
	t.Helper()
	pod, err := w.Pods.Start("shop", "cart", name, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func token(t *testing.T, w *sandbox.World, pod sandbox.Pod) string {
	t.Helper()
	token, err := w.Pods.Token(pod.UID, podid.AudiencePods, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

type answer struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	AccountID       string `json:"AccountId"`
	Expiration      time.Time
	Code            string `json:"code"`
	Message         string `json:"message"`
}

func ask(t *testing.T, w *sandbox.World, token string) (a answer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Agent, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return a
}
