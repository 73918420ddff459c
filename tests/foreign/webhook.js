// Signs a webhook as GitHub does, by @octokit/webhooks-methods, and delivers it: `webhook.js URL SECRET DELIVERY EVENT BODY`.
import { sign } from "@octokit/webhooks-methods";

const [url, secret, delivery, event, body] = process.argv.slice(2);
const headers = {
    "content-type": "application/json",
    "x-github-delivery": delivery,
    "x-github-event": event,
    "x-hub-signature-256": await sign(secret, body),
};
const answer = await fetch(url, { method: "POST", body, headers });
console.log(JSON.stringify({ status: answer.status }));
