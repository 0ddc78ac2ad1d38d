import { ROW, canonical } from './crdt.js';

/**
 * A row in its present life, as a Ledger keeps it.
 *
 * `own` holds our latest write of each cell, and of the row itself under ROW: `at` is its
 * db_version, `settled` the channel's version when the server had merged it, 0 before.
 */
export class Row {
  /**
   * @param {number} [cl] how often it was made and deleted: odd while it lives, 0 if never seen
   * @param {Array<[string, any, number]>} [cells] cid, value, col_version
   * @param {Array<[string, any, number, number, number, number]>} [own] cid, value, col_version,
   *   db_version, seq, settled
   */
  constructor(cl = 0, cells = [], own = []) {
    this.cl = cl;
    this.cells = new Map(cells.map(([cid, val, version]) => [cid, { val, version }]));
    this.own = new Map(own.map(([cid, val, version, at, seq, settled]) =>
      [cid, { val, version, at, seq, settled }]));
  }

  /** What the constructor takes. */
  toJSON() {
    const cells = [...this.cells].map(([cid, { val, version }]) => [cid, val, version]);
    const own = [...this.own].map(([cid, { val, version, at, seq, settled }]) =>
      [cid, val, version, at, seq, settled]);
    return [this.cl, cells, own];
  }

  get isAlive() {
    return this.cl % 2 === 1;
  }

  /** The values by cid. */
  get values() {
    return Object.fromEntries([...this.cells].map(([cid, { val }]) => [cid, val]));
  }

  /** Enter another life; of the one before nothing is kept. */
  begin(cl) {
    this.cl = cl;
    this.cells = new Map();
    this.own = new Map();
  }

  /** Whether a cell has this value already. */
  says(cid, val) {
    const cell = this.cells.get(cid);
    return cell !== undefined && canonical(cell.val) === canonical(val);
  }

  /** The col_version of a cell; 0 without one. */
  versionOf(cid) {
    return this.cells.get(cid)?.version ?? 0;
  }

  /**
   * Our writes that a deletion did not know of: the server had not merged them by then, and has
   * dropped them. Their values by cid.
   *
   * What was written to bring the row back is not among them once the server has answered: it may
   * refuse the row as such, and would be asked for ever.
   * @param {number} acked our highest db_version that the server is known to have
   * @param {number} version the channel's at the deletion
   */
  unseen(acked, version) {
    const begun = this.own.get(ROW)?.at ?? 0;
    const isUnseen = ([cid, { at, settled }]) =>
      cid !== ROW && (settled ? settled >= version && at > begun : at > acked);
    return new Map([...this.own].filter(isUnseen).map(([cid, { val }]) => [cid, val]));
  }
}
