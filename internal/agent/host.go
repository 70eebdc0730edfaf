package agent

import (
	"net/netip"
	"slices"
	"strings"
)

// Addresses are where SDKs find the agent: they take plain HTTP from no others
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
var Addresses = []string{"169.254.170.23", "fd00:ec2::23"}

// ours says whether a request's Host is one that the agent answers for. A web page
// that made its own name point at the agent would send that name.
func (s *Server) ours(host string) bool {
	name := hostname(host)
	if slices.Contains(Addresses, name) || name == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(name); err == nil && ip.IsLoopback() {
		return true
	}
	return slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// hostname is a Host header without its port and brackets.
func hostname(host string) string {
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return ""
		}
		return host[1:end]
	}
	if strings.Count(host, ":") == 1 {
		host = host[:strings.IndexByte(host, ':')]
	}
	return host
}
