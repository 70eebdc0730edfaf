// What runs in a pod of the demo: the AWS SDK for JavaScript, unmodified, which finds everything in its environment.
import { ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const { Arn } = await new STSClient().send(new GetCallerIdentityCommand({}));
console.log("I am", Arn);
const { Contents = [] } = await new S3Client({ forcePathStyle: true }).send(new ListObjectsV2Command({ Bucket: process.argv[2] }));
for (const { Key, Size } of Contents) console.log(String(Size).padStart(6), Key);
