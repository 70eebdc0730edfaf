package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/test/cluster/ask"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// PodSpec is what a test says of a pod.
type PodSpec struct {
	Namespace, ServiceAccount, Name string
	Node                            string   // any if empty
	Args                            []string // of the application; it serves if empty
	Grace                           int64    // seconds it has for its end
	// ByHand puts what injection gives into the manifest, as people do where no webhook is.
	ByHand bool
	// DryRun has the API server do all but write it, webhooks included.
	DryRun bool
	Edit   func(*core.Pod)
}

// Pod is a pod that runs the application, and answers a test.
type Pod struct {
	*core.Pod
	lab *Lab
}

const servingPort = 8080

// StartPod makes namespace and service account if need be, and a pod that is ready when this returns.
func (l *Lab) StartPod(ctx context.Context, s PodSpec) (*Pod, error) {
	p, err := l.CreatePod(ctx, s)
	if err != nil {
		return nil, err
	}
	return p, p.AwaitReady(ctx)
}

// CreatePod is StartPod, and does not wait.
func (l *Lab) CreatePod(ctx context.Context, s PodSpec) (*Pod, error) {
	if err := l.Account(ctx, s.Namespace, s.ServiceAccount); err != nil {
		return nil, err
	}
	app := core.Container{
		Name: "app", Image: Image, ImagePullPolicy: core.PullNever, Args: s.Args,
		// The one difference to AWS: where it is.
		Env: []core.EnvVar{{Name: "AWS_ENDPOINT_URL", Value: l.AWS.Endpoint}},
	}
	if app.Args == nil {
		app.Args = []string{"serve", fmt.Sprintf(":%d", servingPort)}
		app.ReadinessProbe = &core.Probe{
			ProbeHandler:  core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromInt32(servingPort)}},
			PeriodSeconds: 1,
		}
	}
	pod := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: s.Namespace, Name: s.Name},
		Spec: core.PodSpec{
			ServiceAccountName: s.ServiceAccount, NodeName: s.Node, Containers: []core.Container{app},
			RestartPolicy: core.RestartPolicyNever, TerminationGracePeriodSeconds: &s.Grace,
		},
	}
	if s.ByHand {
		byHand(&pod.Spec)
	}
	if s.Edit != nil {
		s.Edit(pod)
	}
	var options meta.CreateOptions
	if s.DryRun {
		options.DryRun = []string{meta.DryRunAll}
	}
	made, err := l.Client.CoreV1().Pods(s.Namespace).Create(ctx, pod, options)
	return &Pod{made, l}, err
}

func byHand(spec *core.PodSpec) {
	const dir, file = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "eks-pod-identity-token"
	expires := int64(86400)
	spec.Volumes = append(spec.Volumes, core.Volume{Name: file, VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{
		Sources: []core.VolumeProjection{{ServiceAccountToken: &core.ServiceAccountTokenProjection{
			Audience: podid.AudiencePods, ExpirationSeconds: &expires, Path: file,
		}}},
	}}})
	app := &spec.Containers[0]
	app.VolumeMounts = append(app.VolumeMounts, core.VolumeMount{Name: file, MountPath: dir, ReadOnly: true})
	app.Env = append(app.Env, core.EnvVar{Name: "AWS_REGION", Value: Region},
		core.EnvVar{Name: "AWS_CONTAINER_CREDENTIALS_FULL_URI", Value: "http://169.254.170.23/v1/credentials"},
		core.EnvVar{Name: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Value: dir + "/" + file})
}

// Account makes a namespace and a service account in it, if they are not there.
func (l *Lab) Account(ctx context.Context, namespace, name string) error {
	_, err := l.Client.CoreV1().Namespaces().Create(ctx, &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = l.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// AwaitReady returns when the pod is ready.
func (p *Pod) AwaitReady(ctx context.Context) error {
	return Eventually(ctx, time.Minute, func(ctx context.Context) (err error) {
		if p.Pod, err = p.lab.Client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, meta.GetOptions{}); err != nil {
			return err
		}
		for _, c := range p.Status.Conditions {
			if c.Type == core.PodReady && c.Status == core.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%s/%s is not ready: %s %+v", p.Namespace, p.Name, p.Status.Phase, p.Status.ContainerStatuses)
	})
}

// AwaitEnd returns the exit code of a pod's program when it has ended, and what it said.
func (p *Pod) AwaitEnd(ctx context.Context) (code int32, said string, err error) {
	err = Eventually(ctx, time.Minute, func(ctx context.Context) (err error) {
		if p.Pod, err = p.lab.Client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, meta.GetOptions{}); err != nil {
			return err
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Terminated != nil {
				code = s.State.Terminated.ExitCode
				return nil
			}
		}
		return fmt.Errorf("%s/%s has not ended: %s", p.Namespace, p.Name, p.Status.Phase)
	})
	if err != nil {
		return 0, "", err
	}
	said, err = p.Log(ctx)
	return code, said, err
}

// Log is what the pod's program has said so far.
func (p *Pod) Log(ctx context.Context) (string, error) {
	text, err := p.lab.Client.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &core.PodLogOptions{}).DoRaw(ctx)
	return string(text), err
}

// PodOf is the pod that a manifest names, as it is now.
func (l *Lab) PodOf(ctx context.Context, manifest string) (*Pod, error) {
	var named core.Pod
	if err := yaml.Unmarshal([]byte(manifest), &named); err != nil {
		return nil, err
	}
	pod, err := l.Client.CoreV1().Pods(named.Namespace).Get(ctx, named.Name, meta.GetOptions{})
	return &Pod{pod, l}, err
}

// Delete ends the pod and returns at once.
func (p *Pod) Delete(ctx context.Context) error {
	return p.lab.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, meta.DeleteOptions{Preconditions: &meta.Preconditions{UID: &p.UID}})
}

// AwaitGone returns when the API server knows the pod no more.
func (p *Pod) AwaitGone(ctx context.Context) error {
	return Eventually(ctx, time.Minute, func(ctx context.Context) error {
		is, err := p.lab.Client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, meta.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || err == nil && is.UID != p.UID:
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("%s/%s is still there: %s", p.Namespace, p.Name, is.Status.Phase)
	})
}

// BySDK asks with the SDK's default chain, as new.
func (p *Pod) BySDK(ctx context.Context) (a ask.Answer, err error) {
	return a, p.call(ctx, http.MethodGet, "/sdk", nil, &a)
}

// Identity asks STS who the pod is.
func (p *Pod) Identity(ctx context.Context) (a ask.Answer, err error) {
	return a, p.call(ctx, http.MethodGet, "/identity", nil, &a)
}

// ByAgent asks the agent once, without the SDK's second tries; with the pod's token if none is given.
func (p *Pod) ByAgent(ctx context.Context, token string) (a ask.Answer, err error) {
	return a, p.call(ctx, http.MethodPost, "/agent", []byte(token), &a)
}

// Load begins to ask at a steady rate: "agent" (one try each), "sdk" (a new process each time) or "kept" (one
// process, which calls AWS with the credentials that its SDK has).
func (p *Pod) Load(ctx context.Context, every time.Duration, by string) error {
	return p.call(ctx, http.MethodPost, "/load?"+url.Values{"every": {every.String()}, "by": {by}}.Encode(), nil, nil)
}

// Figures are those of the load so far.
func (p *Pod) Figures(ctx context.Context) (f ask.Figures, err error) {
	return f, p.call(ctx, http.MethodGet, "/load", nil, &f)
}

// EndLoad ends the load and returns its figures.
func (p *Pod) EndLoad(ctx context.Context) (f ask.Figures, err error) {
	return f, p.call(ctx, http.MethodDelete, "/load", nil, &f)
}

func (p *Pod) call(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if p.Status.PodIP == "" {
		return errors.New("the pod has no address")
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(p.Status.PodIP, fmt.Sprint(servingPort))+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DialContext: p.lab.Network.DialContext, DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// Token is a further token of the pod, as the kubelet gets one when it rotates.
func (p *Pod) Token(ctx context.Context, audience string) (string, error) {
	return p.lab.Token(ctx, p.Namespace, p.Spec.ServiceAccountName, cmp.Or(audience, podid.AudiencePods),
		&authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID})
}

// Token is a service account's token, bound to an object if one is given.
func (l *Lab) Token(ctx context.Context, namespace, account, audience string, bound *authentication.BoundObjectReference) (string, error) {
	seconds := int64(3600)
	request, err := l.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds, BoundObjectRef: bound},
	}, meta.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}
