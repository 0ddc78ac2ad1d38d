import { Emitter, randomId } from './emitter.js';

const TYPING_EVERY = 2_000;
const REMEMBERED = 1_000;

/**
 * A chat room. What is said while offline is kept and sent again under the same id, so that a
 * retry is stored once.
 *
 * Events: `message` (a message, once, in order), `presence` ({members, joined?, left?}), `typing`
 * (who), `joined` ({resumed}: false means fetch the history), `unsent` (what waits), `error`.
 */
export class Room extends Emitter {
  /** @type {{id: number, name: string}[]} */
  members = [];
  /** @type {{id: number, name: string} | null} who we are, once connected */
  me = null;
  isJoined = false;
  #seq = undefined;
  #hasJoined = false; // before our first answer something may be heard, and have a seq
  #seen = new Set();
  #outbox = new Map();
  #typedAt = 0;

  /**
   * @param {string} id
   * @param {(frame: object) => boolean} send
   * @param {() => void} onLeave
   */
  constructor(id, send, onLeave) {
    super();
    this.id = id;
    this.sendFrame = send;
    this.onLeave = onLeave;
  }

  /** What was said here and is not known to be stored yet, oldest first. */
  get unsent() {
    return [...this.#outbox.values()].map(({ id, content }) => ({ id, content }));
  }

  /**
   * Say something.
   * @param {string} content
   * @returns {Promise<object>} the stored message; rejects when the server refuses it
   */
  send(content) {
    const id = randomId();
    this.#typedAt = 0;
    return new Promise((resolve, reject) => {
      this.#outbox.set(id, { id, content, resolve, reject });
      if (this.isJoined) this.#post(id, content);
      this.emit('unsent', this.unsent);
    });
  }

  /** Tell the others that one is typing; call it on every key, it is sent now and then. */
  typing() {
    const now = Date.now();
    if (!this.isJoined || now - this.#typedAt < TYPING_EVERY) return;
    this.#typedAt = now;
    this.sendFrame({ type: 'typing', roomId: this.id });
  }

  /** Leave for good; what was not sent is given up. */
  leave() {
    this.sendFrame({ type: 'leave-room', roomId: this.id });
    this.interrupt();
    for (const { reject } of this.#outbox.values()) reject(new Error('You left the room.'));
    this.#outbox.clear();
    this.onLeave();
  }

  /** Join, or come back to where we were (called on every connection). */
  join() {
    this.sendFrame({ type: 'join-room', roomId: this.id, since: this.#seq });
  }

  /** The connection is gone (called by Live). */
  interrupt() {
    this.isJoined = false;
  }

  /** A frame of this room (called by Live). */
  take(frame) {
    if (frame.type === 'chat-message') this.#hear(frame);
    else if (frame.type === 'user-typing') this.emit('typing', frame.user);
    else if (frame.type === 'user-joined') this.#welcome(frame);
    else if (frame.type === 'user-left') this.#part(frame);
  }

  /** An `ack` or `error` frame: true when it answers one of our messages (called by Live). */
  settle(frame) {
    const said = this.#outbox.get(frame.id);
    if (!said) return false;
    this.#outbox.delete(frame.id);
    if (frame.type === 'ack') {
      said.resolve(frame.message);
      this.#deliver(frame.message);
    } else {
      said.reject(Object.assign(new Error(frame.message), { code: frame.code }));
    }
    this.emit('unsent', this.unsent);
    return true;
  }

  #post(id, content) {
    this.sendFrame({ type: 'chat-message', roomId: this.id, content, id });
  }

  #hear({ seq, message }) {
    if (seq <= this.#seq) return;
    this.#seq = seq;
    this.#deliver(message);
  }

  /** Report a message unless it came before: once by its acknowledgement, once with the room. */
  #deliver(message) {
    if (!message || this.#seen.has(message.id)) return;
    this.#seen.add(message.id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    this.emit('message', message);
  }

  #welcome(frame) {
    if (!this.isJoined && frame.members) this.#start(frame.seq); // only ours lists the members
    const others = this.members.filter((one) => one.id !== frame.user.id);
    this.#present({ joined: frame.user }, frame.members ?? [...others, frame.user]);
  }

  #part({ user }) {
    this.#present({ left: user }, this.members.filter((one) => one.id !== user.id));
  }

  #start(seq) {
    const resumed = this.#hasJoined && seq >= this.#seq;
    this.#hasJoined = true;
    if (!resumed) {
      this.#seq = seq; // new here, or the server started anew
      this.#seen.clear();
    }
    this.isJoined = true;
    this.emit('joined', { resumed });
    for (const { id, content } of this.#outbox.values()) this.#post(id, content);
  }

  #present(change, members) {
    this.members = members;
    this.emit('presence', { ...change, members });
  }
}
