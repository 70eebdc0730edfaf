// Package ask is what the program in the pods tells the tests: answers of the agent, and figures of many.
package ask

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Answer is what one question for credentials gave. Secrets stay in the pod.
type Answer struct {
	AccessKeyID string        `json:",omitempty"`
	Expires     time.Time     `json:",omitzero"`
	ARN         string        `json:",omitempty"`
	Status      int           `json:",omitempty"` // of the agent's HTTP answer
	Code        string        `json:",omitempty"` // of the problem
	Error       string        `json:",omitempty"`
	Took        time.Duration `json:",omitempty"`
}

// OK says whether credentials, or an identity, came.
func (a Answer) OK() bool { return a.AccessKeyID != "" || a.ARN != "" }

func (a Answer) String() string {
	if a.OK() {
		return a.AccessKeyID + a.ARN
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", a.Status, a.Code, a.Error))
}

// Figures are those of a load.
type Figures struct {
	Asked, Failed int
	Longest       time.Duration
	First, Last   time.Time      // when the first and the last that failed were asked
	Failures      map[string]int // by code, or by error where nobody gave one
	Keys          map[string]int // access key IDs, or identities, and how often each was given
}

// Clone shares nothing with f.
func (f Figures) Clone() Figures {
	f.Failures, f.Keys = maps.Clone(f.Failures), maps.Clone(f.Keys)
	return f
}

// Away is how long answers failed: from the first to the last that did.
func (f Figures) Away() time.Duration { return f.Last.Sub(f.First) }

func (f Figures) String() string {
	text := fmt.Sprintf("%d requests, %d failed, the slowest took %v", f.Asked, f.Failed, f.Longest.Round(time.Millisecond))
	if f.Failed > 0 {
		text += fmt.Sprintf("; failures over %v:", f.Away().Round(time.Millisecond))
		for _, reason := range slices.Sorted(maps.Keys(f.Failures)) {
			text += fmt.Sprintf(" %d × %s", f.Failures[reason], reason)
		}
	}
	return text
}
