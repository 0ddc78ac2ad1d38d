import './upload-line.js';
import { el } from './part.js';

const AT_ONCE = 3;

/** Uploads under way, some at a time; those that are paused let others pass. */
class UploadList extends HTMLElement {
  /** @param {import('./shelf.js').Shelf} shelf */
  open(shelf) {
    this.shelf = shelf;
    this.list = el('ul', { class: 'uploads', 'aria-label': 'Uploads under way' });
    this.replaceChildren(this.list);
  }

  /** Another user is here: what is under way stays where it is. */
  stop() {
    for (const line of this.lines) line.pause();
  }

  get lines() {
    return [...this.querySelectorAll('upload-line')];
  }

  /** @param {File[]} files go to the folder that is open now */
  add(files) {
    for (const file of files) {
      const line = el('upload-line', { class: 'upload' });
      const item = el('li', {}, line);
      line.open(this.shelf, file, { onState: () => this.next(), onEnd: () => this.end(item) });
      this.list.append(item);
    }
    this.next();
  }

  /** Start the next one if there is room; as that changes its state, this is called again. */
  next() {
    const busy = this.lines.filter(({ state }) => state === 'sending' || state === 'waiting');
    if (busy.length < AT_ONCE) this.lines.find(({ state }) => state === 'queued')?.start();
  }

  end(item) {
    const hadFocus = item.contains(document.activeElement);
    item.remove();
    if (hadFocus) document.querySelector('#file').focus();
    this.next();
  }
}

customElements.define('upload-list', UploadList);
