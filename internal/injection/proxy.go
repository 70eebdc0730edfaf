package injection

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The addresses that SDKs ask.
var (
	agent     = netip.MustParseAddr("169.254.170.23")
	agentIPv6 = netip.MustParseAddr("fd00:ec2::23")
)

// proxied says which variable sends the requests of a container's SDK to an HTTP proxy:
// its token with them, and no answer comes back. Nothing if there is no proxy, or the
// agent's address is excepted; a value that comes from elsewhere is not known, and given
// the benefit of the doubt.
func proxied(c *corev1.Container, address netip.Addr) string {
	proxy := ""
	for _, e := range c.Env {
		switch strings.ToUpper(e.Name) {
		case "HTTP_PROXY":
			if e.Value != "" {
				proxy = e.Name
			}
		case "NO_PROXY":
			if e.ValueFrom != nil || excepts(e.Value, address) {
				return ""
			}
		}
	}
	return proxy
}

// excepts says whether a NO_PROXY lists an address: itself, a network of it, or everything.
func excepts(list string, address netip.Addr) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.Trim(strings.TrimSpace(one), "[]")
		if one == "*" || one == address.String() {
			return true
		}
		if network, err := netip.ParsePrefix(one); err == nil && network.Contains(address) {
			return true
		}
	}
	return false
}
