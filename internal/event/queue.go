package event

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// Queue tells pods why they were refused, beside the exchange, which never waits for it:
// what there is no room for is not told.
type Queue struct {
	teller  *Teller
	waiting chan refusal
}

type refusal struct {
	saying
	object  corev1.ObjectReference
	problem *problem.Problem
}

const (
	// mostWaiting is for a rollout of a namespace whose role is wrong.
	mostWaiting = 256
	// The API server is asked for no more than this, whatever there is to tell.
	eventsASecond, eventsAtOnce = 10, 50
	// makingTakes at most this long.
	makingTakes = 5 * time.Second
)

// NewQueue returns a queue that is empty; nothing of it is told before Run.
func NewQueue(t *Teller) *Queue {
	return &Queue{teller: t, waiting: make(chan refusal, mostWaiting)}
}

// Refused has a pod told why it was refused. It returns at once.
func (q *Queue) Refused(w podid.Workload, p *problem.Problem) {
	r := refusal{problem: p, object: corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: w.Namespace, Name: w.Pod, UID: types.UID(w.PodUID),
	}}
	if r.saying = of(r.object, p); !q.teller.claim(r.saying) {
		return
	}
	select {
	case q.waiting <- r:
	default:
		q.teller.release(r.saying)
		q.teller.Metrics.drop()
	}
}

// Run tells what there is to tell, until ctx ends.
func (q *Queue) Run(ctx context.Context) {
	limit := rate.NewLimiter(eventsASecond, eventsAtOnce)
	for limit.Wait(ctx) == nil {
		select {
		case <-ctx.Done():
			return
		case r := <-q.waiting:
			q.tell(ctx, r)
		}
	}
}

func (q *Queue) tell(ctx context.Context, r refusal) {
	ctx, cancel := context.WithTimeout(ctx, makingTakes)
	defer cancel()
	if err := q.teller.create(ctx, r.saying, r.object, r.problem, false); err != nil {
		q.teller.Metrics.drop()
		q.teller.Log.Warn("a pod is not told why it was refused", "code", r.problem.Code, "cause", err)
	}
}
