import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger } from "../../static/ledger.js";

const T = "todos";
const cell = (cid, val, version, at, cl) => [T, "1", cid, val, version, at, "server", cl, 0];
const end = (cl, version) => cell("-1", null, cl, -version, cl);
const row = (ledger) => Object.fromEntries(ledger.rows(T))["1"];
const reload = (ledger) => new Ledger(JSON.parse(JSON.stringify(ledger)));

/** A replica that holds a row of somebody else's. */
function withRow() {
  const ledger = new Ledger(null);
  ledger.merge([cell("title", "tea", 1, 1, 1), cell("done", false, 1, 1, 1)], 0);
  return ledger;
}

test("a row is made, changed, deleted and made again", () => {
  const ledger = new Ledger({ siteId: "me" });
  ledger.write(T, "1", { title: "tea", done: false });
  assert.equal(ledger.write(T, "1", { title: "tea" }), false);
  ledger.write(T, "1", { title: "coffee" });
  assert.deepEqual(ledger.since(0), [
    [T, "1", "done", false, 1, 1, "me", 1, 1],
    [T, "1", "title", "coffee", 2, 2, "me", 1, 0],
  ]);
  ledger.remove(T, "1");
  assert.equal(ledger.remove(T, "1"), false);
  assert.deepEqual(ledger.since(0), [[T, "1", "-1", null, 2, 3, "me", 2, 0]]);
  ledger.write(T, "1", { title: "milk" });
  assert.deepEqual(reload(ledger).since(0), [
    [T, "1", "-1", null, 3, 4, "me", 3, 0],
    [T, "1", "title", "milk", 1, 4, "me", 3, 1],
  ]);
});

test("1, true and \"1\" are different values, 0 and -0 are not", () => {
  const ledger = new Ledger(null);
  ledger.write(T, "1", { a: 1, b: 0 });
  assert.equal(ledger.write(T, "1", { a: 1, b: -0 }), false);
  assert.equal(ledger.write(T, "1", { a: true }), true);
  assert.equal(ledger.write(T, "1", { a: "1" }), true);
});

test("a row that was edited comes back whole when its deleter had not seen that", () => {
  for (const settled of [null, 7, 9]) { // not acknowledged, or acknowledged after the deletion
    const ledger = withRow();
    ledger.write(T, "1", { title: "green tea" });
    if (settled) ledger.settle("server", 1, settled);
    const again = reload(ledger);
    assert.equal(again.merge([end(2, 7)], settled ? 1 : 0), true);
    assert.deepEqual(row(again), { title: "green tea", done: false });
    const news = again.since(1).map((change) => change.toSpliced(5, 2));
    assert.deepEqual(news, [
      [T, "1", "-1", null, 3, 3, 0],
      [T, "1", "title", "green tea", 3, 3, 1],
      [T, "1", "done", false, 1, 3, 2],
    ]);
  }
});

test("a row stays deleted when its deleter had seen our edits", () => {
  const ledger = withRow();
  ledger.write(T, "1", { title: "green tea" });
  ledger.settle("server", 1, 6);
  ledger.merge([end(2, 7)], 1);
  assert.equal(row(ledger), undefined);
  assert.deepEqual(ledger.since(0), []);
});

test("a server that takes the place of ours does not make edits late", () => {
  const ledger = withRow();
  ledger.write(T, "1", { title: "green tea" });
  ledger.settle("server", 1, 6);
  ledger.settle("other", 1, 9);
  ledger.merge([end(2, 7)], 1);
  assert.equal(row(ledger), undefined);
});

test("our edit is written to a row that others have brought back", () => {
  const ledger = withRow();
  ledger.write(T, "1", { title: "green tea" });
  ledger.merge([end(2, 7), cell("done", true, 4, -8, 3), cell("title", "tea", 2, -9, 3)], 0);
  assert.deepEqual(row(ledger), { title: "green tea", done: true });
  assert.deepEqual(ledger.since(1).map((change) => change.slice(2, 5)), [["title", "green tea", 3]]);
});

test("a row that the server refuses is not written for ever", () => {
  const ledger = new Ledger(null);
  ledger.write(T, "1", { title: "" });
  for (const [cl, version] of [[2, 2], [4, 4]]) {
    ledger.settle("server", ledger.version, version);
    ledger.merge([end(cl, version)], ledger.version);
  }
  assert.equal(row(ledger), undefined);
  assert.equal(ledger.version, 2);
});

test("what is typed on comes back over an older write of ours, re-issued", () => {
  const ledger = withRow();
  ledger.merge([end(2, 3)], 0);
  ledger.write(T, "1", { title: "a" });
  ledger.write(T, "1", { title: "ab" });
  ledger.merge([cell("title", "a", 8, -4, 3)], 1);
  assert.deepEqual(ledger.since(1).map((change) => change.slice(2, 5)), [["title", "ab", 2]]);
});

const OLD = {
  siteId: "me", version: 6, acks: { server: 2 }, server: "server", channelVersion: 9,
  cells: [
    [T, "1", "title", 3], [T, "1", "done", 1], // ours, one not acknowledged; and somebody's
    [T, "2", "-1", 2], [T, "2", "title", 4], // brought back by us
    [T, "3", "-1", 4], [T, "3", "title", 2], // deleted elsewhere
    [T, "4", "title", 1], [T, "5", "title", 2],
    [T, "5", "done", 3], // deleted by us, and brought back by us and others
  ],
  log: [
    [T, "1", "title", "coffee", 3, 3, "me", 1, 0],
    [T, "2", "title", "milk", 4, 2, "me", 1, 0],
    [T, "4", "title", "salt", 1, 1, "me", 1, 0], [T, "4", "-1", null, 1, 4, "me", 1, 0],
    [T, "5", "-1", null, 1, 5, "me", 1, 0], [T, "5", "title", "rum", 2, 6, "me", 1, 0],
  ],
  tables: [[T, [
    ["1", { title: "coffee", done: true }], ["2", { title: "milk" }], ["5", { title: "rum", done: true }],
  ]]],
};

test("a replica that kept a log goes on as itself", () => {
  const ledger = reload(new Ledger(OLD));
  assert.deepEqual(Object.fromEntries(ledger.rows(T)), Object.fromEntries(OLD.tables[0][1]));
  assert.deepEqual(ledger.since(2), [
    [T, "1", "title", "coffee", 3, 3, "me", 1, 0],
    [T, "4", "-1", null, 2, 4, "me", 2, 0],
    [T, "5", "-1", null, 3, 5, "me", 3, 0],
    [T, "5", "title", "rum", 2, 6, "me", 3, 0],
    [T, "5", "done", true, 3, 7, "me", 3, 1],
  ]);
  assert.deepEqual(ledger.since(0)[0], [T, "2", "title", "milk", 4, 2, "me", 3, 0]);
  assert.equal(ledger.merge([end(4, 8)].map((change) => change.with(1, "2")), 2), true);
  assert.equal(ledger.rows(T).some(([pk]) => pk === "2"), false); // the server had that edit
});
