import { el, iconButton, keyed, when } from './part.js';

const HOUR = 3600;
const DAY = 24 * HOUR;
const WEEK = 7 * DAY;
const LIVES = [
  [HOUR, 'An hour'], [DAY, 'A day'], [WEEK, 'A week'], [30 * DAY, '30 days'], [365 * DAY, 'A year'],
];

/** The links to a file: make one, copy it, revoke it. */
class LinkList extends HTMLElement {
  /** @param {import('./file-window.js').FileWindow} dialog */
  open(dialog) {
    this.dialog = dialog;
    this.path = `/api/files/${dialog.fileId}/links`;
    this.list = el('ul', { class: 'people links', 'aria-label': 'Links', 'data-testid': 'links' });
    this.said = el('p', { class: 'form-done', role: 'status', 'data-testid': 'link-said' });
    this.replaceChildren(this.form(), this.said, this.list);
    this.load();
  }

  form() {
    const life = el('select', { id: 'link-life', name: 'expiresIn', 'data-testid': 'link-life' },
      ...LIVES.map(([value, text]) => el('option', { value, selected: value === WEEK }, text)));
    const most = { type: 'number', min: 1, placeholder: 'Any number' };
    const password = { type: 'password', autocomplete: 'new-password', placeholder: 'None' };
    return el('form', { class: 'link-form', onsubmit: (event) => this.make(event) },
      field('link-life', 'Lasts', life),
      input('link-most', 'Downloads', { ...most, name: 'maxDownloads' }),
      input('link-password', 'Password', { ...password, name: 'password' }),
      el('button', { class: 'primary', 'data-testid': 'link-make' }, 'Make a link'));
  }

  async load() {
    let links = [];
    await this.dialog.attempt(async () => {
      links = await this.dialog.shelf.wharf.json('GET', this.path);
    });
    keyed(this.list, links, (link) => link.id, (link) => this.makeItem(link), (item, link) => {
      item.querySelector('small').replaceChildren(...facts(link));
    });
  }

  async make(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const { expiresIn, maxDownloads, password } = Object.fromEntries(new FormData(form));
    const asked = {
      expiresIn: Number(expiresIn), maxDownloads: Number(maxDownloads) || null, password: password || null,
    };
    this.said.textContent = '';
    const isMade = await this.dialog.attempt(() => this.dialog.shelf.wharf.json('POST', this.path, asked));
    if (!isMade) return;
    form.reset();
    this.said.textContent = 'The link is made. Whoever has it gets the file.';
    await this.load();
  }

  makeItem({ id, url }) {
    const address = new URL(url, this.dialog.shelf.wharf.url).href;
    const shown = el('input', {
      readonly: true, value: address, 'aria-label': 'Address', 'data-testid': 'link-address',
      onfocus: () => shown.select(),
    });
    const revoke = async () => {
      await this.dialog.attempt(() => this.dialog.shelf.wharf.json('DELETE', `${this.path}/${id}`));
      this.said.textContent = 'The link is revoked.';
      await this.load();
      this.dialog.querySelector('#share-dialog-links').focus(); // the button is gone
    };
    return el('li', { 'data-testid': 'link' },
      el('div', { class: 'entry' }, shown,
        iconButton('copy', 'Copy', { 'data-testid': 'link-copy', onclick: () => this.copy(shown) }),
        iconButton('trash', 'Revoke', { 'data-testid': 'link-revoke', onclick: revoke })),
      el('small', {}));
  }

  /** Pages served by plain http have no clipboard: there, it is selected. */
  async copy(shown) {
    try {
      await navigator.clipboard.writeText(shown.value);
      this.said.textContent = 'The link is copied.';
    } catch {
      shown.focus();
      this.said.textContent = 'The link is selected: copy it from there.';
    }
  }
}

function facts({ expiresAt, maxDownloads, downloads, hasPassword }) {
  const most = maxDownloads ? ` of ${maxDownloads}` : '';
  return ['Until ', when(expiresAt), `, ${downloads}${most} downloads`, hasPassword ? ', with a password' : ''];
}

function input(id, label, attributes) {
  return field(id, label, el('input', { id, 'data-testid': id, ...attributes }));
}

function field(id, label, control) {
  return el('div', { class: 'field' }, el('label', { for: id }, label), control);
}

customElements.define('link-list', LinkList);
