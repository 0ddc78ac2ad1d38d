import './file-dialog.js';
import './share-dialog.js';
import { el, icon, iconButton, keyed, when } from './part.js';
import { fileSize } from './words.js';

const KINDS = {
  own: { label: 'Your files', testid: 'file-items' },
  shared: { label: 'Shared with you', testid: 'shared-items' },
};

/** The folders and files of the folder that is open; or, of `kind` shared, the files of others. */
class FileList extends HTMLElement {
  /** @param {import('./shelf.js').Shelf} shelf */
  open(shelf) {
    this.shelf = shelf;
    this.isShared = this.getAttribute('kind') === 'shared';
    const { label, testid } = KINDS[this.isShared ? 'shared' : 'own'];
    this.list = el('ul', { class: 'files', 'aria-label': label, 'data-testid': testid });
    this.empty = el('p', { class: 'empty', hidden: true }, 'Nothing here yet.');
    this.dialogs = ['file-dialog', 'share-dialog'].map((name) => el(name));
    this.replaceChildren(
      ...(this.isShared ? [el('h3', {}, label)] : []), this.list, this.empty, ...this.dialogs);
    shelf.on('change', () => this.render());
    this.hidden = true; // until the list is here
  }

  render() {
    const { shelf } = this;
    const files = this.isShared ? shelf.shared : shelf.filesHere;
    const folders = this.isShared ? [] : shelf.foldersHere;
    this.hidden = !shelf.isReady || (this.isShared && (!files.length || shelf.folder !== null));
    this.empty.hidden = files.length + folders.length > 0;
    const items = [...folders.map((folder) => ({ folder })), ...files.map((file) => ({ file }))];
    const keyOf = ({ folder, file }) => (folder ? `folder-${folder.id}` : String(file.id));
    keyed(this.list, items, keyOf, (item) => this.make(item), (element, item) => this.fill(element, item));
  }

  make({ folder, file }) {
    return folder ? this.makeFolder(folder) : this.makeFile(file);
  }

  makeFolder({ id }) {
    const enter = () => {
      this.shelf.enter(id);
      document.querySelector('folder-bar').focusHere();
    };
    return el('li', { class: 'file', 'data-testid': 'folder' },
      el('button', { type: 'button', class: 'folder', onclick: enter, 'data-testid': 'folder-open' },
        el('span', { class: 'face' }, icon('folder')), el('span', { class: 'file-name' })));
  }

  makeFile({ id }) {
    const [more, share] = this.dialogs;
    const download = el('a', {
      class: 'icon-button', href: `/api/files/${id}/download`, title: 'Download', 'data-testid': 'file-download',
    }, icon('download'));
    return el('li', { class: 'file', 'data-testid': 'file' },
      el('span', { class: 'face' }),
      el('div', { class: 'file-text' },
        el('span', { class: 'file-name' }), el('small', { 'data-testid': 'file-facts' })),
      el('div', { class: 'file-ways' },
        download,
        this.isShared ? null : iconButton('share', 'Share', {
          'data-testid': 'file-share', onclick: () => share.open(this.shelf, id),
        }),
        iconButton('more', 'More', { 'data-testid': 'file-more', onclick: () => more.open(this.shelf, id) })));
  }

  fill(element, { folder, file }) {
    const name = element.querySelector('.file-name');
    name.textContent = name.title = folder?.name ?? file.originalName;
    if (folder) return;
    element.querySelector('small').replaceChildren(...this.facts(file));
    for (const way of element.querySelectorAll('.file-ways > *')) {
      way.setAttribute('aria-label', `${way.title} ${file.originalName}`);
    }
    const old = element.querySelector('.face');
    if (old.dataset.url !== file.url) old.replaceWith(face(file));
  }

  facts(file) {
    const size = fileSize(file.size);
    if (this.isShared) return [`${size}, from ${this.shelf.nameOf(file.userId) || '…'}`];
    const count = file.sharedWith.length;
    const readers = count && `, shared with ${count}`;
    return [size, ', ', when(file.updatedAt), ...(readers ? [readers] : [])];
  }
}

/** A picture shows itself, small; other files an icon. */
function face({ url, originalName, thumbnails }) {
  if (!thumbnails.small) return el('span', { class: 'face', 'data-url': url }, icon('file'));
  const link = { class: 'face', href: url, target: '_blank', rel: 'noopener', 'data-url': url };
  const picture = el('img', {
    src: thumbnails.small, alt: '', loading: 'lazy', 'data-testid': 'file-preview',
    onerror: () => picture.replaceWith(icon('file')), // it only says that it is one
  });
  return el('a', { ...link, 'aria-label': `Look at ${originalName}` }, picture);
}

customElements.define('file-list', FileList);
