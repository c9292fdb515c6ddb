// Calls CodePipeline by @aws-sdk/client-codepipeline, as each line of stdin asks: a JSON list of the operation and its
// parameters.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

// The package is installed where this process was started, not beside this file.
const sdk = createRequire(join(process.cwd(), "here.js"))("@aws-sdk/client-codepipeline");

const client = new sdk.CodePipelineClient({});
for await (const line of createInterface({ input: process.stdin })) {
  const [operation, parameters] = JSON.parse(line);
  let answer;
  try {
    answer = await client.send(new sdk[`${operation}Command`](parameters));
    delete answer.$metadata;
  } catch (error) {
    if (!(error instanceof sdk.CodePipelineServiceException)) throw error;
    answer = { error: error.name };
  }
  console.log(JSON.stringify(answer));
}
