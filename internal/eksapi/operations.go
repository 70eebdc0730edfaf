package eksapi

import "strings"

// operation is one of the EKS API; do is nil for what is refused by name.
type operation struct {
	name, method, path string
	do                 func(*call) (reply any, err error)
	segments           []string
}

// match returns the segments that stand for the path's wildcards. A last
// wildcard of the form {name+} takes the rest, slashes and all: an ARN may come
// with its slashes bare.
func (o *operation) match(path []string) (args []string, ok bool) {
	for i, segment := range o.segments {
		switch {
		case strings.HasSuffix(segment, "+}") && len(path) > i:
			rest := strings.Join(path[i:], "/")
			return append(args, rest), rest != ""
		case len(path) <= i:
			return nil, false
		case strings.HasPrefix(segment, "{"):
			if path[i] == "" {
				return nil, false
			}
			args = append(args, path[i])
		case path[i] != segment:
			return nil, false
		}
	}
	return args, len(path) == len(o.segments)
}

const associations = "/clusters/{name}/pod-identity-associations"

// operations are those of EKS's service model 2017-11-01. Those without a
// function are refused by name.
var operations = split([]operation{
	{name: "CreatePodIdentityAssociation", method: "POST", path: associations, do: create},
	{name: "ListPodIdentityAssociations", method: "GET", path: associations, do: list},
	{name: "DescribePodIdentityAssociation", method: "GET", path: associations + "/{id}", do: describe},
	{name: "UpdatePodIdentityAssociation", method: "POST", path: associations + "/{id}", do: update},
	{name: "DeletePodIdentityAssociation", method: "DELETE", path: associations + "/{id}", do: remove},
	{name: "TagResource", method: "POST", path: "/tags/{arn+}", do: tag},
	{name: "UntagResource", method: "DELETE", path: "/tags/{arn+}", do: untag},
	{name: "ListTagsForResource", method: "GET", path: "/tags/{arn+}", do: listTags},
	{name: "DescribeCluster", method: "GET", path: "/clusters/{name}", do: describeCluster},
	{name: "ListClusters", method: "GET", path: "/clusters", do: listClusters},

	{name: "AssociateAccessPolicy", method: "POST", path: "/clusters/{name}/access-entries/{principalArn}/access-policies"},
	{name: "AssociateEncryptionConfig", method: "POST", path: "/clusters/{name}/encryption-config/associate"},
	{name: "AssociateIdentityProviderConfig", method: "POST", path: "/clusters/{name}/identity-provider-configs/associate"},
	{name: "CreateAccessEntry", method: "POST", path: "/clusters/{name}/access-entries"},
	{name: "CreateAddon", method: "POST", path: "/clusters/{name}/addons"},
	{name: "CreateCapability", method: "POST", path: "/clusters/{name}/capabilities"},
	{name: "CreateCluster", method: "POST", path: "/clusters"},
	{name: "CreateEksAnywhereSubscription", method: "POST", path: "/eks-anywhere-subscriptions"},
	{name: "CreateFargateProfile", method: "POST", path: "/clusters/{name}/fargate-profiles"},
	{name: "CreateNodegroup", method: "POST", path: "/clusters/{name}/node-groups"},
	{name: "DeleteAccessEntry", method: "DELETE", path: "/clusters/{name}/access-entries/{principalArn}"},
	{name: "DeleteAddon", method: "DELETE", path: "/clusters/{name}/addons/{addonName}"},
	{name: "DeleteCapability", method: "DELETE", path: "/clusters/{name}/capabilities/{capabilityName}"},
	{name: "DeleteCluster", method: "DELETE", path: "/clusters/{name}"},
	{name: "DeleteEksAnywhereSubscription", method: "DELETE", path: "/eks-anywhere-subscriptions/{id}"},
	{name: "DeleteFargateProfile", method: "DELETE", path: "/clusters/{name}/fargate-profiles/{fargateProfileName}"},
	{name: "DeleteNodegroup", method: "DELETE", path: "/clusters/{name}/node-groups/{nodegroupName}"},
	{name: "DeregisterCluster", method: "DELETE", path: "/cluster-registrations/{name}"},
	{name: "DescribeAccessEntry", method: "GET", path: "/clusters/{name}/access-entries/{principalArn}"},
	{name: "DescribeAddon", method: "GET", path: "/clusters/{name}/addons/{addonName}"},
	{name: "DescribeAddonConfiguration", method: "GET", path: "/addons/configuration-schemas"},
	{name: "DescribeAddonVersions", method: "GET", path: "/addons/supported-versions"},
	{name: "DescribeCapability", method: "GET", path: "/clusters/{name}/capabilities/{capabilityName}"},
	{name: "DescribeClusterVersions", method: "GET", path: "/cluster-versions"},
	{name: "DescribeEksAnywhereSubscription", method: "GET", path: "/eks-anywhere-subscriptions/{id}"},
	{name: "DescribeFargateProfile", method: "GET", path: "/clusters/{name}/fargate-profiles/{fargateProfileName}"},
	{name: "DescribeIdentityProviderConfig", method: "POST", path: "/clusters/{name}/identity-provider-configs/describe"},
	{name: "DescribeInsight", method: "GET", path: "/clusters/{name}/insights/{id}"},
	{name: "DescribeInsightsRefresh", method: "GET", path: "/clusters/{name}/insights-refresh"},
	{name: "DescribeNodegroup", method: "GET", path: "/clusters/{name}/node-groups/{nodegroupName}"},
	{name: "DescribeUpdate", method: "GET", path: "/clusters/{name}/updates/{updateId}"},
	{name: "DisassociateAccessPolicy", method: "DELETE", path: "/clusters/{name}/access-entries/{principalArn}/access-policies/{policyArn}"},
	{name: "DisassociateIdentityProviderConfig", method: "POST", path: "/clusters/{name}/identity-provider-configs/disassociate"},
	{name: "ListAccessEntries", method: "GET", path: "/clusters/{name}/access-entries"},
	{name: "ListAccessPolicies", method: "GET", path: "/access-policies"},
	{name: "ListAddons", method: "GET", path: "/clusters/{name}/addons"},
	{name: "ListAssociatedAccessPolicies", method: "GET", path: "/clusters/{name}/access-entries/{principalArn}/access-policies"},
	{name: "ListCapabilities", method: "GET", path: "/clusters/{name}/capabilities"},
	{name: "ListEksAnywhereSubscriptions", method: "GET", path: "/eks-anywhere-subscriptions"},
	{name: "ListFargateProfiles", method: "GET", path: "/clusters/{name}/fargate-profiles"},
	{name: "ListIdentityProviderConfigs", method: "GET", path: "/clusters/{name}/identity-provider-configs"},
	{name: "ListInsights", method: "POST", path: "/clusters/{name}/insights"},
	{name: "ListNodegroups", method: "GET", path: "/clusters/{name}/node-groups"},
	{name: "ListUpdates", method: "GET", path: "/clusters/{name}/updates"},
	{name: "RegisterCluster", method: "POST", path: "/cluster-registrations"},
	{name: "StartInsightsRefresh", method: "POST", path: "/clusters/{name}/insights-refresh"},
	{name: "UpdateAccessEntry", method: "POST", path: "/clusters/{name}/access-entries/{principalArn}"},
	{name: "UpdateAddon", method: "POST", path: "/clusters/{name}/addons/{addonName}/update"},
	{name: "UpdateCapability", method: "POST", path: "/clusters/{name}/capabilities/{capabilityName}"},
	{name: "UpdateClusterConfig", method: "POST", path: "/clusters/{name}/update-config"},
	{name: "UpdateClusterVersion", method: "POST", path: "/clusters/{name}/updates"},
	{name: "UpdateEksAnywhereSubscription", method: "POST", path: "/eks-anywhere-subscriptions/{id}"},
	{name: "UpdateNodegroupConfig", method: "POST", path: "/clusters/{name}/node-groups/{nodegroupName}/update-config"},
	{name: "UpdateNodegroupVersion", method: "POST", path: "/clusters/{name}/node-groups/{nodegroupName}/update-version"},
})

func split(ops []operation) []operation {
	for i := range ops {
		ops[i].segments = strings.Split(strings.TrimPrefix(ops[i].path, "/"), "/")
	}
	return ops
}
