package auth

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// Audit writes a line of JSON for each decision: who asked for which pod, and what they
// were given. docs/components/auth.md has its schema. Tokens, secrets and session tokens
// are in no line.
type Audit struct {
	W io.Writer

	mu sync.Mutex
}

// record is a line.
type record struct {
	Time time.Time `json:"time"`
	// Kind is exchange or stream.
	Kind    string `json:"kind"`
	Request string `json:"request"`
	// Decision is granted, refused, or failed if nobody decided.
	Decision    string             `json:"decision"`
	Code        problem.Code       `json:"code,omitempty"`
	What        string             `json:"what,omitempty"`
	Cause       string             `json:"cause,omitempty"`
	Caller      recordCaller       `json:"caller"`
	Workload    *recordWorkload    `json:"workload,omitempty"`
	Association *recordAssociation `json:"association,omitempty"`
	Session     *recordSession     `json:"session,omitempty"`
}

type recordCaller struct {
	Address string `json:"address,omitempty"`
	// NodeScope is node for an agent, none for a caller that signed, and empty for one
	// that proved nothing.
	NodeScope   string `json:"nodeScope,omitempty"`
	Node        string `json:"node,omitempty"`
	AgentPod    string `json:"agentPod,omitempty"`
	AgentPodUID string `json:"agentPodUID,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
}

type recordWorkload struct {
	Namespace         string `json:"namespace"`
	ServiceAccount    string `json:"serviceAccount"`
	ServiceAccountUID string `json:"serviceAccountUID"`
	Pod               string `json:"pod"`
	PodUID            string `json:"podUID"`
	Node              string `json:"node"`
}

type recordAssociation struct {
	ID         string `json:"id"`
	UID        string `json:"uid"`
	Version    string `json:"version"`
	Role       string `json:"role"`
	TargetRole string `json:"targetRole,omitempty"`
}

type recordSession struct {
	ARN         string    `json:"arn"`
	AccessKeyID string    `json:"accessKeyId"`
	Expires     time.Time `json:"expires"`
}

// newRecord is what a Grant holds, for the audit log.
func newRecord(kind, request, address string, g *Grant, p *problem.Problem) record {
	r := record{Kind: kind, Request: request, Decision: outcome(p), Caller: recordOf(g.Caller, address)}
	if p != nil {
		r.Code, r.What = p.Code, p.What
		if p.Err != nil {
			r.Cause = p.Err.Error()
		}
	}
	if w := g.Token.Workload; w.PodUID != "" {
		r.Workload = &recordWorkload{w.Namespace, w.ServiceAccount, w.ServiceAccountUID, w.Pod, w.PodUID, w.Node}
	}
	if a := g.Association; a.UID != "" {
		r.Association = &recordAssociation{a.ID(), a.UID, a.Version, string(a.Role), string(a.Target)}
	}
	if s := g.Session; p == nil && s.Credentials.AccessKeyID != "" {
		r.Session = &recordSession{s.AssumedRole.ARN, s.Credentials.AccessKeyID, s.Credentials.Expires}
	}
	return r
}

func recordOf(c Caller, address string) recordCaller {
	r := recordCaller{Node: c.Node, AgentPod: c.Token.Workload.Pod, AgentPodUID: c.Token.Workload.PodUID, AccessKeyID: c.AccessKeyID}
	if parsed, err := netip.ParseAddrPort(address); err == nil {
		r.Address = parsed.Addr().Unmap().String()
	}
	switch {
	case c.AccessKeyID != "":
		r.NodeScope = "none"
	case c.Node != "":
		r.NodeScope = "node"
	}
	return r
}

// write adds a line. A line is written whole, and at once.
func (a *Audit) write(r record, now time.Time) error {
	if a == nil || a.W == nil {
		return nil
	}
	r.Time = now.UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode audit record: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.W.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	return nil
}
