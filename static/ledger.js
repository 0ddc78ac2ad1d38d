import { ROW, takes } from './crdt.js';
import { randomId } from './emitter.js';
import { countLives } from './old-ledger.js';
import { Row } from './row.js';

/**
 * The memory of a replica: its tables, and what it wrote itself.
 *
 * It counts the lives of rows (docs/sync.md, merge rule 5) and pushes its newest state: the latest
 * own change of each cell in the present life of its row. So it grows with the data, not with the
 * edits. Rows that were deleted stay as their count.
 */
export class Ledger {
  #tables = new Map(); // table -> Map(pk -> Row)

  /** @param {object | null} saved what `toJSON` gave, here or in the versions that kept a log */
  constructor(saved) {
    const { siteId, version, acks, tables } = saved?.log ? countLives(saved) : (saved ?? {});
    this.siteId = siteId ?? randomId();
    this.version = version ?? 0;
    this.acks = acks ?? {}; // server site id -> highest own version it has
    for (const [table, rows] of tables ?? []) {
      this.#tables.set(table, new Map(rows.map(([pk, ...row]) => [pk, new Row(...row)])));
    }
  }

  /** Everything, as JSON. */
  toJSON() {
    const { siteId, version, acks } = this;
    const tables = [...this.#tables].map(([table, rows]) =>
      [table, [...rows].map(([pk, row]) => [pk, ...row.toJSON()])]);
    return { siteId, version, acks, tables };
  }

  /**
   * The rows of a table that live, by key.
   * @param {string} table
   * @returns {Array<[string, object]>}
   */
  rows(table) {
    const rows = [...(this.#tables.get(table) ?? [])];
    return rows.filter(([, { cells }]) => cells.size).map(([pk, row]) => [pk, row.values]);
  }

  /** Set cells of a row, in one transaction; cells that have the value already are left alone. */
  write(table, pk, values) {
    const row = this.#row(table, pk);
    const news = Object.entries(values).filter(([cid, val]) => !row.says(cid, val));
    if (!news.length) return false;
    const birth = this.#begin(row);
    const cells = news.map(([cid, val]) => [cid, val, row.versionOf(cid) + 1]);
    this.#commit(row, [...birth, ...cells]);
    return true;
  }

  /** Delete a row. */
  remove(table, pk) {
    const row = this.#tables.get(table)?.get(pk);
    if (!row?.isAlive) return false;
    row.begin(row.cl + 1);
    this.#commit(row, [[ROW, null, row.cl]]);
    return true;
  }

  /** Own changes above a version, in the order they were made. */
  since(version) {
    const news = [];
    this.#eachOwn((own, cid, row, pk, table) => {
      if (own.at <= version) return;
      news.push([table, pk, cid, own.val, own.version, own.at, this.siteId, row.cl, own.seq]);
    });
    return news.sort((one, two) => one[5] - two[5] || one[8] - two[8]);
  }

  /**
   * A server has merged our changes.
   * @param {string} server its site id
   * @param {number} version our own, up to which
   * @param {number} serverVersion the channel's by then
   */
  settle(server, version, serverVersion) {
    const acked = this.acks[server] ?? 0;
    if (version <= acked) return;
    this.#eachOwn((own) => {
      if (own.at <= acked || own.at > version) return;
      // One that takes the place of the server we knew gets all again; it was merged at first already.
      own.settled = Math.min(own.settled || serverVersion, serverVersion);
    });
    this.acks[server] = version;
  }

  /**
   * Apply the server's changes.
   * @param {any[][]} changes
   * @param {number} acked the highest own version the server has
   * @returns {boolean} whether anything changed
   */
  merge(changes, acked) {
    const lost = new Map(); // row -> what it held, and what nobody else has seen of it
    let changed = false;
    for (const [table, pk, cid, val, version, at, , cl] of changes) {
      const row = this.#row(table, pk);
      // The row itself has no version but its cl.
      const held = cid === ROW ? version : row.versionOf(cid);
      if (!takes([cl, version], [row.cl, held])) continue;
      if (cl > row.cl) {
        const edits = row.unseen(acked, -at); // re-issued, as all after a deletion: at = -version
        if (edits.size) lost.set(row, { cells: row.cells, edits });
        row.begin(cl);
      }
      if (cid !== ROW) row.cells.set(cid, { val, version });
      changed = true;
    }
    for (const [row, held] of lost) this.#revive(row, held);
    return changed;
  }

  /**
   * After a deletion by somebody who had not seen our edits: write the row again, whole. Where others
   * were faster, only what they lack.
   *
   * Our edits count on from the life before, what is carried along begins at 1: so an edit wins over
   * the same cell as others carry it along.
   */
  #revive(row, { cells, edits }) {
    const birth = this.#begin(row);
    const news = [];
    for (const [cid, { val, version }] of cells) {
      const isEdit = edits.has(cid);
      const now = row.versionOf(cid);
      if (isEdit && !row.says(cid, edits.get(cid))) {
        news.push([cid, edits.get(cid), Math.max(version, now) + 1]);
      } else if (!isEdit && !now) {
        news.push([cid, val, 1]);
      }
    }
    if (news.length) this.#commit(row, [...birth, ...news]);
  }

  /** See that a row lives; the writes that say so. */
  #begin(row) {
    if (row.isAlive) return [];
    row.begin(row.cl + 1);
    return row.cl === 1 ? [] : [[ROW, null, row.cl]]; // the first life says itself
  }

  /** One transaction of our own: cid, value and col_version of each cell. */
  #commit(row, writes) {
    this.version += 1;
    writes.forEach(([cid, val, version], seq) => {
      row.own.set(cid, { val, version, at: this.version, seq, settled: 0 });
      if (cid !== ROW) row.cells.set(cid, { val, version });
    });
  }

  #row(table, pk) {
    if (!this.#tables.has(table)) this.#tables.set(table, new Map());
    const rows = this.#tables.get(table);
    if (!rows.has(pk)) rows.set(pk, new Row());
    return rows.get(pk);
  }

  #eachOwn(fn) {
    for (const [table, rows] of this.#tables) {
      for (const [pk, row] of rows) row.own.forEach((own, cid) => fn(own, cid, row, pk, table));
    }
  }
}
