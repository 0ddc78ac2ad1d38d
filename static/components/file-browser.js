import './file-drop.js';
import './file-list.js';
import './folder-bar.js';
import './upload-list.js';
import { Part, el } from './part.js';
import { Shelf } from './shelf.js';

/** One's files in folders, and those of others that are shared with one. */
class FileBrowser extends Part {
  showGuest() {
    this.showLocked('Files', 'Keep files in folders and share them, with people or by a link. Sign in to add some.');
  }

  showMember() {
    const shelf = new Shelf(this.wharf, (action) => this.attempt(action));
    this.until(() => shelf.close());
    const [drop, bar, uploads] = ['file-drop', 'folder-bar', 'upload-list'].map((name) => el(name));
    const lists = [el('file-list'), el('file-list', { kind: 'shared' })];
    this.replaceChildren(
      this.head('Files'), drop,
      el('div', { class: 'shelf' }, bar, uploads, ...lists));
    for (const part of [bar, uploads, ...lists]) part.open(shelf);
    this.until(() => uploads.stop());
    drop.open(shelf, this, (files) => uploads.add(files));
  }
}

customElements.define('file-browser', FileBrowser);
