package replica

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/problem"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

func testReplica(t *testing.T) *Replica {
	t.Helper()
	r, err := New(Options{Namespace: "podid-system", Certificate: "podid-auth-tls", Probes: "127.0.0.1:0"},
		&rest.Config{Host: "http://127.0.0.1:1"}, problem.New(problem.ClusterUnavailable, "nothing was read yet"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestItIsReadyWithACertificateAndUntilItEnds(t *testing.T) {
	r := testReplica(t)
	w := httptest.NewRecorder()
	if r.NotYet(w); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Nothing was read yet") {
		t.Errorf("who comes too early is told %d %s", w.Code, w.Body)
	}
	r.WaitFor(nil)
	if err := r.Ready(); !problem.Is(err, problem.CertificateMissing) {
		t.Errorf("without a certificate: %v", err)
	}
	r.draining.Store(true)
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "about to end") {
		t.Errorf("draining: %v", err)
	}
}

func TestWhatMayHealIsTriedAgainAndTheRestEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, start, tries := testReplica(t), time.Now(), 0
		got, err := Get(t.Context(), r, "a number", func() (int, error) {
			if tries++; tries < 4 {
				return 0, problem.New(problem.STSUnavailable, "not now")
			}
			return tries, nil
		}, problem.STSUnavailable)
		if got != 4 || err != nil || time.Since(start) != 3*again {
			t.Errorf("got %d, %v after %v", got, err, time.Since(start))
		}
		_, err = Get(t.Context(), r, "a number", func() (int, error) {
			return 0, problem.New(problem.ConfigurationInvalid, "never")
		}, problem.STSUnavailable)
		if !problem.Is(err, problem.ConfigurationInvalid) {
			t.Errorf("what does not heal: %v", err)
		}
	})
}

func TestItEndsWhenItsWorkDoes(t *testing.T) {
	r := testReplica(t)
	broken := errors.New("broken")
	err := r.Serve(t.Context(), Work{Ready: r.Ready, Metrics: prometheus.NewRegistry(), Run: func(context.Context) error { return broken }})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestItAnswersUntilNobodyIsSentToItAndThenStopsItsWork(t *testing.T) {
	r := testReplica(t)
	r.Drain = 50 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var steps []string
	err := r.Serve(ctx, Work{
		Ready: r.Ready, Metrics: prometheus.NewRegistry(),
		Run: func(ctx context.Context) error {
			stop()
			<-ctx.Done()
			steps = append(steps, "work ended")
			return nil
		},
		Drain: func() {
			if !r.draining.Load() {
				t.Error("it was ready when it sent its clients away")
			}
			steps = append(steps, "drained")
		},
	})
	if err != nil || strings.Join(steps, ", ") != "drained, work ended" {
		t.Errorf("%v: %v", err, steps)
	}
}
