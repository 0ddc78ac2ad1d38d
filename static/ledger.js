import { randomId } from './emitter.js';

const ROW = '-1';

/** The place of a cell, as one text; its cid is ROW for the row's tombstone. */
const place = (table, pk, cid) => JSON.stringify([table, pk, cid]);

/**
 * The memory of a replica: its tables, the version of every cell, and the log of its own changes.
 *
 * A change is `[table, pk, cid, val, col_version, db_version, site_id, cl, seq]`. The log keeps the
 * latest own change of each cell, so it grows with the data and not with the edits. Nothing leaves
 * it: the server must learn of every col_version we used, or we would refuse what it settles on.
 */
export class Ledger {
  #cells = new Map(); // place -> col_version of the newest change known, tombstones included
  #log = new Map(); // place -> own change
  #tables = new Map(); // table -> Map(pk -> row)

  /** @param {object | null} saved what `toJSON` gave earlier */
  constructor(saved) {
    this.siteId = saved?.siteId ?? randomId();
    this.version = saved?.version ?? 0;
    this.acks = saved?.acks ?? {}; // server site id -> highest own version it has
    for (const [table, pk, cid, version] of saved?.cells ?? []) {
      this.#cells.set(place(table, pk, cid), version);
    }
    for (const change of saved?.log ?? []) this.#log.set(place(...change), change);
    for (const [table, rows] of saved?.tables ?? []) this.#tables.set(table, new Map(rows));
  }

  /** Everything, as JSON. */
  toJSON() {
    const { siteId, version, acks } = this;
    const cells = [...this.#cells].map(([key, known]) => [...JSON.parse(key), known]);
    const tables = [...this.#tables].map(([name, rows]) => [name, [...rows]]);
    return { siteId, version, acks, cells, log: [...this.#log.values()], tables };
  }

  /** The rows of a table by key; do not change them. */
  rows(table) {
    return this.#tables.get(table) ?? new Map();
  }

  /** Set cells of a row, in one transaction; cells that have the value already are left alone. */
  write(table, pk, values) {
    const row = this.rows(table).get(pk) ?? {};
    const news = Object.entries(values).filter(([cid, val]) => !(cid in row) || row[cid] !== val);
    if (!news.length) return false;
    this.version += 1;
    news.forEach(([cid, val], seq) => {
      const key = place(table, pk, cid);
      const known = (this.#cells.get(key) ?? 0) + 1;
      this.#cells.set(key, known);
      this.#log.set(key, [table, pk, cid, val, known, this.version, this.siteId, 1, seq]);
      this.#set(table, pk, cid, val);
    });
    return true;
  }

  /** Delete a row. */
  remove(table, pk) {
    if (!this.rows(table).delete(pk)) return false;
    this.version += 1;
    this.#log.set(place(table, pk, ROW), [table, pk, ROW, null, 1, this.version, this.siteId, 1, 0]);
    return true;
  }

  /** Own changes above a version, in the order they were made. */
  since(version) {
    const news = [...this.#log.values()].filter((change) => change[5] > version);
    return news.sort((one, two) => one[5] - two[5] || one[8] - two[8]);
  }

  /**
   * Apply the server's changes: each wins when its col_version is strictly greater than ours.
   * @param {any[][]} changes
   * @param {number} acked the highest own version the server has
   * @returns {boolean} whether anything changed
   */
  merge(changes, acked) {
    const gone = new Map(); // place of a tombstone -> the row it removed
    let changed = false;
    for (const change of changes) {
      if (!this.#isNews(change)) continue;
      const [table, pk, cid, val] = change;
      changed = true;
      if (cid !== ROW) this.#set(table, pk, cid, val);
      else this.#bury(table, pk, gone);
    }
    for (const [key, row] of gone) this.#mourn(...JSON.parse(key), row, acked);
    return changed;
  }

  #isNews([table, pk, cid, , version]) {
    const key = place(table, pk, cid);
    if (!(version > (this.#cells.get(key) ?? 0))) return false;
    this.#cells.set(key, version);
    return true;
  }

  #bury(table, pk, gone) {
    const row = this.rows(table).get(pk);
    if (!row) return;
    this.rows(table).delete(pk);
    gone.set(place(table, pk, ROW), row);
  }

  /**
   * After a deletion from elsewhere: a row that we edited meanwhile comes back by our edit; write
   * its other cells again, so that it comes back whole.
   */
  #mourn(table, pk, _, row, acked) {
    const now = this.rows(table).get(pk);
    const isOurEdit = (cid) => {
      const own = this.#log.get(place(table, pk, cid));
      return own && (own[5] > acked || (now && cid in now && now[cid] === own[3]));
    };
    if (Object.keys(row).some(isOurEdit)) this.write(table, pk, { ...row, ...now });
  }

  #set(table, pk, cid, val) {
    if (!this.#tables.has(table)) this.#tables.set(table, new Map());
    const rows = this.#tables.get(table);
    rows.set(pk, { ...rows.get(pk), [cid]: val });
  }
}
