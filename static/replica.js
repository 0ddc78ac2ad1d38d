import { ROW } from './crdt.js';
import { Emitter } from './emitter.js';
import { Keeper } from './keeper.js';
import { Ledger } from './ledger.js';

const PUSH_SIZE = 1_000;
const LONGEST_NAME = 1_024;
const MOST_BYTES = 1_500;
const PRIMER = 'wharf_primer'; // a table that means nothing (docs/sync.md, sending)

/** Whether a cell can hold this. */
const isScalar = (val) =>
  val === null || ['string', 'boolean'].includes(typeof val) || Number.isFinite(val);

/** Throw unless the server takes these as names (docs/sync.md, limits). */
function checkNames(table, pk, cids = []) {
  for (const [what, name] of [['table', table], ['key', pk], ...cids.map((cid) => ['column', cid])]) {
    const isText = typeof name === 'string' && !/[\0\p{Surrogate}]/u.test(name);
    if (!isText || !name || [...name].length > LONGEST_NAME) {
      throw new TypeError(`A ${what} is a text of 1 to ${LONGEST_NAME} characters, without NUL and lone surrogates.`);
    }
  }
  for (const cid of cids) if (['pk', ROW].includes(cid)) throw new TypeError(`A column cannot be named ${cid}.`);
  const bytes = [ROW, ...cids].map((cid) => new TextEncoder().encode(table + pk + cid).length);
  if (Math.max(...bytes) > MOST_BYTES) {
    throw new TypeError(`Table, key and column have ${MOST_BYTES} bytes together at most.`);
  }
}

/**
 * A local-first copy of a channel's tables. Reads and writes are local and work offline; replicas
 * of a channel hold the same rows once they have talked to the server (docs/sync.md).
 *
 * Events: `change` (rows changed, here or elsewhere) and `status` (`state`, `pending` or `version`
 * changed), `error` (the server refused a change, the frame; this browser cannot store one; or
 * `shut_out`: one is no longer let in, and offline).
 */
export class Replica extends Emitter {
  /** The last version of the channel heard of, counted by the server. */
  version = 0;
  #ledger = new Ledger(null);
  #keeper;
  #server = '';
  #connection = 0;
  #sent = 0;
  #pushed = 0;
  #isLoaded = false;
  #isWanted = false;

  /**
   * @param {object} options
   * @param {string} options.channel
   * @param {import('./socket.js').LiveSocket} options.socket
   * @param {import('./store.js').Store} options.store
   * @param {string[]} [options.tables] the tables to keep; all when missing
   */
  constructor({ channel, socket, store, tables }) {
    super();
    this.channel = channel;
    this.socket = socket;
    this.store = store;
    this.tables = tables && new Set(tables);
    this.#keeper = new Keeper(store, () => this.#state());
    socket.on('frame', (frame) => this.#take(frame));
    socket.on('state', () => this.emit('status'));
    socket.on('shut-out', (reason) => this.#leave(reason));
    /** @type {Promise<Replica>} settles when the rows have been loaded */
    this.ready = this.#load();
  }

  /** The name this replica writes under. */
  get siteId() {
    return this.#ledger.siteId;
  }

  /** @returns {'offline' | 'connecting' | 'online'} */
  get state() {
    return this.socket.state;
  }

  /** How many changes made here the server is not known to have. */
  get pending() {
    return this.#ledger.since(this.#acked).length;
  }

  /**
   * The rows of a table, each with its key as `pk`, ordered by key.
   * @param {string} table
   * @returns {object[]}
   */
  rows(table) {
    const rows = this.#ledger.rows(table).map(([pk, row]) => ({ ...row, pk }));
    return rows.sort((one, two) => (one.pk < two.pk ? -1 : 1));
  }

  /**
   * Write cells of a row; a new key makes a new row.
   * @param {string} table
   * @param {string} pk
   * @param {Record<string, string | number | boolean | null>} values
   */
  put(table, pk, values) {
    this.#needRows();
    checkNames(table, pk, Object.keys(values));
    if (!Object.values(values).every(isScalar)) {
      throw new TypeError('A cell holds a text, a number, true, false or null.');
    }
    if (this.#ledger.write(table, pk, values)) this.#wrote();
  }

  /**
   * Delete a row.
   * @param {string} table
   * @param {string} pk
   */
  remove(table, pk) {
    this.#needRows();
    checkNames(table, pk);
    if (this.#ledger.remove(table, pk)) this.#wrote();
  }

  /** Connect and stay in step with the others. */
  async goOnline() {
    this.#isWanted = true;
    await this.ready;
    if (this.#isWanted) this.socket.open();
  }

  /** Work alone; what is written meanwhile is sent on return. */
  goOffline() {
    this.#isWanted = false;
    this.socket.close();
  }

  /** Done with this replica; its rows stay in the store. */
  close() {
    this.goOffline();
    this.ready.then(() => this.#keeper.rest()).then(() => this.store.close?.());
  }

  /** The frame that asks for what we miss; the socket also sends it to feel the server's pulse. */
  pull() {
    return { type: 'pull', ...this.#header(this.#ledger.version) };
  }

  get #acked() {
    return this.#ledger.acks[this.#server] ?? 0;
  }

  async #load() {
    const saved = await this.store.load();
    this.#ledger = new Ledger(saved);
    this.#server = saved?.server ?? '';
    this.#isLoaded = true;
    this.version = saved?.channelVersion ?? 0;
    this.emit('change');
    this.emit('status');
    await this.#save(); // the site id, from the first moment on
    return this;
  }

  #needRows() {
    if (!this.#isLoaded) throw new Error('Await replica.ready before writing.');
  }

  #state() {
    return { ...this.#ledger.toJSON(), server: this.#server, channelVersion: this.version };
  }

  /** @returns {Promise<boolean>} whether all there is now is stored for good */
  async #save() {
    try {
      await this.#keeper.save();
      return true;
    } catch {
      this.emit('error', { code: 'store_full', message: 'This browser has no room left; changes are not sent.' });
      return false;
    }
  }

  async #wrote() {
    this.emit('change');
    this.emit('status');
    if (await this.#save()) this.#push();
  }

  #take(frame) {
    if (frame.type === 'connected') this.#connect(frame);
    else if (frame.type === 'ack') this.#acknowledge(frame);
    else if (frame.type === 'update') this.#update(frame);
    else if (frame.type === 'error') this.emit('error', frame);
  }

  #leave(reason) {
    this.#isWanted = false;
    this.emit('error', { code: 'shut_out', message: reason });
  }

  #connect({ siteId, version }) {
    if (siteId !== this.#server) this.version = 0;
    this.version = Math.max(this.version, version);
    this.#server = siteId;
    this.#connection += 1;
    this.#sent = this.#acked;
    this.#push();
    this.#pushed = this.#sent;
    this.socket.send(this.pull());
  }

  /**
   * Send own changes that are stored and were not sent on this connection, without splitting a
   * transaction.
   */
  #push() {
    if (!this.#server || this.state !== 'online') return;
    let batch = [];
    for (const change of this.#ledger.since(this.#sent)) {
      if (change[5] > this.#keeper.version) break;
      if (batch.length >= PUSH_SIZE && change[5] > batch.at(-1)[5]) {
        this.#sendUpdate(batch);
        batch = [];
      }
      batch.push(change);
    }
    if (batch.length) this.#sendUpdate(batch);
  }

  #sendUpdate(changes) {
    const update = { type: 'update', ...this.#header(this.#ledger.version), changes };
    if (this.socket.send(update)) this.#sent = changes.at(-1)[5];
  }

  #acknowledge({ siteId, version, serverVersion = 0 }) {
    this.#ledger.settle(siteId, version, serverVersion);
    this.version = Math.max(this.version, serverVersion);
    this.#save();
    this.emit('status');
  }

  async #update({ version, changes }) {
    const connection = this.#connection;
    // Until all we pushed on connecting is in, updates may come live, ahead of our pull's answer:
    // to acknowledge one would claim that we hold everything before it.
    const isWhole = this.#acked >= this.#pushed;
    const changed = this.#ledger.merge(changes.filter(([table]) => this.#keeps(table)), this.#acked);
    this.version = Math.max(this.version, version);
    if (changed) this.emit('change');
    this.emit('status');
    if (!(await this.#save())) return;
    if (isWhole && connection === this.#connection) {
      this.socket.send({ type: 'ack', ...this.#header(version) });
    }
    this.#push(); // what was written again
  }

  #keeps(table) {
    return table !== PRIMER && (this.tables?.has(table) ?? true);
  }

  #header(version) {
    return { siteId: this.#ledger.siteId, version, channel: this.channel };
  }
}
