import { confirmButton } from './confirm.js';
import { el, icon } from './part.js';

/** Which folder is open, the way back to those above, and what is done with it. */
class FolderBar extends HTMLElement {
  /** @param {import('./shelf.js').Shelf} shelf */
  open(shelf) {
    this.shelf = shelf;
    this.crumbs = el('ol', { class: 'crumbs', 'data-testid': 'crumbs' });
    this.make = this.button('New folder', 'folder-new', () => this.ask('New folder', '', (name) => this.add(name)));
    this.rename = this.button('Rename', 'folder-rename', () => {
      const { id, name } = shelf.folder;
      this.ask('New name', name, (text) => shelf.change('PATCH', `/api/folders/${id}`, { name: text }));
    });
    this.eraser = confirmButton('Delete', 'Delete with all that is in it?', {
      class: 'quiet', 'data-testid': 'folder-delete', onconfirm: () => this.delete(),
    });
    this.replaceChildren(
      el('nav', { 'aria-label': 'Folders' }, this.crumbs),
      el('div', { class: 'tools' }, this.make, this.rename, this.eraser));
    shelf.on('change', () => this.render());
    this.render();
  }

  button(text, testid, onclick) {
    return el('button', { type: 'button', class: 'quiet', 'data-testid': testid, onclick }, text);
  }

  render() {
    const path = [null, ...this.shelf.pathOf(this.shelf.folder)];
    const key = path.map((folder) => `${folder?.id}:${folder?.name}`).join('/');
    this.rename.hidden = this.eraser.hidden = path.length === 1;
    if (key === this.shown) return; // or the focus would be lost with each change
    const hadFocus = this.crumbs.contains(document.activeElement);
    this.shown = key;
    this.form?.remove();
    this.crumbs.replaceChildren(...path.map((folder, index) => this.crumb(folder, index === path.length - 1)));
    if (hadFocus) this.focusHere();
  }

  crumb(folder, isLast) {
    const name = folder?.name ?? 'All files';
    const go = () => this.shelf.enter(folder?.id ?? null);
    return el('li', {}, isLast
      ? el('span', { 'aria-current': 'page', tabindex: '-1', 'data-testid': 'folder-here' }, name)
      : el('button', { type: 'button', class: 'crumb', onclick: go, 'data-testid': 'crumb' }, name));
  }

  /** Stay with the keyboard where it is now: what was pressed is gone. */
  focusHere() {
    this.querySelector('[aria-current]').focus();
  }

  /** A small form for a name. */
  ask(label, value, save) {
    this.form?.remove();
    const opener = document.activeElement;
    const close = () => {
      this.form.remove();
      opener.focus();
    };
    const submit = async (event) => {
      event.preventDefault();
      const name = form.elements.name.value.trim();
      if (name && (await this.shelf.attempt(() => save(name)))) close();
    };
    const form = el('form', { class: 'entry', onsubmit: submit },
      el('input', {
        name: 'name', 'aria-label': label, placeholder: label, maxlength: 100, required: true, autocomplete: 'off',
        'data-testid': 'folder-name',
      }),
      el('button', { class: 'primary', 'data-testid': 'folder-save' }, 'Save'),
      el('button', { type: 'button', class: 'quiet', onclick: close }, 'Cancel'));
    form.addEventListener('keydown', (event) => event.key === 'Escape' && close());
    form.elements.name.value = value;
    this.form = form;
    this.append(form);
    form.elements.name.select();
  }

  add(name) {
    return this.shelf.change('POST', '/api/folders', { name, parentId: this.shelf.folderId });
  }

  async delete() {
    const { id, parentId } = this.shelf.folder;
    const isGone = await this.shelf.attempt(async () => {
      await this.shelf.change('DELETE', `/api/folders/${id}`);
      return true;
    });
    if (!isGone) return;
    this.shelf.enter(parentId);
    this.focusHere();
  }
}

customElements.define('folder-bar', FolderBar);
