// Answers 204 to what the Standard Webhooks library believes under WEBHOOK_SECRET, and 400 to the rest.
//
// The first line of its output is its port on 127.0.0.1. It ends with its input.
"use strict";

const http = require("node:http");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const webhook = new Webhook(process.env.WEBHOOK_SECRET);

function isBelieved(body, headers) {
  try {
    webhook.verify(body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    response.statusCode = isBelieved(Buffer.concat(chunks), request.headers) ? 204 : 400;
    response.end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
