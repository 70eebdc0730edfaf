package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/install"

	"github.com/google/go-cmp/cmp"
)

func TestStatusSaysWhatIsWrongAndWhere(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	newUI(&out).status(install.Status{
		Version: "0.1.0",
		Programs: []install.Program{
			{Name: "podid-auth", Image: "registry.example.com/podid-auth:0.1.0", Ready: 1, Updated: 2, Desired: 2, Reasons: []install.Reason{
				{Pod: "podid-auth-5", Node: "node2", Code: "configuration-missing", Message: "configuration-missing: podid is not told its cluster's account."},
			}},
			{Name: "podid-webhook", Image: "registry.example.com/podid-webhook:0.1.0", Ready: 2, Updated: 2, Desired: 2, Settled: true},
		},
		Nodes:         3,
		WithoutAgent:  []install.Reason{{Node: "node3", Message: "the node is not ready"}},
		Settings:      map[string]string{"region": "eu-central-1", "clusterName": "lab"},
		Configuration: "configuration-missing: podid is not told its cluster's account.",
		Doors:         install.Doors{Objects: true, EKSAPI: true, Webhook: true},
		Certificates:  []install.Certificate{{Secret: "podid-auth-tls", Expires: now.Add(20*24*time.Hour + time.Hour)}},
		Associations:  7, Refused: 1,
		Problems: []install.Told{{About: "Pod shop/cart-1", Reason: "NotInjected", Message: "not-injected: …", Last: now.Add(-90 * time.Second)}},
		Unseen:   []string{"events"},
	}, now)
	want := `podid 0.1.0

PROGRAM        READY  STATE      IMAGE
podid-auth     1/2    not ready  registry.example.com/podid-auth:0.1.0
podid-webhook  2/2    ready      registry.example.com/podid-webhook:0.1.0
  podid-auth-5 on node2: configuration-missing: podid is not told its cluster's account.

nodes         3, 1 without agent
  node3: the node is not ready
doors         objects, EKS API, webhook
associations  7, 1 of them refused
certificate   podid-auth-tls, for 20 days more
settings
  clusterName          lab
  region               eu-central-1
  configuration-missing: podid is not told its cluster's account.
problems of late
  1m30s ago, Pod shop/cart-1: NotInjected: not-injected: …
you may not see: events
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
