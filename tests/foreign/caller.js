// A program with a right of its own, on the TypeScript client, compiled: `caller.js MODULE HOME NAME`. Prints what it saw as one JSON object.

import { readFileSync } from "node:fs";

const [module, home, name] = process.argv.slice(2);
const { ApiError, Client, NotRunning } = await import(module);

async function tried(node) {
  try {
    await node.call("POST", "/v1/stop");
    return [(await node.status()).peer_id, "stopped"];
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [(await node.status()).peer_id, error.code];
  }
}

const seen = { named: await tried(new Client(home, name)) };
process.env.GUILDER_API = `http://${JSON.parse(readFileSync(`${home}/api.json`, "utf8")).address}`;
process.env.GUILDER_TOKEN = readFileSync(`${home}/callers/${name}`, "utf8").trim();
seen.environment = await tried(new Client());
try {
  await new Client(home, "nobody").status();
} catch (error) {
  seen.nobody = [error.retryable, error instanceof NotRunning && error.message.includes("nobody")];
}
process.env.GUILDER_TOKEN = `caller/${name}.forged`;
try {
  await new Client().status();
} catch (error) {
  seen.forged = error.constructor.name;
}
console.log(JSON.stringify(seen));
