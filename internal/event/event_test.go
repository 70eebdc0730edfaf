package event_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/event"
	"github.com/openpodidentity/podid/problem"
)

var (
	reader = podid.Workload{Namespace: "shop", ServiceAccount: "cart", Pod: "cart-0", PodUID: "0f8fad5b-d9cb-469f-a165-70867728950e", Node: "node-1"}
	lacks  = problem.New(problem.TrustTagSession, "role R refuses the session")
)

// api keeps Events by their name, as an API server does.
type api struct {
	client.Client
	mu     sync.Mutex
	events map[string]*corev1.Event
	tries  int
	hangs  bool
	fails  error
}

func (a *api) Create(ctx context.Context, o client.Object, _ ...client.CreateOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	if a.hangs {
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
		return ctx.Err()
	}
	if a.fails != nil {
		return a.fails
	}
	if a.events[o.GetName()] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, o.GetName())
	}
	if a.events == nil {
		a.events = map[string]*corev1.Event{}
	}
	a.events[o.GetName()] = o.(*corev1.Event)
	return nil
}

func (a *api) all() []*corev1.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*corev1.Event
	for _, e := range a.events {
		all = append(all, e)
	}
	return all
}

// replica is one that tells through the API server; metrics may be read.
func replica(a *api) (*event.Queue, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return event.NewQueue(&event.Teller{API: a, Log: slog.New(slog.DiscardHandler), Metrics: event.NewMetrics(registry)}), registry
}

func counted(t *testing.T, r *prometheus.Registry, want string) {
	t.Helper()
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), strings.Fields(want)[2]); err != nil {
		t.Error(err)
	}
}

func dropped(t *testing.T, r *prometheus.Registry, n int) {
	t.Helper()
	counted(t, r, fmt.Sprintf(`# HELP podid_events_dropped_total Events of refused pods that were not made: too many waited, or the API server did not take them.
# TYPE podid_events_dropped_total counter
podid_events_dropped_total %d
`, n))
}

func TestManyRefusalsAtTwoReplicasAreOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(api)
		for range 2 {
			q, _ := replica(a)
			go q.Run(t.Context())
			for range 500 {
				q.Refused(reader, lacks)
			}
		}
		synctest.Wait()
		all := a.all()
		if len(all) != 1 || a.tries != 2 {
			t.Fatalf("%d Events, and the API server was asked %d times", len(all), a.tries)
		}
		e := all[0]
		if e.Namespace != "shop" || e.Reason != "TrustTagSession" || e.Type != "Warning" || e.Message != lacks.Message() || e.Count != 1 {
			t.Errorf("%+v", e)
		}
		want := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "cart-0", UID: "0f8fad5b-d9cb-469f-a165-70867728950e"}
		if e.InvolvedObject != want {
			t.Errorf("of %+v", e.InvolvedObject)
		}
	})
}

func TestAnotherReasonIsAnotherEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(api)
		q, _ := replica(a)
		go q.Run(t.Context())
		q.Refused(reader, lacks)
		q.Refused(reader, problem.New(problem.TrustTagSession, "role S refuses the session"))
		q.Refused(reader, problem.New(problem.AssociationMissing, "there is none"))
		next := reader
		next.PodUID = "another pod of that name"
		q.Refused(next, lacks)
		synctest.Wait()
		if n := len(a.all()); n != 4 {
			t.Errorf("%d Events", n)
		}
	})
}

func TestWhatIsStillWrongWhenItsEventHasExpiredIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(api)
		q, _ := replica(a)
		go q.Run(t.Context())
		for range 60 { // the agent asks again and again, for an hour
			q.Refused(reader, lacks)
			time.Sleep(time.Minute)
		}
		if n := len(a.all()); n != 1 || a.tries > 7 {
			t.Errorf("%d Events, and the API server was asked %d times in an hour", n, a.tries)
		}
		a.mu.Lock()
		a.events = nil // as API servers do after an hour
		a.mu.Unlock()
		for range 10 {
			q.Refused(reader, lacks)
			time.Sleep(time.Minute)
		}
		if n := len(a.all()); n != 1 {
			t.Errorf("%d Events ten minutes after it had expired", n)
		}
	})
}

func TestRefusalsNeverWaitAndWhatHasNoRoomIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{hangs: true}
		q, metrics := replica(a)
		ctx, stop := context.WithCancel(t.Context())
		go q.Run(ctx)
		began := time.Now()
		const most = 1000
		for i := range most {
			w := reader
			w.PodUID = fmt.Sprint(i)
			q.Refused(w, lacks)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("%d refusals took %v", most, took)
		}
		synctest.Wait()
		stop()
		synctest.Wait()
		// 256 waited, and one or two more were taken from the queue meanwhile.
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if n := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "podid_events_dropped_total" && (n < most-258 || n > most-255) {
				t.Errorf("%v of %d were dropped", n, most)
			}
		}
	})
}

func TestWhatTheAPIServerDoesNotTakeIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{fails: errors.New("the API server is away")}
		q, metrics := replica(a)
		go q.Run(t.Context())
		q.Refused(reader, lacks)
		synctest.Wait()
		dropped(t, metrics, 1)
		a.mu.Lock()
		a.fails = nil
		a.mu.Unlock()
		q.Refused(reader, lacks)
		synctest.Wait()
		if n := len(a.all()); n != 1 {
			t.Errorf("%d Events", n)
		}
		dropped(t, metrics, 1)
	})
}

func TestANamespaceThatEndsIsToldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{fails: &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}}}}}
		q, metrics := replica(a)
		go q.Run(t.Context())
		for range 10 {
			q.Refused(reader, lacks)
		}
		synctest.Wait()
		if dropped(t, metrics, 0); a.tries != 1 {
			t.Errorf("it was asked %d times", a.tries)
		}
	})
}

func TestTheAPIServerIsAskedAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(api)
		q, _ := replica(a)
		go q.Run(t.Context())
		for i := range 200 {
			w := reader
			w.PodUID = fmt.Sprint(i)
			q.Refused(w, lacks)
		}
		time.Sleep(time.Second)
		if n := len(a.all()); n < 55 || n > 62 {
			t.Errorf("%d Events within the first second", n)
		}
		time.Sleep(time.Minute)
		if n := len(a.all()); n != 200 {
			t.Errorf("%d Events of 200", n)
		}
	})
}
