"""Each carrier of the bus on an engine of its own, and a subscriber that can be waited for."""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url

import bus as bus_module
from bus import Bus, Event, make_bus

POSTGRES_URL = os.environ.get(
    "TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test"
)
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
SECRET = uuid.uuid4().hex
WAIT = 15  # seconds; far more than anything here takes

DDL = {
    "sqlite": ("INTEGER PRIMARY KEY AUTOINCREMENT", "DATETIME"),
    "postgresql": ("BIGSERIAL PRIMARY KEY", "TIMESTAMP WITHOUT TIME ZONE"),
}


class Ear:
    """A subscriber that remembers what it heard and can be waited for."""

    def __init__(self, bus: Bus) -> None:
        self.heard: list[Event] = []
        self.gaps = 0
        self._news = threading.Condition()
        bus.subscribe(self.on_events, self.on_gap)

    def on_events(self, events: list[Event]) -> None:
        with self._news:
            self.heard.extend(events)
            self._news.notify_all()

    def on_gap(self) -> None:
        with self._news:
            self.gaps += 1
            self._news.notify_all()

    def wait(self, met: Callable[["Ear"], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: met(self), WAIT), (self.heard[-5:], self.gaps)

    def wait_for(self, *events: Event) -> None:
        places = [place(one) for one in events]
        self.wait(lambda ear: all(one in map(place, ear.heard) for one in places))


class Carrier:
    """What the suite needs to know about the engine under a bus."""

    def __init__(self, name: str, engine: Engine, redis_url: str = "") -> None:
        self.name = name
        self.engine = engine
        self.redis_url = redis_url
        self.processes: list[Bus] = []

    def bus(self) -> Bus:
        """Returns the bus of one more process; in memory there is only one."""
        if self.name != "memory" or not self.processes:
            self.processes.append(make_bus(self.engine, self.redis_url, SECRET))
        return self.processes[-1]

    def tell(self, bus: Bus, *events: Event) -> None:
        """Stores what is durable, then publishes, as the application does."""
        rows = [{"topic": one.topic, "seq": one.seq} for one in events if one.seq]
        if rows and self.name in ("sqlite", "postgres"):
            insert = "INSERT INTO events (topic, seq, type, data) VALUES (:topic, :seq, 't', '{}')"
            self.run(insert, rows)
        bus.publish(events)

    def run(self, statement: str, parameters: Any = None) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), parameters)

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)))

    def cut(self) -> Callable[[], None]:
        """Breaks the connections of all buses; what it returns heals what does not heal itself."""
        return {"sqlite": self._cut_sqlite, "postgres": self._cut_postgres}.get(
            self.name, self._cut_redis
        )()

    def _cut_sqlite(self) -> Callable[[], None]:
        # There is no line to cut: the table the listener reads goes away for a while.
        self.run("ALTER TABLE events RENAME TO gone")
        return lambda: self.run("ALTER TABLE gone RENAME TO events")

    def _cut_postgres(self) -> Callable[[], None]:
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND (query LIKE 'LISTEN%' OR query LIKE 'SELECT pg_notify%')"
        )
        return lambda: None

    def _cut_redis(self) -> Callable[[], None]:
        import redis

        origins = {bus.origin for bus in self.processes}
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            for one in client.client_list():
                if one["name"] in origins:
                    client.client_kill_filter(_id=one["id"])
        return lambda: None

    def close(self) -> None:
        for bus in self.processes:
            bus.close()


def place(one: Event) -> tuple[Any, ...]:
    """A stored event is known by its place, whether it came whole or as a reference."""
    return (one.topic, one.seq) if one.seq else (one.topic, one.type, str(one.data), one.skip)


def durable(seq: int, topic: str = "room:1") -> Event:
    return Event(topic, "message", {"id": seq, "text": "é\u0000\ud83d"}, seq)


def signal(data: Any, skip: str = "") -> Event:
    return Event("room:1", "typing", data, 0, skip)


def needs(name: str, error: Exception) -> None:
    """Skips where an engine is missing, but not in CI, where it must be there."""
    reason = f"{name} does not answer ({type(error).__name__})"
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def create_tables(engine: Engine) -> None:
    key, timestamp = DDL[engine.dialect.name]
    with engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TABLE events (id {key}, topic TEXT, seq BIGINT, type TEXT,"
                f" data TEXT, created_at {timestamp})"
            )
        )
        connection.execute(
            text(
                f"CREATE TABLE signals (id {key}, origin TEXT, payload TEXT,"
                f" created_at {timestamp})"
            )
        )


def sqlite_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA busy_timeout=5000")

    return engine


@pytest.fixture(scope="module")
def postgres() -> Iterator[Engine]:
    """An engine on a database of our own, as notifications reach a whole database."""
    name = f"wharf_bus_{uuid.uuid4().hex[:12]}"
    server = create_engine(
        POSTGRES_URL, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 2}
    )
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except Exception as error:
        needs("PostgreSQL", error)
    engine = create_engine(make_url(POSTGRES_URL).set(database=name))
    create_tables(engine)
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(scope="module")
def redis_url() -> str:
    try:
        import redis

        with redis.Redis.from_url(REDIS_URL, socket_connect_timeout=2) as client:
            client.ping()
    except Exception as error:
        needs("Redis", error)
    return REDIS_URL


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carrier]:
    """Each carrier in turn; at the end its buses are closed and no thread of theirs is left."""
    before = set(threading.enumerate())
    made = Carrier(request.param, create_engine("sqlite://"))
    if request.param == "sqlite":
        made.engine = sqlite_engine(tmp_path / "bus.db")
        create_tables(made.engine)
    elif request.param == "postgres":
        made.engine = request.getfixturevalue("postgres")
        made.run("TRUNCATE events, signals")
    elif request.param == "redis":
        made.redis_url = request.getfixturevalue("redis_url")
    yield made
    made.close()
    made.engine.dispose()
    assert set(threading.enumerate()) <= before


BETWEEN_PROCESSES = pytest.mark.parametrize(
    "carrier", ["sqlite", "postgres", "redis"], indirect=True
)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[threading.Event]:
    """Is set once the bus has logged a warning."""
    told = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    handler = Handler(logging.WARNING)
    bus_module.logger.addHandler(handler)
    yield told
    bus_module.logger.removeHandler(handler)
