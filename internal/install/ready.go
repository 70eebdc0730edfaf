package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Program is how far one of podid's programs is.
type Program struct {
	Name    string `json:"name"`
	Image   string `json:"image"`
	Ready   int    `json:"ready"`
	Updated int    `json:"updated"`
	Desired int    `json:"desired"`
	// Settled says that nothing is under way any more: all replicas are of the newest
	// template and ready, and no others are left.
	Settled bool `json:"settled"`
	// Reasons say why replicas are not ready, each once.
	Reasons []Reason `json:"reasons,omitempty"`
}

// Reason is why a replica is not ready.
type Reason struct {
	Pod  string `json:"pod,omitempty"`
	Node string `json:"node,omitempty"`
	// Code is the problem's, where podid itself says it.
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

func (r Reason) String() string {
	where := r.Pod
	if r.Node != "" {
		where += " on " + r.Node
	}
	if where == "" {
		return r.Message
	}
	return where + ": " + r.Message
}

// Programs are those that are installed, with the reasons of what is not ready.
func (c Cluster) Programs(ctx context.Context) ([]Program, error) {
	deployments, err := c.Typed.AppsV1().Deployments(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: partOf + "=podid"})
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	daemons, err := c.Typed.AppsV1().DaemonSets(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: partOf + "=podid"})
	if err != nil {
		return nil, fmt.Errorf("list daemon sets: %w", err)
	}
	var all []Program
	for _, d := range deployments.Items {
		all = append(all, ofDeployment(d))
	}
	for _, d := range daemons.Items {
		all = append(all, ofDaemonSet(d))
	}
	for i := range all {
		pods, err := c.Typed.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + all[i].Name})
		if err != nil {
			return nil, fmt.Errorf("list pods: %w", err)
		}
		living := slices.DeleteFunc(pods.Items, ended)
		// A node's new agent and the one before it are there at once for a while; the counts alone do not tell.
		all[i].Settled = all[i].Settled && len(living) == all[i].Desired && !slices.ContainsFunc(living, unready)
		if all[i].Settled {
			continue
		}
		if all[i].Reasons, err = c.reasons(ctx, all[i].Name, living); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func ofDeployment(d appsv1.Deployment) Program {
	desired := 1
	if d.Spec.Replicas != nil {
		desired = int(*d.Spec.Replicas)
	}
	p := Program{Name: d.Name, Image: imageOf(d.Spec.Template), Desired: desired, Ready: int(d.Status.ReadyReplicas), Updated: int(d.Status.UpdatedReplicas)}
	p.Settled = d.Status.ObservedGeneration >= d.Generation && p.Ready == desired && p.Updated == desired && int(d.Status.Replicas) == desired
	return p
}

func ofDaemonSet(d appsv1.DaemonSet) Program {
	p := Program{
		Name: d.Name, Image: imageOf(d.Spec.Template),
		Desired: int(d.Status.DesiredNumberScheduled), Ready: int(d.Status.NumberReady), Updated: int(d.Status.UpdatedNumberScheduled),
	}
	p.Settled = d.Status.ObservedGeneration >= d.Generation && p.Ready == p.Desired && p.Updated == p.Desired
	return p
}

func imageOf(template corev1.PodTemplateSpec) string {
	for _, container := range template.Spec.Containers {
		return container.Image
	}
	return ""
}

// reasons are why pods of a program are not ready; without pods, why there are none.
func (c Cluster) reasons(ctx context.Context, program string, pods []corev1.Pod) ([]Reason, error) {
	var all []Reason
	for _, pod := range pods {
		if ready(pod) {
			continue
		}
		reason := Reason{Pod: pod.Name, Node: pod.Spec.NodeName}
		reason.Code, reason.Message = c.why(ctx, pod)
		all = append(all, reason)
	}
	if len(pods) == 0 {
		warning, err := c.warning(ctx, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == program || strings.HasPrefix(e.InvolvedObject.Name, program+"-")
		})
		if err != nil {
			return nil, err
		}
		if warning != "" {
			all = append(all, Reason{Message: warning})
		}
	}
	return all, nil
}

func unready(pod corev1.Pod) bool { return !ready(pod) }

// ended says that a pod is none any more: an evicted one that is kept for people to look at, or one whose time to end is over,
// as on a node that is lost. Until then a replica that is told to end still answers, by the settings it began with.
func ended(pod corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && time.Now().After(pod.DeletionTimestamp.Time) ||
		pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

func ready(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// why says why a pod is not ready: what keeps it from running, or else what it says of
// itself.
func (c Cluster) why(ctx context.Context, pod corev1.Pod) (code, message string) {
	running := false
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		running = running || status.State.Running != nil
		if waiting := status.State.Waiting; waiting != nil && !slices.Contains([]string{"PodInitializing", "ContainerCreating"}, waiting.Reason) {
			message := waiting.Reason + ": " + waiting.Message
			if last := status.LastTerminationState.Terminated; last != nil {
				message = fmt.Sprintf("%s: container %s ended with exit code %d%s", waiting.Reason, status.Name, last.ExitCode, c.lastLine(ctx, pod.Name, status.Name, true))
			}
			return "", strings.TrimSuffix(message, ": ")
		}
	}
	if running {
		if code, message := c.readiness(ctx, pod); message != "" {
			return code, message
		}
	}
	if warning, err := c.warning(ctx, func(e corev1.Event) bool { return e.InvolvedObject.UID == pod.UID }); err == nil && warning != "" {
		return "", warning
	}
	return "", strings.ToLower(string(pod.Status.Phase))
}

// readiness asks the pod's own probe, by way of the API server. The agent's answers to
// its node alone.
func (c Cluster) readiness(ctx context.Context, pod corev1.Pod) (code, message string) {
	if pod.Spec.HostNetwork {
		return "", ""
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	result := c.Typed.CoreV1().Pods(c.Namespace).ProxyGet("http", pod.Name, "8080", "/readyz", nil)
	body, err := result.DoRaw(ctx)
	if err == nil { // it has become ready
		return "", ""
	}
	// The body comes as the answer itself, or within the error.
	var answer struct{ Code, Message string }
	for _, text := range []string{string(body), within(err)} {
		if json.Unmarshal([]byte(strings.TrimSpace(text)), &answer) == nil && answer.Code != "" {
			return answer.Code, answer.Code + ": " + answer.Message
		}
		if strings.Contains(text, ": ") && !strings.Contains(text, "\n\n") {
			code, _, _ := strings.Cut(strings.TrimSpace(text), ":")
			return code, strings.TrimSpace(text)
		}
	}
	return "", ""
}

// within is the text that the API server got from the pod, inside its own error.
func within(err error) string {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return ""
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Type == metav1.CauseTypeUnexpectedServerResponse {
			return cause.Message
		}
	}
	return ""
}

// lastLine is the last that a container said; previous means before it was started again.
func (c Cluster) lastLine(ctx context.Context, pod, container string, previous bool) string {
	lines := int64(1)
	text, err := c.Typed.CoreV1().Pods(c.Namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines}).DoRaw(ctx)
	if err != nil || len(text) == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(text))
}

// warning is the newest warning event of podid's namespace that is about what is wanted.
func (c Cluster) warning(ctx context.Context, about func(corev1.Event) bool) (string, error) {
	events, err := c.Typed.CoreV1().Events(c.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return "", fmt.Errorf("list events: %w", err)
	}
	found := slices.DeleteFunc(events.Items, func(e corev1.Event) bool { return !about(e) })
	if len(found) == 0 {
		return "", nil
	}
	newest := slices.MaxFunc(found, func(a, b corev1.Event) int { return at(a).Compare(at(b)) })
	return newest.Reason + ": " + newest.Message, nil
}

func at(e corev1.Event) time.Time {
	return cmp.Or(e.LastTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time)
}

// still is how often Wait tells report although nothing has changed.
const still = 20 * time.Second

// Wait waits until every program is settled, and tells report whenever something has
// changed, or nothing has for a while. When ctx ends first it returns what there is, and ctx's error.
func (c Cluster) Wait(ctx context.Context, report func([]Program)) ([]Program, error) {
	var last string
	var told time.Time
	var programs []Program
	for {
		now, err := c.Programs(ctx)
		switch {
		case ctx.Err() != nil:
			return programs, ctx.Err()
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			return programs, err // others may pass
		case err == nil:
			programs = now
			if said, _ := json.Marshal(now); string(said) != last || time.Since(told) > still {
				last, told = string(said), time.Now()
				report(now)
			}
			if !slices.ContainsFunc(now, func(p Program) bool { return !p.Settled }) {
				return now, nil
			}
		}
		select {
		case <-ctx.Done():
			return programs, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
