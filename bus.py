"""The bus: carries told events from the process where they happened to the others.

The database is the truth and the bus only a hint: it may lose, repeat, delay or reorder. Whoever
listens compares `seq` with what it has seen and reads what is missing from the database.
"""

import hmac
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

logger = logging.getLogger(__name__)

SESSIONS_ENDED = "sessions-ended"  # the one event that is for the house: `{ids}`, sockets to close
MAX_WAITING = 10_000  # events a process keeps for its sender; the oldest go first
MAX_AGE = 5.0  # seconds an event waits for its sender before it is dropped
MAX_NOTIFY = 7_900  # bytes; PostgreSQL refuses 8,000
PAUSE = 0.2  # seconds before a lost connection is tried again
POLL = 0.01  # seconds between two looks at SQLite's change counter
TICK = 0.25  # seconds a listener waits before it looks whether it was closed


@dataclass(frozen=True, slots=True)
class Event:
    """One thing told on a topic.

    `data` is a JSON value. `seq` is the place in the topic, from 1; 0 is a signal, never stored.
    `skip` is the id of the one connection that must not hear it; "" when everyone hears.
    A reference has no type, data or skip: the database has the row with this topic and seq.
    """

    topic: str
    type: str
    data: Any
    seq: int = 0
    skip: str = ""

    @property
    def is_reference(self) -> bool:
        """True when only topic and seq are known."""
        return self.seq > 0 and self.type == ""


OnEvents = Callable[[list[Event]], None]


class Bus:
    """Tells events within one process; the other carriers extend it to more."""

    def __init__(self) -> None:
        self._token = os.urandom(8).hex()
        self._on_events: OnEvents | None = None
        self._on_gap: Callable[[], None] | None = None
        self.lags = 0  # how often something told elsewhere was heard here,
        self.lag_seconds = 0.0  # and how long that took together, by the clocks of both

    @property
    def is_connected(self) -> bool:
        """False while a connection is lost; one that was not needed yet counts as fine."""
        return True

    @property
    def origin(self) -> str:
        """The name of this bus in this process; a forked child must not pass for its parent."""
        return f"wharf-{self._token}-{os.getpid():x}"

    def publish(self, events: Sequence[Event]) -> None:
        """Tells committed events, here at once and elsewhere soon, from any thread.

        It waits for no network and raises nothing: what cannot be sent is dropped with a warning.
        """
        self._tell(list(events))
        self._call(self._hand_over, events)

    def subscribe(self, on_events: OnEvents, on_gap: Callable[[], None]) -> None:
        """Calls `on_events` with all told from now on, `on_gap` when something may be missing.

        Any thread may call them, several at a time; what they raise is logged. Returns when
        listening, or after 2 s without success: `on_gap` follows once it listens.
        """
        self._on_events, self._on_gap = on_events, on_gap

    def close(self) -> None:
        """Tells nothing more, ends threads and connections; within 2 s, as often as you like."""
        self._on_events = self._on_gap = None

    def _hand_over(self, events: Sequence[Event]) -> None:
        """Passes events on to other processes; here there are none."""

    def _tell(self, events: list[Event]) -> None:
        if events:
            self._call(self._on_events, events)

    def _call(self, callback: Callable[..., None] | None, *arguments: Any) -> None:
        try:
            if callback:
                callback(*arguments)
        except Exception:
            logger.exception("%s: a callback failed", type(self).__name__)


class _Carrier(Bus):
    """A bus with a sender and a listener, two threads that start when first needed.

    Each has a connection of its own from `_connect`. `_send` sends events in order, or raises.
    `_listen` calls `_hears` once it will hear all that is told from then on, then `_tell` with what
    arrives; it returns soon after the bus was closed, and raises when the connection is lost.
    """

    _connect: Callable[[], Any]
    _send: Callable[[Any, list[Event]], None]
    _listen: Callable[[Any], None]

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Condition()  # guards what is waiting, and the threads
        self._waiting: deque[tuple[Event, float]] = deque(maxlen=MAX_WAITING)  # with their end
        self._threads: dict[str, threading.Thread] = {}
        self._closed = threading.Event()
        self._ready = threading.Event()
        self._warned: set[str] = set()
        self._told_at = 0.0  # when the oldest of what is being sent was told

    @property
    def is_connected(self) -> bool:
        return not self._warned

    def subscribe(self, on_events: OnEvents, on_gap: Callable[[], None]) -> None:
        super().subscribe(on_events, on_gap)
        self._start("listener", self._listen)
        self._ready.wait(timeout=2)
        self._ready.set()

    def close(self) -> None:
        super().close()
        with self._wake:
            self._closed.set()
            self._wake.notify_all()
        for thread in self._threads.values():
            if thread is not threading.current_thread():
                thread.join(timeout=0.9)

    def _start(self, role: str, work: Callable[[Any], None]) -> None:
        with self._wake:
            thread = self._threads.get(role)
            if not self._closed.is_set() and not (thread and thread.is_alive()):  # forks kill it
                thread = threading.Thread(target=self._keep, args=(role, work), daemon=True)
                self._threads[role] = thread
                thread.start()

    def _keep(self, role: str, work: Callable[[Any], None]) -> None:
        """Works on a connection of its own, and on a new one when that is lost, until closed."""
        while True:
            try:
                with closing(self._connect()) as connection:
                    work(connection)
            except Exception as error:  # each driver has its own kinds
                self._warn(role, f"no connection ({type(error).__name__})")
            if self._closed.wait(PAUSE):
                return

    def _hand_over(self, events: Sequence[Event]) -> None:
        if not events:
            return
        with self._wake:
            if len(self._waiting) + len(events) > MAX_WAITING:
                self._warn("sender", "too many events are waiting, the oldest are dropped")
            self._waiting.extend((event, time.monotonic() + MAX_AGE) for event in events)
            self._wake.notify()
        self._start("sender", self._send_waiting)

    def _send_waiting(self, connection: Any) -> None:
        while waiting := self._peek():
            self._told_at = time.time() - (time.monotonic() - (waiting[0][1] - MAX_AGE))
            self._send(connection, [event for event, end in waiting if end > time.monotonic()])
            self._warned.discard("sender")
            with self._wake:  # only now, so that another connection can try again
                for one in waiting:
                    if self._waiting and self._waiting[0] is one:  # not pushed out meanwhile
                        self._waiting.popleft()

    def _peek(self) -> list[tuple[Event, float]]:
        """Waits for events and returns them all; none means closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closed.is_set())
            return list(self._waiting)

    def _tell_packed(self, payloads: Iterable[str | bytes]) -> None:
        """Tells the events of payloads, but not our own, and notes how long they took."""
        events: list[Event] = []
        for payload in payloads:
            sender, (_number, told_at), *items = json.loads(payload)
            if sender != self.origin:
                events += [Event(*item) for item in items]
                self.lags += 1
                self.lag_seconds += max(0.0, time.time() - told_at)
        self._tell(events)

    def _pack(self, events: Iterable[Event], limit: int = 1_000_000) -> list[str]:
        """Encodes events as arrays [origin, [number, time], event...] of `limit` bytes at most.

        Only an array of one event can be larger. ASCII, so that characters are bytes. The number
        keeps arrays apart: PostgreSQL drops the second of two equal ones.
        """
        chunks: list[list[str]] = []
        size = limit
        for event in events:
            fields = [event.topic, event.type, event.data, event.seq, event.skip]
            try:
                item = json.dumps(fields, separators=(",", ":"))
            except (TypeError, ValueError):  # a bug of who told it, which shall not hold up others
                logger.exception("a %s event cannot be told to other processes", event.type)
                continue
            size += len(item) + 1
            if size > limit:
                chunks.append([])
                size = len(item) + 80  # for the head
            chunks[-1].append(item)
        head, at = f'["{self.origin}"', f"{self._told_at:.6f}"
        return [f"{head},[{i},{at}],{','.join(chunk)}]" for i, chunk in enumerate(chunks)]

    def _hears(self) -> None:
        self._warned.discard("listener")
        if self._ready.is_set():  # since subscribe returned, something may have been missed
            self._call(self._on_gap)
        self._ready.set()

    def _warn(self, role: str, problem: str) -> None:
        """Warns once per outage, without the driver's words: they may quote what was sent."""
        if role not in self._warned:
            self._warned.add(role)
            logger.warning("%s, %s: %s", type(self).__name__, role, problem)


class RedisBus(_Carrier):
    """Whole events on one Redis channel, named so that deployments can share a server."""

    def __init__(self, url: str, secret: str) -> None:
        super().__init__()
        self._url = url
        self._channel = "wharf:" + hmac.new(secret.encode(), b"bus", "sha256").hexdigest()[:32]

    def _connect(self) -> Any:
        import redis  # only deployments with Redis need the library

        # Without retries: the library would reconnect without a word, and hide the gap.
        limits = {"socket_connect_timeout": 1, "socket_timeout": 5, "health_check_interval": 3}
        return redis.Redis.from_url(self._url, client_name=self.origin, retry=None, **limits)

    def _send(self, connection: Any, events: list[Event]) -> None:
        pipeline = connection.pipeline(transaction=False)
        for payload in self._pack(events):
            pipeline.publish(self._channel, payload)
        pipeline.execute()

    def _listen(self, connection: Any) -> None:
        pubsub = connection.pubsub()
        pubsub.subscribe(self._channel)
        while not self._closed.is_set():
            message = pubsub.get_message(timeout=TICK) or {"type": ""}
            if message["type"] == "subscribe":
                self._hears()
            elif message["type"] == "message":
                self._tell_packed([message["data"]])
            elif pubsub.health_check_response_counter > 20:  # pings each TICK without an answer
                raise TimeoutError


class _DatabaseBus(_Carrier):
    """A carrier that needs nothing but the database."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def _connect(self) -> Any:
        """Opens a driver's connection with the engine's settings, but outside its pool."""
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        self._engine.dialect.set_isolation_level(connection, "AUTOCOMMIT")
        return connection

    def _store(self, connection: Any, mark: str, payload: str) -> str:
        """Gives a payload a row in `signals`, for a minute, and returns its id.

        `mark` is how the driver writes a parameter.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        oldest = "SELECT id FROM signals ORDER BY id LIMIT 100"
        stale = f"DELETE FROM signals WHERE id IN ({oldest}) AND created_at < {mark}"
        connection.execute(stale, (str(now - timedelta(minutes=1)),))
        values = f"VALUES ({mark}, {mark}, {mark}) RETURNING id"
        insert = f"INSERT INTO signals (origin, payload, created_at) {values}"
        return str(connection.execute(insert, (self.origin, payload, str(now))).fetchone()[0])


class PostgresBus(_DatabaseBus):
    """NOTIFY: references, signals whole, and what is too large as the id of a row in `signals`."""

    def _send(self, connection: Any, events: list[Event]) -> None:
        light = [Event(one.topic, "", None, one.seq) if one.seq else one for one in events]
        packed = self._pack(light, MAX_NOTIFY)
        payloads = [p if len(p) <= MAX_NOTIFY else self._store(connection, "%s", p) for p in packed]
        connection.execute("SELECT pg_notify('wharf', unnest(%s::text[]))", (payloads,))

    def _listen(self, connection: Any) -> None:
        connection.execute("LISTEN wharf")
        self._hears()
        while not self._closed.is_set():
            notes = list(connection.notifies(timeout=TICK, stop_after=1))
            payloads = [text for note in notes for text in self._fetch(connection, note.payload)]
            self._tell_packed(payloads)

    def _fetch(self, connection: Any, payload: str) -> list[str]:
        """Returns the payload, or that of the row with this id; nothing when the row is gone."""
        if not payload.isdecimal():
            return [payload]
        rows = connection.execute("SELECT payload FROM signals WHERE id = %s", (payload,))
        return [text for (text,) in rows.fetchall()]


class SqliteBus(_DatabaseBus):
    """Looks for new rows when the file changes: of `events` as references, of `signals` whole."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._told: set[tuple[str, int]] = set()  # own events whose rows the listener will meet

    def publish(self, events: Sequence[Event]) -> None:
        if len(self._told) > MAX_WAITING:  # leftovers: rows can be met before they are told
            self._told.clear()
        self._told.update((event.topic, event.seq) for event in events if event.seq)
        super().publish(events)

    def _hand_over(self, events: Sequence[Event]) -> None:
        super()._hand_over([event for event in events if not event.seq])

    def _connect(self) -> Any:
        connection = super()._connect()
        # Short, because a blocking call stops all of gevent; the sender tries again.
        connection.execute("PRAGMA busy_timeout = 25")
        # Waits for no disk on commit. OFF would gain nothing, and its checkpoints would leave
        # rows unsafe that other connections have promised to keep.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _send(self, connection: Any, events: list[Event]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for payload in self._pack(events):
            self._store(connection, "?", payload)
        connection.execute("COMMIT")

    def _listen(self, connection: Any) -> None:
        ends = "SELECT (SELECT max(id) FROM events), (SELECT max(id) FROM signals)"
        last, seen = connection.execute(ends).fetchone(), None
        self._hears()
        while not self._closed.wait(POLL):
            version = connection.execute("PRAGMA data_version").fetchone()
            if version != seen:
                last = self._read(connection, last[0] or 0, last[1] or 0)
                seen = version

    def _read(self, connection: Any, last_event: int, last_signal: int) -> tuple[int, int]:
        """Tells rows after these ids; returns the new last ids: writers take turns, so in order."""
        query = "SELECT id, topic, seq FROM events WHERE id > ? ORDER BY id"
        events = connection.execute(query, (last_event,)).fetchall()
        query = "SELECT id, payload FROM signals WHERE id > ? ORDER BY id"
        signals = connection.execute(query, (last_signal,)).fetchall()
        news = [(topic, seq) for _, topic, seq in events]
        self._tell([Event(new[0], "", None, new[1]) for new in news if new not in self._told])
        self._told.difference_update(news)
        self._tell_packed([payload for _, payload in signals])
        return max([(last_event,), *events])[0], max([(last_signal,), *signals])[0]


def make_bus(engine: Engine, redis_url: str, secret: str) -> Bus:
    """Chooses Redis when there is an address, else what the database offers; connects later."""
    if redis_url:
        return RedisBus(redis_url, secret)
    if engine.dialect.name == "postgresql":
        return PostgresBus(engine)
    in_memory = ":memory:" in (engine.url.database or ":memory:")
    return Bus() if in_memory else SqliteBus(engine)
