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
import { Emitter } from './emitter.js';
import { Live } from './live.js';
import { Replica } from './replica.js';
import { LiveSocket } from './socket.js';
import { LocalStore, MemoryStore } from './store.js';

/** A refusal, as the server words it. */
export class WharfError extends Error {
  /**
   * @param {{message?: string, code?: string, status?: number, errors?: Record<string, string[]>}} facts
   */
  constructor({ message, code, status, errors }) {
    super(message ?? 'Something went wrong.');
    this.name = 'WharfError';
    this.code = code ?? 'unknown';
    this.status = status ?? 0;
    this.errors = errors ?? {};
  }
}

/** Events: `user` (signed in, out, or as another; the user or null) and `expired` (signed out by the server). */
export class Wharf extends Emitter {
  /** @type {User | null} */
  user = null;
  #tokens = null;
  #refreshing = null;
  #config = null;
  #live = null;
  #replicas = new Set();
  #windows = null;

  /** @param {{url?: string}} [options] the server; the page's own when missing */
  constructor({ url } = {}) {
    super();
    const here = globalThis.location?.origin;
    this.url = new URL(url ?? here).origin;
    this.isAtHome = this.url === here;
    if (this.isAtHome) this.#followOtherWindows();
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

  // Accounts

  /**
   * Make an account and sign in.
   * @param {{email: string, password: string, name?: string}} form
   * @returns {Promise<User>}
   */
  register(form) {
    return this.#enter('/api/auth/register', form);
  }

  /**
   * Sign in.
   * @param {{email?: string, username?: string, password: string}} form
   * @returns {Promise<User>}
   */
  login(form) {
    return this.#enter('/api/auth/login', form);
  }

  /** Sign out here; replicas keep their rows for the next time. */
  async logout() {
    await this.#call('POST', '/api/auth/logout');
    this.#become(null);
    this.#windows?.postMessage('user');
  }

  /** @returns {Promise<User>} the account; rejects with 401 when signed out */
  me() {
    return this.json('GET', '/api/auth/me');
  }

  /**
   * Who is signed in, asked of the server: call it once on load.
   * @returns {Promise<User | null>}
   */
  async check() {
    const { authenticated, user } = await this.#call('GET', '/api/auth/check');
    if (authenticated) this.#become(user);
    else await this.#refresh();
    return this.user;
  }

  // JSON and files

  /**
   * Call any address of the server.
   * @param {string} method
   * @param {string} path
   * @param {object} [body] sent as JSON
   * @returns {Promise<any>} the answer; rejects with a WharfError
   */
  json(method, path, body) {
    return this.#retrying(() => this.#call(method, path, body));
  }

  /** @param {string} roomId @returns {Promise<object[]>} what was said, oldest first */
  messages(roomId) {
    return this.json('GET', `/api/rooms/${encodeURIComponent(roomId)}/messages`);
  }

  /** @returns {Promise<object[]>} one's own files, newest first */
  files() {
    return this.json('GET', '/api/files');
  }

  /**
   * Upload a file.
   * @param {File} file
   * @param {(part: number) => void} [onProgress] hears 0 to 1
   * @returns {Promise<object>} `{id, url, originalName, size, mimetype}`
   */
  upload(file, onProgress = () => {}) {
    return this.#retrying(() => this.#send(file, onProgress));
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
    const path = `/sync?channel=${encodeURIComponent(channel)}`;
    const socket = this.#socket(path, () => replica.pull());
    const kept = store ?? (globalThis.localStorage ? new LocalStore(key) : new MemoryStore());
    const replica = new Replica({ channel, socket, store: kept, tables });
    this.#replicas.add(replica);
    return replica;
  }

  // Below: how it is done

  async #enter(path, form) {
    this.#welcome(await this.#call('POST', path, form));
    this.#windows?.postMessage('user');
    return this.user;
  }

  #welcome(reply) {
    if (!this.isAtHome) this.#tokens = { access: reply.accessToken, refresh: reply.refreshToken };
    this.#become(reply.user);
  }

  /** Another user means other sockets: what is open belongs to the one before. */
  #become(user) {
    const isSame = (this.user?.id ?? null) === (user?.id ?? null);
    this.user = user;
    if (isSame) return;
    this.#live?.close();
    this.#live = null;
    for (const replica of this.#replicas) replica.close();
    this.#replicas.clear();
    if (!user) this.#tokens = null;
    this.emit('user', user);
  }

  #followOtherWindows() {
    this.#windows = new BroadcastChannel('wharf');
    this.#windows.onmessage = () => this.check().catch(() => {});
  }

  /** Run a call; refused for want of a session, renew that once and run it again. */
  async #retrying(call) {
    try {
      return await call();
    } catch (error) {
      if (error.status !== 401 || !this.user || !(await this.#refresh())) throw error;
      return call();
    }
  }

  /** Renew the session, once for all who ask at the same time: whether there still is one. */
  #refresh() {
    if (!this.user) return Promise.resolve(false);
    this.#refreshing ??= this.#renew().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  async #renew() {
    const body = this.#tokens ? { refreshToken: this.#tokens.refresh } : undefined;
    try {
      this.#welcome(await this.#call('POST', '/api/auth/refresh', body));
      return true;
    } catch (error) {
      if (error.status !== 401) throw error;
      this.#become(null);
      this.emit('expired');
      return false;
    }
  }

  async #call(method, path, body) {
    const headers = { ...this.#authorization() };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    const credentials = this.isAtHome ? 'same-origin' : 'omit';
    const options = { method, headers, credentials, body: JSON.stringify(body) };
    let response;
    try {
      response = await fetch(this.url + path, options);
    } catch {
      throw new WharfError({ message: 'The server cannot be reached.', code: 'unreachable' });
    }
    return readAnswer(response.status, await response.text());
  }

  #authorization() {
    return this.#tokens ? { Authorization: `Bearer ${this.#tokens.access}` } : {};
  }

  /** XMLHttpRequest, because fetch does not tell how far an upload is. */
  #send(file, onProgress) {
    const form = new FormData();
    form.append('file', file);
    const request = new XMLHttpRequest();
    request.open('POST', `${this.url}/api/upload`);
    for (const header of Object.entries(this.#authorization())) request.setRequestHeader(...header);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    return new Promise((resolve, reject) => {
      const lost = { message: 'The upload was interrupted.', code: 'unreachable' };
      request.onerror = () => reject(new WharfError(lost));
      request.onload = () => {
        resolve(new Promise((done) => done(readAnswer(request.status, request.responseText))));
      };
      request.send(form);
    });
  }

  #socket(path, probe) {
    const address = () => this.#address(path);
    return new LiveSocket({ address, session: () => this.check(), probe });
  }

  async #address(path) {
    this.#config ??= await this.#call('GET', '/api/config');
    const address = new URL(path, this.#config.socketUrl || this.url);
    address.protocol = address.protocol.replace('http', 'ws');
    if (this.#tokens) address.searchParams.set('token', this.#tokens.access);
    return address.href;
  }
}

/** The JSON of an answer; throws a WharfError for a refusal. */
function readAnswer(status, text) {
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    throw new WharfError({ message: 'The server answered strangely.', code: 'not_json', status });
  }
  if (status >= 200 && status < 300) return answer;
  throw new WharfError({ ...answer, status });
}

/**
 * @typedef {{id: number, name: string, email: string | null, role: string}} User
 * @typedef {{id: number, title: string, completed: boolean, createdAt: string, updatedAt: string}} Todo
 */
