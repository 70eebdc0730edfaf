package podid

import (
	"crypto/sha256"
	"time"
)

// Association binds a role to a service account of a cluster, in the words of
// the EKS API's PodIdentityAssociation
// (https://docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html).
type Association struct {
	// UID identifies the object in its store; Version changes with every
	// write. Together they tell an agent whether what it holds is stale.
	UID     string
	Version string

	Namespace      string
	ServiceAccount string

	// Role is what the workload assumes; Target, if set, is what Role then
	// assumes in its turn (role chaining).
	Role   RoleARN
	Target RoleARN
	// DisableSessionTags leaves the six session tags out.
	DisableSessionTags bool
	// Policy is a session policy in JSON, at most 2,048 characters, empty for
	// none; it needs DisableSessionTags.
	Policy string

	Tags map[string]string

	// ClientToken makes a create idempotent (clientRequestToken).
	ClientToken string

	CreatedAt  time.Time
	ModifiedAt time.Time
}

// ID is "a-" and 17 of [a-z0-9], derived from the UID.
func (a Association) ID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	sum := sha256.Sum256([]byte(a.UID))
	id := make([]byte, 17)
	for i := range id {
		id[i] = alphabet[int(sum[i])%len(alphabet)]
	}
	return "a-" + string(id)
}

// ARN is the association's ARN in cluster c.
func (a Association) ARN(c Cluster) string {
	return "arn:" + Partition(c.Region) + ":eks:" + c.Region + ":" + c.Account + ":podidentityassociation/" + c.Name + "/" + a.ID()
}

// ExternalID is what the role presents to the target role: it depends on names
// alone, so it is the same after an association was deleted and made again.
// Empty without a target role, as in the EKS API.
func (a Association) ExternalID(c Cluster) string {
	if a.Target == "" {
		return ""
	}
	return c.Region + "/" + c.Account + "/" + c.Name + "/" + a.Namespace + "/" + a.ServiceAccount
}
