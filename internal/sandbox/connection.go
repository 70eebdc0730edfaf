package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// Connection is what another process needs to use a running world. It is kept in
// a file that only its owner can read.
type Connection struct {
	Endpoint        string `json:"endpoint"`
	EndpointTLS     string `json:"endpointTLS"`
	Agent           string `json:"agent"`
	Control         string `json:"control"`
	Secret          string `json:"secret"`
	Account         string `json:"account"`
	Region          string `json:"region"`
	Cluster         string `json:"cluster"`
	Principal       string `json:"principal"` // as trust policies name it
	AccessKeyID     string `json:"accessKeyID"`
	SecretAccessKey string `json:"secretAccessKey"`
	CABundle        string `json:"caBundle"` // PEM
	Process         int    `json:"process"`
}

// Connection returns how to reach w.
func (w *World) Connection() Connection {
	admin := w.AWS.Admin()
	return Connection{
		Endpoint: w.Endpoint, EndpointTLS: w.EndpointTLS, Agent: w.Agent,
		Control: w.Control, Secret: w.Secret,
		Account: w.Cluster.Account, Region: w.Cluster.Region, Cluster: w.Cluster.Name,
		Principal:   w.Principal(),
		AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey,
		CABundle: string(w.CABundle),
		Process:  os.Getpid(),
	}
}

// Principal is who podid assumes roles as, as trust policies name it: a service
// or an ARN.
func (w *World) Principal() string {
	if w.Roles.Principal.Service {
		return podid.ServicePrincipal
	}
	return w.Roles.Principal.ARN
}

// DefaultConnectionFile is where `podid local` says how to reach it:
// $PODID_WORLD, or a file in the user's runtime or cache directory.
func DefaultConnectionFile() (string, error) {
	if file := os.Getenv("PODID_WORLD"); file != "" {
		return file, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a place for the connection file: %w", err)
		}
	}
	return filepath.Join(dir, "podid", "world.json"), nil
}

// Vacant says that no running world has file, or is an error that names the one
// that has.
func Vacant(ctx context.Context, file string) error {
	other, _ := LoadConnection(file) // whatever else it is, no world answers by it
	if other.Process == os.Getpid() || !other.alive(ctx) {
		return nil
	}
	return problem.New(problem.Usage, "a local world is running already (process %d, %s)", other.Process, other.Endpoint).
		Because("its connection file %s would be overwritten", file).
		Fixed("stop it, or start this one with --world FILE and use the same --world with the other commands")
}

// Save writes c to file, readable by its owner alone. A file of a world that
// still answers is left alone and is an error.
func (c Connection) Save(ctx context.Context, file string) error {
	if err := Vacant(ctx, file); err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(file, append(encoded, '\n')); err != nil {
		return problem.New(problem.Usage, "the connection file %s cannot be written", file).
			Because("%v", err).
			Fixed("choose a file that you may write, with --world FILE or PODID_WORLD, and use the same with the other commands")
	}
	return nil
}

// replace puts content into file at once, with mode 0600; directories that it
// makes have 0700.
func replace(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".world-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // a rename that succeeded leaves nothing to remove
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), file)
}

// Remove removes file if it is c's: another world may have taken it since.
func (c Connection) Remove(file string) error {
	if is, _ := LoadConnection(file); is.Secret == c.Secret {
		return os.Remove(file)
	}
	return nil // gone, or not ours
}

// LoadConnection reads a connection file; world-not-running if there is none, or
// something else.
func LoadConnection(file string) (Connection, error) {
	var c Connection
	content, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, problem.New(problem.WorldNotRunning, "there is no local world at %s", file)
	case err != nil:
		return c, problem.New(problem.Usage, "the connection file %s cannot be read", file).
			Because("%v", err).
			Fixed("name the file of a world of yours, with --world FILE or PODID_WORLD")
	}
	if err := json.Unmarshal(content, &c); err != nil || c.Control == "" || c.Secret == "" {
		return Connection{}, problem.New(problem.WorldNotRunning, "%s is not the connection file of a local world", file).
			Because("it does not say how to reach one").
			Fixed("start the world anew, podid local, or name the right file: --world FILE")
	}
	return c, nil
}

func (c Connection) alive(ctx context.Context) bool {
	_, err := c.ListPods(ctx)
	return err == nil
}

// StartPod makes a pod in the running world.
func (c Connection) StartPod(ctx context.Context, namespace, serviceAccount, name string, process int) (pod Pod, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/pods", podRequest{namespace, serviceAccount, name, process}, &pod)
	return pod, err
}

// ListPods returns the running world's pods.
func (c Connection) ListPods(ctx context.Context) (pods []Pod, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/pods", nil, &pods)
	return pods, err
}

// Token mints a token of a pod.
func (c Connection) Token(ctx context.Context, uid, audience string, lifetime time.Duration) (string, error) {
	var reply tokenReply
	err := c.call(ctx, http.MethodPost, "/v1/pods/"+uid+"/token", tokenRequest{audience, int(lifetime / time.Second)}, &reply)
	return reply.Token, err
}

// EndPod ends a pod.
func (c Connection) EndPod(ctx context.Context, uid string) error {
	return c.call(ctx, http.MethodDelete, "/v1/pods/"+uid, nil, nil)
}

// Decide asks the running world whether somebody may do something.
func (c Connection) Decide(ctx context.Context, q Question) (answer Answer, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/decisions", q, &answer)
	return answer, err
}

// ServiceAccounts are those of the running world that have an association, as
// NAMESPACE/NAME.
func (c Connection) ServiceAccounts(ctx context.Context) (names []string, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/serviceaccounts", nil, &names)
	return names, err
}

func (c Connection) call(ctx context.Context, method, path string, ask, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var body bytes.Buffer
	if ask != nil {
		if err := json.NewEncoder(&body).Encode(ask); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.Control+path, &body)
	if err != nil {
		return fmt.Errorf("ask the local world: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Secret)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return problem.New(problem.WorldNotRunning, "the local world does not answer at %s", c.Control).From(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return problemOf(response.StatusCode, response.Body)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("read the local world's answer: %w", err)
	}
	return nil
}
