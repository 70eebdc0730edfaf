package reconcile

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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

// events tells the objects of a cluster what is wrong with them, each thing once. The
// name of an Event derives from its object and what it says, so that two leaders in turn
// say it once as well, for as long as the cluster keeps Events.
type events struct {
	api     client.Client
	log     *slog.Logger
	metrics *Metrics

	mu   sync.Mutex
	told map[about]bool
}

type about struct {
	uid  types.UID
	code problem.Code
}

// maxMessage is how much of a message the API server takes.
const maxMessage = 1024

// tell makes an Event of a problem; meant says that somebody asked for it.
func (e *events) tell(ctx context.Context, object corev1.ObjectReference, p *problem.Problem, meant bool) error {
	this := about{object.UID, p.Code}
	if e.known(this) {
		return nil
	}
	sum := sha256.Sum256([]byte(string(this.uid) + "/" + string(this.code)))
	kind := corev1.EventTypeWarning
	if meant {
		kind = corev1.EventTypeNormal
	}
	at := metav1.NewTime(time.Now())
	err := e.api.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: object.Namespace, Name: strings.TrimRight(cut(object.Name, 200), "-.") + "." + hex.EncodeToString(sum[:8])},
		InvolvedObject: object,
		Type:           kind, Reason: kube.Reason(p.Code), Message: cut(p.Message(), maxMessage),
		Source:         corev1.EventSource{Component: "podid"},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}, owner)
	switch {
	case err == nil:
		e.metrics.event(p.Code)
		e.log.Info("event", "kind", object.Kind, "namespace", object.Namespace, "name", object.Name, "code", p.Code, "what", p.What)
	case apierrors.IsAlreadyExists(err):
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return nil // there is nobody to tell any more
	default:
		return fmt.Errorf("make an event of %s %s/%s: %w", object.Kind, object.Namespace, object.Name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told[this] = true
	return nil
}

// mostTold bounds what is remembered; beyond it the API server says what it has.
const mostTold = 100_000

func (e *events) known(this about) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.told == nil || len(e.told) >= mostTold {
		e.told = map[about]bool{}
	}
	return e.told[this]
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
