import './version-list.js';
import { confirmButton } from './confirm.js';
import { FileWindow } from './file-window.js';
import { makeForm } from './form.js';
import { el } from './part.js';
import { fileSize } from './words.js';

/** All that is done with a file but sharing: rename, move, versions, delete. */
class FileDialog extends FileWindow {
  build(file) {
    const { shelf } = this;
    this.facts = el('p', { class: 'facts' });
    this.versions = el('version-list');
    this.versions.open(this);
    const isOwn = shelf.isOwn(file);
    return [
      this.facts,
      shelf.mayWrite(file) && this.renameForm(file),
      isOwn && this.moveForm(file),
      this.section('versions', 'Versions', this.versions),
      isOwn ? this.ending('Delete file', 'Delete it with all versions?', `/api/files/${this.fileId}`)
        : this.ending('Remove from my files', 'Remove it?', `/api/files/${this.fileId}/shares/${shelf.user.id}`),
    ].filter(Boolean);
  }

  update(file) {
    this.heading.textContent = file.originalName;
    this.facts.textContent = `${fileSize(file.size)}, ${file.mimetype}, version ${file.version}`;
    this.versions.follow(file);
  }

  renameForm({ originalName }) {
    const field = { label: 'Name', name: 'originalName', value: originalName, maxlength: 200, autocomplete: 'off' };
    const form = makeForm({
      id: 'file-name', fields: [field], action: 'Rename',
      send: async (values) => void (await this.shelf.change('PATCH', `/api/files/${this.fileId}`, values)),
    });
    form.classList.add('inline');
    return form;
  }

  moveForm(file) {
    const places = [{ id: '', name: 'All files' }, ...this.shelf.places];
    const select = el('select', { id: 'file-folder', 'data-testid': 'file-folder' },
      ...places.map(({ id, name }) => el('option', { value: id, selected: id === (file.folderId ?? '') }, name)));
    const move = async (event) => {
      event.preventDefault();
      const folderId = select.value ? Number(select.value) : null;
      const path = `/api/files/${this.fileId}`;
      if (await this.attempt(() => this.shelf.change('PATCH', path, { folderId }))) this.close();
    };
    return el('form', { class: 'stack inline', onsubmit: move },
      el('div', { class: 'field' }, el('label', { for: 'file-folder' }, 'Folder'), select),
      el('button', { class: 'quiet', 'data-testid': 'file-move' }, 'Move'));
  }

  /** The button that takes the file away; with it, the dialog closes by itself. */
  ending(label, question, path) {
    return confirmButton(label, question, {
      class: 'quiet ending', 'data-testid': 'file-delete',
      onconfirm: () => this.attempt(() => this.shelf.change('DELETE', path)),
    });
  }
}

customElements.define('file-dialog', FileDialog);
