import './link-list.js';
import { FileWindow } from './file-window.js';
import { el, iconButton, keyed } from './part.js';

const FOUND = 6;
const PAUSE = 200; // in typing, until people are looked for
const MODES = { read: 'May read', write: 'May change' };

/** With whom a file is shared, and the links to it. */
class ShareDialog extends FileWindow {
  build() {
    this.path = `/api/files/${this.fileId}/shares`;
    this.readers = [];
    this.shown = null;
    this.people = el('ul', { class: 'people', 'aria-label': 'Shared with', 'data-testid': 'shares' });
    this.nobody = el('p', { class: 'empty' }, 'With nobody yet.');
    this.links = el('link-list');
    this.links.open(this);
    return [
      this.section('people', 'People', this.search(), this.people, this.nobody),
      this.section('links', 'Links', this.links),
    ];
  }

  update(file) {
    this.heading.textContent = `Share ${file.originalName}`;
    const told = JSON.stringify(file.sharedWith);
    if (told === this.shown) return;
    this.shown = told;
    this.load();
  }

  async load() {
    await this.attempt(async () => {
      this.readers = await this.shelf.wharf.json('GET', this.path);
    });
    const { readers } = this;
    this.nobody.hidden = readers.length > 0;
    keyed(this.people, readers, (one) => one.userId, (one) => this.makeReader(one), (item, { mode }) => {
      item.querySelector('select').value = mode;
    });
  }

  makeReader({ userId, name }) {
    const path = `${this.path}/${userId}`;
    const select = el('select', {
      'aria-label': `What ${name} may do`, 'data-testid': 'share-mode',
      onchange: () => this.change('PUT', path, { mode: select.value }),
    }, ...Object.entries(MODES).map(([value, text]) => el('option', { value }, text)));
    const takeBack = async () => {
      await this.change('DELETE', path);
      this.input.focus(); // the button is gone
    };
    return el('li', { 'data-testid': 'share' },
      el('span', { class: 'grow' }, name), select,
      iconButton('trash', `Take it back from ${name}`, { 'data-testid': 'share-end', onclick: takeBack }));
  }

  /** Change with whom it is shared; what comes of it is shown whether it is told or not. */
  async change(method, path, body) {
    await this.attempt(() => this.shelf.change(method, path, body));
    await this.load();
  }

  // Looking for people

  search() {
    this.input = el('input', {
      id: 'share-search', type: 'search', placeholder: 'Name', autocomplete: 'off', maxlength: 100,
      'data-testid': 'share-search', oninput: () => this.plan(),
    });
    this.found = el('ul', { class: 'found', 'aria-label': 'People found' });
    this.count = el('p', { class: 'hint', role: 'status', 'data-testid': 'share-count' });
    return el('div', { class: 'field' },
      el('label', { for: 'share-search' }, 'Share with'), this.input, this.found, this.count);
  }

  plan() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.attempt(() => this.find(this.input.value.trim())), PAUSE);
  }

  async find(text) {
    const path = `/api/users?q=${encodeURIComponent(text)}&limit=${FOUND}`;
    const { items } = text ? await this.shelf.wharf.json('GET', path) : { items: [] };
    if (text !== this.input.value.trim()) return; // typed on meanwhile
    const known = new Set([this.shelf.user.id, ...this.readers.map(({ userId }) => userId)]);
    const people = items.filter(({ id }) => !known.has(id));
    this.count.textContent = text && (people.length ? `${people.length} found` : 'Nobody has this name.');
    keyed(this.found, people, ({ id }) => id, (one) => this.makeFound(one), (item) => item);
  }

  makeFound({ id, name, username }) {
    const share = async () => {
      this.input.value = '';
      this.found.replaceChildren();
      this.count.textContent = '';
      this.input.focus();
      await this.change('PUT', `${this.path}/${id}`, { mode: 'read' });
    };
    return el('li', {}, el('button', { type: 'button', class: 'quiet', onclick: share, 'data-testid': 'share-found' },
      name, username && username !== name ? el('small', {}, username) : null));
  }
}

customElements.define('share-dialog', ShareDialog);
