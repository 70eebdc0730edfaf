package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/replica"
	"github.com/openpodidentity/podid/problem"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

func testHook(t *testing.T, data map[string]string) *hook {
	t.Helper()
	h, err := newHook(replica.Options{Namespace: "podid-system", Certificate: "podid-webhook-tls", Settings: t.TempDir()},
		&rest.Config{Host: "http://127.0.0.1:1"}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	write(t, h, data)
	return h
}

func write(t *testing.T, h *hook, data map[string]string) {
	t.Helper()
	for key, value := range data {
		if err := os.WriteFile(filepath.Join(h.Settings, key), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestItWaitsForItsConfigurationAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHook(t, map[string]string{"region": "eu-central-1"})
		got := make(chan string, 1)
		go func() {
			set, err := h.settings(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- set.Cluster.Name
		}()
		time.Sleep(time.Minute)
		if err := h.Ready(); !problem.Is(err, problem.ConfigurationMissing) || !strings.Contains(err.Error(), "clusterName, account") {
			t.Errorf("ready: %v", err)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/inject", nil)); w.Code != http.StatusServiceUnavailable {
			t.Errorf("asked all the same: %d", w.Code)
		}
		write(t, h, map[string]string{"clusterName": "lab", "account": "111122223333"})
		time.Sleep(2 * time.Second)
		if name := <-got; name != "lab" {
			t.Errorf("cluster %q", name)
		}
		if err := h.Ready(); problem.Is(err, problem.ConfigurationMissing) {
			t.Errorf("ready: %v", err)
		}
	})
}

func TestItDoesNotStartWithAKeyThatNobodyReads(t *testing.T) {
	h := testHook(t, map[string]string{"clustername": "lab"})
	if _, err := h.settings(t.Context()); !problem.Is(err, problem.ConfigurationInvalid) {
		t.Errorf("got %v", err)
	}
}
