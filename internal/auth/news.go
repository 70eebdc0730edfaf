package auth

import (
	"context"
	"sync"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// News watches how old the news of the cluster are that a replica answers by. A watch
// that has nothing to tell and one that is broken look the same: so when nothing was
// heard for a while, it is asked whether there was anything to hear.
type News struct {
	// Max is how old news may be; an hour if zero.
	Max     time.Duration
	Sources []Source
	Metrics *Metrics

	mu    sync.Mutex
	heard []heard
}

// Source is one kind of news.
type Source struct {
	// Name is pods, associations or keys.
	Name string
	// Version changes whenever something was heard; empty until the first time.
	Version func() string
	// Ask asks for the version that there is now. Nil if nobody can be asked.
	Ask func(context.Context) (string, error)
}

type heard struct {
	version string
	at      time.Time // when it was last known to be the newest
	asked   time.Time
}

const (
	defaultStaleness = time.Hour
	// lookEvery is how often it is looked whether something was heard.
	lookEvery = 5 * time.Second
	// quiet is how long a source may say nothing before somebody is asked, and how
	// often that is.
	quiet = time.Minute
	// askTimeout bounds that.
	askTimeout = 5 * time.Second
)

// Run looks after the sources until ctx ends.
func (n *News) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		n.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (n *News) look(ctx context.Context) {
	for i, source := range n.Sources {
		version, now := source.Version(), time.Now()
		n.mu.Lock()
		n.init()
		h := &n.heard[i]
		ask := version != "" && version == h.version && source.Ask != nil && now.Sub(h.at) >= quiet && now.Sub(h.asked) >= quiet
		if version != h.version {
			h.version, h.at = version, now
		}
		if ask {
			h.asked = now
		}
		n.mu.Unlock()
		if ask {
			n.ask(ctx, i, version)
		}
		n.Metrics.aged(source.Name, n.Age(i))
	}
}

// ask counts as news that there are none.
func (n *News) ask(ctx context.Context, i int, known string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	now := time.Now()
	version, err := n.Sources[i].Ask(ctx)
	if err != nil || version != known {
		return // what there is to hear is on its way, or the watch is broken
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard[i].at = now
}

func (n *News) init() {
	if n.heard == nil {
		n.heard = make([]heard, len(n.Sources))
	}
}

// Age is how old the news of source i are; 0 until there were any.
func (n *News) Age(i int) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.init()
	if n.heard[i].at.IsZero() {
		return 0
	}
	return time.Since(n.heard[i].at)
}

// Ready is cluster-unavailable when the news are too old to answer by.
func (n *News) Ready() error {
	limit := n.Max
	if limit == 0 {
		limit = defaultStaleness
	}
	for i, source := range n.Sources {
		if age := n.Age(i); age > limit {
			return problem.New(problem.ClusterUnavailable, "there was no news of %s for %s", source.Name, age.Round(time.Second)).
				Because("what is older than %s does not decide who gets credentials: a pod may be gone, and a role withdrawn", limit).
				Fixed("look at the API server, and at podid-auth's connection to it")
		}
	}
	return nil
}
