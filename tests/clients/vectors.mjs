// What the replica makes of tests/crdt_vectors.json, as JSON: read on stdin, told on stdout.
import { text } from "node:stream/consumers";
import { canonical, takes } from "../../static/crdt.js";
import { Ledger } from "../../static/ledger.js";

function rowsOf(changes) {
  const ledger = new Ledger(null);
  ledger.merge(changes, 0);
  return Object.fromEntries(ledger.rows("todos"));
}

const vectors = JSON.parse(await text(process.stdin));
console.log(JSON.stringify({
  canonical: vectors.canonical.map(({ json }) => canonical(JSON.parse(json))),
  takes: vectors.takes.map(({ change, held }) => takes(change, held)),
  merges: vectors.merges.map(({ outgoing }) => rowsOf(outgoing)),
}));
