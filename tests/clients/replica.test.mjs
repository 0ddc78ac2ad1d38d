import assert from "node:assert/strict";
import { test } from "node:test";
import { Wharf } from "../../static/wharf.js";

const sockets = [];

/** A socket that connects to nothing. */
globalThis.WebSocket = class {
  static OPEN = 1;
  readyState = 1;
  constructor() {
    sockets.push(this);
  }

  send() {}
  close() {}
};

const store = { load: () => null, save: async () => {} };
const turn = () => new Promise((resolve) => setTimeout(resolve));

function page() {
  const wharf = new Wharf({ url: "http://localhost" });
  const replica = wharf.replica("list", { store });
  for (const socket of [replica.socket, wharf.socket]) socket.address = async () => "ws://localhost";
  return { wharf, replica };
}

/** The server greets a client, and closes its socket. */
async function closed(code, reason) {
  await turn();
  const socket = sockets.at(-1);
  socket.onmessage({ data: JSON.stringify({ type: "connected", siteId: "server", version: 0 }) });
  socket.onclose({ code, reason });
}

test("a replica that is shown out says why, and stays offline until it is told", async () => {
  const { replica } = page();
  const errors = [];
  replica.on("error", (error) => errors.push(error));
  await replica.goOnline();
  await closed(1008, "not a member any longer");
  assert.equal(replica.state, "offline");
  assert.deepEqual(errors, [{ code: "shut_out", message: "not a member any longer" }]);
  await replica.goOnline();
  assert.equal(replica.state, "connecting");
  replica.close();
});

for (const [code, reason] of [[1013, "your role changed"], [1006, ""], [1008, "too many messages"]]) {
  test(`a replica comes back after ${code} ${reason}`, async () => {
    const { replica } = page();
    replica.on("error", assert.fail);
    await replica.goOnline();
    await closed(code, reason);
    assert.equal(replica.state, "connecting");
    replica.close();
  });
}

test("the chat comes back, whatever closed it", async () => {
  const { wharf } = page();
  wharf.socket.open();
  await closed(1008, "too many messages");
  assert.equal(wharf.socket.state, "connecting");
  wharf.live.close();
});

test("names that the server would refuse are no names", async () => {
  const { replica } = page();
  await replica.ready;
  const bad = [undefined, null, 7, "", "x".repeat(1025), "a\0b", "a\ud800", "é".repeat(750)];
  for (const name of bad) {
    assert.throws(() => replica.put(name, "k", { a: 1 }), TypeError);
    assert.throws(() => replica.put("t", name, { a: 1 }), TypeError);
    assert.throws(() => replica.remove("t", name), TypeError);
    assert.throws(() => replica.remove(name, "k"), TypeError);
  }
  for (const name of [...bad.slice(3), "pk", "-1"]) {
    assert.throws(() => replica.put("t", "k", { a: 1, [name]: 1 }), TypeError);
  }
  assert.deepEqual(replica.rows("t"), []);
  replica.put("t", "😀".repeat(370), { "💡": 1, "x ": 2 });
  replica.put("-1", "-1", { ["x".repeat(1024)]: 1 });
  assert.equal(replica.pending, 3);
});
