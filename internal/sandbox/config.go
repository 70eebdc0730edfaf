package sandbox

import (
	"cmp"
	"errors"
	"log/slog"
	"regexp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/problem"
)

var (
	// https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
	clusterName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$`)
	accountID   = regexp.MustCompile(`^[0-9]{12}$`)
	regionName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
)

func openJournal(dir string) (*journal.Journal, error) {
	if dir == "" {
		return nil, nil
	}
	j, err := journal.Open(dir)
	if _, told := errors.AsType[*problem.Problem](err); err != nil && !told {
		return nil, problem.New(problem.Usage, "the data directory %s cannot be used", dir).
			Because("%v", err).
			Fixed("choose a directory that you may write to")
	}
	return j, err
}

// settle completes c by what j holds and by the defaults, and checks it. Names
// and ARNs in j are of one account, region and cluster: another would make them
// those of nobody.
func settle(c Config, j *journal.Journal) (Config, error) {
	for _, field := range []struct {
		what, value string
		rule        *regexp.Regexp
	}{{"cluster", c.Cluster, clusterName}, {"account", c.Account, accountID}, {"region", c.Region, regionName}} {
		if field.value != "" && !field.rule.MatchString(field.value) {
			return c, problem.New(problem.Usage, "the %s %q does not match %s", field.what, cut(field.value, 120), field.rule)
		}
	}
	is, err := kept(j, "world/cluster", func() (podid.Cluster, error) {
		return podid.Cluster{
			Name:    cmp.Or(c.Cluster, "local"),
			Region:  cmp.Or(c.Region, "us-east-1"),
			Account: cmp.Or(c.Account, "111122223333"),
		}, nil
	})
	if err != nil {
		return c, err
	}
	for _, field := range []struct{ what, asked, is string }{
		{"cluster", c.Cluster, is.Name}, {"account", c.Account, is.Account}, {"region", c.Region, is.Region},
	} {
		if field.asked != "" && field.asked != field.is {
			return c, problem.New(problem.Usage, "%s is kept for the %s %s, not for %s", c.Data, field.what, field.is, field.asked).
				Because("the names and ARNs kept there would be those of another %s", field.what).
				Fixed("leave the %s out to go on with %s, or choose another data directory", field.what, field.is)
		}
	}
	c.Cluster, c.Region, c.Account = is.Name, is.Region, is.Account
	c.Principal = cmp.Or(c.Principal, ServicePrincipal)
	c.Listen, c.ListenTLS, c.ListenAgent = cmp.Or(c.Listen, anyPort), cmp.Or(c.ListenTLS, anyPort), cmp.Or(c.ListenAgent, anyPort)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

const anyPort = "127.0.0.1:0"
