import assert from "node:assert/strict";
import { test } from "node:test";
import { Keeper } from "../../static/keeper.js";
import { Replica } from "../../static/replica.js";

/** A store whose saves are done when told. */
class SlowStore {
  saves = [];
  load = () => null;
  save = (state) => new Promise((resolve, reject) => this.saves.push({ state, resolve, reject }));
}

/** A socket that keeps what is sent. */
class FakeSocket extends EventTarget {
  state = "online";
  sent = [];
  on = (name, fn) => this.addEventListener(name, (event) => fn(event.detail));
  hear = (frame) => this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  send(frame) {
    this.sent.push(frame);
    return true;
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve));
const types = (socket) => socket.sent.map((frame) => frame.type);

test("what happens in a turn, or during a save, is one save", async () => {
  const store = new SlowStore();
  let version = 1;
  const keeper = new Keeper(store, () => ({ version }));
  const first = Promise.all([keeper.save(), keeper.save()]);
  await turn();
  version = 2;
  const second = Promise.all([keeper.save(), keeper.save()]);
  await turn();
  assert.equal(store.saves.length, 1);
  store.saves[0].resolve();
  await first;
  assert.equal(keeper.version, 1);
  await turn();
  store.saves[1].reject(new Error("full"));
  await assert.rejects(second, /full/);
  assert.equal(keeper.version, 1);
  const third = keeper.save();
  await turn();
  store.saves[2].resolve();
  await third;
  assert.equal(keeper.version, 2);
});

async function connected() {
  const store = new SlowStore();
  const socket = new FakeSocket();
  const replica = new Replica({ channel: "list", socket, store });
  await turn();
  store.saves[0].resolve();
  await replica.ready;
  socket.hear({ type: "connected", siteId: "server", version: 0 });
  assert.deepEqual(types(socket), ["pull"]);
  return { store, socket, replica };
}

test("nothing is pushed before it is stored", async () => {
  const { store, socket, replica } = await connected();
  replica.put("todos", "1", { title: "tea" });
  await turn();
  replica.put("todos", "2", { title: "milk" });
  await turn();
  assert.deepEqual(types(socket), ["pull"]);
  store.saves[1].resolve();
  await turn();
  assert.deepEqual(socket.sent[1].changes.map((change) => change[1]), ["1"]);
  store.saves[2].reject(new Error("full"));
  await turn();
  assert.equal(socket.sent.length, 2);
});

test("nothing is acknowledged before it is stored", async () => {
  const { store, socket } = await connected();
  const changes = [["todos", "1", "title", "tea", 1, 1, "aa", 1, 0]];
  socket.hear({ type: "update", siteId: "server", version: 1, changes });
  await turn();
  assert.deepEqual(types(socket), ["pull"]);
  store.saves[1].resolve();
  await turn();
  assert.deepEqual(types(socket), ["pull", "ack"]);
  socket.hear({ type: "update", siteId: "server", version: 2, changes: [] });
  await turn();
  socket.hear({ type: "connected", siteId: "server", version: 2 });
  store.saves[2].resolve();
  await turn();
  assert.deepEqual(types(socket), ["pull", "ack", "pull"]); // that was another connection
});
