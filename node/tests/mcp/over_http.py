"""An MCP server over streamable HTTP, as good or as bad as the path says that it is asked at. Prints its port."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENDED = sys.argv[1]
number = {"type": "number"}
TOOL = {
    "name": "double",
    "description": "Doubles a number.",
    "inputSchema": {"type": "object", "properties": {"n": number}, "required": ["n"]},
    "outputSchema": {"type": "object", "properties": {"twice": number}, "required": ["twice"]},
}
pinged = threading.Event()


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def whole(self, status, body=b"", **headers):
        self.head(status, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def stream(self, kind):
        self.close_connection = True
        self.head(200, Content_Type=kind, Connection="close")

    def event(self, message):
        text = json.dumps({"jsonrpc": "2.0", **message}, indent=1)
        lines = "".join(f"data: {line}\n" for line in text.splitlines())
        self.wfile.write(f"event: message\n{lines}\n".encode())
        self.wfile.flush()

    def is_in_session(self):
        said = (self.headers["Mcp-Session-Id"], self.headers["MCP-Protocol-Version"], self.headers["X-Key"])
        return said == ("one", "2025-11-25", "tulip")

    def do_DELETE(self):
        if self.is_in_session():
            open(ENDED, "w").close()
        self.whole(200)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = message.get("method")
        answer = {"jsonrpc": "2.0", "id": message.get("id")}
        begins = method == "initialize"
        if begins:
            about = {"name": "test", "version": "1"}
            version = message["params"]["protocolVersion"]
            answer["result"] = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
        elif not self.is_in_session():
            return self.whole(400)
        elif method == "tools/list":
            answer["result"] = {"tools": [TOOL]}
        elif method == "tools/call":
            twice = 2 * message["params"]["arguments"]["n"]
            answer["result"] = {"content": [], "structuredContent": {"twice": twice}}
            mode = getattr(self, self.path.strip("/"))
            if mode != self.good:
                return mode(answer)
        else:
            if message.get("id") == "ours":
                pinged.set()
            return self.whole(202)
        session = {"Mcp_Session_Id": "one"} if begins else {}
        self.whole(200, json.dumps(answer).encode(), Content_Type="application/json", **session)

    def good(self, _):
        pass

    def events(self, answer):
        self.stream("text/event-stream")
        self.wfile.write(b": begins\r\n\r\nid: 1\r\ndata:\r\n\r\n")
        self.event({"id": "ours", "method": "ping"})
        pinged.wait()
        self.event(answer)

    def flood(self, _):
        self.stream("text/event-stream")
        while True:
            self.event({"method": "notifications/message", "params": {"level": "info", "data": "x" * 10000}})

    def line(self, _):
        self.stream("text/event-stream")
        while True:
            self.wfile.write(b"data: " + b"x" * 65536)

    def large(self, _):
        self.stream("application/json")
        while True:
            self.wfile.write(b"[" * 65536)

    def never(self, _):
        self.stream("text/event-stream")
        self.rfile.read(1)

    def cut(self, _):
        self.stream("text/event-stream")

    def status(self, _):
        self.whole(500, b"my last words")

    def redirect(self, _):
        self.whole(307, Location="/good")


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        pass


server = Quiet(("127.0.0.1", 0), Server)
print(server.server_port, flush=True)
# It goes with who started it.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
server.serve_forever()
