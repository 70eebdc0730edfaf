//go:build linux

package cluster_test

import (
	"testing"

	"github.com/openpodidentity/podid/test/cluster/lab"
	"github.com/openpodidentity/podid/test/cluster/scenarios/agentrestarted"
	"github.com/openpodidentity/podid/test/cluster/scenarios/apiserveraway"
	"github.com/openpodidentity/podid/test/cluster/scenarios/applied"
	"github.com/openpodidentity/podid/test/cluster/scenarios/associationchanged"
	"github.com/openpodidentity/podid/test/cluster/scenarios/associationdeleted"
	"github.com/openpodidentity/podid/test/cluster/scenarios/carotated"
	"github.com/openpodidentity/podid/test/cluster/scenarios/clockskew"
	"github.com/openpodidentity/podid/test/cluster/scenarios/forgedagent"
	"github.com/openpodidentity/podid/test/cluster/scenarios/helm"
	"github.com/openpodidentity/podid/test/cluster/scenarios/labelledscope"
	"github.com/openpodidentity/podid/test/cluster/scenarios/nodeadded"
	"github.com/openpodidentity/podid/test/cluster/scenarios/nodescope"
	"github.com/openpodidentity/podid/test/cluster/scenarios/podbeforeassociation"
	"github.com/openpodidentity/podid/test/cluster/scenarios/podended"
	"github.com/openpodidentity/podid/test/cluster/scenarios/podterminating"
	"github.com/openpodidentity/podid/test/cluster/scenarios/principals"
	"github.com/openpodidentity/podid/test/cluster/scenarios/refusals"
	"github.com/openpodidentity/podid/test/cluster/scenarios/replicaheldback"
	"github.com/openpodidentity/podid/test/cluster/scenarios/replicaskilled"
	"github.com/openpodidentity/podid/test/cluster/scenarios/signingkeyremoved"
	"github.com/openpodidentity/podid/test/cluster/scenarios/tokenrotated"
	"github.com/openpodidentity/podid/test/cluster/scenarios/uninstall"
	"github.com/openpodidentity/podid/test/cluster/scenarios/upgrade"
	"github.com/openpodidentity/podid/test/cluster/scenarios/walkthrough"
	"github.com/openpodidentity/podid/test/kube"
)

// scenarios in the order in which they run: those that disturb more come later.
var scenarios = []struct {
	name string
	run  func(*testing.T, *lab.Lab)
}{
	{"walkthrough", walkthrough.Run},
	{"podbeforeassociation", podbeforeassociation.Run},
	{"associationchanged", associationchanged.Run},
	{"associationdeleted", associationdeleted.Run},
	{"tokenrotated", tokenrotated.Run},
	{"podended", podended.Run},
	{"podterminating", podterminating.Run},
	{"nodescope", nodescope.Run},
	{"forgedagent", forgedagent.Run},
	{"refusals", refusals.Run},
	{"clockskew", clockskew.Run},
	{"agentrestarted", agentrestarted.Run},
	{"replicaskilled", replicaskilled.Run},
	{"replicaheldback", replicaheldback.Run},
	{"carotated", carotated.Run},
	// Before the API server is away: for a while after that a kubelet starts pods with a Secret as it was before, for its
	// watches, too, are opened again late.
	{"principals", principals.Run},
	{"apiserveraway", apiserveraway.Run},
	{"signingkeyremoved", signingkeyremoved.Run},
	{"upgrade", upgrade.Run},
	{"uninstall", uninstall.Run},
	{"applied", applied.Run},
	{"labelledscope", labelledscope.Run},
	{"nodeadded", nodeadded.Run},
	{"helm", helm.Run},
}

// TestScenarios runs every scenario, one after the other, in one cluster.
func TestScenarios(t *testing.T) {
	kube.NeedNodes(t)
	l, err := lab.Start(t.Context(), lab.Options{Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Tails())
		}
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	said, err := l.Install(t.Context(), l.AWS.ServicePrincipal())
	if err != nil {
		t.Fatalf("%v\n%s", err, l.Said(t.Context()))
	}
	t.Log(said)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.run(t, l) })
	}
}
