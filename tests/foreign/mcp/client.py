"""The Python SDK against a node: over standard input and output, and over HTTP.

client.py GUILDER HOME URL TOKEN SERVICE
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

guilder, home, url, token, service = sys.argv[1:]


async def walk(way, server):
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        progress = []

        async def told(*said):
            progress.append(said)

        found = (await client.call_tool("find", {"service": service})).structured_content
        bought = {"service": service, "input": "hello", "max_price": 5}
        hired = (await client.call_tool("hire", bought, progress_callback=told)).structured_content
        task, output = hired["task"], hired["output"]
        audit = (await client.call_tool("audit", {"id": task["id"]})).structured_content
        failed = await client.call_tool("task", {"id": "zzzz"})
        seen = {
            "way": way,
            "server": client.server_info.name,
            "revision": client.protocol_version,
            "tools": [tool.name for tool in tools],
            "sellers": [seller["seller"] for seller in found["sellers"]],
            "output": output["text"],
            "trust": output["trust"],
            "receipt": isinstance(task["receipt"], str) and output["receipt"] == task["receipt"],
            "progress": len(progress) > 0,
            "delivered": audit["hires"][0]["delivered"],
            "failed": [failed.is_error, json.loads(failed.content[1].text)["error"]["code"]],
        }
        print(json.dumps(seen), flush=True)


async def main():
    await walk("stdio", StdioServerParameters(command=guilder, args=["--home", home, "mcp"]))
    http = create_mcp_http_client(headers={"authorization": f"Bearer {token}"})
    await walk("http", streamable_http_client(url, http_client=http))


asyncio.run(main())
