package main

import (
	"context"
	"sync"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// needs are what the agent on EKS has to have got once before it can answer anybody, where nobody tells it
// that it can.
type needs struct {
	signed *agent.Signed
	keys   *token.Remote // nil: EKS Auth proves tokens
	issuer string

	mu       sync.Mutex
	unsigned error // as long as there were no credentials
}

// tryAgain is how often credentials are asked for until there are some.
const tryAgain = 2 * time.Second

// follow gets them, and keeps the keys up to date until ctx ends.
func (n *needs) follow(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	if n.keys != nil {
		group.Go(func() { n.keys.Run(ctx) })
	}
	for {
		err := n.signed.Check(ctx)
		n.mu.Lock()
		n.unsigned = err
		n.mu.Unlock()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(tryAgain):
		}
	}
}

// lacking is what there has never been.
func (n *needs) lacking() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.unsigned != nil:
		return n.unsigned
	case n.keys != nil && n.keys.KeySet() == nil:
		return problem.New(problem.ClusterUnavailable, "the keys of the issuer %s have not been fetched yet", n.issuer).
			Because("the agent verifies tokens with them").Fixed("give --issuer as the cluster names its OIDC issuer, and let the agent reach it")
	}
	return nil
}
