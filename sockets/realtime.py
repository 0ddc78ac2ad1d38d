"""What an app with sockets has once: hub, flusher, seats; and how a connection begins and ends."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from flask import Flask, current_app

import events
from bus import Event
from models import Session, db
from sockets.capacity import Seats, Traffic
from sockets.connection import Connection, Limits
from sockets.dialect import Dialect
from sockets.flusher import Flusher, Job
from sockets.framing import UNAUTHORIZED
from sockets.hub import Hub
from sockets.websocket import CLOSE_SECONDS


class MeasuredHub(Hub):
    """The hub, with a look at the clock for each batch of events it tells."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(events.read, events.last_seqs)
        self.traffic = traffic
        self.waiting_since: float | None = None  # when the first of the next batch was told to us

    def hear(self, told: list[Event]) -> None:
        """Queue events of the bus for delivery: our own come right after their commit."""
        self.waiting_since = self.waiting_since or time.monotonic()
        self.flusher.queue_events(told)

    def deliver(self, events: Sequence[Event]) -> None:
        since, self.waiting_since = self.waiting_since, None
        super().deliver(events)
        if events and since:
            self.traffic.deliveries += 1
            self.traffic.delivery_seconds += time.monotonic() - since

    def subscribe(self, connection: Connection, name: str, since: int | None = None) -> int:
        self.traffic.resumed += since is not None
        return super().subscribe(connection, name, since)


class Realtime:
    """The hub of an app with its flusher; runs from the first socket on."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        config = app.config
        self.traffic = Traffic(config["MAX_QUEUED_BYTES"])
        limits = {
            "process": config["MAX_SOCKETS"],
            "address": config["MAX_SOCKETS_PER_ADDRESS"],
            "user": config["MAX_SOCKETS_PER_USER"],
        }
        self.seats = Seats(limits, self.traffic)
        self.hub = MeasuredHub(self.traffic)
        self.flusher = Flusher(self.hub, self.transaction, self.report)
        self.lock = threading.Lock()
        self.running = False

    def start(self) -> None:
        """Start the threads and listen to the bus, once."""
        with self.lock:
            if not self.running:
                self.running = True
                self.flusher.start()
                self.hub.start()
                self.app.extensions["bus"].subscribe(self.hub.hear, self.flusher.check)

    def stop(self) -> None:
        """Close every socket with 1001, end those that do not answer, stop the threads."""
        self.hub.close_all()
        self.wait_until_empty()
        for connection in list(self.hub.connections.values()):
            connection.shut_down()
        self.wait_until_empty()
        self.hub.stop()
        self.flusher.stop()

    def wait_until_empty(self) -> None:
        """Wait until all connections are gone, for as long as a close may take."""
        deadline = time.monotonic() + CLOSE_SECONDS
        while self.hub.connections and time.monotonic() < deadline:
            time.sleep(0.01)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A database session that is committed at the end, or rolled back."""
        with self.app.app_context():
            try:
                yield
                if db.session.registry.has():  # or nothing has asked the database anything
                    db.session.commit()
            except BaseException:
                db.session.rollback()
                raise

    def report(self, job: Job, error: Exception) -> None:
        """Let the client's dialect say what went wrong; who has left is forgotten all the same."""
        if job.handle is forget:
            self.hub.remove(job.connection)
            return
        job.connection.dialect.report(job.connection, error, *job.args)


def realtime() -> Realtime:
    """The sockets of the current app."""
    found: Realtime = current_app.extensions["realtime"]
    return found


def limits_of(dialect: Dialect) -> Limits:
    """What a connection of this dialect may do, from the settings."""
    config = current_app.config
    return Limits(
        frame_bytes=config[dialect.frame_limit],
        frames_per_second=config["FRAMES_PER_SECOND"],
        queue_bytes=config["SEND_QUEUE_BYTES"],
        ping_seconds=config["PING_SECONDS"],
    )


def enter(connection: Connection) -> None:
    """First job of a connection: hear what concerns its user, and be greeted.

    A session that ended since the handshake is noticed here, a later end is told on the topic.
    """
    if connection.user:
        connection.hub.subscribe(connection, connection.user.topic)
        if not Session.is_live(connection.session_id):
            connection.after_commit(partial(connection.close, UNAUTHORIZED, "session ended"))
            return
    connection.dialect.open(connection)


def forget(connection: Connection) -> None:
    """Last job of a connection: the hub forgets it."""
    connection.after_commit(partial(connection.hub.remove, connection))
