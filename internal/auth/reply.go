package auth

import (
	"context"
	"log/slog"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// response is AssumeRoleForPodIdentityResponse, and sourceVersion.
type response struct {
	Subject         subject         `json:"subject"`
	Audience        string          `json:"audience"`
	Association     wireAssociation `json:"podIdentityAssociation"`
	AssumedRoleUser assumedRole     `json:"assumedRoleUser"`
	Credentials     wireSecret      `json:"credentials"`
	SourceVersion   string          `json:"sourceVersion,omitempty"`
}

type subject struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

type wireAssociation struct {
	ARN string `json:"associationArn"`
	ID  string `json:"associationId"`
}

type assumedRole struct {
	ARN string `json:"arn"`
	ID  string `json:"assumeRoleId"`
}

type wireSecret struct {
	SessionToken    string  `json:"sessionToken"`
	SecretAccessKey string  `json:"secretAccessKey"`
	AccessKeyID     string  `json:"accessKeyId"`
	Expiration      float64 `json:"expiration"` // epoch seconds
}

func reply(c podid.Cluster, g *Grant) response {
	s := g.Session
	return response{
		Subject:         subject{g.Token.Workload.Namespace, g.Token.Workload.ServiceAccount},
		Audience:        g.Token.Audience,
		Association:     wireAssociation{g.Association.ARN(c), g.Association.ID()},
		AssumedRoleUser: assumedRole{s.AssumedRole.ARN, s.AssumedRole.ID},
		Credentials: wireSecret{
			SessionToken:    s.Credentials.SessionToken,
			SecretAccessKey: s.Credentials.SecretAccessKey,
			AccessKeyID:     s.Credentials.AccessKeyID,
			Expiration:      float64(s.Credentials.Expires.UnixMilli()) / 1000,
		},
		SourceVersion: g.Association.Version,
	}
}

// log writes the one line of a request.
func (h *Handler) log(ctx context.Context, id string, g *Grant, p *problem.Problem) {
	if h.Log == nil {
		return
	}
	attrs := append(make([]slog.Attr, 0, 16), slog.String("request", id))
	if g.Caller.AccessKeyID != "" {
		attrs = append(attrs, slog.String("caller_access_key", g.Caller.AccessKeyID), slog.String("node_scope", "none"))
	} else {
		attrs = append(attrs, slog.String("caller_node", g.Caller.Node))
	}
	if w := g.Token.Workload; w.PodUID != "" {
		attrs = append(attrs, slog.String("namespace", w.Namespace), slog.String("service_account", w.ServiceAccount),
			slog.String("pod", w.Pod), slog.String("pod_uid", w.PodUID), slog.String("node", w.Node))
	}
	if a := g.Association; a.UID != "" {
		attrs = append(attrs, slog.String("association", a.ID()), slog.String("role", string(a.Role)))
	}
	if s := g.Session; s.Credentials.AccessKeyID != "" {
		attrs = append(attrs, slog.String("access_key", s.Credentials.AccessKeyID), slog.Int("packed_size", s.PackedSize))
		if s.NearLimit() {
			attrs = append(attrs, slog.String("hint", "session tags and policy nearly fill the session: disable session tags or shorten the policy before STS refuses it"))
		}
	}
	attrs = append(append(attrs, slog.Duration("took", g.Took)), p.Attrs()...)
	h.Log.LogAttrs(ctx, p.Level(), "exchange", attrs...)
}
