package eksapi

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/problem"
)

// document is an association in full
// (https://docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html).
// Tags and DisableSessionTags are always there: Terraform shows a difference
// where they are not.
type document struct {
	ClusterName        string            `json:"clusterName"`
	Namespace          string            `json:"namespace"`
	ServiceAccount     string            `json:"serviceAccount"`
	RoleARN            string            `json:"roleArn"`
	AssociationARN     string            `json:"associationArn"`
	AssociationID      string            `json:"associationId"`
	Tags               map[string]string `json:"tags"`
	CreatedAt          float64           `json:"createdAt"`
	ModifiedAt         float64           `json:"modifiedAt"`
	DisableSessionTags bool              `json:"disableSessionTags"`
	TargetRoleARN      string            `json:"targetRoleArn,omitempty"`
	ExternalID         string            `json:"externalId,omitempty"`
	Policy             string            `json:"policy,omitempty"`
}

type summary struct {
	ClusterName    string `json:"clusterName"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	AssociationARN string `json:"associationArn"`
	AssociationID  string `json:"associationId"`
}

type associationReply struct {
	Association document `json:"association"`
}

func (h *Handler) reply(a podid.Association) associationReply {
	tags := a.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return associationReply{document{
		ClusterName: h.Cluster.Name, Namespace: a.Namespace, ServiceAccount: a.ServiceAccount, RoleARN: string(a.Role),
		AssociationARN: a.ARN(h.Cluster), AssociationID: a.ID(), Tags: tags,
		CreatedAt: awswire.Epoch(a.CreatedAt), ModifiedAt: awswire.Epoch(a.ModifiedAt),
		DisableSessionTags: a.DisableSessionTags, TargetRoleARN: string(a.Target), ExternalID: a.ExternalID(h.Cluster),
		Policy: a.Policy,
	}}
}

func create(c *call) (any, error) {
	if err := c.onCluster("eks:CreatePodIdentityAssociation"); err != nil {
		return nil, err
	}
	var namespace, account, role, target, document, token *string
	var disable *bool
	var tags map[string]string
	err := decode(c.body, map[string]any{
		"namespace": &namespace, "serviceAccount": &account, "roleArn": &role, "targetRoleArn": &target,
		"policy": &document, "disableSessionTags": &disable, "tags": &tags, "clientRequestToken": &token,
	})
	if err != nil {
		return nil, err
	}
	a := podid.Association{
		Namespace: deref(namespace), ServiceAccount: deref(account), Role: podid.RoleARN(deref(role)),
		Target: podid.RoleARN(deref(target)), Policy: deref(document), DisableSessionTags: deref(disable),
		Tags: tags, ClientToken: deref(token),
	}
	if token != nil {
		if err := association.ValidateClientToken(*token); err != nil {
			return nil, err
		}
	}
	if err := association.Validate(a); err != nil {
		return nil, err
	}
	if err := c.checkRoles(a.Role, a.Target); err != nil {
		return nil, err
	}
	created, err := c.Store.Create(c.r.Context(), a)
	if err != nil {
		return nil, err
	}
	return c.reply(created), nil
}

func list(c *call) (any, error) {
	if err := c.onCluster("eks:ListPodIdentityAssociations"); err != nil {
		return nil, err
	}
	values, err := c.query()
	if err != nil {
		return nil, err
	}
	limit, err := maxResults(values)
	if err != nil {
		return nil, err
	}
	filter := association.Filter{Namespace: values.Get("namespace"), ServiceAccount: values.Get("serviceAccount")}
	page, next, err := c.Store.List(c.r.Context(), filter, values.Get("nextToken"), limit)
	if err != nil {
		return nil, err
	}
	reply := struct {
		Associations []summary `json:"associations"`
		NextToken    string    `json:"nextToken,omitempty"`
	}{make([]summary, len(page)), next}
	for i, a := range page {
		reply.Associations[i] = summary{c.Cluster.Name, a.Namespace, a.ServiceAccount, a.ARN(c.Cluster), a.ID()}
	}
	return reply, nil
}

func describe(c *call) (any, error) {
	if err := c.onAssociation("eks:DescribePodIdentityAssociation"); err != nil {
		return nil, err
	}
	a, err := c.Store.Get(c.r.Context(), c.args[1])
	if err != nil {
		return nil, err
	}
	return c.reply(a), nil
}

func update(c *call) (any, error) {
	if err := c.onAssociation("eks:UpdatePodIdentityAssociation"); err != nil {
		return nil, err
	}
	var role, target, document, token, fixed *string
	var disable *bool
	err := decode(c.body, map[string]any{
		"roleArn": &role, "targetRoleArn": &target, "policy": &document, "disableSessionTags": &disable,
		"clientRequestToken": &token, "namespace": &fixed, "serviceAccount": &fixed,
	})
	switch {
	case err != nil:
		return nil, err
	case fixed != nil:
		return nil, invalid("the namespace and serviceAccount of an association cannot be changed").
			Fixed("delete the association and create another")
	case role == nil && target == nil && document == nil && disable == nil:
		return nil, invalid("there is nothing to update").
			Fixed("give roleArn, targetRoleArn, disableSessionTags or policy")
	}
	if token != nil {
		// An update is idempotent by itself; the token is checked and has no effect.
		if err := association.ValidateClientToken(*token); err != nil {
			return nil, err
		}
	}
	// Before anything is asked of IAM, that there is something to update.
	if _, err := c.Store.Get(c.r.Context(), c.args[1]); err != nil {
		return nil, err
	}
	if role != nil {
		if _, err := podid.ParseRoleARN(*role); err != nil {
			return nil, problem.New(problem.AssociationInvalid, "roleArn: %v", err).Because("")
		}
		if err := c.checkRole(podid.RoleARN(*role)); err != nil {
			return nil, err
		}
	}
	if err := c.checkTarget(podid.RoleARN(deref(target))); err != nil {
		return nil, err
	}
	updated, err := c.Store.Update(c.r.Context(), c.args[1], func(a *podid.Association) error {
		set(&a.Role, role)
		set(&a.Target, target) // "" unsets
		set(&a.Policy, document)
		if disable != nil {
			a.DisableSessionTags = *disable
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.reply(updated), nil
}

func set[T ~string](field *T, value *string) {
	if value != nil {
		*field = T(*value)
	}
}

func remove(c *call) (any, error) {
	if err := c.onAssociation("eks:DeletePodIdentityAssociation"); err != nil {
		return nil, err
	}
	a, err := c.Store.Delete(c.r.Context(), c.args[1])
	if err != nil {
		return nil, err
	}
	return c.reply(a), nil
}

var (
	clusterName   = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9\-_]{0,99}$`)
	associationID = regexp.MustCompile(`^a-[a-z0-9]{17}$`)
)

// onCluster admits an action on the cluster that the path names. Permission
// comes before existence: only who may ask learns which cluster there is.
func (c *call) onCluster(action string) error {
	return c.on(action, func(cluster podid.Cluster) string { return cluster.ARN() })
}

// onAssociation admits an action on the association that the path names.
func (c *call) onAssociation(action string) error {
	id := c.args[1]
	if !associationID.MatchString(id) {
		return problem.New(problem.RequestInvalid, "%q is not the ID of an association", printable(id)).
			Because(`an ID is "a-" and 17 letters and digits`)
	}
	return c.on(action, func(cluster podid.Cluster) string {
		return associationPrefix(cluster) + id
	})
}

func (c *call) on(action string, resource func(podid.Cluster) string) error {
	named := c.Cluster
	named.Name = c.args[0]
	if !clusterName.MatchString(named.Name) {
		return problem.New(problem.RequestInvalid, "%q is not the name of a cluster", printable(named.Name)).
			Because("a cluster's name has 1 to 100 letters, digits, hyphens and underscores, and begins with a letter or digit")
	}
	if err := c.allow(action, resource(named)); err != nil {
		return err
	}
	if named.Name != c.Cluster.Name {
		return noCluster(named.Name)
	}
	return nil
}

func noCluster(name string) error {
	return problem.New(problem.ClusterUnknown, "No cluster found for name: %s.", name)
}

// associationPrefix is an association's ARN without its ID.
func associationPrefix(c podid.Cluster) string {
	var a podid.Association
	return strings.TrimSuffix(a.ARN(c), a.ID())
}

func (c *call) checkRoles(role, target podid.RoleARN) error {
	if err := c.checkTarget(target); err != nil {
		return err
	}
	return c.checkRole(role)
}

// checkRole asks what EKS asks of the role: of the cluster's account, one that
// the caller may pass, one that exists and trusts pod identity.
func (c *call) checkRole(role podid.RoleARN) error {
	if err := c.checkPartition("roleArn", role); err != nil {
		return err
	}
	if role.Account() != c.Cluster.Account {
		return awswire.Errorf(http.StatusForbidden, "AccessDeniedException",
			"Cross-account pass role is not allowed. %s is not of the cluster's account %s. "+
				"Fix: associate a role of that account, and set the other as targetRoleArn.", role, c.Cluster.Account)
	}
	if c.PassRole == nil {
		return awswire.Errorf(http.StatusForbidden, "AccessDeniedException", "Nobody may pass a role: no access is configured.")
	}
	if err := c.PassRole(c.r, role); err != nil {
		return err
	}
	if c.Check == nil {
		return nil
	}
	return c.Check(c.r.Context(), role)
}

// checkTarget: a target role may be of any account, so nobody can be asked to
// pass it; it consents by its own trust policy
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-assign-target-role.html).
func (c *call) checkTarget(target podid.RoleARN) error {
	if target == "" {
		return nil
	}
	if _, err := podid.ParseRoleARN(string(target)); err != nil {
		return problem.New(problem.AssociationInvalid, "targetRoleArn: %v", err).Because("")
	}
	return c.checkPartition("targetRoleArn", target)
}

func (c *call) checkPartition(field string, role podid.RoleARN) error {
	partition := podid.Partition(c.Cluster.Region)
	if !strings.HasPrefix(string(role), "arn:"+partition+":") {
		return problem.New(problem.AssociationInvalid, "%s: %s is not of partition %s", field, role, partition).
			Because("region %s of the cluster is in that partition, and roles of another cannot be assumed from there", c.Cluster.Region)
	}
	return nil
}
