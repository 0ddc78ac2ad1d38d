// The peer of the measurements: the same chat relay on Node, ws and better-sqlite3.
// Usage: node server.js PORT DATABASE [per-client]
//
// DATABASE is a file (WAL, synchronous FULL), or the address of a PostgreSQL database, used by `pg`
// and its pool of ten. A message is stored before anybody hears of it, and encoded once for the
// whole room; with `per-client` once for every client, as tutorials do. Accounts are left out: the
// token in the address is not looked at.
'use strict';

const { WebSocket, WebSocketServer } = require('ws');

const [port, database, encode] = process.argv.slice(2);
const perClient = encode === 'per-client';
const PING_SECONDS = 30;
const user = { id: 1, name: 'Bench' };

// Both make a table and return store(values, then), which calls then(id) once the row is durable.

function openSqlite() {
  const Database = require('better-sqlite3');
  const db = new Database(database);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.exec(`CREATE TABLE chat (
    id INTEGER PRIMARY KEY, room_id TEXT, user_id INTEGER, content TEXT, created_at TEXT)`);
  db.exec('CREATE INDEX chat_of_room ON chat (room_id, id)');
  const insert = db.prepare(
    'INSERT INTO chat (room_id, user_id, content, created_at) VALUES (?, ?, ?, ?)');
  return (values, then) => then(insert.run(...values).lastInsertRowid);
}

async function openPostgres() {
  const { Pool } = require('pg');
  const pool = new Pool({ connectionString: database });
  await pool.query(`CREATE TABLE chat (
    id bigserial PRIMARY KEY, room_id text, user_id bigint, content text, created_at timestamptz)`);
  await pool.query('CREATE INDEX chat_of_room ON chat (room_id, id)');
  const text =
    'INSERT INTO chat (room_id, user_id, content, created_at) VALUES ($1, $2, $3, $4) RETURNING id';
  return async (values, then) => {
    const { rows } = await pool.query({ name: 'store', text, values });
    then(Number(rows[0].id));
  };
}

let store;
const rooms = new Map(); // roomId -> Set of sockets

function tellRoom(roomId, message) {
  const shared = perClient ? null : Buffer.from(JSON.stringify(message));
  for (const socket of rooms.get(roomId) ?? []) {
    if (socket.readyState !== WebSocket.OPEN) continue;
    socket.send(shared ?? JSON.stringify(message), { binary: false });
  }
}

const handlers = {
  'join-room'(socket, { roomId }) {
    if (!rooms.has(roomId)) rooms.set(roomId, new Set());
    rooms.get(roomId).add(socket);
    tellRoom(roomId, { type: 'user-joined', roomId, user });
  },

  'chat-message'(socket, { roomId, content }) {
    const createdAt = new Date().toISOString();
    store([roomId, user.id, content, createdAt], (id) => {
      const message = { id, roomId, userId: user.id, userName: user.name, content, createdAt };
      tellRoom(roomId, { type: 'chat-message', roomId, message });
    });
  },

  ping(socket, { sentAt }) {
    socket.send(JSON.stringify({ type: 'pong', sentAt, timestamp: new Date().toISOString() }));
  },
};

function greet(socket) {
  socket.alive = true;
  socket.on('pong', () => { socket.alive = true; });
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    handlers[frame.type](socket, frame);
  });
  socket.on('close', () => { for (const room of rooms.values()) room.delete(socket); });
  socket.send(JSON.stringify({ type: 'connected', user }));
}

function ping(sockets) {
  for (const socket of sockets) {
    if (!socket.alive) { socket.terminate(); continue; }
    socket.alive = false;
    socket.ping();
  }
}

(async () => {
  store = await (database.startsWith('postgres') ? openPostgres() : openSqlite());
  const server = new WebSocketServer({ port: Number(port), host: '127.0.0.1' });
  server.on('connection', greet);
  setInterval(() => ping(server.clients), PING_SECONDS * 1000);
})();
