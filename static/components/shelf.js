import { Emitter } from '../emitter.js';

const PAGE = 1000;
const byName = new Intl.Collator(undefined, { numeric: true });

/** Rows of a table one may see, kept right by what is told of it. */
class LiveRows {
  rows = new Map();
  isLoaded = false;
  early = null; // changes that came while the list was being fetched

  constructor(shelf, table) {
    this.shelf = shelf;
    this.path = `/api/${table}?limit=${PAGE}`;
    this.unwatch = shelf.wharf.watch(table, (change) => this.hear(change), () => this.load());
  }

  /** Fetch the list; what changes meanwhile is applied on top of it. */
  async load() {
    const early = [];
    this.early = early;
    const rows = await this.shelf.attempt(() => this.fetchAll());
    if (this.early !== early) return; // fetched anew meanwhile
    this.early = null;
    if (rows) this.rows = new Map(rows.map((row) => [row.id, row]));
    for (const change of early) this.apply(change);
    this.isLoaded = true;
    this.shelf.emit('change');
  }

  async fetchAll() {
    const rows = [];
    let next = '';
    do {
      const page = await this.shelf.wharf.json('GET', `${this.path}${next && `&next=${encodeURIComponent(next)}`}`);
      rows.push(...page.items);
      next = page.next;
    } while (next);
    return rows;
  }

  hear(change) {
    if (this.early) {
      this.early.push(change);
      return;
    }
    this.apply(change);
    this.shelf.emit('change');
  }

  apply({ event, row }) {
    if (event === 'DELETE') this.rows.delete(row.id);
    else this.rows.set(row.id, row);
  }
}

/**
 * The files and folders one may see, which folder is open, and what is done with them; shared by the
 * components of the files card. Event: `change`.
 */
export class Shelf extends Emitter {
  #folderId = null;
  #names = new Map();

  /**
   * @param {import('../wharf.js').Wharf} wharf
   * @param {(action: () => Promise<any>) => Promise<any>} attempt tells the reader what fails
   */
  constructor(wharf, attempt) {
    super();
    this.wharf = wharf;
    this.user = wharf.user;
    this.attempt = attempt;
    this.files = new LiveRows(this, 'files');
    this.folders = new LiveRows(this, 'folders');
  }

  /** Whether files and folders were fetched once. */
  get isReady() {
    return this.files.isLoaded && this.folders.isLoaded;
  }

  /** Hear no more. */
  close() {
    this.files.unwatch();
    this.folders.unwatch();
  }

  /** The folder that is open; null at the top, also once it is gone. */
  get folder() {
    return this.folders.rows.get(this.#folderId) ?? null;
  }

  get folderId() {
    return this.folder?.id ?? null;
  }

  enter(folderId) {
    this.#folderId = folderId;
    this.emit('change');
  }

  /** A folder and those around it, from the top. */
  pathOf(folder) {
    return folder ? [...this.pathOf(this.folders.rows.get(folder.parentId)), folder] : [];
  }

  /** All folders, each as its names from the top, in order. */
  get places() {
    const nameOf = (folder) => this.pathOf(folder).map(({ name }) => name).join(' / ');
    const places = [...this.folders.rows.values()].map((folder) => ({ id: folder.id, name: nameOf(folder) }));
    return places.sort((one, two) => byName.compare(one.name, two.name));
  }

  get foldersHere() {
    const { folderId } = this;
    const here = [...this.folders.rows.values()].filter((folder) => folder.parentId === folderId);
    return here.sort((one, two) => byName.compare(one.name, two.name));
  }

  /** One's own files in this folder, the newest first. */
  get filesHere() {
    const { folderId } = this;
    return this.#filesWhere((file) => this.isOwn(file) && file.folderId === folderId);
  }

  /** The files of others. */
  get shared() {
    return this.#filesWhere((file) => !this.isOwn(file));
  }

  #filesWhere(test) {
    return [...this.files.rows.values()].filter(test).sort((one, two) => two.id - one.id);
  }

  isOwn(file) {
    return file.userId === this.user.id;
  }

  mayWrite(file) {
    const mine = ({ userId, mode }) => userId === this.user.id && mode === 'write';
    return this.isOwn(file) || file.sharedWith.some(mine);
  }

  /** What somebody is called; empty until it is known, which is a change. */
  nameOf(userId) {
    if (!this.#names.has(userId)) {
      this.#names.set(userId, '');
      this.wharf.json('GET', `/api/users/${userId}`).then(({ name }) => {
        this.#names.set(userId, name);
        this.emit('change');
      }, () => this.#names.delete(userId)); // asked again with the next change
    }
    return this.#names.get(userId);
  }

  /** A file that came in is shown at once, not only when it is told. */
  add(file) {
    this.files.hear({ event: 'INSERT', row: file });
  }

  /** Change something on the server; what comes of it is told, or fetched while nothing is. */
  async change(method, path, body) {
    const answer = await this.wharf.json(method, path, body);
    if (this.wharf.socket.state !== 'online') await Promise.all([this.files.load(), this.folders.load()]);
    return answer;
  }
}
