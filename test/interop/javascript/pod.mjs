// What a program in a pod does with the AWS SDK for JavaScript, which finds its
// credentials in the environment: who am I, 100 MB up in parts and back, list, remove.
import { createHash, randomBytes } from "node:crypto";
import { S3Client, DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, NoSuchKey, PutObjectCommand } from "@aws-sdk/client-s3";
import { STSClient, GetCallerIdentityCommand } from "@aws-sdk/client-sts";
import { Upload } from "@aws-sdk/lib-storage";

const s3 = new S3Client({ forcePathStyle: true });
const Bucket = "javascript";
const { Arn } = await new STSClient().send(new GetCallerIdentityCommand({}));

const content = randomBytes(100_000_000);
const sent = createHash("sha256").update(content).digest("hex");
await new Upload({ client: s3, params: { Bucket, Key: "big", Body: content } }).done();
await s3.send(new PutObjectCommand({ Bucket, Key: "small/ü & +", Body: "hello" }));

const hash = createHash("sha256");
for await (const chunk of (await s3.send(new GetObjectCommand({ Bucket, Key: "big" }))).Body) hash.update(chunk);
const small = await (await s3.send(new GetObjectCommand({ Bucket, Key: "small/ü & +" }))).Body.transformToString();
const keys = (await s3.send(new ListObjectsV2Command({ Bucket }))).Contents.map((o) => o.Key);

await s3.send(new DeleteObjectCommand({ Bucket, Key: "big" }));
const errors = [];
await s3.send(new GetObjectCommand({ Bucket, Key: "big" })).catch((e) => errors.push(e instanceof NoSuchKey));
await s3.send(new ListObjectsV2Command({ Bucket: "other" })).catch((e) => errors.push(e.name, e.message));

console.log(JSON.stringify({ arn: Arn, same: sent === hash.digest("hex"), small, keys, errors }));
