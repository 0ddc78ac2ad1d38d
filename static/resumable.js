import { Emitter } from './emitter.js';
import { WharfError } from './server.js';

const PIECE = 1 << 24; // bytes of one request: what the server has made safe when it answers
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
const TUS = { 'Tus-Resumable': '1.0.0' };
const BODY = { ...TUS, 'Content-Type': 'application/offset+octet-stream' };

/**
 * One file on its way to the server by the tus protocol, used by `wharf.upload`. What arrived before
 * the connection was cut is not sent again. Where it goes is kept in localStorage until it is there,
 * so that it also goes on after a reload.
 *
 * Events: `progress` (0 to 1) and `state` ('sending', 'waiting' for the server, 'paused').
 */
export class ResumableUpload extends Emitter {
  state = 'sending';
  #offset = null; // null: to be asked
  #arrived = 0; // what the server last said it has
  #failures = 0; // since something arrived
  #cut = new AbortController();
  #wake = () => {};

  /** @param {import('./account.js').Account} account @param {File} file @param {number | null} folderId */
  constructor(account, file, folderId) {
    super();
    Object.assign(this, { account, file, folderId });
    const facts = [account.url, account.user?.id, folderId, file.name, file.size, file.lastModified];
    this.key = `wharf.upload:${facts.join(':')}`;
    this.address = globalThis.localStorage?.getItem(this.key);
  }

  pause = () => this.#turn('paused');
  resume = () => this.#turn('sending');
  /** Give it up: what arrived is deleted. */
  cancel = () => this.#turn('cancelled');

  /** Send it all, however long that takes. @returns {Promise<object>} the file's JSON */
  async run() {
    const hurry = () => this.#wake();
    globalThis.addEventListener?.('online', hurry);
    try {
      let file = null;
      while (!file) file = await this.#advance();
      this.#keep(null);
      return file;
    } finally {
      globalThis.removeEventListener?.('online', hurry);
    }
  }

  /** Take a step, or wait until one can be taken; gives the file once it is one. */
  async #advance() {
    if (this.state === 'cancelled') await this.#abandon();
    if (this.state === 'paused') return this.#sleep();
    try {
      const place = await (this.#offset === null ? this.#locate() : this.#send());
      return place ? await this.account.json('GET', place) : null;
    } catch (error) {
      this.#offset = null;
      const isOurs = this.state === 'paused' || this.state === 'cancelled';
      return isOurs ? null : this.#recover(error);
    }
  }

  /** Learn how far it is: a new upload, or one that was begun. Gives the file's address if it is whole. */
  async #locate() {
    const isNew = !this.address;
    const headers = isNew ? { ...TUS, 'Upload-Length': this.file.size, 'Upload-Metadata': this.#metadata() } : TUS;
    const [method, path] = isNew ? ['POST', '/api/tus'] : ['HEAD', this.address];
    const answer = await this.account.retrying(() => this.account.server.fetch(method, path, { headers }));
    if (isNew) this.#keep(answer.headers.get('Location'));
    this.#arrive(answer.headers.get('Upload-Offset'));
    this.#tell(this.#offset);
    const place = answer.headers.get('Content-Location');
    const isDeleted = !isNew && !place && this.file.size > 0 && this.#offset === this.file.size;
    if (isDeleted) throw new WharfError({ status: 410 });
    return place;
  }

  /** Send the next piece. Gives the file's address if it is whole. */
  async #send() {
    const [start, { signal }] = [this.#offset, (this.#cut = new AbortController())];
    const body = this.file.slice(start, start + PIECE);
    await requireReadable(body);
    if (this.state === 'waiting') this.#turn('sending');
    const headers = { ...BODY, 'Upload-Offset': start };
    const options = { headers, body, signal, onProgress: (bytes) => this.#tell(start + bytes) };
    const header = await this.account.retrying(() => this.account.server.send('PATCH', this.address, options));
    this.#failures = 0;
    this.#arrive(header('Upload-Offset'));
    return header('Content-Location');
  }

  /** Wait and try again after what passes; what stays is thrown. */
  async #recover(error) {
    const { status, code } = error;
    const isLost = this.address && (status === 404 || status === 410);
    const isBusy = status === 429 || (status >= 500 && status !== 507);
    const passes = isLost || isBusy || code === 'unreachable' || code === 'wrong_offset';
    if (isLost || (!passes && status !== 401)) this.#keep(null); // who signs in again goes on
    if (!passes) throw error;
    if (this.#failures++ === 0) return null; // the first time at once: most cuts are short
    this.#tell(this.#arrived); // what was on its way may be lost
    this.#turn('waiting');
    return this.#sleep(Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (this.#failures - 2)) * (0.5 + Math.random() / 2));
  }

  async #abandon() {
    const { server } = this.account;
    if (this.address) await server.fetch('DELETE', this.address, { headers: TUS }).catch(() => {}); // it expires
    this.#keep(null);
    throw new WharfError({ message: 'The upload was cancelled.', code: 'cancelled' });
  }

  /** Until the time is over, the network is back, or somebody presses a button. */
  #sleep(wait) {
    return new Promise((done) => {
      const timer = wait === undefined ? null : setTimeout(() => done(null), wait);
      this.#wake = () => done(clearTimeout(timer));
    });
  }

  #turn(state) {
    if (this.state === state || this.state === 'cancelled') return;
    this.state = state;
    if (state === 'paused' || state === 'cancelled') this.#cut.abort();
    if (state !== 'waiting') this.#wake();
    this.emit('state', state);
  }

  #arrive(offset) {
    this.#offset = this.#arrived = Number(offset);
  }

  #tell(bytes) {
    this.emit('progress', bytes / (this.file.size || 1));
  }

  #keep(address) {
    this.address = address;
    if (address) globalThis.localStorage?.setItem(this.key, address);
    else globalThis.localStorage?.removeItem(this.key);
  }

  #metadata() {
    const facts = { filename: this.file.name, filetype: this.file.type, folderId: String(this.folderId ?? '') };
    return Object.entries(facts).filter(([, text]) => text).map(([key, text]) => `${key} ${toBase64(text)}`).join();
  }
}

/** What cannot be read, as a folder that was dropped, would look like a cut connection. */
function requireReadable(piece) {
  return piece.slice(0, 1).arrayBuffer().catch(() => {
    throw new WharfError({ message: 'This file cannot be read.', code: 'unreadable' });
  });
}

function toBase64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
