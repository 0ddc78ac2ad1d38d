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
   * @param {object} [body] sent as JSON
   * @returns {Promise<any>} the answer; rejects with a WharfError
   */
  async call(method, path, body) {
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

  /** Upload a file, by XMLHttpRequest, because fetch does not tell how far it is. */
  upload(file, onProgress) {
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
