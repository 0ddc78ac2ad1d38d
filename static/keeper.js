/**
 * Brings the state of a replica into its store, as often as needed and no oftener: all that happens
 * in one turn, or while the store is busy, is one save.
 *
 * A replica says nothing that it could forget in a crash; both `Replica` and the server rely on it:
 * - An `ack` lets the server never send those changes again. So they are stored before it leaves.
 * - Own changes are told apart by their db_version. Were one pushed and then forgotten, its number
 *   would be given to another change, which everybody else would take for a repeat. So it is stored
 *   before it is pushed, and only what is stored is pushed: `version` is the highest number that is.
 *   The site id goes with it: a new replica that is forgotten before its first save has said nothing.
 * - An `ack` of the server's may be forgotten: what it settled is pushed again, and is a repeat.
 */
export class Keeper {
  /** The db_version up to which all is stored for good. */
  version = 0;
  #store;
  #state;
  #next = null;
  #last = Promise.resolve();

  /**
   * @param {import('./store.js').Store} store
   * @param {() => {version: number}} state what to keep, asked when the store is free
   */
  constructor(store, state) {
    this.#store = store;
    this.#state = state;
  }

  /** @returns {Promise<void>} fulfilled when all there is now is stored; rejected when it is not */
  save() {
    this.#next ??= this.#last.catch(() => {}).then(() => this.#put());
    return this.#next;
  }

  /** Fulfilled when nothing is left to be done. */
  async rest() {
    await (this.#next ?? this.#last).catch(() => {});
  }

  #put() {
    this.#last = this.#write();
    this.#next = null;
    return this.#last;
  }

  async #write() {
    const state = this.#state();
    await this.#store.save(state);
    this.version = state.version;
  }
}
