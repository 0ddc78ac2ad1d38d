"""Measures what it costs to know who is calling: one view for nobody, with Bearer, with cookie.

Usage: python bench/auth.py [--seconds 10] [--postgres URL]

The app is called in this process, by WSGI, without a server or a client whose time would count.
Every row of a database is measured in turns, so that whatever else the machine does hits all alike;
the table shows medians. It ends by itself.
"""

import argparse
import platform
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any, NamedTuple

import psycopg
from flask import Flask, Response, jsonify
from flask_migrate import upgrade
from servers import ROOT, SETTINGS
from sqlalchemy import event, insert, make_url
from werkzeug.test import EnvironBuilder

sys.path.insert(0, str(ROOT))  # before this folder, where auth.py is another file
import rate_limits
from app import create_app
from auth import COOKIE, login_reply, make_token
from models import Session, Todo, User, db

LIMIT_SECONDS = 60
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
FEW, MANY = 1_000, 100_000  # sessions, each of another user
CALLERS = 100  # so many of them take turns
BATCH = 10
KINDS = ("constant", "nobody", "Bearer", "cookie")
LOOKUP = "the lookup alone"
RARE = "constant, after a pause"
PAUSE_SECONDS = 0.02

Call = Callable[[], Any]
Sample = Callable[[], float]  # microseconds of a call
Found = dict[tuple[str, str], float]  # the medians by row and column


class Database(NamedTuple):
    """A filled database, the app on it, and the same app without the limit on API calls."""

    app: Flask
    unlimited: Flask
    environs: dict[str, list[dict[str, Any]]]
    session_ids: list[str]


# The databases


@contextmanager
def postgres(admin: str) -> Iterator[list[str]]:
    """Two new databases, dropped at the end."""
    names = [f"wharf_bench_{secrets.token_hex(4)}" for _ in range(2)]
    with psycopg.connect(admin, autocommit=True, connect_timeout=2) as server:
        try:
            for name in names:
                server.execute(f"CREATE DATABASE {name}")
            url = make_url(admin)
            yield [url.set(database=name).render_as_string(False) for name in names]
        finally:
            for name in names:
                server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def sqlite() -> Iterator[list[str]]:
    """Two new files."""
    with tempfile.TemporaryDirectory() as folder:
        yield [f"sqlite:///{folder}/{name}.db" for name in ("few", "many")]


def make_app(url: str) -> Flask:
    """The `web` process, with a view that asks nothing and answers a constant."""
    settings = {**SETTINGS, "DATABASE_URL": url, "API_LIMIT": "10000000 per minute"}
    app = create_app(settings, serve="web")
    app.add_url_rule("/api/constant", "constant", answer_constant)
    return app


def answer_constant() -> Response:
    """The floor: what every answer of Wharf costs."""
    return jsonify(id=1, title="x", completed=False)


def prepare(url: str, count: int) -> Database:
    """Migrate and fill the database at `url`."""
    app, unlimited = make_app(url), make_app(url)
    unlimited.before_request_funcs[None].remove(rate_limits.count_call)
    with app.test_request_context():
        upgrade()
        ids = fill(count)
        environs, session_ids = callers(ids)
        db.session.remove()
    return Database(app, unlimited, environs, session_ids)


def fill(count: int) -> list[int]:
    """Add so many users with a session each; returns the ids of the users that will call."""
    people = [{"id": i, "name": "X", "password_hash": ""} for i in range(1, count + 1)]
    ids = [person["id"] for person in people[:: count // CALLERS]]
    with db.engine.begin() as connection:
        connection.execute(insert(User.__table__), people)
        connection.execute(insert(Session.__table__), [{"user_id": one["id"]} for one in people])
        todos = [{"user_id": owner, "title": "x"} for owner in [None, *ids]]
        connection.execute(insert(Todo.__table__), todos)
        if connection.dialect.name == "postgresql":  # soon done by itself
            connection.exec_driver_sql("ANALYZE")
    return ids


def callers(ids: list[int]) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """The requests by kind, and the ids of the sessions that make them."""
    environs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    environs["constant"].append(environ("/api/constant"))
    environs["nobody"].append(environ("/api/todos/1"))  # on the public list
    sessions = db.session.scalars(db.select(Session).where(Session.user_id.in_(ids))).all()
    for session in sessions:
        todo = db.session.scalar(db.select(Todo.id).where(Todo.user_id == session.user_id))
        reply: Any = login_reply(session).json
        bearer, cookie = f"Bearer {reply['token']}", f"{COOKIE}={make_token(session, 'cookie')}"
        environs["Bearer"].append(environ(f"/api/todos/{todo}", Authorization=bearer))
        environs["cookie"].append(environ(f"/api/todos/{todo}", Cookie=cookie))
    return environs, [session.id for session in sessions]


def environ(path: str, **headers: str) -> dict[str, Any]:
    """A request as a server hands it to the app."""
    base = {"REMOTE_ADDR": "127.0.0.1"}
    return EnvironBuilder(path, headers=headers, environ_base=base).get_environ()


# Calls


def caller(app: Flask, environs: list[dict[str, Any]]) -> Call:
    """Makes one of these requests after the other."""
    turns = cycle(environs)

    def start(status: str, _headers: Any, _error: Any = None) -> Any:
        if status != "200 OK":
            raise RuntimeError(status)

    def call() -> None:
        result: Any = app.wsgi_app(next(turns).copy(), start)
        b"".join(result)
        result.close()

    return call


def statements(database: Database, kind: str) -> list[tuple[str, Any]]:
    """What one request of this kind asks the database."""
    seen: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        seen.append((sql, parameters))

    with database.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", keep)
    caller(database.app, database.environs[kind])()
    event.remove(engine, "before_cursor_execute", keep)
    return seen


def plan(database: Database) -> str:
    """How the database finds the session and the user of a request."""
    sql, parameters = statements(database, "Bearer")[0]
    with database.app.app_context(), db.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            return "; ".join(row.detail for row in rows)
        rows = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {sql}", parameters)
        return "; ".join(line.strip(" ->") for line in rows.scalars())


# Times


def batch(call: Call, count: int = BATCH) -> float:
    """Microseconds each of so many calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count * 1e6


def after_pause(call: Call) -> float:
    """Microseconds of a call after a pause."""
    time.sleep(PAUSE_SECONDS)
    return batch(call, 1)


def look_up(app: Flask, session_ids: Iterator[str]) -> float:
    """Microseconds of finding a session as an authenticated request does."""

    def call() -> None:
        if Session.find_live(next(session_ids)) is None:
            raise RuntimeError("no session")
        db.session.remove()

    with app.app_context():
        return batch(call)


def take_turns(samples: dict[tuple[str, str], Sample], seconds: float) -> Found:
    """The medians; the first one of each only warms up."""
    found: dict[tuple[str, str], list[float]] = {key: [] for key in samples}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, sample in samples.items():
            found[key].append(sample())
    return {key: median(values[1:]) for key, values in found.items()}


def measure(few: Database, many: Database, seconds: float) -> Found:
    """Each row with few sessions, with many, and with few and no limit."""
    samples: dict[tuple[str, str], Sample] = {}
    rare: dict[tuple[str, str], Sample] = {}
    for column, database in (("few", few), ("many", many), ("unlimited", few)):
        app = few.unlimited if column == "unlimited" else database.app
        for kind in KINDS:
            samples[kind, column] = partial(batch, caller(app, database.environs[kind]))
        samples[LOOKUP, column] = partial(look_up, app, cycle(database.session_ids))
        constant = caller(app, database.environs["constant"])
        rare[RARE, column] = partial(after_pause, constant)
    return take_turns(samples, seconds * 0.7) | take_turns(rare, seconds * 0.3)


def print_rows(name: str, few: Database, found: Found) -> None:
    """The rows of one database."""
    floor, nobody = found["constant", "few"], found["nobody", "few"]
    for row in (*KINDS, LOOKUP, RARE):
        time_few, time_many = found[row, "few"], found[row, "many"]
        asked = 1 if row == LOOKUP else len(statements(few, row.partition(",")[0]))
        limit = "" if row == LOOKUP else f"{time_few - found[row, 'unlimited']:.0f}"
        ratios = f"{time_few / floor:.2f} | {time_few / nobody:.2f} | {time_many / time_few:.2f}"
        print(f"| {name} | {row} | {asked} | {time_few:,.0f} | {ratios} | {limit} |")


def main() -> None:
    """Measure each database that answers and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of measuring, per database")
    parser.add_argument("--postgres", default=POSTGRES, help="where databases may be made")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.alarm(LIMIT_SECONDS)
    print(f"{date.today()}, Python {platform.python_version()}\n")
    print("| database | request | statements | us | times constant | times nobody |", end=" ")
    print("with 100,000 sessions, times | API_LIMIT adds, us |")
    print("|---|---|---|---|---|---|---|---|")
    plans = []
    for name, make in (("SQLite", sqlite), ("PostgreSQL", partial(postgres, options.postgres))):
        try:
            with make() as (few_url, many_url):
                few, many = prepare(few_url, FEW), prepare(many_url, MANY)
                print_rows(name, few, measure(few, many, options.seconds))
                plans += [f"{name}, {FEW:,}: {plan(few)}", f"{name}, {MANY:,}: {plan(many)}"]
                close(few, many)
        except psycopg.OperationalError as error:
            print(f"no PostgreSQL: {error}", file=sys.stderr)
    print("\n" + "\n".join(plans), file=sys.stderr)


def close(*databases: Database) -> None:
    """Leave the databases."""
    for app in (app for database in databases for app in (database.app, database.unlimited)):
        app.extensions["bus"].close()
        with app.app_context():
            db.engine.dispose()


if __name__ == "__main__":
    main()
