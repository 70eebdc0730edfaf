package auth

import (
	"context"
	"sync"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// News watches how old the news of the cluster are that a replica answers by.
type News struct {
	// Max is how old news may be; an hour if zero.
	Max     time.Duration
	Sources []Source
	Metrics *Metrics

	mu    sync.Mutex
	asked []time.Time // when each source was last asked
	quiet []time.Time // when each was last known to have nothing to tell
}

// Source is one kind of news.
type Source struct {
	// Name is pods, service-accounts, associations or keys.
	Name string
	// Heard is when something was last heard; zero until the first time.
	Heard func() time.Time
	// Quiet says whether the source still works and has nothing to tell: nothing was heard
	// for a while, as is ordinary where nothing happens. Nil if that cannot be found out.
	Quiet func(context.Context) bool
}

const (
	defaultStaleness = time.Hour
	// lookEvery is how often the sources are looked after.
	lookEvery = 5 * time.Second
	// askAfter is how long a source may say nothing before it is asked, and how often
	// that is: well within stream.OldAfter, so that no agent takes silence for old news.
	askAfter = 10 * time.Second
	// askTimeout bounds that.
	askTimeout = 5 * time.Second
)

// Run looks after the sources until ctx ends.
func (n *News) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		for i, source := range n.Sources {
			if asked, due := n.due(i); due && quiet(ctx, source) {
				n.mu.Lock()
				n.quiet[i] = asked
				n.mu.Unlock()
			}
			n.Metrics.aged(source.Name, n.age(i))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func quiet(ctx context.Context, source Source) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return source.Quiet(ctx)
}

// due says whether it is time to ask source i, and that it is asked now.
func (n *News) due(i int) (now time.Time, due bool) {
	age := n.age(i)
	n.mu.Lock()
	defer n.mu.Unlock()
	now = time.Now()
	if n.Sources[i].Quiet == nil || age < askAfter || now.Sub(n.asked[i]) < askAfter {
		return now, false
	}
	n.asked[i] = now
	return now, true
}

// Age is how old the oldest news are of those that come by themselves: not of keys, which
// are fetched from time to time.
func (n *News) Age() time.Duration {
	var oldest time.Duration
	for i, source := range n.Sources {
		if source.Quiet != nil {
			oldest = max(oldest, n.age(i))
		}
	}
	return oldest
}

// age is how old the news of source i are; 0 until there were any.
func (n *News) age(i int) time.Duration {
	last := n.Sources[i].Heard()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked == nil {
		n.asked, n.quiet = make([]time.Time, len(n.Sources)), make([]time.Time, len(n.Sources))
	}
	if last.IsZero() {
		return 0
	}
	if n.quiet[i].After(last) {
		last = n.quiet[i]
	}
	return time.Since(last)
}

// Ready is cluster-unavailable when the news are too old to answer by.
func (n *News) Ready() error {
	limit := n.Max
	if limit == 0 {
		limit = defaultStaleness
	}
	for i, source := range n.Sources {
		if age := n.age(i); age > limit {
			return problem.New(problem.ClusterUnavailable, "there was no news of %s for %s", source.Name, age.Round(time.Second)).
				Because("what is older than %s does not decide who gets credentials: a pod may be gone, and a role withdrawn", limit).
				Fixed("look at the API server, and at podid-auth's connection to it")
		}
	}
	return nil
}
