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

/** The server as it is asked over HTTP, with whatever says who asks. */
export class Server {
  /** @type {{access: string, refresh: string} | null} on its own pages always null: a cookie does */
  tokens = null;

  /** @param {string} url @param {boolean} isAtHome whether the page is one of its own */
  constructor(url, isAtHome) {
    this.url = url;
    this.isAtHome = isAtHome;
  }

  /**
   * Call an address, once.
   * @param {string} method
   * @param {string} path
   * @param {object | FormData} [body] sent as JSON, or as the form it is
   * @returns {Promise<any>} the answer; rejects with a WharfError
   */
  async call(method, path, body) {
    const isJson = body !== undefined && !(body instanceof FormData);
    const headers = isJson ? { 'Content-Type': 'application/json' } : {};
    const response = await this.fetch(method, path, { headers, body: isJson ? JSON.stringify(body) : body });
    return readAnswer(response.status, await response.text());
  }

  /**
   * The same for what is not JSON: the whole answer, with its headers.
   * @param {string} method
   * @param {string} path
   * @param {{headers?: Record<string, string>, body?: BodyInit}} [options]
   * @returns {Promise<Response>} rejects with a WharfError, also for a refusal
   */
  async fetch(method, path, { headers, body } = {}) {
    const credentials = this.isAtHome ? 'same-origin' : 'omit';
    const options = { method, headers: { ...this.#authorization(), ...headers }, credentials, body };
    let response;
    try {
      response = await fetch(this.url + path, options);
    } catch {
      throw new WharfError({ message: 'The server cannot be reached.', code: 'unreachable' });
    }
    if (!response.ok) readAnswer(response.status, await response.text());
    return response;
  }

  /**
   * Send bytes by XMLHttpRequest, because fetch does not tell how far it is.
   * @param {string} method
   * @param {string} path
   * @param {object} options
   * @param {Record<string, string>} options.headers
   * @param {Blob} options.body
   * @param {(bytes: number) => void} options.onProgress hears how many are sent
   * @param {AbortSignal} options.signal stops it
   * @returns {Promise<(header: string) => string | null>} reads the answer's headers
   */
  send(method, path, { headers, body, onProgress, signal }) {
    const request = new XMLHttpRequest();
    request.open(method, this.url + path);
    const all = Object.entries({ ...this.#authorization(), ...headers });
    for (const header of all) request.setRequestHeader(...header);
    request.upload.onprogress = ({ loaded }) => onProgress(loaded);
    signal.addEventListener('abort', () => request.abort());
    return new Promise((resolve, reject) => {
      const lost = { message: 'The upload was interrupted.', code: 'unreachable' };
      request.onerror = request.onabort = () => reject(new WharfError(lost));
      request.onload = () => {
        const read = () => readAnswer(request.status, request.responseText);
        resolve(new Promise((done) => done(read())).then(() => (name) => request.getResponseHeader(name)));
      };
      if (signal.aborted) request.onabort();
      else request.send(body);
    });
  }

  #authorization() {
    return this.tokens ? { Authorization: `Bearer ${this.tokens.access}` } : {};
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
