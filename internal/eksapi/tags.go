package eksapi

import (
	"maps"
	"regexp"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/problem"
)

type nothing struct{}

func tag(c *call) (any, error) {
	resource, err := c.onResource("eks:TagResource")
	if err != nil {
		return nil, err
	}
	var tags map[string]string
	if err := decode(c.body, map[string]any{"tags": &tags}); err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, invalid("the field tags is missing").Fixed("send tags as an object of strings")
	}
	if err := association.ValidateTags(tags); err != nil {
		return nil, err
	}
	if resource.isCluster {
		return nil, awswire.NotImplemented("EKS", "TagResource for a cluster")
	}
	_, err = c.Store.Update(c.r.Context(), resource.id, func(a *podid.Association) error {
		if a.Tags == nil {
			a.Tags = map[string]string{}
		}
		maps.Copy(a.Tags, tags)
		return nil
	})
	return nothing{}, c.notFound(err)
}

func untag(c *call) (any, error) {
	resource, err := c.onResource("eks:UntagResource")
	if err != nil {
		return nil, err
	}
	values, err := c.query()
	if err != nil {
		return nil, err
	}
	keys := values["tagKeys"]
	if len(keys) == 0 || len(keys) > association.MaxTags {
		return nil, invalid("tagKeys has %d keys, not 1 to %d", len(keys), association.MaxTags)
	}
	if resource.isCluster {
		return nothing{}, nil // it has no tags
	}
	_, err = c.Store.Update(c.r.Context(), resource.id, func(a *podid.Association) error {
		for _, key := range keys {
			delete(a.Tags, key)
		}
		return nil
	})
	return nothing{}, c.notFound(err)
}

func listTags(c *call) (any, error) {
	resource, err := c.onResource("eks:ListTagsForResource")
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	if !resource.isCluster {
		a, err := c.Store.Get(c.r.Context(), resource.id)
		if err != nil {
			return nil, c.notFound(err)
		}
		maps.Copy(tags, a.Tags)
	}
	return struct {
		Tags map[string]string `json:"tags"`
	}{tags}, nil
}

// resource is what can have tags here: an association, or the cluster itself.
type resource struct {
	isCluster bool
	id        string
}

var eksARN = regexp.MustCompile(`^arn:aws[a-z-]{0,20}:eks:[a-z0-9-]{1,30}:[0-9]{12}:[A-Za-z0-9/_-]{1,300}$`)

// onResource admits an action on the resource whose ARN the path names.
func (c *call) onResource(action string) (resource, error) {
	arn := c.args[0]
	if !eksARN.MatchString(arn) {
		return resource{}, invalid("%q is not the ARN of an EKS resource", printable(arn)).
			Fixed("give the ARN of an association, as describe-pod-identity-association shows it")
	}
	if err := c.allow(action, arn); err != nil {
		return resource{}, err
	}
	if arn == c.Cluster.ARN() {
		return resource{isCluster: true}, nil
	}
	if id, ok := strings.CutPrefix(arn, associationPrefix(c.Cluster)); ok && associationID.MatchString(id) {
		return resource{id: id}, nil
	}
	return resource{}, problem.New(problem.AssociationNotFound, "there is no resource %s", arn)
}

// notFound names the ARN, as this API asks by it.
func (c *call) notFound(err error) error {
	if problem.Is(err, problem.AssociationNotFound) {
		return problem.New(problem.AssociationNotFound, "there is no resource %s", c.args[0]).From(err)
	}
	return err
}
