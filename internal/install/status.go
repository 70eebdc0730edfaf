package install

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Status is how podid is doing in a cluster. What the asker may not see is left out,
// and named in Unseen.
type Status struct {
	Version  string    `json:"version"`
	Programs []Program `json:"programs"`
	// Nodes is how many Linux nodes there are; WithoutAgent, those that have no agent which is
	// ready, each with the reason.
	Nodes        int      `json:"nodes"`
	WithoutAgent []Reason `json:"withoutAgent,omitempty"`

	Settings map[string]string `json:"settings"`
	// Configuration is what is wrong with the settings.
	Configuration string `json:"configuration,omitempty"`
	Doors         Doors  `json:"doors"`

	Certificates []Certificate `json:"certificates,omitempty"`
	// Associations counts the objects, Refused those of them that podid does not act on.
	Associations int `json:"associations"`
	Refused      int `json:"refused"`
	// Problems are the newest that podid has told of in events, newest first.
	Problems []Told   `json:"problems,omitempty"`
	Unseen   []string `json:"unseen,omitempty"`
}

// Doors are the ways in which roles are bound, and pods injected, here.
type Doors struct {
	Objects       bool `json:"objects"`
	Annotations   bool `json:"annotations"`
	EKSAPI        bool `json:"eksAPI"`
	Webhook       bool `json:"webhook"`
	LabelledScope bool `json:"labelledScope"`
}

// Certificate is one that podid serves with, or its authority.
type Certificate struct {
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires"`
}

// Told is a problem that an event tells of.
type Told struct {
	About   string    `json:"about"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Last    time.Time `json:"last"`
}

// OK says whether all that is installed runs everywhere and is configured.
func (s Status) OK() bool {
	return s.Configuration == "" && len(s.WithoutAgent) == 0 && len(s.Programs) > 0 &&
		!slices.ContainsFunc(s.Programs, func(p Program) bool { return !p.Settled })
}

// Status looks at the cluster. The error is install-incomplete if podid is not
// installed.
func (c Cluster) Status(ctx context.Context) (Status, error) {
	var s Status
	var err error
	if s.Programs, err = c.Programs(ctx); err != nil {
		return Status{}, err
	}
	if len(s.Programs) == 0 {
		return Status{}, problem.New(problem.InstallIncomplete, "podid is not installed in namespace %s", c.Namespace).
			Because("there is no program of podid's there").
			Fixed("podid install; or name the namespace where Helm has put it: --podid-namespace")
	}
	for _, p := range s.Programs {
		if p.Name == "podid-auth" {
			_, _, s.Version = splitImage(p.Image)
		}
	}
	for _, part := range []struct {
		name string
		see  func(context.Context, *Status) error
	}{
		{"nodes", c.seeNodes},
		{"settings", c.seeSettings},
		{"doors", c.seeDoors},
		{"certificates", c.seeCertificates},
		{"associations", c.seeAssociations},
		{"events", c.seeProblems},
	} {
		if err := part.see(ctx, &s); apierrors.IsForbidden(err) {
			s.Unseen = append(s.Unseen, part.name)
		} else if err != nil {
			return Status{}, err
		}
	}
	return s, nil
}

func (c Cluster) seeNodes(ctx context.Context, s *Status) error {
	nodes, err := c.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/os=linux"})
	if err != nil {
		return err
	}
	pods, err := c.Typed.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=podid-agent"})
	if err != nil {
		return err
	}
	s.Nodes = len(nodes.Items)
	for _, node := range nodes.Items {
		reason := Reason{Node: node.Name, Message: "no agent runs there"}
		if !nodeReady(node) {
			reason.Message = "the node is not ready"
		}
		served := false
		for _, pod := range pods.Items {
			if pod.Spec.NodeName != node.Name {
				continue
			}
			if ready(pod) {
				served = true
				break
			}
			reason.Pod = pod.Name
			reason.Code, reason.Message = c.why(ctx, pod)
		}
		if !served {
			s.WithoutAgent = append(s.WithoutAgent, reason)
		}
	}
	return nil
}

func (c Cluster) seeSettings(ctx context.Context, s *Status) error {
	config, err := c.get(ctx, "v1", "ConfigMap", "podid")
	if err != nil || config == nil {
		return err
	}
	s.Settings, _, _ = unstructured.NestedStringMap(config.Object, "data")
	known, err := settings.Parse(s.Settings)
	if err != nil {
		s.Configuration = err.Error()
	}
	s.Doors.Annotations, s.Doors.EKSAPI = known.Annotations, known.EKSAPI
	return nil
}

func (c Cluster) seeDoors(ctx context.Context, s *Status) error {
	for _, door := range []struct {
		version, kind, name string
		open                *bool
	}{
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", "podidentityassociations.podid.dev", &s.Doors.Objects},
		{"admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "podid", &s.Doors.Webhook},
		{"admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", "inject.podid.dev", &s.Doors.LabelledScope},
	} {
		object, err := c.get(ctx, door.version, door.kind, door.name)
		if err != nil {
			return err
		}
		*door.open = object != nil
	}
	return nil
}

func (c Cluster) seeCertificates(ctx context.Context, s *Status) error {
	for _, name := range []string{"podid-auth-tls", "podid-webhook-tls"} {
		secret, err := c.Typed.CoreV1().Secrets(c.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
		if block == nil {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // podid makes a new one of what it cannot read
		}
		s.Certificates = append(s.Certificates, Certificate{name, certificate.NotAfter})
	}
	return nil
}

func (c Cluster) seeAssociations(ctx context.Context, s *Status) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PodIdentityAssociationList"))
	if err := c.API.List(ctx, list); err != nil {
		if absent(err) {
			return nil
		}
		return err
	}
	s.Associations = len(list.Items)
	for _, item := range list.Items {
		conditions, _, _ := unstructured.NestedSlice(item.Object, "status", "conditions")
		for _, c := range conditions {
			if condition, ok := c.(map[string]any); ok && condition["type"] == "Accepted" && condition["status"] == "False" {
				s.Refused++
			}
		}
	}
	return nil
}

// newest is how many problems are told of.
const newest = 5

func (c Cluster) seeProblems(ctx context.Context, s *Status) error {
	events, err := c.Typed.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return err
	}
	told := map[Told]time.Time{}
	for _, e := range events.Items {
		if cmp.Or(e.ReportingController, e.Source.Component) != "podid" {
			continue
		}
		about := fmt.Sprintf("%s %s/%s", e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name)
		told[Told{About: about, Reason: e.Reason, Message: e.Message}] = at(e)
	}
	for _, one := range slices.Collect(maps.Keys(told)) {
		last := told[one]
		one.Last = last
		s.Problems = append(s.Problems, one)
	}
	slices.SortFunc(s.Problems, func(a, b Told) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.About, b.About)) })
	s.Problems = s.Problems[:min(newest, len(s.Problems))]
	return nil
}
