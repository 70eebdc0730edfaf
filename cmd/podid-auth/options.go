package main

import (
	"fmt"
	"os"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/replica"
	"github.com/openpodidentity/podid/internal/auth"

	"github.com/spf13/pflag"
)

// options are the flags. They are read here and become fields elsewhere.
type options struct {
	replica.Options
	agent              string
	listenEKS          string
	audit              string
	maxStaleness       time.Duration
	connectionsPerPeer int
	lead               bool
}

func (o *options) flags(f *pflag.FlagSet) {
	o.Flags(f, "podid-auth", "agents ask for credentials and listen to changes", 10_000)
	f.IntVar(&o.connectionsPerPeer, "max-connections-per-client", 64, "connections of one IP address")
	f.StringVar(&o.listenEKS, "listen-eks", ":8444", "where the EKS API is, if eksAPI is set")
	f.StringVar(&o.agent, "agent", "podid-agent", "the service account of the agents, in podid's namespace")
	f.StringVar(&o.audit, "audit-log", "-", "the file to which a line is added for each decision; - is standard output, empty writes none")
	f.DurationVar(&o.maxStaleness, "max-staleness", 0, "how old news of the cluster may be before nothing is handed out; 0: maxStaleness of the settings")
	f.BoolVar(&o.lead, "lead", true, "stand for election to do what one replica does: certificates, statuses, Events")
}

// auditLog is where decisions are written.
func (o *options) auditLog() (*auth.Audit, error) {
	switch o.audit {
	case "":
		return nil, nil
	case "-":
		return &auth.Audit{W: os.Stdout}, nil
	}
	file, err := os.OpenFile(o.audit, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &auth.Audit{W: file}, nil
}
