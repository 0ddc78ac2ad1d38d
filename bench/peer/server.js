// The peer of the measurements: the same chat relay on Node, ws and better-sqlite3.
// Usage: node server.js PORT DATABASE_FILE [per-client]
//
// A message is stored (WAL, synchronous FULL) before anybody hears of it, and encoded once for the
// whole room; with `per-client` once for every client, as tutorials do. Accounts are left out: the
// token in the address is not looked at.
'use strict';

const Database = require('better-sqlite3');
const { WebSocket, WebSocketServer } = require('ws');

const [port, file, encode] = process.argv.slice(2);
const perClient = encode === 'per-client';
const PING_SECONDS = 30;
const user = { id: 1, name: 'Bench' };

const db = new Database(file);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec(`CREATE TABLE messages (
  id INTEGER PRIMARY KEY, room_id TEXT, user_id INTEGER, content TEXT, created_at TEXT)`);
db.exec('CREATE INDEX messages_of_room ON messages (room_id, id)');
const store = db.prepare(
  'INSERT INTO messages (room_id, user_id, content, created_at) VALUES (?, ?, ?, ?)');

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
    const id = store.run(roomId, user.id, content, createdAt).lastInsertRowid;
    const message = { id, roomId, userId: user.id, userName: user.name, content, createdAt };
    tellRoom(roomId, { type: 'chat-message', roomId, message });
  },

  ping(socket, { sentAt }) {
    socket.send(JSON.stringify({ type: 'pong', sentAt, timestamp: new Date().toISOString() }));
  },
};

const server = new WebSocketServer({ port: Number(port), host: '127.0.0.1' });

server.on('connection', (socket) => {
  socket.alive = true;
  socket.on('pong', () => { socket.alive = true; });
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    handlers[frame.type](socket, frame);
  });
  socket.on('close', () => { for (const room of rooms.values()) room.delete(socket); });
  socket.send(JSON.stringify({ type: 'connected', user }));
});

setInterval(() => {
  for (const socket of server.clients) {
    if (!socket.alive) { socket.terminate(); continue; }
    socket.alive = false;
    socket.ping();
  }
}, PING_SECONDS * 1000);
