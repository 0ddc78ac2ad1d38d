/**
 * The browser client of Wharf: accounts, todos, files, chat, live tables and offline replicas.
 *
 *     const wharf = new Wharf();
 *     await wharf.login({ email, password });
 *     const room = wharf.room('lobby');
 *     room.on('message', ({ userName, content }) => console.log(userName, content));
 *     room.send('Hello');
 *
 * On its own server's pages it signs in by an HttpOnly cookie that no script can read; elsewhere,
 * by tokens that live as long as this object.
 */
import { Account } from './account.js';
import { Live } from './live.js';
import { Replica } from './replica.js';
import { ResumableUpload } from './resumable.js';
import { LiveSocket } from './socket.js';
import { bestStore } from './store.js';

export { WharfError } from './server.js';

const POLICY = 1008;
/** Shown out of a channel; who only sent too much comes back. */
const isShutOut = ({ code, reason }) => code === POLICY && reason !== 'too many messages';

/** The account of its base, and all that is done with it. */
export class Wharf extends Account {
  #config = null;
  #live = null;
  #replicas = new Set();

  /** @param {{url?: string}} [options] the server; the page's own when missing */
  constructor(options) {
    super(options);
    this.on('user', () => this.#hangUp());
  }

  /** Todos: one's own, or the public list while signed out. */
  todos = {
    /** @returns {Promise<Todo[]>} newest first */
    list: () => this.json('GET', '/api/todos'),
    /** @param {{title: string}} todo @returns {Promise<Todo>} */
    create: (todo) => this.json('POST', '/api/todos', todo),
    /** @param {number} id @param {Partial<Todo>} changes @returns {Promise<Todo>} */
    update: (id, changes) => this.json('PATCH', `/api/todos/${id}`, changes),
    /** @param {number} id */
    delete: (id) => this.json('DELETE', `/api/todos/${id}`),
  };

  // Messages and files

  /** @param {string} roomId @returns {Promise<object[]>} what was said, oldest first */
  messages(roomId) {
    return this.json('GET', `/api/rooms/${encodeURIComponent(roomId)}/messages`);
  }

  /** @returns {Promise<object[]>} one's own files and those shared with one, newest first */
  files() {
    return this.json('GET', '/api/files');
  }

  /**
   * Upload a file. It goes on by itself after the connection was cut, and where it was when the same
   * file is uploaded again after a reload.
   *
   *     const upload = wharf.upload(file, (part) => (bar.value = part));
   *     button.onclick = () => upload.pause(); // and upload.resume(), upload.cancel()
   *     const { url } = await upload;
   *
   * @param {File} file
   * @param {(part: number) => void} [onProgress] hears 0 to 1
   * @param {{folderId?: number | null, onState?: (state: string) => void}} [options] `onState` hears
   *   'sending', 'waiting' (for the connection) and 'paused'
   * @returns {Promise<object> & {pause: () => void, resume: () => void, cancel: () => void}}
   *   `{id, url, originalName, size, mimetype}`; rejects with the code 'cancelled' when it was
   */
  upload(file, onProgress = () => {}, { folderId = null, onState = () => {} } = {}) {
    const upload = new ResumableUpload(this, file, folderId);
    upload.on('progress', onProgress);
    upload.on('state', onState);
    const { pause, resume, cancel } = upload;
    return Object.assign(upload.run(), { pause, resume, cancel });
  }

  // Live

  /** The chat socket and what runs over it. */
  get live() {
    this.#live ??= new Live(this.#socket('/ws', () => ({ type: 'ping', sentAt: Date.now() })));
    return this.#live;
  }

  /** The chat socket itself: its `state`, its `frame` events, and `send` for frames of one's own. */
  get socket() {
    return this.live.socket;
  }

  /** A chat room, joined. @param {string} id @returns {import('./room.js').Room} */
  room(id) {
    return this.live.room(id);
  }

  /**
   * Hear of every change of a table, such as `todos`.
   * @param {string} table
   * @param {(change: import('./live.js').Change) => void} fn
   * @param {() => void} [onReady] called whenever the watch stands: a good time to list the table
   * @returns {() => void} stops watching
   */
  watch(table, fn, onReady) {
    return this.live.watch(table, fn, onReady);
  }

  /**
   * A local-first copy of a channel, offline until `goOnline()`.
   * @param {string} [channel] `default` is private to the user
   * @param {{name?: string, tables?: string[], store?: import('./store.js').Store}} [options]
   *   `name` tells replicas of one channel in one browser apart
   * @returns {Replica}
   */
  replica(channel = 'default', { name = 'main', tables, store } = {}) {
    const key = `wharf.replica:${this.user?.id ?? 0}:${channel}:${name}`;
    const path = `/sync?channel=${encodeURIComponent(channel)}&kind=cl`;
    const socket = this.#socket(path, () => replica.pull(), isShutOut);
    const replica = new Replica({ channel, socket, store: store ?? bestStore(key), tables });
    this.#replicas.add(replica);
    return replica;
  }

  /** @returns {Promise<object>} what the server says to pages: where its sockets are, what it takes */
  async config() {
    this.#config ??= await this.server.call('GET', '/api/config');
    return this.#config;
  }

  // Below: how it is done

  /** Another user means other sockets: what is open belongs to the one before. */
  #hangUp() {
    this.#live?.close();
    this.#live = null;
    for (const replica of this.#replicas) replica.close();
    this.#replicas.clear();
  }

  #socket(path, probe, isFinal) {
    const address = () => this.#address(path);
    return new LiveSocket({ address, session: () => this.check(), probe, isFinal });
  }

  async #address(path) {
    const { socketUrl } = await this.config();
    const address = new URL(path, socketUrl || this.url);
    address.protocol = address.protocol.replace('http', 'ws');
    if (this.user && !this.#sendsCookie(address)) {
      const { ticket } = await this.json('POST', '/api/auth/ticket');
      address.searchParams.set('ticket', ticket);
    }
    return address.href;
  }

  /** Cookies go to the host they came from, at any port. */
  #sendsCookie({ hostname }) {
    return this.isAtHome && hostname === new URL(this.url).hostname;
  }
}

/**
 * @typedef {import('./account.js').User} User
 * @typedef {{id: number, title: string, completed: boolean, createdAt: string, updatedAt: string}} Todo
 */
