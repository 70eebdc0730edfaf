// Package event tells pods and service accounts, by Events of the cluster, what is wrong
// with them. The leader tells what it finds when it looks at them (Teller), and each replica
// of podid-auth why it refused a pod (Queue).
package event

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

// Teller makes Events, of each thing one. The name of an Event derives from its object and
// what it says, so that several replicas say it once as well, for as long as the cluster
// keeps Events. It needs no right but to create them.
type Teller struct {
	API     client.Client
	Log     *slog.Logger
	Metrics *Metrics

	mu   sync.Mutex
	told map[saying]time.Time
}

// saying is what an object is told: its UID, the code and the message, digested.
type saying [8]byte

const (
	// maxMessage is how much of a message the API server takes.
	maxMessage = 1024
	// rememberedFor is how long nobody asks whether the cluster still has an Event. Clusters
	// keep them for an hour: what is still wrong then is told again soon after.
	rememberedFor = 10 * time.Minute
	// mostTold bounds what is remembered; beyond it the API server says what it has.
	mostTold = 100_000

	owner = client.FieldOwner("podid-auth")
)

// Tell makes an Event of a problem; meant says that somebody asked for it.
func (t *Teller) Tell(ctx context.Context, object corev1.ObjectReference, p *problem.Problem, meant bool) error {
	this := of(object, p)
	if !t.claim(this) {
		return nil
	}
	return t.create(ctx, this, object, p, meant)
}

func of(object corev1.ObjectReference, p *problem.Problem) saying {
	sum := sha256.Sum256([]byte(string(object.UID) + "/" + string(p.Code) + "/" + p.Message()))
	return saying(sum[:8])
}

// create makes an Event that was claimed.
func (t *Teller) create(ctx context.Context, this saying, object corev1.ObjectReference, p *problem.Problem, meant bool) error {
	kind := corev1.EventTypeWarning
	if meant {
		kind = corev1.EventTypeNormal
	}
	at := metav1.NewTime(time.Now())
	err := t.API.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: object.Namespace, Name: strings.TrimRight(cut(object.Name, 200), "-.") + "." + hex.EncodeToString(this[:])},
		InvolvedObject: object,
		Type:           kind, Reason: kube.Reason(p.Code), Message: cut(p.Message(), maxMessage),
		Source:         corev1.EventSource{Component: "podid"},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}, owner)
	switch {
	case err == nil:
		t.Metrics.made(p.Code)
		t.Log.Info("event", "kind", object.Kind, "namespace", object.Namespace, "name", object.Name, "code", p.Code, "what", p.What)
	case apierrors.IsAlreadyExists(err):
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		// There is nobody to tell any more.
	default:
		t.release(this)
		return fmt.Errorf("make an event of %s %s/%s: %w", object.Kind, object.Namespace, object.Name, err)
	}
	return nil
}

// claim says whether something is to be told, and that the caller tells it.
func (t *Teller) claim(this saying) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, is := t.told[this]; is && time.Since(at) < rememberedFor {
		return false
	}
	if t.told == nil || len(t.told) >= mostTold {
		t.told = map[saying]time.Time{}
	}
	t.told[this] = time.Now()
	return true
}

// release says that it was not told.
func (t *Teller) release(this saying) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.told, this)
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
