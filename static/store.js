/**
 * Where a replica is kept. Any object with these methods will do; `load` may be asynchronous.
 * @typedef {object} Store
 * @property {() => object | null | Promise<object | null>} load what was saved last
 * @property {(state: object) => void | Promise<void>} save keep this; done when it is stored for good
 * @property {() => void} [close] the replica is done with the store
 */

/**
 * Keeps a replica in localStorage. Two windows must not write as one site, so a second window gets
 * a place of its own (by Web Locks), which the next second window takes over.
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
