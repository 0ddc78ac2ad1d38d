"""Servers of sync channels that are full already, for bench/crdt.py."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

import servers
from databases import SECRET, Database
from replicas import CHANNEL, Replica, changes_of
from servers import HERE, Server
from sqlalchemy import insert, select, text

from app import create_app
from models import CrdtChange, CrdtChannel, CrdtPeer, User, db

CHUNK = 20_000
AUTHOR = "7d1f3c5e-2b4a-4f6d-9c8e-author000000"
READER = "7d1f3c5e-2b4a-4f6d-9c8e-reader{:06d}"
LAST = 100  # changes that the readers of Wharf's channels have not acknowledged
READERS = 3


def cells(count: int) -> Iterator[list[object]]:
    """So many different cells, numbered from 1 by db_version."""
    fresh = (change for change in changes_of(AUTHOR) if change[4] == 1)
    for version, change in enumerate(islice(fresh, count), 1):
        yield [*change[:5], version, *change[6:]]


# Wharf


@contextmanager
def wharf(database: Database, count: int = 0) -> Iterator[Server]:
    """The socket process as the Procfile starts it, with so many cells in the channel."""
    path = f"/sync?channel={CHANNEL}&token={database.token}"
    with ExitStack() as stack:
        url = stack.enter_context(database.copies())
        if count:
            fill(url, count)
        port, master = stack.enter_context(servers.process("socket", url, {}))
        yield Server((port,), path, (servers.only_child(master),))


def fill(url: str, count: int) -> None:
    """Store cells, and a reader that acknowledged all but the last."""
    app = create_app({"SECRET_KEY": SECRET, "DATABASE_URL": url, "REDIS_URL": ""})
    with app.app_context():
        owner = db.session.scalar(select(User.id))
        made = {"name": CHANNEL, "owner_id": owner, "crdt_db_version": count}
        db.session.execute(insert(CrdtChannel).values(made))
        peer = {"channel": CHANNEL, "site_id": READER.format(0), "user_id": owner}
        db.session.execute(insert(CrdtPeer).values(peer | {"sent": count - LAST}))
        changes = cells(count)
        while rows := [as_stored(change) for change in islice(changes, CHUNK)]:
            db.session.connection().execute(insert(CrdtChange), rows)
        db.session.commit()
        if db.engine.dialect.name == "postgresql":
            db.session.execute(text("ANALYZE crdt_changes"))  # as its own housekeeping does in time
            db.session.commit()
        db.session.remove()
        db.engine.dispose()
    app.extensions["bus"].close()


def as_stored(change: list[object]) -> dict[str, object]:
    """A row of Wharf's table."""
    names = ("table", "pk", "cid", "val", "col_version", "db_version", "site_id", "cl")
    row = dict(zip(names, change, strict=False))
    more = {"val": f'"{change[3]}"', "version": change[5], "reissued": False}
    return {"channel": CHANNEL, **row, **more}


# The guide's


@contextmanager
def guide(_database: Database, count: int = 0, mode: str = "") -> Iterator[Server]:
    """The guide's server, with so many cells in the channel."""
    port = servers.free_port()
    script = str(HERE / "peer" / "crdt.mjs")
    with tempfile.TemporaryDirectory() as folder:
        command = ["node", script, str(port), folder, mode]
        path = f"/?channel={CHANNEL}"
        if count:
            with servers.running(command, port) as pid:
                greet(Server((port,), path, (pid,)))  # it makes its tables
            fill_guide(Path(folder) / f"{CHANNEL}.db", count)
        with servers.running(command, port) as pid:
            yield Server((port,), path, (pid,))


def greet(server: Server) -> None:
    """Visit the channel."""
    Replica(server, READER.format(0)).close()


def fill_guide(path: Path, count: int) -> None:
    """Store cells, above the 1 that a pull names."""
    places = ", ".join("?" * 9)
    with closing(sqlite3.connect(path)) as database, database:
        rows = ([*change[:5], change[5] + 1, *change[6:]] for change in cells(count))
        database.executemany(f"INSERT INTO crdt_changes VALUES ({places})", rows)
