// The peer of the measurements of records: the todos of the LARC guide on Express.
// Usage: JWT_SECRET=... node server.js PORT DATABASE [WORKERS]
//
// DATABASE is a file that Wharf made (WAL, synchronous FULL); the tokens are Wharf's too. As in the
// guide: `cors`, `express.json`, `jsonwebtoken`, `sqlite3` behind `sqlite`, one process; with
// WORKERS so many, by `cluster`. Left out is what would only slow it down: `verbose()`, static files
// and an order that no index has.
'use strict';

const cluster = require('cluster');
const cors = require('cors');
const express = require('express');
const jwt = require('jsonwebtoken');
const { open } = require('sqlite');
const sqlite3 = require('sqlite3');

const [port, filename, workers] = process.argv.slice(2);
const FIND = 'SELECT * FROM todos WHERE id = ? AND user_id = ?';
const LIST = 'SELECT * FROM todos WHERE user_id = ? ORDER BY id DESC LIMIT ?';
const INSERT = `INSERT INTO todos (user_id, title, completed, created_at, updated_at)
  VALUES (?, ?, 0, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)`;

function authenticate(req, res, next) {
  const authHeader = req.headers.authorization;
  if (!authHeader?.startsWith('Bearer ')) {
    return res.status(401).json({ error: 'No token provided' });
  }
  try {
    req.user = jwt.verify(authHeader.slice(7), process.env.JWT_SECRET, { algorithms: ['HS256'] });
    next();
  } catch {
    res.status(401).json({ error: 'Invalid token' });
  }
}

async function openDatabase() {
  const db = await open({ filename, driver: sqlite3.Database });
  await db.exec('PRAGMA journal_mode = WAL');
  await db.exec('PRAGMA synchronous = FULL');
  await db.exec('PRAGMA busy_timeout = 5000'); // two workers write
  // Beside a read that is still open, a write fails at once when another worker wrote meanwhile.
  if (workers) db.getDatabaseInstance().serialize();
  return db;
}

function addRoutes(app, db) {
  app.get('/api/todos', authenticate, async (req, res) => {
    res.json(await db.all(LIST, req.user.id, Number(req.query.limit ?? 1000)));
  });

  app.get('/api/todos/:id', authenticate, async (req, res) => {
    const todo = await db.get(FIND, req.params.id, req.user.id);
    if (!todo) return res.status(404).json({ error: 'Todo not found' });
    res.json(todo);
  });

  app.post('/api/todos', authenticate, async (req, res) => {
    const { title } = req.body;
    if (!title) return res.status(400).json({ error: 'Title is required' });
    const { lastID } = await db.run(INSERT, req.user.id, title);
    res.status(201).json(await db.get(FIND, lastID, req.user.id));
  });
}

async function serve() {
  const app = express();
  app.use(cors());
  app.use(express.json());
  addRoutes(app, await openDatabase());
  app.listen(Number(port), '127.0.0.1');
}

if (workers && cluster.isPrimary) {
  for (let i = 0; i < Number(workers); i += 1) cluster.fork();
} else {
  serve();
}
