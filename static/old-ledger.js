import { ROW } from './crdt.js';

const place = (table, pk, cid) => JSON.stringify([table, pk, cid]);

/**
 * The state of a replica that was saved when replicas kept a log and did not count lives, as a Ledger
 * saves it now. It goes on under its own site id: what the server had not acknowledged is still to be
 * pushed, and nothing else.
 *
 * The server has always sent a tombstone with its row's `cl` as col_version, so lives can be counted
 * afterwards. A deletion of our own that it does not have ends the life after that one; if the row is
 * there again, all of it is written anew, since others may have brought it back.
 * @param {{siteId: string, version: number, acks: Record<string, number>, server: string,
 *   cells: any[][], log: any[][], tables: any[][]}} saved
 */
export function countLives({ siteId, version, acks, server, cells, log, tables }) {
  const known = new Map(cells.map(([table, pk, cid, version]) => [place(table, pk, cid), version]));
  const written = new Map(log.map((change) => [place(...change), change]));
  const isPending = (change) => change?.[5] > (acks[server] ?? 0);

  const alive = (table, pk, values) => {
    const end = written.get(place(table, pk, ROW));
    const isReborn = isPending(end);
    const cl = (known.get(place(table, pk, ROW)) ?? 0) + (isReborn ? 3 : 1);
    const held = Object.entries(values).map(([cid, val]) =>
      [cid, val, known.get(place(table, pk, cid)) ?? 1]);
    const own = held.flatMap(([cid, val, col], seq) => {
      const change = written.get(place(table, pk, cid));
      if (isPending(change) || (!isReborn && change?.[4] === col)) return [ownOf(change, change[4])];
      return isReborn ? [[cid, val, col, version + 1, seq, 0]] : [];
    });
    return [pk, cl, held, isReborn ? [ownOf(end, cl), ...own] : own];
  };

  const dead = (table, pk) => {
    const end = written.get(place(table, pk, ROW));
    const cl = (known.get(place(table, pk, ROW)) ?? 0) + (isPending(end) ? 2 : 0);
    return [pk, cl, [], isPending(end) ? [ownOf(end, cl)] : []];
  };

  const rows = new Map(tables.map(([table, entries]) =>
    [table, new Map(entries.map(([pk, values]) => [pk, alive(table, pk, values)]))]));
  for (const [table, pk, cid] of [...cells, ...log]) {
    if (!rows.has(table)) rows.set(table, new Map());
    if (cid === ROW && !rows.get(table).has(pk)) rows.get(table).set(pk, dead(table, pk));
  }
  const saved = [...rows].map(([table, entries]) => [table, [...entries.values()]]);
  return { siteId, version: version + 1, acks, tables: saved };
}

function ownOf([, , cid, val, , at, , , seq], version) {
  return [cid, val, version, at, seq, 0];
}
