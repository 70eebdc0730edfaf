package eksapi

import (
	"encoding/base64"
	"time"

	"github.com/openpodidentity/podid/internal/awswire"
)

// About is what podid may know of the cluster besides its name. What is zero is
// left out of DescribeCluster's answer, never invented; but for CreatedAt, which
// is then 1970: Terraform's aws_eks_cluster crashes where it is missing.
type About struct {
	Version   string // Kubernetes, major.minor
	Endpoint  string // URL of the API server
	Authority []byte // PEM of the API server's CA
	Issuer    string // URL of the service-account token issuer
	CreatedAt time.Time
}

type clusterDocument struct {
	Name      string               `json:"name"`
	ARN       string               `json:"arn"`
	Status    string               `json:"status"`
	Tags      map[string]string    `json:"tags"`
	CreatedAt float64              `json:"createdAt"`
	Version   string               `json:"version,omitempty"`
	Endpoint  string               `json:"endpoint,omitempty"`
	Authority *certificateDocument `json:"certificateAuthority,omitempty"`
	Identity  *identityDocument    `json:"identity,omitempty"`
}

type certificateDocument struct {
	Data string `json:"data"`
}

type identityDocument struct {
	OIDC struct {
		Issuer string `json:"issuer"`
	} `json:"oidc"`
}

func describeCluster(c *call) (any, error) {
	if err := c.onCluster("eks:DescribeCluster"); err != nil {
		return nil, err
	}
	d := clusterDocument{Name: c.Cluster.Name, ARN: c.Cluster.ARN(), Status: "ACTIVE", Tags: map[string]string{},
		Version: c.About.Version, Endpoint: c.About.Endpoint}
	if !c.About.CreatedAt.IsZero() {
		d.CreatedAt = awswire.Epoch(c.About.CreatedAt)
	}
	if len(c.About.Authority) > 0 {
		d.Authority = &certificateDocument{base64.StdEncoding.EncodeToString(c.About.Authority)}
	}
	if c.About.Issuer != "" {
		d.Identity = new(identityDocument)
		d.Identity.OIDC.Issuer = c.About.Issuer
	}
	return struct {
		Cluster clusterDocument `json:"cluster"`
	}{d}, nil
}

// listClusters: the action has no resource
// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelastickubernetesservice.html).
func listClusters(c *call) (any, error) {
	if err := c.allow("eks:ListClusters", "*"); err != nil {
		return nil, err
	}
	values, err := c.query()
	if err != nil {
		return nil, err
	}
	if _, err := maxResults(values); err != nil {
		return nil, err
	}
	if values.Get("nextToken") != "" {
		return nil, invalid("nextToken is not one that this API gave out").
			Fixed("leave nextToken out: there is one page of clusters")
	}
	return struct {
		Clusters []string `json:"clusters"`
	}{[]string{c.Cluster.Name}}, nil
}
