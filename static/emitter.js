/** An EventTarget with two shorthands; the base of everything in the client that reports. */
export class Emitter extends EventTarget {
  /**
   * Call `fn` with the detail of every event of this name.
   * @param {string} name
   * @param {(detail: any) => void} fn
   * @returns {() => void} stops the calls
   */
  on(name, fn) {
    const listener = (event) => fn(event.detail);
    this.addEventListener(name, listener);
    return () => this.removeEventListener(name, listener);
  }

  /** Report an event with a detail. */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/**
 * A random hexadecimal name; `crypto.randomUUID` is missing on pages served by plain http.
 * @param {number} [bytes]
 */
export function randomId(bytes = 16) {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (value) => value.toString(16).padStart(2, '0')).join('');
}
