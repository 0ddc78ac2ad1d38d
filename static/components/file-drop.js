import { el, icon } from './part.js';
import { fileSize } from './words.js';

/** Where files come in: chosen, or dropped anywhere on the card. */
class FileDrop extends HTMLElement {
  /**
   * @param {import('./shelf.js').Shelf} shelf
   * @param {HTMLElement} card takes what is dropped
   * @param {(files: File[]) => void} take
   */
  open(shelf, card, take) {
    const input = el('input', {
      type: 'file', id: 'file', class: 'unseen', multiple: true, 'aria-describedby': 'file-rules',
      'data-testid': 'file-input',
      onchange: () => {
        take([...input.files]);
        input.value = ''; // so that the same file may be chosen again
      },
    });
    this.rules = el('small', { id: 'file-rules', 'data-testid': 'file-rules' });
    this.replaceChildren(input, el('label', { for: 'file' }, icon('upload'),
      el('span', {}, el('b', {}, 'Choose files'), ' or drop them here'), this.rules));
    this.listen(card, take);
    shelf.attempt(() => this.describe(shelf.wharf, input));
  }

  /** What is taken, as the server says. */
  async describe(wharf, input) {
    const { uploadTypes, maxUploadBytes } = await wharf.config();
    input.accept = uploadTypes.map((end) => `.${end}`).join();
    const names = uploadTypes.filter((end) => end !== 'jpg' || !uploadTypes.includes('jpeg'));
    const list = new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(names.map((end) => end.toUpperCase()));
    this.rules.textContent = `${list}, up to ${fileSize(maxUploadBytes)} each`;
  }

  listen(card, take) {
    const over = (isOver) => (event) => {
      if (![...event.dataTransfer.types].includes('Files')) return;
      event.preventDefault();
      this.classList.toggle('over', isOver);
    };
    // As properties, since the card is there for longer than its listeners.
    card.ondragover = over(true);
    card.ondragleave = over(false);
    card.ondrop = (event) => {
      over(false)(event);
      if (this.isConnected) take([...event.dataTransfer.files]);
    };
  }
}

customElements.define('file-drop', FileDrop);
