const TABLE = 'replicas';

/**
 * Where a replica is kept. Any object with these methods will do; `load` may be asynchronous.
 * @typedef {object} Store
 * @property {() => object | null | Promise<object | null>} load what was saved last
 * @property {(state: object) => void | Promise<void>} save keep this; done when it is stored for good
 * @property {() => void} [close] the replica is done with the store
 */

/**
 * The best store that there is here.
 * @param {string} key
 * @returns {Store}
 */
export function bestStore(key) {
  if (globalThis.indexedDB) return new IndexedStore(key);
  return globalThis.localStorage ? new LocalStore(key) : new MemoryStore();
}

/**
 * Keeps a replica in IndexedDB, as one text: that is cheaper to write than the same as objects. Two
 * windows must not write as one site, so a second window gets a place of its own (by Web Locks),
 * which the next second window takes over.
 * @implements {Store}
 */
export class IndexedStore {
  #place = null;
  #database = null;

  /** @param {string} key */
  constructor(key) {
    this.key = key;
  }

  async load() {
    this.#place = await claim(this.key);
    const text = await this.#ask('readonly', (table) => table.get(this.#place.name));
    return JSON.parse(text ?? (await this.#takeOver()));
  }

  save(state) {
    return this.#put(JSON.stringify(state));
  }

  async close() {
    (await this.#database)?.close();
    this.#place?.release();
  }

  /** What was kept in localStorage before there was this store. */
  async #takeOver() {
    const text = globalThis.localStorage?.getItem(this.#place.name) ?? null;
    if (text) await this.#put(text);
    if (text) localStorage.removeItem(this.#place.name);
    return text;
  }

  async #put(text) {
    await this.#ask('readwrite', (table) => table.put(text, this.#place.name));
  }

  /** One transaction; what is written is on the disk when it is over. */
  async #ask(mode, request) {
    const database = await (this.#database ??= openDatabase(() => (this.#database = null)));
    const transaction = database.transaction(TABLE, mode, { durability: 'strict' });
    const answer = request(transaction.objectStore(TABLE));
    transaction.commit(); // at once, for the window may be closed
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return answer.result;
  }
}

/**
 * Keeps a replica in localStorage, in places told apart as above.
 * @implements {Store}
 */
export class LocalStore {
  #place = null;

  /** @param {string} key */
  constructor(key) {
    this.key = key;
  }

  async load() {
    this.#place = await claim(this.key);
    return JSON.parse(localStorage.getItem(this.#place.name));
  }

  save(state) {
    localStorage.setItem(this.#place.name, JSON.stringify(state));
  }

  close() {
    this.#place?.release();
  }
}

/**
 * Keeps a replica for as long as the program runs.
 * @implements {Store}
 */
export class MemoryStore {
  #text = 'null';

  load() {
    return JSON.parse(this.#text);
  }

  save(state) {
    this.#text = JSON.stringify(state);
  }
}

/** The database of all replicas; `forget` is called when the browser or another window closes it. */
function openDatabase(forget) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('wharf', 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const database = request.result;
      database.onclose = forget;
      database.onversionchange = () => {
        database.close();
        forget();
      };
      resolve(database);
    };
  });
}

/** The first place under this key that no other window holds. */
async function claim(key) {
  if (!navigator.locks) return { name: `${key}#${tabId()}`, release() {} };
  for (let count = 1; ; count += 1) {
    const name = count === 1 ? key : `${key}#${count}`;
    const release = await lock(name);
    if (release) return { name, release };
  }
}

/** Hold a lock until the returned function is called; null when another window holds it. */
function lock(name) {
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (held) => {
      if (held) return new Promise(resolve);
      resolve(null);
    });
  });
}

/** Without Web Locks (pages served by plain http) a tab is told from others by its session. */
function tabId() {
  const known = sessionStorage.getItem('wharf.tab') ?? String(Math.random()).slice(2);
  sessionStorage.setItem('wharf.tab', known);
  return known;
}
