// A buyer's program on the TypeScript client, compiled: `client.js MODULE HOME SERVICE`. Prints what it saw as one JSON object.

const [module, home, service] = process.argv.slice(2);
const { ApiError, Client, NotRunning, TaskFailed } = await import(module);
const node = new Client(home);
const seen = { sellers: [], steps: [], listed: [] };
const text = (bytes) => new TextDecoder().decode(bytes);

for await (const found of node.find(service)) seen.sellers.push(found.seller);
const terms = { max_price: 20, id: "from typescript" };
const done = await node.hire(service, "hello", { ...terms, onEvent: (event) => seen.steps.push(event.kind) });
seen.output = text(done.output);
seen.task = done.task.id;
seen.same = (await node.hire(service, "hello", terms)).task.id === done.task.id;
try {
  await node.hire(service, "other", terms);
} catch (error) {
  if (error instanceof ApiError) seen.conflict = [error.code, error.fault, Boolean(error.hint), error.retryable, error.task];
}
try {
  await node.hire("no.such.service", "x", { deadline_secs: 20 });
} catch (error) {
  if (error instanceof TaskFailed) seen.failed = [error.task.state, Boolean(error.message), error.task.failure.code];
}
for await (const task of node.tasks({ state: "delivered" })) seen.listed.push(task.id);
seen.shown = (await node.task(done.task.id)).state;
seen.available = (await node.wallet()).reduce((sum, balance) => sum + balance.available, 0);
try {
  await new Client(`${home}/nowhere`).status();
} catch (error) {
  seen.nowhere = error instanceof NotRunning;
}

const events = node.events(0);
const first = events.next();
const both = await Promise.all([0, 1, 2].map((n) => node.hire(service, String(n), { max_price: 20 })));
seen.async = both.map((each) => text(each.output)).sort();
seen.event = (await first).value.kind;
await events.return();
console.log(JSON.stringify(seen));
