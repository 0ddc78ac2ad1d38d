// Whole replicas of wharf.js, each as in a page of its own: does what lines of its input say, and
// answers each when it is done. Every line has the number of a page, as {"page": 1}, and any of
// {"open": {url, channel, user, token}} or {"open": {url, channel, email, password}} first, then
// {"put": [table, pk, values]}, {"remove": [table, pk]}, {"rows": table}, {"offline": true},
// {"online": port} at another port, or true; {"cut": true}, {"reload": true}, {"reset": true} and
// {"close": true}. Answers how the page is then, and what it was told since the last answer.
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { Wharf } from "../../static/wharf.js";

const PRIMER = "wharf_primer";
const SLOWEST = 20; // milliseconds that storing takes, as on a disk
const pages = new Map();
const wires = new Map(); // the socket of each address, which a ticket makes unique

/** A socket like a browser's, whose wire can be cut. */
globalThis.WebSocket = class extends WebSocket {
  constructor(address) {
    super(address);
    wires.set(address, this);
    this.on("error", () => {}); // a browser throws none
    this.on("close", () => wires.delete(address));
  }

  cut() {
    if (this._socket) this._socket.resetAndDestroy();
    else this.terminate();
  }
};

/** What a page has of a disk, until it is gone: what it was storing then may be lost. */
class SlowStore {
  isGone = false;

  constructor(disk) {
    this.disk = disk;
  }

  load() {
    return JSON.parse(this.disk.text);
  }

  async save(state) {
    const text = JSON.stringify(state);
    await new Promise((done) => setTimeout(done, Math.random() * SLOWEST));
    if (this.isGone) await new Promise(() => {});
    this.disk.text = text;
  }
}

/** A replica as its user and its server have it. */
class Page {
  disk = { text: "null" };
  acked = 0; // the highest own version, and the channel's, in an ack
  serverVersion = 0;
  isAnswered = false; // the pull of this connection
  news = { greetings: [], errors: [] };

  async open({ url, channel, user, token, ...form }) {
    this.channel = channel;
    this.wharf = new Wharf({ url });
    if (token) this.wharf.server.tokens = { access: token };
    if (token) this.wharf.user = user;
    else await this.wharf.login(form);
    await this.load();
  }

  async load() {
    this.store = new SlowStore(this.disk);
    this.replica = this.wharf.replica(this.channel, { store: this.store });
    const { socket } = this.replica;
    const address = socket.address;
    socket.address = async () => (this.address = this.at(await address()));
    socket.on("frame", (frame) => this.hear(frame));
    socket.on("signed-out", () => this.news.errors.push({ code: "signed-out" }));
    this.replica.on("error", (error) => this.news.errors.push(error));
    await this.replica.ready;
  }

  /** An address at the port that was chosen, as a proxy chooses among processes. */
  at(address) {
    const chosen = new URL(address);
    if (this.port) chosen.port = this.port;
    return chosen.href;
  }

  hear({ type, version, serverVersion, changes }) {
    if (type === "connected") {
      this.isAnswered = false;
      this.news.greetings.push(version);
    } else if (type === "ack") {
      this.acked = Math.max(this.acked, version);
      this.serverVersion = Math.max(this.serverVersion, serverVersion);
    } else if (type === "update") {
      this.isAnswered ||= changes[0]?.[0] !== PRIMER;
    }
  }

  put(write) {
    this.replica.put(...write);
  }

  remove(row) {
    this.replica.remove(...row);
  }

  rows(table) {
    return this.replica.rows(table);
  }

  offline() {
    this.replica.goOffline();
  }

  online(port) {
    if (port !== true) this.port = port;
    return this.replica.goOnline();
  }

  /** The network fails; the page comes back by itself. */
  cut() {
    wires.get(this.address)?.cut();
  }

  /** The page ends without a word, and is opened again, offline. */
  async reload() {
    this.end();
    await this.load();
  }

  /** It is opened again after the browser has forgotten its data. */
  async reset() {
    this.end();
    this.disk = { text: "null" };
    this.acked = 0;
    await this.load();
  }

  end() {
    this.store.isGone = true;
    this.cut();
    this.replica.goOffline();
  }

  tell(told) {
    const { state, pending, version } = this.replica;
    const { acked, serverVersion, isAnswered, news } = this;
    this.news = { greetings: [], errors: [] };
    const written = this.replica.pull().version; // the highest own version
    return { state, pending, version, written, acked, serverVersion, isAnswered, ...news, ...told };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { page: number, close, ...actions } = JSON.parse(line);
  if (actions.open) pages.set(number, new Page());
  const page = pages.get(number);
  const told = {};
  for (const [action, argument] of Object.entries(actions)) told[action] = await page[action](argument);
  console.log(JSON.stringify(page.tell({ rows: told.rows })));
  if (close) page.end();
  if (close) pages.delete(number);
}
process.exit();
