"""A buyer's program on the Python client: `client.py HOME SERVICE`. Prints what it saw as one JSON object."""

import asyncio
import json
import sys

import guilder

home, service = sys.argv[1:]
node = guilder.Client(home)
seen = {}

seen["sellers"] = [found["seller"] for found in node.find(service)]
steps = []
done = node.hire(service, "hello", max_price=20, id="from python", on_event=lambda event: steps.append(event["kind"]))
seen["output"], seen["task"], seen["steps"] = done.text, done.task["id"], steps
again = node.hire(service, "hello", max_price=20, id="from python")
seen["same"] = again.task["id"] == done.task["id"]
try:
    node.hire(service, "other", max_price=20, id="from python")
except guilder.ApiError as error:
    seen["conflict"] = [error.code, error.fault, bool(error.hint), error.retryable, error.task]
try:
    node.hire("no.such.service", "x", deadline_secs=20)
except guilder.TaskFailed as error:
    seen["failed"] = [error.task["state"], bool(str(error)), error.code]
seen["listed"] = [task["id"] for task in node.tasks(state="delivered")]
seen["shown"] = node.task(done.task["id"])["state"]
seen["available"] = sum(balance["available"] for balance in node.wallet())
try:
    guilder.Client(home + "/nowhere").status()
except guilder.NotRunning:
    seen["nowhere"] = True


async def also() -> None:
    async with guilder.AsyncClient(home) as there:
        events = there.events(after=0)
        listening = asyncio.ensure_future(anext(events))
        both = await asyncio.gather(*(there.hire(service, f"{n}", max_price=20) for n in range(3)))
        seen["async"] = sorted(done.text for done in both)
        seen["event"] = (await asyncio.wait_for(listening, 30))["kind"]
        await events.aclose()


asyncio.run(also())
print(json.dumps(seen))
