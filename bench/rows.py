"""Measures whether lists get slower with their rows: 10,000 and 1,000,000 todos and posts.

Usage: python bench/rows.py [--rows 1000000] [--calls 25]

The app is called in this process. Each question is asked of the short and of the long list in
turns, and the table shows medians and their ratio. Filling takes some minutes; it ends by itself.
"""

import argparse
import base64
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from databases import SECRET, Postgres, Sqlite
from flask import Flask
from sqlalchemy import insert

from app import create_app
from models import Post, Todo, db, now

FEW, CHUNK = 10_000, 20_000
COMMON, SOME, NONE = "harbour", "w7", "nothing"  # in all rows, in 100, in none
QUESTIONS = {
    "first page": "limit=20",
    "page 100": "limit=20&page=100",
    "by cursor, from the middle": "limit=20&next={middle}",
    "the bare list": "",
    "search: a word of all rows": f"limit=20&q={COMMON}",
    "search: of 100 rows": f"limit=20&q={SOME}",
    "search: of none": f"limit=20&q={NONE}",
}


def fill(app: Flask, count: int) -> None:
    """Give the account of the bench this many todos and published posts."""
    with app.app_context():
        for start in range(0, count, CHUNK):
            numbers, at = range(start, min(start + CHUNK, count)), now()
            texts = [f"{COMMON} {number} w{number % (count // 100)}" for number in numbers]
            dates = {"created_at": at, "updated_at": at}
            todos = [{"title": text, "user_id": 1, "completed": False, **dates} for text in texts]
            more = {"content": "lorem ipsum " * 10, "author_id": 1, "published": True, **dates}
            db.session.execute(insert(Todo.__table__), todos)
            db.session.execute(insert(Post.__table__), [{"title": t, **more} for t in texts])
            db.session.commit()
        if db.engine.dialect.name == "postgresql":
            db.session.execute(db.text("ANALYZE"))  # as its own housekeeping does in time
            db.session.commit()


@contextmanager
def filled(database: Sqlite | Postgres, count: int) -> Iterator[Flask]:
    """An app with so many rows of each noun."""
    with database.copies() as url:
        settings = {"SECRET_KEY": SECRET, "DATABASE_URL": url, "REDIS_URL": ""}
        app = create_app({**settings, "API_LIMIT": "1000000 per minute"})
        fill(app, count)
        yield app
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
        app.extensions["bus"].close()


def ask(app: Flask, path: str, token: str) -> float:
    """Milliseconds of one call."""
    headers = {"Authorization": f"Bearer {token}"}
    began = time.perf_counter()
    response = app.test_client(use_cookies=False).get(path, headers=headers)
    took = (time.perf_counter() - began) * 1000
    assert response.status_code == 200, response.json
    return took


def cursor(row_id: int) -> str:
    """What `next` of a page says that ended with this row."""
    text = json.dumps([row_id, row_id]).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def compare(name: str, database: Sqlite | Postgres, rows: int, calls: int) -> None:
    """Print the table of one database."""
    sizes = (FEW, rows)
    with ExitStack() as stack:
        apps = {size: stack.enter_context(filled(database, size)) for size in sizes}
        for noun in ("todos", "posts"):
            for title, query in QUESTIONS.items():
                paths = {s: f"/api/{noun}?{query.format(middle=cursor(s // 2))}" for s in sizes}
                took: dict[int, list[float]] = {size: [] for size in sizes}
                for _ in range(calls + 3):
                    for size, app in apps.items():
                        took[size].append(ask(app, paths[size], database.token))
                few, many = (median(took[size][3:]) for size in sizes)  # the first calls warm up
                print(f"| {name} | {noun} | {title} | {few:.1f} | {many:.1f} | {many / few:.2f} |")


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=25)
    options: Any = parser.parse_args()
    print(f"| database | noun | asked for | {FEW:,} rows, ms | {options.rows:,} rows, ms | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        compare("SQLite", Sqlite(Path(folder)), options.rows, options.calls)
    postgres = Postgres()
    try:
        compare("PostgreSQL", postgres, options.rows, options.calls)
    finally:
        postgres.close()


if __name__ == "__main__":
    main()
