// Asks with the SDK's default chain, and prints its error as an application does that
// does not catch it.
import { STSClient, GetCallerIdentityCommand } from "@aws-sdk/client-sts";

try {
  await new STSClient({ endpoint: process.argv[2] }).send(new GetCallerIdentityCommand({}));
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
}
