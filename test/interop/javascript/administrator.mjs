// What an administrator does with the AWS SDK for JavaScript: a role, a bucket,
// an association. Arguments: the trust policy, the role's permissions.
import { EKSClient, CreatePodIdentityAssociationCommand, DescribePodIdentityAssociationCommand, ResourceInUseException } from "@aws-sdk/client-eks";
import { IAMClient, CreateRoleCommand, GetRoleCommand, NoSuchEntityException, PutRolePolicyCommand } from "@aws-sdk/client-iam";
import { S3Client, CreateBucketCommand } from "@aws-sdk/client-s3";

const [trust, permissions] = process.argv.slice(2);
const iam = new IAMClient(), eks = new EKSClient(), s3 = new S3Client({ forcePathStyle: true });

const { Role } = await iam.send(new CreateRoleCommand({ RoleName: "javascript", AssumeRolePolicyDocument: trust }));
await iam.send(new PutRolePolicyCommand({ RoleName: "javascript", PolicyName: "files", PolicyDocument: permissions }));
await s3.send(new CreateBucketCommand({ Bucket: "javascript" }));

const ask = { clusterName: "local", namespace: "shop", serviceAccount: "cart", roleArn: Role.Arn };
const { association } = await eks.send(new CreatePodIdentityAssociationCommand(ask));
const described = await eks.send(new DescribePodIdentityAssociationCommand({ clusterName: "local", associationId: association.associationId }));

const errors = [];
await iam.send(new GetRoleCommand({ RoleName: "none" })).catch((e) => errors.push(e instanceof NoSuchEntityException));
await eks.send(new CreatePodIdentityAssociationCommand(ask)).catch((e) => errors.push(e instanceof ResourceInUseException));

console.log(JSON.stringify({ role: Role.Arn, described: described.association.roleArn, errors }));
