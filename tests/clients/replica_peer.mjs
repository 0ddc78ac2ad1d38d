// A whole replica of wharf.js: does what lines of its input say, and answers each when it is done.
// First {"url", "email", "password", "channel"}; then {"put": [table, pk, values]},
// {"remove": [table, pk]}, {"offline": true}, {"online": true} or {"rows": table}.
// Answers: {"state", "pending", "version", "rows"}, with rows where they were asked for.
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { Wharf } from "../../static/wharf.js";

globalThis.WebSocket = WebSocket;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => JSON.parse((await lines.next()).value ?? "null");

const { url, channel, ...form } = await next();
const wharf = new Wharf({ url });
await wharf.login(form);
const replica = await wharf.replica(channel).ready;
replica.on("error", ({ message }) => console.error(message));

const actions = {
  put: (write) => replica.put(...write),
  remove: (row) => replica.remove(...row),
  offline: () => replica.goOffline(),
  online: () => replica.goOnline(),
  rows: (table) => replica.rows(table),
};

for (let line = {}; line; line = await next()) {
  const told = {};
  for (const [action, argument] of Object.entries(line)) told[action] = await actions[action](argument);
  const { state, pending, version } = replica;
  console.log(JSON.stringify({ state, pending, version, rows: told.rows }));
}
process.exit();
