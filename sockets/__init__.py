"""The socket addresses: flask-sock routes them and shakes hands, a dialect speaks, one hub relays.

| address | dialect |
|---|---|
| `/ws`, and `/` without `channel` | chat.py, with the widget's words of widget.py |
| `/sync`, and `/?channel=` | crdt.py |
"""

import _thread
import signal as signals
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from flask import Blueprint, Flask, current_app, g, request
from flask_sock import Sock

import events
from auth import current_session
from bus import Event
from errors import WharfError, unauthorized
from models import Session, db
from rate_limits import caller_address
from sockets import chat, crdt
from sockets.capacity import Seats, Traffic
from sockets.connection import CLOSE_SECONDS, Connection, Limits
from sockets.dialect import Dialect
from sockets.flusher import Flusher, Job
from sockets.framing import UNAUTHORIZED
from sockets.hub import Hub

sock = Sock()
bp = Blueprint("sockets", __name__)


class NoThread:
    """Given to flask-sock in place of its reader thread: our own loop reads."""

    name = ""

    def __init__(self, target: Callable[[], None]) -> None:
        """Takes what threads take."""

    def start(self) -> None:
        """Does not."""


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


def get_dialect() -> Dialect:
    """The dialect spoken at the address of this request."""
    syncing = request.path == "/sync" or (request.path == "/" and "channel" in request.args)
    return crdt.dialect if syncing else chat.dialect


@bp.before_request
def identify() -> None:
    """Find out who calls before the upgrade; a plain 401 or 403 where the contract allows it."""
    dialect, seats = get_dialect(), realtime().seats
    g.user, g.session_id, g.refused = None, "", False
    g.seats = []
    seats.enter(caller_address(), g.seats)  # first: a crowd shall not reach the database
    try:
        if session := current_session():
            g.user, g.session_id = session.user, session.id
        elif not dialect.allows_anonymous():
            raise unauthorized("No token provided")
    except WharfError as error:
        if error.status != 401 or not dialect.closes_unauthorized:
            raise
        g.refused = True
    else:
        dialect.admit(g.user)
        if g.user:
            g.user_id = g.user.id
            seats.take("user", str(g.user_id), g.seats)


@bp.teardown_request
def free_seats(_error: BaseException | None) -> None:
    """However a socket ended, in its handshake or later, its places are free again."""
    realtime().seats.leave(g.get("seats", []))


def realtime() -> Realtime:
    """The sockets of the current app."""
    found: Realtime = current_app.extensions["realtime"]
    return found


def serve_socket(ws: Any) -> None:
    """Speak with one client until it or we close."""
    ws.connected = False  # from here on the socket is ours; flask-sock shall not write a close
    house, dialect = realtime(), get_dialect()
    house.start()
    connection = Connection(
        ws.sock, g.user, dialect, limits_of(dialect), g.session_id, house.traffic
    )
    g.connection_id = connection.id  # for logs
    dialect.prepare(connection)
    db.session.remove()  # no session is held while waiting for messages
    if g.refused:
        refuse(house.hub, connection)
    else:
        converse(house, connection)


for address in ("/", "/ws", "/sync"):
    sock.route(address, bp=bp, endpoint=f"socket {address}")(serve_socket)


def limits_of(dialect: Dialect) -> Limits:
    """What a connection of this dialect may do, from the settings."""
    config = current_app.config
    return Limits(
        frame_bytes=config[dialect.frame_limit],
        frames_per_second=config["FRAMES_PER_SECOND"],
        queue_bytes=config["SEND_QUEUE_BYTES"],
        ping_seconds=config["PING_SECONDS"],
    )


def refuse(hub: Hub, connection: Connection) -> None:
    """Close with 4001 and wait for the answer, so that the client reads the code."""
    hub.add(connection)
    connection.close(UNAUTHORIZED, "Unauthorized")
    for _ in connection.messages():
        pass
    hub.remove(connection)


def converse(house: Realtime, connection: Connection) -> None:
    """Queue what the client sends; at the end its dialect says goodbye and the hub forgets it."""
    dialect, flusher = connection.dialect, house.flusher
    house.hub.add(connection)
    flusher.submit(Job(connection, enter))
    try:
        for message in connection.messages():
            dialect.receive(connection, message)
    finally:
        flusher.submit(Job(connection, dialect.closed))
        flusher.submit(Job(connection, forget))


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


def drop_extensions(wsgi_app: Any) -> Any:
    """Negotiate no compression: a frame is built once and shared by all its receivers."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        return wsgi_app(environ, start_response)

    return call


def close_on_sigterm(*apps: Flask) -> None:
    """On SIGTERM close every socket with 1001, then let the server stop as it would."""
    previous = signals.getsignal(signals.SIGTERM)

    def stop(number: int, stack: Any) -> None:
        for app in apps:
            # Not here: a signal handler may interrupt a thread that holds a connection's lock.
            # Nor by Thread.start(), which waits: gevent runs signal handlers where it must not.
            _thread.start_new_thread(app.extensions["realtime"].hub.close_all, ())
        if callable(previous):
            previous(number, stack)

    if threading.current_thread() is threading.main_thread():
        signals.signal(signals.SIGTERM, stop)


def init_app(app: Flask) -> None:
    """Let `app` serve sockets."""
    app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": NoThread}
    app.register_blueprint(bp)
    app.wsgi_app = drop_extensions(app.wsgi_app)  # type: ignore[method-assign]
    app.extensions["realtime"] = Realtime(app)
