package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A thousand nodes start at once, each with so many pods: with 110 it takes minutes
// (go run ./test/bench/agent -only cluster -pods 110).
const simulatedNodes = 1000

// stsBudget is what AWS's STS takes of an account in a region each second
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
const stsBudget = 600

// clusterStart: all pods of a cluster start within a second.
func clusterStart(*lab) ([]figure, error) {
	pods := *podsOfNode
	c, err := newCluster(simulatedNodes, pods, stsBudget)
	if err != nil {
		return nil, err
	}
	defer c.close()
	all := simulatedNodes * pods
	ideal := time.Duration(float64(all-stsBudget) / stsBudget * float64(time.Second)) // it lets a second's worth through at once
	ctx, cancel := context.WithTimeout(context.Background(), 4*ideal+2*time.Minute)
	defer cancel()

	var mu sync.Mutex
	var took []time.Duration    // until each pod had its credentials
	var failed []time.Duration  // when SDK calls failed
	refused := map[string]int{} // requests, by code
	lives, begin := sync.WaitGroup{}, time.Now()
	for _, node := range c.nodes {
		for _, token := range node.tokens {
			lives.Go(func() {
				wait(ctx, rand.N(time.Second))
				for restart := 10 * time.Second; ctx.Err() == nil; restart = min(2*restart, 5*time.Minute) {
					ok, codes := sdk(ctx, node, token)
					mu.Lock()
					for _, code := range codes {
						refused[code]++
					}
					if ok {
						took = append(took, time.Since(begin))
					} else {
						failed = append(failed, time.Since(begin))
					}
					mu.Unlock()
					if ok {
						return
					}
					wait(ctx, restart) // as the kubelet does
				}
			})
		}
	}
	lives.Wait()
	slices.Sort(took)
	slices.Sort(failed)
	when := ""
	if len(failed) > 0 {
		when = fmt.Sprintf(", between %s and %s", failed[0].Round(time.Second), failed[len(failed)-1].Round(time.Second))
	}
	if len(took) == 0 {
		return nil, fmt.Errorf("no pod got credentials: %v", refused)
	}
	at := func(p float64) time.Duration { return took[int(p*float64(len(took)-1))].Round(time.Second / 10) }
	told := ""
	for _, code := range slices.Sorted(maps.Keys(refused)) {
		told += fmt.Sprintf(" %s %d", code, refused[code])
	}
	served, throttled := c.sts.served.Load(), c.sts.throttled.Load()
	return []figure{
		{fmt.Sprintf("%d nodes start %d pods each within a second, STS takes %d calls a second", simulatedNodes, pods, stsBudget),
			fmt.Sprintf("half have credentials after %s, the last of %d after %s", at(0.5), len(took), at(1)),
			"all", len(took) == all},
		{"the same: calls of STS", fmt.Sprintf("%d served within %s (STS cannot in less than %s), %d throttled", served, time.Unix(0, c.sts.last.Load()).Sub(begin).Round(time.Second/10), ideal.Round(time.Second/10), throttled), "", true},
		{"the same: SDK calls (3 requests a second apart) that failed", fmt.Sprintf("%d of %d%s; refused were:%s", len(failed), len(failed)+len(took), when, told), "", true},
	}, nil
}

// sdk asks as botocore does: three times, a second apart.
func sdk(ctx context.Context, node *simulated, token string) (ok bool, refused []string) {
	for try := range 3 {
		if try > 0 {
			wait(ctx, time.Second)
		}
		status, body := node.ask(ctx, token)
		if status == http.StatusOK {
			return true, refused
		}
		var told struct{ Code string }
		_ = json.Unmarshal([]byte(body), &told) // what is no JSON has no code
		refused = append(refused, told.Code)
	}
	return false, refused
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
