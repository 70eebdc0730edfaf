package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/openpodidentity/podid/test/cluster/ask"

	core "k8s.io/api/core/v1"
)

// Exchange asks podid-auth itself, as whoever holds bearer, for the credentials of the pod that token is of.
func (l *Lab) Exchange(ctx context.Context, bearer, token string) (ask.Answer, error) {
	pods, err := l.PodidPods(ctx, "auth")
	if err != nil {
		return ask.Answer{}, err
	}
	for _, pod := range pods {
		if Ready(&pod) {
			return l.ExchangeAt(ctx, pod.Status.PodIP, bearer, token)
		}
	}
	return ask.Answer{}, errors.New("no podid-auth is ready")
}

// ExchangeAt asks one replica.
func (l *Lab) ExchangeAt(ctx context.Context, address, bearer, token string) (a ask.Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	roots, err := l.roots(ctx)
	if err != nil {
		return a, err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext:       l.Network.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "podid-auth." + Namespace + ".svc"},
		DisableKeepAlives: true,
	}}
	body, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return a, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://"+net.JoinHostPort(address, "8443")+"/clusters/"+l.Identity.Name+"/assume-role-for-pod-identity", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	response, err := client.Do(r)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return a, err
	}
	var told struct {
		Credentials struct {
			AccessKeyID string `json:"accessKeyId"`
		}
		AssumedRoleUser struct{ ARN string }
		Code, Message   string
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return a, fmt.Errorf("%s: %w: %s", response.Status, err, text)
	}
	return ask.Answer{
		Status: response.StatusCode, AccessKeyID: told.Credentials.AccessKeyID, ARN: told.AssumedRoleUser.ARN,
		Code: told.Code, Error: told.Message,
	}, nil
}

// Ready says whether a pod is.
func Ready(pod *core.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == core.PodReady {
			return c.Status == core.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// AgentOf is podid's agent on a node.
func (l *Lab) AgentOf(ctx context.Context, node string) (*core.Pod, error) {
	pods, err := l.PodidPods(ctx, "agent")
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if pod.Spec.NodeName == node && pod.DeletionTimestamp == nil {
			return &pod, nil
		}
	}
	return nil, fmt.Errorf("no agent on %s", node)
}

// NewAgent has no error once another agent than old is ready on old's node.
func (l *Lab) NewAgent(ctx context.Context, old *core.Pod) error {
	now, err := l.AgentOf(ctx, old.Spec.NodeName)
	if err == nil && (now.UID == old.UID || !Ready(now)) {
		err = fmt.Errorf("%s is %s and not a new agent that is ready", now.Name, now.Status.Phase)
	}
	return err
}
