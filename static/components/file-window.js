import { el, iconButton } from './part.js';

/** A modal dialog about a file; its errors are told within, since all else is out of reach. */
export class FileWindow extends HTMLElement {
  /**
   * @param {import('./shelf.js').Shelf} shelf
   * @param {number} id of a file
   */
  open(shelf, id) {
    Object.assign(this, { shelf, fileId: id });
    this.heading = el('h2', { id: `${this.localName}-title` });
    this.error = el('p', { class: 'form-error', role: 'alert', 'data-testid': 'dialog-error' });
    const close = iconButton('close', 'Close', { 'data-testid': 'dialog-close', onclick: () => this.close() });
    const dialog = el('dialog', { 'aria-labelledby': this.heading.id, 'data-testid': this.localName },
      el('header', { class: 'dialog-head' }, this.heading, close), this.error, ...this.build(this.file));
    this.dialog = dialog;
    this.replaceChildren(dialog);
    const unhear = shelf.on('change', () => this.follow());
    dialog.addEventListener('close', () => {
      unhear();
      dialog.remove(); // it alone: by now another may be open
      // The button that opened this may be gone, with its file.
      if (document.activeElement === document.body) document.querySelector('folder-bar').focusHere();
    });
    this.follow();
    dialog.showModal();
  }

  close() {
    this.dialog.close();
  }

  get file() {
    return this.shelf.files.rows.get(this.fileId);
  }

  /** Something changed: perhaps this file, perhaps it is gone. */
  follow() {
    if (this.file) this.update(this.file);
    else this.close();
  }

  /** Do something that may fail; true when it worked. */
  async attempt(action) {
    this.error.textContent = '';
    try {
      await action();
      return true;
    } catch (error) {
      this.error.textContent = error.message;
      this.error.scrollIntoView({ block: 'nearest' });
      return false;
    }
  }

  section(id, title, ...children) {
    const heading = `${this.localName}-${id}`;
    return el('section', { 'aria-labelledby': heading },
      el('h3', { id: heading, tabindex: '-1' }, title), ...children);
  }
}
