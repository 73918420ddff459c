"""A program with a right of its own, on the Python client: `caller.py HOME NAME`. Prints what it saw as one JSON object."""

import json
import os
import sys

import guilder

home, name = sys.argv[1:]


def tried(node: guilder.Client) -> list[str]:
    try:
        node.call("POST", "/v1/stop")
        return [node.status()["peer_id"], "stopped"]
    except guilder.ApiError as error:
        return [node.status()["peer_id"], error.code]


seen = {"named": tried(guilder.Client(home, caller=name))}
os.environ["GUILDER_API"] = "http://" + json.load(open(f"{home}/api.json"))["address"]
os.environ["GUILDER_TOKEN"] = open(f"{home}/callers/{name}").read().strip()
seen["environment"] = tried(guilder.Client())
try:
    guilder.Client(home, caller="nobody").status()
except guilder.NotRunning as error:
    seen["nobody"] = [error.retryable, "nobody" in str(error)]
os.environ["GUILDER_TOKEN"] = f"caller/{name}.forged"
try:
    guilder.Client().status()
except guilder.GuilderError as error:
    seen["forged"] = type(error).__name__
print(json.dumps(seen))
