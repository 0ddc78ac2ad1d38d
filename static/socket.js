import { Emitter } from './emitter.js';

const BEAT = 30_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const SIGN_IN_AGAIN = 4001;

/**
 * A JSON socket that comes back by itself, unless it was closed for good.
 *
 * Events: `frame` (every object received), `state` ('offline', 'connecting' or 'online'),
 * `signed-out` when the server no longer knows the session, and `shut-out` with the reason when it
 * was closed for good. It counts as online from the server's
 * frame `connected` on, since a refused token is accepted before it is closed with 4001.
 */
export class LiveSocket extends Emitter {
  /** @type {'offline' | 'connecting' | 'online'} */
  state = 'offline';
  #ws = null;
  #wanted = false;
  #failures = 0;
  #beat = null;
  #retry = null;
  #unanswered = false;
  #hurry = () => this.#wanted && this.#retry && this.#dial();

  /**
   * @param {object} options
   * @param {() => Promise<string>} options.address where to connect, asked on every attempt
   * @param {() => Promise<object | null>} options.session who is signed in, asked after a refusal
   * @param {() => object} options.probe the frame that makes the server answer
   * @param {(close: {code: number, reason: string}) => boolean} [options.isFinal] whether this
   *   close is for good: no close is when missing
   */
  constructor({ address, session, probe, isFinal = () => false }) {
    super();
    this.address = address;
    this.session = session;
    this.probe = probe;
    this.isFinal = isFinal;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    if (this.#wanted) return;
    this.#wanted = true;
    globalThis.addEventListener?.('online', this.#hurry);
    globalThis.document?.addEventListener('visibilitychange', this.#hurry);
    this.#dial();
  }

  /** Disconnect and stay so. */
  close() {
    this.#wanted = false;
    globalThis.removeEventListener?.('online', this.#hurry);
    globalThis.document?.removeEventListener('visibilitychange', this.#hurry);
    this.#drop();
    this.#become('offline');
  }

  /**
   * Send one frame.
   * @param {object} frame
   * @returns {boolean} false when offline: nothing was sent
   */
  send(frame) {
    if (this.state !== 'online' || this.#ws.readyState !== WebSocket.OPEN) return false;
    this.#ws.send(JSON.stringify(frame));
    return true;
  }

  async #dial() {
    clearTimeout(this.#retry);
    this.#retry = null;
    if (this.#ws) return;
    this.#become('connecting');
    let url;
    try {
      url = await this.address();
    } catch {
      this.#wait();
      return;
    }
    if (!this.#wanted || this.#ws) return;
    const ws = new WebSocket(url);
    this.#ws = ws;
    ws.onmessage = (event) => this.#receive(event.data);
    ws.onclose = (event) => this.#lost(event);
  }

  #receive(text) {
    this.#unanswered = false;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame?.type === 'connected') this.#connected();
    this.emit('frame', frame);
  }

  #connected() {
    this.#failures = 0;
    clearInterval(this.#beat);
    this.#beat = setInterval(() => this.#checkPulse(), BEAT);
    this.#become('online');
  }

  /** Any frame since the last probe proves that the server is there. */
  #checkPulse() {
    if (this.#unanswered) {
      this.#lost();
      return;
    }
    this.#unanswered = true;
    this.send(this.probe());
  }

  /** @param {{code: number, reason: string}} [close] missing when nothing was heard */
  async #lost(close) {
    if (close && this.isFinal(close)) {
      this.close();
      this.emit('shut-out', close.reason);
      return;
    }
    const refused = this.state !== 'online' || close?.code === SIGN_IN_AGAIN;
    this.#drop();
    this.#become('connecting');
    if (refused && (await this.#isSignedOut())) {
      this.close();
      this.emit('signed-out');
      return;
    }
    this.#wait();
  }

  async #isSignedOut() {
    try {
      return (await this.session()) === null;
    } catch {
      return false; // the server is away; keep trying
    }
  }

  /** Try again after a random part of a doubling wait, so that clients do not return all at once. */
  #wait() {
    if (!this.#wanted) return;
    clearTimeout(this.#retry);
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.#dial(), wait * (0.5 + Math.random() / 2));
  }

  #drop() {
    clearInterval(this.#beat);
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#unanswered = false;
    const ws = this.#ws;
    this.#ws = null;
    if (!ws) return;
    ws.onmessage = ws.onclose = null;
    ws.close();
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', state);
  }
}
