package policy

import "strings"

// valueTypes is the set of types that a condition key's values have: which
// families of operators compare them.
type valueTypes uint8

const (
	stringValue valueTypes = 1 << iota
	arnValue
	boolValue
	dateValue
	numericValue
	ipAddressValue
)

// keyFacts is what AWS documents about a condition key.
type keyFacts struct {
	// name is the documented spelling; a key that ends in a slash is followed by
	// the key of a tag.
	name  string
	types valueTypes
	// multivalued keys hold lists, whatever number of values a request has: a
	// scalar operator never matches them.
	multivalued bool
	// serviceOnly keys exist only when an AWS service calls with its own principal,
	// on behalf of a resource.
	serviceOnly bool
}

// catalogued is what is known about the key of this name in lower case.
func catalogued(lowerName string) (keyFacts, bool) {
	if k, ok := catalogue[lowerName]; ok {
		return k, true
	}
	if i := strings.IndexByte(lowerName, '/'); i >= 0 {
		k, ok := catalogue[lowerName[:i+1]]
		return k, ok && len(lowerName) > i+1
	}
	return keyFacts{}, false
}

// catalogue has the condition keys by lower-case name: all global ones
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html),
// those of STS and of IAM
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html),
// and of other services those that the local AWS gives to a request, or that
// hold lists (Service Authorization Reference).
var catalogue = byLowerName(
	// Properties of the principal.
	keyFacts{name: "aws:PrincipalArn", types: arnValue},
	keyFacts{name: "aws:PrincipalAccount", types: stringValue},
	keyFacts{name: "aws:PrincipalOrgPaths", types: stringValue, multivalued: true},
	keyFacts{name: "aws:PrincipalOrgID", types: stringValue},
	keyFacts{name: "aws:PrincipalTag/", types: stringValue},
	keyFacts{name: "aws:PrincipalIsAWSService", types: boolValue},
	keyFacts{name: "aws:PrincipalServiceName", types: stringValue},
	keyFacts{name: "aws:PrincipalServiceNamesList", types: stringValue, multivalued: true},
	keyFacts{name: "aws:PrincipalType", types: stringValue},
	keyFacts{name: "aws:userid", types: stringValue},
	keyFacts{name: "aws:username", types: stringValue},
	// Properties of a role session.
	keyFacts{name: "aws:AssumedRoot", types: boolValue},
	keyFacts{name: "aws:FederatedProvider", types: stringValue | arnValue}, // depends on the provider
	keyFacts{name: "aws:TokenIssueTime", types: dateValue},
	keyFacts{name: "aws:SignInSessionArn", types: arnValue},
	keyFacts{name: "aws:MultiFactorAuthAge", types: numericValue},
	keyFacts{name: "aws:MultiFactorAuthPresent", types: boolValue},
	keyFacts{name: "aws:ChatbotSourceArn", types: arnValue},
	keyFacts{name: "aws:Ec2InstanceSourceVpc", types: stringValue},
	keyFacts{name: "aws:Ec2InstanceSourcePrivateIPv4", types: ipAddressValue},
	keyFacts{name: "aws:SourceIdentity", types: stringValue},
	// Properties of the network.
	keyFacts{name: "aws:SourceIp", types: ipAddressValue},
	keyFacts{name: "aws:SourceVpc", types: stringValue},
	keyFacts{name: "aws:SourceVpcArn", types: arnValue},
	keyFacts{name: "aws:SourceVpce", types: stringValue},
	keyFacts{name: "aws:VpceAccount", types: stringValue},
	keyFacts{name: "aws:VpceOrgID", types: stringValue},
	keyFacts{name: "aws:VpceOrgPaths", types: stringValue, multivalued: true},
	keyFacts{name: "aws:VpcSourceIp", types: ipAddressValue},
	// Properties of the resource.
	keyFacts{name: "aws:ResourceAccount", types: stringValue},
	keyFacts{name: "aws:ResourceOrgPaths", types: stringValue, multivalued: true},
	keyFacts{name: "aws:ResourceOrgID", types: stringValue},
	keyFacts{name: "aws:ResourceTag/", types: stringValue},
	// Properties of the request.
	keyFacts{name: "aws:CalledVia", types: stringValue, multivalued: true},
	keyFacts{name: "aws:CalledViaFirst", types: stringValue},
	keyFacts{name: "aws:CalledViaLast", types: stringValue},
	keyFacts{name: "aws:CalledViaAWSMCP", types: stringValue},
	keyFacts{name: "aws:ViaAWSService", types: boolValue},
	keyFacts{name: "aws:ViaAWSMCPService", types: boolValue},
	keyFacts{name: "aws:IsMcpServiceAction", types: boolValue},
	keyFacts{name: "aws:CurrentTime", types: dateValue},
	keyFacts{name: "aws:EpochTime", types: dateValue | numericValue},
	keyFacts{name: "aws:referer", types: stringValue},
	keyFacts{name: "aws:RequestedRegion", types: stringValue},
	keyFacts{name: "aws:RequestTag/", types: stringValue},
	keyFacts{name: "aws:TagKeys", types: stringValue, multivalued: true},
	keyFacts{name: "aws:SecureTransport", types: boolValue},
	keyFacts{name: "aws:SourceAccount", types: stringValue, serviceOnly: true},
	keyFacts{name: "aws:SourceArn", types: arnValue, serviceOnly: true},
	keyFacts{name: "aws:SourceOrgID", types: stringValue, serviceOnly: true},
	keyFacts{name: "aws:SourceOrgPaths", types: stringValue, multivalued: true, serviceOnly: true},
	keyFacts{name: "aws:UserAgent", types: stringValue},

	keyFacts{name: "sts:AWSServiceName", types: stringValue},
	keyFacts{name: "sts:DurationSeconds", types: numericValue},
	keyFacts{name: "sts:ExternalId", types: stringValue},
	keyFacts{name: "sts:IdentityTokenAudience", types: stringValue, multivalued: true},
	keyFacts{name: "sts:RequestContext/", types: stringValue},
	keyFacts{name: "sts:RequestContextProviders", types: arnValue, multivalued: true},
	keyFacts{name: "sts:RoleAuthorizedByIdp", types: boolValue},
	keyFacts{name: "sts:RoleSessionName", types: stringValue},
	keyFacts{name: "sts:SigningAlgorithm", types: stringValue},
	keyFacts{name: "sts:SourceIdentity", types: stringValue},
	keyFacts{name: "sts:TaskPolicyArn", types: arnValue},
	keyFacts{name: "sts:TransitiveTagKeys", types: stringValue, multivalued: true},

	keyFacts{name: "iam:AssociatedResourceArn", types: arnValue},
	keyFacts{name: "iam:AWSServiceName", types: stringValue},
	keyFacts{name: "iam:OrganizationsPolicyId", types: stringValue},
	keyFacts{name: "iam:PassedToService", types: stringValue},
	keyFacts{name: "iam:PermissionsBoundary", types: stringValue | arnValue},
	keyFacts{name: "iam:PolicyARN", types: arnValue},
	keyFacts{name: "iam:ResourceTag/", types: stringValue},

	keyFacts{name: "saml:aud", types: stringValue},
	keyFacts{name: "saml:commonName", types: stringValue, multivalued: true},
	keyFacts{name: "saml:cn", types: stringValue, multivalued: true},
	keyFacts{name: "saml:doc", types: stringValue},
	keyFacts{name: "saml:eduorghomepageuri", types: stringValue, multivalued: true},
	keyFacts{name: "saml:eduorgidentityauthnpolicyuri", types: stringValue, multivalued: true},
	keyFacts{name: "saml:eduorglegalname", types: stringValue, multivalued: true},
	keyFacts{name: "saml:eduorgsuperioruri", types: stringValue, multivalued: true},
	keyFacts{name: "saml:eduorgwhitepagesuri", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersonaffiliation", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersonassurance", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersonentitlement", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersonnickname", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersonorgunitdn", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersonscopedaffiliation", types: stringValue, multivalued: true},
	keyFacts{name: "saml:edupersontargetedid", types: stringValue, multivalued: true},
	keyFacts{name: "saml:givenName", types: stringValue, multivalued: true},
	keyFacts{name: "saml:iss", types: stringValue},
	keyFacts{name: "saml:mail", types: stringValue, multivalued: true},
	keyFacts{name: "saml:name", types: stringValue, multivalued: true},
	keyFacts{name: "saml:namequalifier", types: stringValue},
	keyFacts{name: "saml:organizationStatus", types: stringValue, multivalued: true},
	keyFacts{name: "saml:primaryGroupSID", types: stringValue, multivalued: true},
	keyFacts{name: "saml:sub", types: stringValue},
	keyFacts{name: "saml:sub_type", types: stringValue},
	keyFacts{name: "saml:surname", types: stringValue, multivalued: true},
	keyFacts{name: "saml:uid", types: stringValue, multivalued: true},
	keyFacts{name: "saml:x500UniqueIdentifier", types: stringValue, multivalued: true},
	keyFacts{name: "cognito-identity.amazonaws.com:amr", types: stringValue, multivalued: true},
	keyFacts{name: "cognito-identity.amazonaws.com:aud", types: stringValue},
	keyFacts{name: "cognito-identity.amazonaws.com:sub", types: stringValue},

	keyFacts{name: "dynamodb:Attributes", types: stringValue, multivalued: true},
	keyFacts{name: "dynamodb:LeadingKeys", types: stringValue, multivalued: true},
	keyFacts{name: "s3:delimiter", types: stringValue},
	keyFacts{name: "s3:ExistingObjectTag/", types: stringValue},
	keyFacts{name: "s3:locationconstraint", types: stringValue},
	keyFacts{name: "s3:max-keys", types: numericValue},
	keyFacts{name: "s3:prefix", types: stringValue},
	keyFacts{name: "s3:RequestObjectTag/", types: stringValue},
	keyFacts{name: "s3:RequestObjectTagKeys", types: stringValue, multivalued: true},
)

// lists are keys of other services that hold lists, in lower case
// (https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html).
var lists = strings.Fields(asciiLower(`
	autoscaling:LoadBalancerNames autoscaling:TargetGroupARNs autoscaling:VPCZoneIdentifiers cloudformation:ResourceTypes
	cloudwatch:AlarmActions dynamodb:FirstPartitionKeyValues dynamodb:SecondPartitionKeyValues dynamodb:ThirdPartitionKeyValues
	dynamodb:FourthPartitionKeyValues ec2:VpcePrivateDnsSpecifiedDomains ecs:capacity-provider ecs:compute-compatibility ecs:subnet
	eks:encryptionConfigProviderKeyArns eks:kubernetesGroups eks:namespaces elasticloadbalancing:ListenerProtocol
	elasticloadbalancing:SecurityGroup elasticloadbalancing:Subnet events:detail-type events:EventBusArn events:source events:TargetArn
	iam:AccountPropertyNamespaces kms:EncryptionContextKeys kms:GrantOperations kms:ResourceAliases lambda:Layer lambda:SecurityGroupIds
	lambda:SubnetIds logs:LogGeneratingResourceArns route53:ChangeResourceRecordSetsActions
	route53:ChangeResourceRecordSetsNormalizedRecordNames route53:ChangeResourceRecordSetsRecordTypes s3:InventoryAccessibleOptionalFields
	sagemaker:InstanceTypes sagemaker:VpcSecurityGroupIds sagemaker:VpcSubnets secretsmanager:AddReplicaRegions ses:Recipients
	ssm:DocumentCategories ssm:DocumentVersion
`))

func byLowerName(list ...keyFacts) map[string]keyFacts {
	m := make(map[string]keyFacts, len(list))
	for _, k := range list {
		m[asciiLower(k.name)] = k
	}
	return m
}
