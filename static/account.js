import { Emitter } from './emitter.js';
import { Server } from './server.js';

/**
 * Who is signed in, the account behind it, and calls made in that name; the base of Wharf.
 *
 * Events: `user` (signed in, out, or as another; the user or null) and `expired` (signed out by the
 * server: the session was ended elsewhere, or is too old).
 */
export class Account extends Emitter {
  /** @type {User | null} */
  user = null;
  #refreshing = null;
  #isLeaving = false;
  #windows = null;

  /** @param {{url?: string}} [options] the server; the page's own when missing */
  constructor({ url } = {}) {
    super();
    const here = globalThis.location?.origin;
    this.url = new URL(url ?? here).origin;
    this.isAtHome = this.url === here;
    this.server = new Server(this.url, this.isAtHome);
    if (this.isAtHome) this.#followOtherWindows();
  }

  // In and out

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
    this.#isLeaving = true; // our sockets may be closed before the answer is here
    try {
      await this.server.call('POST', '/api/auth/logout');
      this.#become(null);
    } finally {
      this.#isLeaving = false;
    }
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
    const { authenticated, user } = await this.server.call('GET', '/api/auth/check');
    if (authenticated) this.#become(user);
    else if (this.server.tokens) await this.#refresh();
    else this.#expire();
    return this.user;
  }

  // The account

  /** Where one is signed in. A session that is ended takes its sockets along. */
  sessions = {
    /** @returns {Promise<Session[]>} the one used last first */
    list: () => this.json('GET', '/api/auth/sessions'),
    /** Sign one device out. @param {string} id */
    end: (id) => this.json('DELETE', `/api/auth/sessions/${encodeURIComponent(id)}`),
    /** Sign all other devices out. @returns {Promise<{ended: number}>} how many */
    endOthers: () => this.json('DELETE', '/api/auth/sessions'),
  };

  /**
   * Set a new password; all other devices are signed out.
   * @param {{currentPassword: string, newPassword: string}} form
   */
  changePassword({ currentPassword, newPassword }) {
    return this.json('PUT', '/api/auth/password', { currentPassword, newPassword });
  }

  /**
   * Ask for a mail with a link to set a new password.
   * @param {{email: string}} form
   * @returns {Promise<{message: string}>} the same whether there is such an account or not
   */
  requestReset({ email }) {
    return this.json('POST', '/api/auth/password-reset', { email });
  }

  /**
   * Set a new password by the token of such a link; all devices are signed out.
   * @param {{token: string, password: string}} form
   */
  reset({ token, password }) {
    return this.json('POST', '/api/auth/password-reset/confirm', { token, password });
  }

  /**
   * What happened to one's account.
   * @param {{limit?: number}} [options] how many entries, 20 when missing
   * @returns {Promise<Activity[]>} newest first
   */
  async activity({ limit = 20 } = {}) {
    const own = `user_id=${this.user?.id ?? 0}`; // an admin would get everybody's
    return (await this.json('GET', `/api/auth/activity?${own}&limit=${limit}`)).items;
  }

  // Calls

  /**
   * Call any address of the server.
   * @param {string} method
   * @param {string} path
   * @param {object} [body] sent as JSON
   * @returns {Promise<any>} the answer; rejects with a WharfError
   */
  json(method, path, body) {
    return this.retrying(() => this.server.call(method, path, body));
  }

  /** Run a call; refused for want of a session, renew that once and run it again. */
  async retrying(call) {
    try {
      return await call();
    } catch (error) {
      if (error.status !== 401 || !this.user || !(await this.#refresh())) throw error;
      return call();
    }
  }

  // Below: how it is done

  async #enter(path, form) {
    this.#welcome(await this.server.call('POST', path, form));
    this.#windows?.postMessage('user');
    return this.user;
  }

  #welcome({ accessToken, refreshToken, user }) {
    if (!this.isAtHome) this.server.tokens = { access: accessToken, refresh: refreshToken };
    this.#become(user);
  }

  #become(user) {
    const isSame = (this.user?.id ?? null) === (user?.id ?? null);
    this.user = user;
    if (isSame) return;
    if (!user) this.server.tokens = null;
    this.emit('user', user);
  }

  /** The server knows us no longer. */
  #expire() {
    if (!this.user) return;
    this.#become(null);
    if (!this.#isLeaving) this.emit('expired');
  }

  #followOtherWindows() {
    this.#windows = new BroadcastChannel('wharf');
    this.#windows.onmessage = () => this.check().catch(() => {});
  }

  /** Renew the session, once for all who ask at the same time: whether there still is one. */
  #refresh() {
    if (!this.user) return Promise.resolve(false);
    this.#refreshing ??= this.#renew().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  /** Tokens are renewed by each other; a cookie by its use, so that there is only to ask. */
  async #renew() {
    const { tokens } = this.server;
    if (!tokens) return (await this.check()) !== null;
    const body = { refreshToken: tokens.refresh };
    try {
      this.#welcome(await this.server.call('POST', '/api/auth/refresh', body));
      return true;
    } catch (error) {
      if (error.status !== 401) throw error;
      this.#expire();
      return false;
    }
  }
}

/**
 * @typedef {{id: number, name: string, email: string | null, role: string}} User
 * @typedef {object} Session a sign-in on one device
 * @property {string} id
 * @property {string} device what the browser calls itself
 * @property {string} address
 * @property {string} createdAt
 * @property {string} lastActive
 * @property {boolean} isCurrent whether it is this one
 * @typedef {{type: string, detail: string, device: string, address: string, createdAt: string}} Activity
 */
