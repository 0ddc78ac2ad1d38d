import { Emitter } from './emitter.js';
import { Room } from './room.js';

/**
 * What is live: rooms and watched tables over the chat socket, resumed where they were after every
 * reconnection. Reached as `wharf.live`; opened by the first room or watch.
 */
export class Live extends Emitter {
  #rooms = new Map();
  #watches = new Map();
  #user = null;

  /** @param {import('./socket.js').LiveSocket} socket */
  constructor(socket) {
    super();
    this.socket = socket;
    socket.on('frame', (frame) => this.#take(frame));
    socket.on('state', (state) => state !== 'online' && this.#interrupt());
  }

  /**
   * The room of this name, joined now and after every reconnection.
   * @param {string} id
   * @returns {Room}
   */
  room(id) {
    let room = this.#rooms.get(id);
    if (!room) {
      room = new Room(id, (frame) => this.socket.send(frame), () => this.#rooms.delete(id));
      this.#rooms.set(id, room);
      room.me = this.#user;
      room.join();
      this.socket.open();
    }
    return room;
  }

  /**
   * Hear of every change of a table's rows that one may see.
   * @param {string} table
   * @param {(change: Change) => void} fn
   * @param {() => void} [onReady] called when the watch stands, and again after each reconnection
   * @returns {() => void} stops watching
   */
  watch(table, fn, onReady = () => {}) {
    let watch = this.#watches.get(table);
    if (!watch) {
      watch = { table, seq: undefined, ready: false, listeners: new Set() };
      this.#watches.set(table, watch);
      this.#subscribe(watch);
    }
    const listener = { fn, onReady };
    watch.listeners.add(listener);
    if (watch.ready) onReady();
    this.socket.open();
    return () => this.#unwatch(watch, listener);
  }

  /** Leave everything and disconnect. */
  close() {
    for (const room of [...this.#rooms.values()]) room.leave();
    this.#watches.clear();
    this.socket.close();
  }

  #subscribe(watch) {
    const { table, seq } = watch;
    this.socket.send({ type: 'subscribe', payload: { table }, since: seq });
  }

  #unwatch(watch, listener) {
    watch.listeners.delete(listener);
    if (watch.listeners.size || this.#watches.get(watch.table) !== watch) return;
    this.#watches.delete(watch.table);
    this.socket.send({ type: 'unsubscribe', payload: { table: watch.table } });
  }

  #interrupt() {
    for (const watch of this.#watches.values()) watch.ready = false;
    for (const room of this.#rooms.values()) room.interrupt();
  }

  #take(frame) {
    if (frame.type === 'connected') this.#resume(frame.user);
    else if (frame.type === 'system') this.#confirm(frame.payload);
    else if (frame.type === 'database_change') this.#change(frame);
    else if (frame.type === 'ack' || frame.type === 'error') this.#answer(frame);
    else this.#rooms.get(frame.roomId)?.take(frame);
  }

  #resume(user) {
    this.#user = user;
    for (const room of this.#rooms.values()) {
      room.me = user;
      room.join();
    }
    for (const watch of this.#watches.values()) this.#subscribe(watch);
  }

  #confirm(payload) {
    const watch = this.#watches.get(payload?.subscribed);
    if (!watch) return;
    // A lower count than ours: the server started anew, and so do we.
    if (watch.seq === undefined || payload.seq < watch.seq) watch.seq = payload.seq;
    watch.ready = true;
    for (const { onReady } of watch.listeners) onReady();
  }

  #change(frame) {
    const watch = this.#watches.get(frame.table);
    if (!watch || frame.seq <= watch.seq) return;
    watch.seq = frame.seq;
    const { table, event, old, seq } = frame;
    for (const { fn } of watch.listeners) fn({ table, event, row: frame.new ?? frame.data, old, seq });
  }

  /** Acknowledgements and errors that name a message go to its room; other errors are reported. */
  #answer(frame) {
    for (const room of this.#rooms.values()) if (room.settle(frame)) return;
    if (frame.type === 'error') this.emit('error', frame);
  }
}

/**
 * @typedef {object} Change
 * @property {string} table
 * @property {'INSERT' | 'UPDATE' | 'DELETE'} event
 * @property {object} row the row now; for a DELETE, the row that went
 * @property {object | null} old the row before
 * @property {number} seq its place in the order of changes
 */
