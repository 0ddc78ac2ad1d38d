import { el, icon, keyed, when } from './part.js';
import { fileSize } from './words.js';

/** What a file was before: each version to download, and to have back; a new one to add. */
class VersionList extends HTMLElement {
  /** @param {import('./file-window.js').FileWindow} dialog */
  open(dialog) {
    this.dialog = dialog;
    this.path = `/api/files/${dialog.fileId}/versions`;
    this.list = el('ol', { class: 'people', 'data-testid': 'versions' });
    this.replaceChildren(this.list, this.adder());
  }

  /** Show those of this file, as it is now. */
  async follow(file) {
    const { shelf } = this.dialog;
    this.querySelector('.adder').hidden = !shelf.mayWrite(file);
    if (file.version === this.shown) return;
    this.shown = file.version;
    await this.dialog.attempt(async () => {
      const versions = await shelf.wharf.json('GET', this.path);
      if (file.version !== this.shown) return;
      const keyOf = (one) => `${one.version}-${file.version}`; // made anew, for another is the present one
      keyed(this.list, versions, keyOf, (one) => this.make(one, file), (item) => item);
    });
  }

  make({ version, size, createdAt }, file) {
    const isNow = version === file.version;
    const restore = () => this.dialog.attempt(async () => {
      await this.dialog.shelf.change('POST', `${this.path}/${version}/restore`);
      this.dialog.querySelector('#file-dialog-versions').focus(); // the button is gone
    });
    return el('li', { 'data-testid': 'version' },
      el('span', { class: 'grow' }, `Version ${version} `, el('small', {}, fileSize(size), ', ', when(createdAt))),
      el('a', {
        class: 'icon-button', href: `${this.path}/${version}/download`, title: 'Download',
        'aria-label': `Download version ${version}`, 'data-testid': 'version-download',
      }, icon('download')),
      isNow ? el('span', { class: 'badge' }, 'Now') : null,
      !isNow && this.dialog.shelf.mayWrite(file) ? el('button', {
        type: 'button', class: 'quiet', 'aria-label': `Restore version ${version}`, onclick: restore,
        'data-testid': 'version-restore',
      }, 'Restore') : null);
  }

  /** By a form, since a file of another name becomes a version too. */
  adder() {
    const input = el('input', {
      type: 'file', id: 'new-version', class: 'unseen', 'data-testid': 'version-input',
      onchange: () => this.add(input),
    });
    return el('div', { class: 'adder' }, input, el('label', { for: 'new-version' }, icon('upload'), 'Add a version'));
  }

  async add(input) {
    const form = new FormData();
    form.append('file', input.files[0]);
    input.value = '';
    await this.dialog.attempt(() => this.dialog.shelf.change('POST', this.path, form));
  }
}

customElements.define('version-list', VersionList);
