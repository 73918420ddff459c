"""Takes webhooks as the Standard Webhooks specification has them, checked by its own library: `receiver.py SECRET_FILE`.

Says the port that it listens on, and then each webhook that it takes or refuses."""

import http.server
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open(sys.argv[1], encoding="ascii") as file:
            secret = file.read()
        try:
            taken = Webhook(secret).verify(body, dict(self.headers.items()))
            status, said = 204, {"taken": taken, "id": self.headers["webhook-id"]}
        except WebhookVerificationError as error:
            status, said = 401, {"refused": str(error)}
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        print(json.dumps(said), flush=True)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
