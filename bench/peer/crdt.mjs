// The sync server of the CRDT guide, as it is written there: Node, ws and better-sqlite3.
// Usage: node crdt.mjs PORT FOLDER [transaction]
//
// The guide leaves DatabaseConnection open. This one has its tables, and does the least that merges:
// a SELECT and an INSERT per change. Each statement commits itself and no pragma is set; with
// `transaction` an update is one transaction, in WAL with synchronous FULL. There are no accounts.
import { randomUUID } from 'node:crypto';

import Database from 'better-sqlite3';
import { WebSocket, WebSocketServer } from 'ws';

const [port, folder, mode] = process.argv.slice(2);
const inTransactions = mode === 'transaction';
const RECEIVED = 0;
const FIELDS = '"table", pk, cid, val, col_version, db_version, site_id, cl, seq';

class DatabaseConnection {
  constructor(db) {
    if (inTransactions) {
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
    }
    db.exec(`
      CREATE TABLE IF NOT EXISTS crdt_site_id (site_id TEXT);
      CREATE TABLE IF NOT EXISTS crdt_changes (
        "table" TEXT, pk TEXT, cid TEXT, val, col_version INTEGER, db_version INTEGER,
        site_id TEXT, cl INTEGER, seq INTEGER, PRIMARY KEY ("table", pk, cid));
      CREATE INDEX IF NOT EXISTS crdt_changes_since ON crdt_changes (db_version, seq);
      CREATE TABLE IF NOT EXISTS crdt_tracked_peers (
        site_id TEXT, version INTEGER, event INTEGER, PRIMARY KEY (site_id, event));`);
    db.prepare('INSERT INTO crdt_site_id SELECT ? WHERE NOT EXISTS (SELECT 1 FROM crdt_site_id)')
      .run(randomUUID());
    this.siteId = db.prepare('SELECT site_id FROM crdt_site_id').pluck().get();
    this.winner = db.prepare(
      'SELECT col_version FROM crdt_changes WHERE "table" = ? AND pk = ? AND cid = ?').pluck();
    this.insert = db.prepare(`INSERT OR REPLACE INTO crdt_changes (${FIELDS})
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.track = db.prepare('INSERT OR REPLACE INTO crdt_tracked_peers VALUES (?, ?, ?)');
    this.version = db.prepare('SELECT coalesce(max(db_version), 0) FROM crdt_changes').pluck();
    this.since = db.prepare(`SELECT ${FIELDS} FROM crdt_changes WHERE db_version > ?
      ORDER BY db_version, seq`).raw();
    const store = (changes, siteId, version) => {
      this.merge(changes);
      this.insertTrackedPeer(siteId, version, RECEIVED);
    };
    this.store = inTransactions ? db.transaction(store) : store;
  }

  merge(changes) {
    for (const change of changes) {
      const [table, pk, cid, , colVersion] = change;
      const stored = this.winner.get(table, pk, cid) ?? 0;
      if (colVersion > stored) this.insert.run(...change);
    }
  }

  insertTrackedPeer(siteId, version, event) { this.track.run(siteId, version, event); }

  async getVersion() { return this.version.get(); }

  async changesSince(version) { return this.since.all(version); }
}

const channelDatabases = new Map();
const channelConnections = new Map();

async function getChannelDatabase(channel) {
  if (!channelDatabases.has(channel)) {
    const sqlite = new Database(`${folder}/${channel}.db`);
    channelDatabases.set(channel, new DatabaseConnection(sqlite));
  }
  return channelDatabases.get(channel);
}

function broadcastToChannel(channel, message, excludeSocket) {
  const data = JSON.stringify(message);
  for (const socket of channelConnections.get(channel) ?? []) {
    if (socket !== excludeSocket && socket.readyState === WebSocket.OPEN) socket.send(data);
  }
}

async function handleUpdate(socket, message, channel, dbConn) {
  const { changes, version, siteId } = message;
  dbConn.store(changes, siteId, version);
  const ack = { siteId: dbConn.siteId, version: await dbConn.getVersion(), channel };
  socket.send(JSON.stringify({ type: 'ack', ...ack }));
  const serverVersion = await dbConn.getVersion();
  broadcastToChannel(channel, {
    type: 'update', changes, version: serverVersion, siteId: dbConn.siteId, channel,
  }, socket);
}

async function handlePull(socket, message, channel, dbConn) {
  const changes = await dbConn.changesSince(message.version);
  socket.send(JSON.stringify({
    type: 'update', changes, version: await dbConn.getVersion(), siteId: dbConn.siteId, channel,
  }));
}

const handlers = { update: handleUpdate, pull: handlePull };
const wss = new WebSocketServer({ port: Number(port), host: '127.0.0.1' });

wss.on('connection', async (socket, request) => {
  const url = new URL(request.url, 'http://localhost');
  const channel = url.searchParams.get('channel') || 'default';
  if (!channelConnections.has(channel)) channelConnections.set(channel, new Set());
  channelConnections.get(channel).add(socket);
  const dbConn = await getChannelDatabase(channel);
  const connected = { siteId: dbConn.siteId, version: await dbConn.getVersion(), channel };
  socket.send(JSON.stringify({ type: 'connected', ...connected }));
  socket.on('message', async (data) => {
    try {
      const message = JSON.parse(data.toString());
      await handlers[message.type]?.(socket, message, channel, dbConn);
    } catch (error) {
      console.error('Error handling message:', error);
    }
  });
  socket.on('close', () => { channelConnections.get(channel).delete(socket); });
});
