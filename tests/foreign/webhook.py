"""Signs a webhook as the Standard Webhooks specification has it, by its own library, and delivers it: `webhook.py URL SECRET ID BODY`."""

import json
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook

url, secret, ident, body = sys.argv[1:]
now = datetime.now(timezone.utc)
headers = {
    "webhook-id": ident,
    "webhook-timestamp": str(int(now.timestamp())),
    "webhook-signature": Webhook(secret).sign(ident, now, body),
}
try:
    status = urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers)).status
except urllib.error.HTTPError as error:
    status = error.code
print(json.dumps({"status": status}))
