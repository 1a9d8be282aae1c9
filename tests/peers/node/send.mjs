// SPDX-License-Identifier: Apache-2.0
// send.mjs PORT FILE - sends every message of an MLLP-framed file with node-hl7-client, one at a time, each after the
// acknowledgement of the one before. Prints counts as JSON, never a byte of a message.
import fs from "node:fs";
import { Client, Message } from "node-hl7-client";

const [port, file] = process.argv.slice(2);
// latin1 keeps every byte: the messages have many character sets.
const texts = fs.readFileSync(file, "latin1").split("\x1c\r").filter((t) => t.startsWith("\x0b")).map((t) => t.slice(1));
const result = { sent: 0, parsed: 0, codes: {} };

const client = new Client({ host: "127.0.0.1" });
const connection = client.createConnection({ port: Number(port), encoding: "latin1", waitAck: false }, () => {});
await new Promise((resolve) => connection.once("connect", resolve));

// Messages that this library cannot read are sent through its connection as they are: it asks only for toString().
function outgoing(text) {
  try {
    const message = new Message({ text });
    if (message.toString().replace(/\r$/, "") === text.replace(/\r$/, "")) {
      result.parsed += 1;
      return message;
    }
  } catch {
    // falls through
  }
  return { toString: () => text };
}

for (const text of texts) {
  const answered = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no acknowledgement for message ${result.sent}`)), 15000);
    connection.once("data.raw", (raw) => {
      clearTimeout(timer);
      const at = raw.indexOf("\rMSA");
      const code = at < 0 ? "none" : raw.slice(at + 5, at + 7);
      result.codes[code] = (result.codes[code] ?? 0) + 1;
      resolve();
    });
  });
  await connection.sendMessage(outgoing(text));
  result.sent += 1;
  await answered;
}
await connection.close();
console.log(JSON.stringify(result));
process.exit(0);
