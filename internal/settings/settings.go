// Package settings is what the administrator says of the cluster: the ConfigMap
// podid, which podid-auth and podid-webhook mount as a folder with a file for each key.
//
// It is read at the start, before anything is served. A key that is unknown, or
// whose value is of the wrong kind, is an error: a setting that nobody reads is one
// that somebody relies on.
package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// Settings are the cluster's. Cluster has no default; the rest has its zero value as
// one, but for what the comments say.
type Settings struct {
	// Cluster is clusterName, region and account.
	Cluster podid.Cluster

	// STSEndpoint (stsEndpoint) and IAMEndpoint (iamEndpoint) are base URLs of
	// another STS and IAM than AWS's; IAM, which explains refusals, is where STS is
	// unless it is set.
	STSEndpoint, IAMEndpoint string
	// ServicePrincipal (principal: service) says that the base credentials are
	// those of pods.eks.amazonaws.com, as a local AWS mints them; otherwise podid
	// is a broker (principal: broker).
	ServicePrincipal bool
	// SessionDuration (sessionDuration) is 15 minutes to 12 hours; an hour unless
	// it is set.
	SessionDuration time.Duration
	// IMDSBlocked (iHaveBlockedIMDS) admits a node's instance role as base
	// credentials, which is only safe where no pod reaches IMDS.
	IMDSBlocked bool

	// Issuer (issuer) is the iss of the cluster's tokens; what the API server says
	// of itself unless it is set.
	Issuer string
	// MaxStaleness (maxStaleness) is how long news of pods and associations may be
	// missing before nothing is handed out any more; an hour unless it is set.
	MaxStaleness time.Duration
	// SigV4Agents (allowSigV4Agents) admits callers that sign with an access key,
	// such as AWS's own agent; node scope does not hold for them.
	SigV4Agents bool

	// Annotations (annotations) opens the annotation door, EKSAPI (eksAPI, true
	// unless set) the EKS REST API's.
	Annotations, EKSAPI bool

	// IRSA (irsa), IPv6 (ipv6) and GlobalSTS (globalSTS) are injection's; see
	// there.
	IRSA, IPv6, GlobalSTS bool
	// StartupTaint (startupTaint) has the taint podid.dev/agent-not-ready removed
	// from nodes whose agent is ready.
	StartupTaint bool
	// CertManager (certManager) leaves certificates to cert-manager.
	CertManager bool
}

// maxValue bounds the value of a key, in bytes; no setting is longer.
const maxValue = 4096

// key is one key of the ConfigMap and what it sets.
type key struct {
	name string
	set  func(*Settings, string) error
}

var keys = []key{
	{"clusterName", matching(func(s *Settings) *string { return &s.Cluster.Name }, `[0-9A-Za-z][A-Za-z0-9\-_]{0,99}`,
		"1 to 100 letters, digits, hyphens and underscores")},
	{"region", matching(func(s *Settings) *string { return &s.Cluster.Region }, `[a-z]{2,3}(-[a-z]+)+-[0-9]{1,2}`, "the name of a region, such as eu-central-1")},
	{"account", matching(func(s *Settings) *string { return &s.Cluster.Account }, `[0-9]{12}`, "the 12 digits of an account, in quotes")},
	{"stsEndpoint", endpoint(func(s *Settings) *string { return &s.STSEndpoint })},
	{"iamEndpoint", endpoint(func(s *Settings) *string { return &s.IAMEndpoint })},
	{"principal", principal},
	{"sessionDuration", duration(func(s *Settings) *time.Duration { return &s.SessionDuration }, 15*time.Minute, 12*time.Hour)},
	{"iHaveBlockedIMDS", boolean(func(s *Settings) *bool { return &s.IMDSBlocked })},
	{"issuer", address(func(s *Settings) *string { return &s.Issuer })},
	// It is for outages of an API server, not for the seconds that it takes to restart one.
	{"maxStaleness", duration(func(s *Settings) *time.Duration { return &s.MaxStaleness }, 10*time.Minute, 24*time.Hour)},
	{"allowSigV4Agents", boolean(func(s *Settings) *bool { return &s.SigV4Agents })},
	{"annotations", boolean(func(s *Settings) *bool { return &s.Annotations })},
	{"eksAPI", boolean(func(s *Settings) *bool { return &s.EKSAPI })},
	{"irsa", boolean(func(s *Settings) *bool { return &s.IRSA })},
	{"ipv6", boolean(func(s *Settings) *bool { return &s.IPv6 })},
	{"globalSTS", boolean(func(s *Settings) *bool { return &s.GlobalSTS })},
	{"startupTaint", boolean(func(s *Settings) *bool { return &s.StartupTaint })},
	{"certManager", boolean(func(s *Settings) *bool { return &s.CertManager })},
}

// Keys are the keys of the ConfigMap, in the order in which people want to read them.
func Keys() []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// Parse reads the data of the ConfigMap. White space around a value does not count,
// and an empty value is none. Errors are configuration-invalid, before
// configuration-missing, which names what of the cluster is not set; Settings are
// complete with the latter, but for the cluster.
func Parse(data map[string]string) (Settings, error) {
	s := Settings{EKSAPI: true, SessionDuration: time.Hour, MaxStaleness: time.Hour}
	known := Keys()
	for name := range data {
		if !slices.Contains(known, name) {
			return Settings{}, invalid("the key %.80q of the configuration is unknown", name).
				Because("what nobody reads would have no effect, and nobody would notice").
				Fixed("remove it, or correct it: the keys are %s", strings.Join(known, ", "))
		}
	}
	for _, k := range keys {
		switch value := strings.TrimSpace(data[k.name]); {
		case value == "":
		case len(value) > maxValue:
			return Settings{}, invalid("the value of %s is %d bytes long, more than %d", k.name, len(value), maxValue)
		default:
			if err := k.set(&s, value); err != nil {
				return Settings{}, invalid("the value of %s is %.200q", k.name, value).Because("it must be %v", err).
					Fixed("correct %s in the ConfigMap podid", k.name)
			}
		}
	}
	return s, s.missing()
}

func (s Settings) missing() error {
	var missing []string
	for _, fact := range []struct{ name, value string }{
		{"clusterName", s.Cluster.Name}, {"region", s.Cluster.Region}, {"account", s.Cluster.Account},
	} {
		if fact.value == "" {
			missing = append(missing, fact.name)
		}
	}
	if missing == nil {
		return nil
	}
	p := problem.New(problem.ConfigurationMissing, "podid is not told its cluster's %s", strings.Join(missing, ", "))
	return p.Fixed("set %s in the ConfigMap podid of podid's namespace", strings.Join(missing, ", "))
}

// Read reads the mounted ConfigMap: a folder with a file for each key. A folder that
// is not there has no keys. Errors are those of Parse, and configuration-invalid for
// what cannot be read.
func Read(folder string) (Settings, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Settings{}, invalid("the configuration in %s cannot be read", folder).From(err)
	}
	data := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue // the kubelet's: where its symbolic links lead
		}
		value, err := readFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return Settings{}, invalid("the key %.80q of the configuration cannot be read", entry.Name()).From(err)
		}
		data[entry.Name()] = value
	}
	return Parse(data)
}

// readFile reads as much as shows that a value is too long.
func readFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 2*maxValue))
	return string(text), err
}

func invalid(format string, args ...any) *problem.Problem {
	return problem.New(problem.ConfigurationInvalid, format, args...)
}

func matching(field func(*Settings) *string, pattern, want string) func(*Settings, string) error {
	whole := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(s *Settings, value string) error {
		if !whole.MatchString(value) {
			return errors.New(want)
		}
		*field(s) = value
		return nil
	}
}

func boolean(field func(*Settings) *bool) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New(`"true" or "false"`)
		}
		*field(s) = on
		return nil
	}
}

func duration(field func(*Settings) *time.Duration, least, most time.Duration) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < least || d > most {
			return fmt.Errorf("a duration from %s to %s, such as 1h", least, most)
		}
		*field(s) = d
		return nil
	}
}

func principal(s *Settings, value string) error {
	switch value {
	case "broker", "service":
		s.ServicePrincipal = value == "service"
		return nil
	}
	return errors.New(`"broker" or "service"`)
}

// address is an https URL, as issuers are.
func address(field func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("an https URL")
		}
		*field(s) = value
		return nil
	}
}

// endpoint is an https URL, or an http one of an address that is not public: requests
// are signed, and what comes back are credentials.
func endpoint(field func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("a URL such as https://sts.example.com")
		}
		if u.Scheme != "https" && (u.Scheme != "http" || !private(u.Hostname())) {
			return errors.New("an https URL; http is for loopback and private addresses alone, since credentials come back over it")
		}
		*field(s) = value
		return nil
	}
}

func private(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate()) || host == "localhost"
}
