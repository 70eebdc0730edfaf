// Package address keeps the addresses that SDKs ask on the node: 169.254.170.23
// and, where IPv6 is on, fd00:ec2::23. SDKs accept plain HTTP from these two and
// from loopback alone, and a pod's loopback is not the node's.
package address

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// V4 and V6 are the addresses that SDKs know
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
var (
	V4 = netip.MustParseAddr("169.254.170.23")
	V6 = netip.MustParseAddr("fd00:ec2::23")
)

// Link is the network device of our own that carries them. Where the kernel has
// no dummy devices, loopback carries them, labelled so that we know them again.
const (
	Link  = "podid0"
	label = "lo:podid"
)

// every is how often a [Keeper] looks although the kernel told it of no change.
const every = 10 * time.Second

// Keeper keeps the addresses on the node. It needs CAP_NET_ADMIN in the node's
// network namespace, and nothing else.
type Keeper struct {
	Log *slog.Logger
}

// Run adds the addresses, and adds them again whenever they are lost, until ctx
// ends. They stay on the node then: the agent serves on while this process is
// replaced. Run fails if they cannot be added at first.
func (k *Keeper) Run(ctx context.Context) error {
	lost := watch(ctx)
	if err := k.ensure(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-lost:
		case <-ticker.C:
		}
		if err := k.ensure(ctx); err != nil {
			k.Log.LogAttrs(ctx, slog.LevelError, "address", slog.String("what", err.Error()))
		}
	}
}

// ensure adds what is missing, and says so.
func (k *Keeper) ensure(ctx context.Context) error {
	added, err := add()
	for _, a := range added {
		k.Log.LogAttrs(ctx, slog.LevelInfo, "address added", slog.String("address", a.address.String()), slog.String("link", a.link))
	}
	return err
}

// placed is an address and the link that carries it.
type placed struct {
	address netip.Addr
	link    string
}
