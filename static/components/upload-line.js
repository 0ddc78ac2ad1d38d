import { el, icon, iconButton } from './part.js';

const WORDS = { queued: 'Waiting for its turn', sending: '', waiting: 'Waiting for the server', paused: 'Paused' };

/** One upload: its progress, with buttons to pause, to go on and to cancel. */
class UploadLine extends HTMLElement {
  state = 'queued';

  /**
   * @param {import('./shelf.js').Shelf} shelf
   * @param {File} file
   * @param {{onState: () => void, onEnd: () => void}} listeners
   */
  open(shelf, file, { onState, onEnd }) {
    Object.assign(this, { shelf, file, onState, onEnd });
    this.folderId = shelf.folderId;
    this.bar = el('progress', {
      max: 1, value: 0, 'aria-label': `Uploading ${file.name}`, 'data-testid': 'upload-progress',
    });
    this.words = el('small', { role: 'status', 'data-testid': 'upload-state' });
    this.toggle = iconButton('pause', 'Pause', { 'data-testid': 'upload-toggle', onclick: () => this.flip() });
    const cancel = iconButton('close', `Cancel ${file.name}`, {
      'data-testid': 'upload-cancel', onclick: () => this.cancel(),
    });
    const name = el('span', { class: 'file-name', title: file.name }, file.name);
    this.replaceChildren(el('div', { class: 'file-text' }, name, this.words, this.bar), this.toggle, cancel);
    this.show();
  }

  async start() {
    this.turn('sending');
    const { shelf, file, folderId } = this;
    this.upload = shelf.wharf.upload(file, (part) => (this.bar.value = part), {
      folderId, onState: (state) => this.turn(state),
    });
    const stored = await shelf.attempt(() => this.upload.catch((error) => this.fail(error)));
    if (stored) shelf.add(stored);
    this.turn('ended');
    this.onEnd();
  }

  /** Say which of the files it was, unless it was meant. */
  fail(error) {
    if (error.code === 'cancelled') return null;
    error.message = `${this.file.name}: ${error.message}`;
    throw error;
  }

  pause() {
    this.upload?.pause();
  }

  flip() {
    if (this.state === 'paused') this.upload.resume();
    else this.pause();
  }

  cancel() {
    if (this.upload) this.upload.cancel();
    else this.onEnd();
  }

  turn(state) {
    this.state = state;
    this.show();
    this.onState();
  }

  show() {
    const isPaused = this.state === 'paused';
    this.dataset.state = this.state;
    this.words.textContent = WORDS[this.state] ?? '';
    this.toggle.hidden = this.state === 'queued';
    this.toggle.title = isPaused ? 'Resume' : 'Pause';
    this.toggle.setAttribute('aria-label', `${this.toggle.title} ${this.file.name}`);
    this.toggle.replaceChildren(icon(isPaused ? 'play' : 'pause'));
  }
}

customElements.define('upload-line', UploadLine);
