"""One suite that every carrier passes, then what is particular to one of them."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url

import bus as bus_module
from bus import MAX_NOTIFY, MAX_WAITING, Bus, Event, PostgresBus, RedisBus, SqliteBus, make_bus

ROOT = Path(__file__).parent.parent
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


# Every carrier


def test_own_subscriber_hears_at_once_and_whole(carrier: Carrier) -> None:
    bus = carrier.bus()
    ear = Ear(bus)
    events = [durable(1), signal("a"), durable(2)]
    carrier.tell(bus, *events)
    assert [one for one in ear.heard if not one.is_reference] == events


def test_other_process_hears_stored_events(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, durable(1), durable(1, "room:2"))
    carrier.tell(speaker, durable(2))
    ear.wait_for(durable(1), durable(1, "room:2"), durable(2))
    for one in ear.heard:
        assert one.is_reference or one == durable(one.seq, one.topic)


@pytest.mark.parametrize(
    "data",
    [None, "é\u0000", {"deep": [1, 2.5, True, None, "\ud83d"]}, "x" * 20_000, "é" * 20_000],
    ids=["null", "text", "nested", "20 kB", "20,000 accents"],
)
def test_other_process_hears_signals_whole(carrier: Carrier, data: Any) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    events = [signal("before"), signal(data, skip="connection-7"), signal("after")]
    carrier.tell(speaker, *events)
    ear.wait(lambda ear: len(ear.heard) >= 3)
    assert ear.heard == events


@BETWEEN_PROCESSES
def test_signals_around_the_limit_of_notify_arrive(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    signals = [signal("x" * length) for length in range(MAX_NOTIFY - 150, MAX_NOTIFY + 50, 5)]
    for one in signals:
        carrier.tell(speaker, one)
    ear.wait(lambda ear: len(ear.heard) == len(signals))
    assert ear.heard == signals


def test_late_subscriber_hears_nothing_old(carrier: Carrier) -> None:
    speaker, first = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, signal("old"), durable(1))
    first.wait_for(signal("old"), durable(1))
    late = Ear(carrier.bus())
    carrier.tell(speaker, signal("new"), durable(2))
    late.wait_for(signal("new"), durable(2))
    assert {place(one) for one in late.heard} == {place(signal("new")), place(durable(2))}


@BETWEEN_PROCESSES
def test_third_process_hears_two_others(carrier: Carrier) -> None:
    first, second, ear = carrier.bus(), carrier.bus(), Ear(carrier.bus())
    carrier.tell(first, durable(1))
    carrier.tell(second, durable(2))
    ear.wait_for(durable(1), durable(2))


def test_equal_signals_all_arrive(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, *[signal("x" * 5_000)] * 6)
    ear.wait(lambda ear: len(ear.heard) == 6)


def test_order_is_kept_within_a_topic(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    for seq in range(1, 201):
        carrier.tell(speaker, durable(seq), signal(seq))
    ear.wait(lambda ear: len(ear.heard) == 400)
    assert [one.seq for one in ear.heard if one.seq] == list(range(1, 201))
    assert [one.data for one in ear.heard if not one.seq] == list(range(1, 201))


@BETWEEN_PROCESSES
def test_own_events_are_not_heard_again(carrier: Carrier) -> None:
    speaker, other = carrier.bus(), carrier.bus()
    ear, other_ear = Ear(speaker), Ear(other)
    events = [signal(1), *map(durable, range(1, 21)), signal(2)]
    for one in events:
        carrier.tell(speaker, one)
    other_ear.wait_for(*events)
    carrier.tell(other, durable(21))
    ear.wait_for(durable(21))
    for one in events:  # SQLite may show a row before it is told, but never after
        mine = [heard for heard in ear.heard if place(heard) == place(one)]
        assert mine.count(one) == 1
        assert mine[-1] == one


def test_burst_arrives_or_is_reported_as_a_gap(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    for start in range(1, 10_001, 100):
        carrier.tell(speaker, *map(durable, range(start, start + 100)))
    ear.wait(lambda ear: ear.gaps > 0 or len({one.seq for one in ear.heard}) == 10_000)


def test_failing_subscriber_does_not_stop_the_carrier(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    speaker, listener = carrier.bus(), carrier.bus()
    ear, failed = Ear(listener), threading.Event()

    def fail_once(events: list[Event]) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a bug")
        ear.on_events(events)

    listener.subscribe(fail_once, ear.on_gap)
    carrier.tell(speaker, signal(1))
    assert failed.wait(WAIT)
    carrier.tell(speaker, signal(2), durable(1))
    ear.wait_for(signal(2), durable(1))
    assert "a callback failed" in caplog.text


def test_one_publisher_serves_many_threads(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())

    def speak(n: int) -> None:
        for i in range(50):
            speaker.publish([signal([n, i])])

    threads = [threading.Thread(target=speak, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ear.wait(lambda ear: len(ear.heard) == 400)
    for n in range(8):
        assert [one.data[1] for one in ear.heard if one.data[0] == n] == list(range(50))


def test_close_is_quick_final_and_repeatable(carrier: Carrier) -> None:
    before = set(threading.enumerate())
    bus = carrier.bus()
    ear = Ear(bus)
    carrier.tell(bus, signal(1))
    start = time.monotonic()
    bus.close()
    bus.close()
    assert time.monotonic() - start < 2
    assert set(threading.enumerate()) <= before
    bus.publish([signal(2)])
    assert ear.heard == [signal(1)]


@BETWEEN_PROCESSES
def test_closing_sends_what_is_waiting(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, *map(signal, range(100)))
    speaker.close()
    ear.wait(lambda ear: len(ear.heard) == 100)


@BETWEEN_PROCESSES
def test_publisher_alone_has_no_listener(carrier: Carrier) -> None:
    before = set(threading.enumerate())
    bus = carrier.bus()
    assert set(threading.enumerate()) == before
    carrier.tell(bus, signal(1), durable(1))
    assert len(set(threading.enumerate()) - before) == 1


@BETWEEN_PROCESSES
def test_lost_connection_is_a_gap_and_heals(carrier: Carrier, warned: threading.Event) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, signal(1), durable(1))
    ear.wait_for(signal(1), durable(1))
    heal = carrier.cut()
    assert warned.wait(WAIT)
    heal()
    ear.wait(lambda ear: ear.gaps == 1)
    carrier.tell(speaker, signal(2), durable(2))
    ear.wait_for(signal(2), durable(2))


# An engine that is not there


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def stranded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    """A bus whose engine does not answer."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # not listening: connections are refused
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        url = f"sqlite:///{tmp_path}/missing/bus.db"
        if request.param == "postgres":
            url = f"postgresql+psycopg://postgres@{address}/test"
        engine = create_engine(url)
        redis_url = f"redis://{address}/0" if request.param == "redis" else ""
        bus = make_bus(engine, redis_url, SECRET)
        yield bus
        bus.close()
        engine.dispose()


def test_publish_to_nowhere_is_quick_and_warns_once(
    stranded: Bus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, attempts, tried = stranded._connect, [], threading.Event()  # type: ignore[attr-defined]

    def count_and_connect() -> Any:
        attempts.append(1)
        if len(attempts) > 3:
            tried.set()
        return connect()

    monkeypatch.setattr(stranded, "_connect", count_and_connect)
    start = time.monotonic()
    for _ in range(100):
        stranded.publish([signal("confidential")])
    assert time.monotonic() - start < 0.5
    assert tried.wait(WAIT)
    start = time.monotonic()
    stranded.close()
    assert time.monotonic() - start < 2
    assert len(caplog.records) == 1
    assert "confidential" not in caplog.text


def test_too_many_waiting_events_push_out_the_oldest(
    stranded: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    stranded.publish([signal(i) for i in range(MAX_WAITING // 2)])
    stranded.publish([signal(i) for i in range(MAX_WAITING)])
    assert "the oldest are dropped" in caplog.text or "no connection" in caplog.text
    assert [one.data for one, _ in stranded._waiting] == list(range(MAX_WAITING))  # type: ignore[attr-defined]


def test_subscribing_to_nowhere_returns_and_own_events_are_heard(stranded: Bus) -> None:
    start = time.monotonic()
    ear = Ear(stranded)
    assert time.monotonic() - start < 3
    stranded.publish([signal(1), durable(1)])
    assert ear.heard == [signal(1), durable(1)]


def test_engine_that_comes_late_is_a_gap(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "late.db")
    bus, other = make_bus(engine, "", SECRET), make_bus(engine, "", SECRET)
    ear = Ear(bus)
    create_tables(engine)
    ear.wait(lambda ear: ear.gaps == 1)
    other.publish([signal(1)])
    ear.wait_for(signal(1))
    bus.close()
    other.close()
    engine.dispose()


@BETWEEN_PROCESSES
def test_old_hints_are_not_sent(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    with monkeypatch.context() as patched:
        patched.setattr(bus_module, "MAX_AGE", 0)
        carrier.tell(speaker, signal("old"))
    carrier.tell(speaker, signal("new"))
    ear.wait_for(signal("new"))
    assert signal("old") not in ear.heard


# Under gevent

GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, threading, time, gevent
from sqlalchemy import create_engine, text
from bus import Event, make_bus

url, redis_url, secret = sys.argv[1:]
engine = create_engine(url)
listener = make_bus(engine, redis_url, secret)
speaker = listener if url == "sqlite://" else make_bus(engine, redis_url, secret)
heard, done, ticks = set(), threading.Event(), []

def on_events(events):
    heard.update((event.topic, event.seq) for event in events)
    if heard >= {("signals", 0), ("large", 0), ("stored", 1)}:
        done.set()

def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.005)

ticker = gevent.spawn(tick)
listener.subscribe(on_events, lambda: None)
with engine.begin() as connection:
    if not redis_url and url != "sqlite://":
        insert = "INSERT INTO events (topic, seq, type, data) VALUES ('stored', 1, 't', '{}')"
        connection.execute(text(insert))
large = Event("large", "typing", "x" * 20_000)
speaker.publish([Event("signals", "typing", 1), large, Event("stored", "t", {}, 1)])
assert done.wait(10), heard
before = len(ticks)
gevent.sleep(1)
assert len(ticks) - before > 20, "somebody blocks the others"
start = time.monotonic()
speaker.close()
listener.close()
assert time.monotonic() - start < 2
ticker.kill()
print("heard all")
"""


def test_works_under_gevent_without_blocking_it(carrier: Carrier) -> None:
    url = carrier.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, url, carrier.redis_url, SECRET],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "heard all\n", done.stderr


# One carrier


@pytest.mark.parametrize(
    ("url", "redis_url", "kind"),
    [
        ("sqlite://", "", Bus),
        ("sqlite:///:memory:", "", Bus),
        ("sqlite:///file::memory:?cache=shared&uri=true", "", Bus),
        ("sqlite:///wharf.db", "", SqliteBus),
        ("sqlite:////srv/wharf.db", "", SqliteBus),
        ("postgresql+psycopg://localhost/wharf", "", PostgresBus),
        ("postgresql+psycopg://localhost/wharf", "redis://localhost", RedisBus),
        ("sqlite://", "redis://localhost", RedisBus),
    ],
)
def test_bus_is_chosen_by_what_is_there(url: str, redis_url: str, kind: type[Bus]) -> None:
    assert type(make_bus(create_engine(url), redis_url, SECRET)) is kind


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Event("room:1", "", None, 1), True),
        (durable(1), False),
        (signal(1), False),
        (Event("room:1", "", None), False),
    ],
)
def test_reference_has_a_place_and_no_type(one: Event, expected: bool) -> None:
    assert one.is_reference is expected


def test_fork_has_an_origin_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus()
    before = bus.origin
    assert bus.origin == before
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert bus.origin != before


@pytest.mark.parametrize("carrier", ["sqlite", "postgres"], indirect=True)
def test_old_signal_rows_are_removed_by_the_publisher(carrier: Carrier) -> None:
    insert = "INSERT INTO signals (origin, payload, created_at) VALUES ('old', '[]', :at)"
    carrier.run(insert, {"at": "2020-01-01 00:00:00"})
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    for number in range(2):
        large = signal(str(number) * 20_000)
        carrier.tell(speaker, large)
        ear.wait_for(large)
    rows = carrier.rows("SELECT origin FROM signals")
    assert [row.origin for row in rows] == [speaker.origin] * 2


def test_redis_deployments_with_other_secrets_are_not_heard(redis_url: str) -> None:
    engine = create_engine("sqlite://")
    ours, other, foreign = (make_bus(engine, redis_url, name) for name in (SECRET, SECRET, "other"))
    ear = Ear(ours)
    foreign.publish([signal("foreign")])
    foreign.close()
    other.publish([signal("ours")])
    ear.wait_for(signal("ours"))
    assert ear.heard == [signal("ours")]
    ours.close()
    other.close()
    engine.dispose()


class Proxy:
    """Passes bytes to a server, until it falls silent without closing anything."""

    def __init__(self, host: str, port: int) -> None:
        self.silent = threading.Event()
        self._server = (host, port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._sockets = [self._door]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self._door.accept()[0], socket.create_connection(self._server)
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not self.silent.is_set():
                    target.sendall(data)

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_silent_redis_is_noticed(
    redis_url: str, warned: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "TICK", 0.02)
    server = make_url(redis_url)
    proxy = Proxy(server.host or "127.0.0.1", server.port or 6379)
    bus = RedisBus(
        server.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False), SECRET
    )
    ear = Ear(bus)
    proxy.silent.set()
    assert warned.wait(WAIT)
    proxy.silent.clear()
    ear.wait(lambda ear: ear.gaps == 1)
    bus.close()
    proxy.close()
