"""The socket addresses: flask-sock routes them and shakes hands, a dialect speaks, one hub relays.

| address | dialect |
|---|---|
| `/ws`, and `/` without `channel` | chat.py, with the widget's words of widget.py |
| `/sync`, and `/?channel=` | crdt.py |
| `/ws/<client_id>` | relay.py |
| `GET /api/events`, a stream | topics.py |
| `/socket.io/`, `/brolostack-ws/`, `/brolostack-multiagent/` | socketio/ |
"""

import _thread
import signal as signals
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request
from flask_sock import Sock
from wsproto.utilities import RemoteProtocolError

import shapes
from auth import current_session
from errors import WharfError, handle_exception, unauthorized
from models import db
from openapi import JSON, answers
from rate_limits import caller_address
from sockets import chat, crdt, relay, topics
from sockets.capacity import Seat
from sockets.dialect import Dialect
from sockets.event_stream import EventStream
from sockets.flusher import Job
from sockets.framing import UNAUTHORIZED
from sockets.hub import Hub
from sockets.realtime import Realtime, enter, forget, limits_of, realtime
from sockets.socketio import endpoint
from sockets.websocket import WebSocket

STREAM = "/api/events"
STREAM_WORDS = {"topics": str, "since": int}

sock = Sock()
bp = Blueprint("sockets", __name__)


class NoThread:
    """Given to flask-sock in place of its reader thread: our own loop reads."""

    name = ""

    def __init__(self, target: Callable[[], None]) -> None:
        """Takes what threads take."""

    def start(self) -> None:
        """Does not."""


class AnySubprotocol:
    """Given to flask-sock as those we speak: a browser hangs up when none it offers is chosen."""

    def __contains__(self, name: str) -> bool:
        """The first one offered, whatever it is: often a token (auth.py)."""
        return True


def get_dialect() -> Dialect:
    """The dialect spoken at the address of this request."""
    if request.path == STREAM:
        return topics.dialect
    if request.path.startswith("/ws/"):
        return relay.dialect
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


@bp.get(STREAM)
@answers(list[shapes.Told], 400, 401, 429, media=(JSON, topics.MIMETYPE), query=STREAM_WORDS)
def serve_stream() -> Response:
    """Messages on topics as they come, or, with `since`, the latest ones as a JSON array."""
    if "since" in request.args:
        return jsonify(topics.poll(g.user))
    if request.method == "HEAD":
        return Response(mimetype=topics.MIMETYPE, headers=topics.HEADERS)
    connection = make_stream()
    house, seats, g.seats = realtime(), g.seats, []
    chunks = connection.chunks()
    response = Response(chunks, mimetype=topics.MIMETYPE, headers=topics.HEADERS)
    response.call_on_close(partial(leave_stream, house, connection, seats))
    house.hub.add(connection)
    house.flusher.submit(Job(connection, enter))
    return response


def make_stream() -> EventStream:
    """The connection of a stream."""
    house = realtime()
    house.start()
    sock = request.environ.get("werkzeug.socket") or request.environ.get("gunicorn.socket")
    connection = EventStream(
        sock, g.user, topics.dialect, limits_of(topics.dialect), g.session_id, house.traffic
    )
    g.connection_id = connection.id  # for logs
    topics.dialect.prepare(connection)
    return connection


def leave_stream(house: Realtime, connection: EventStream, seats: list[Seat]) -> None:
    """The client is gone, or the stream has ended."""
    connection.shut_down()
    house.seats.leave(seats)
    house.flusher.submit(Job(connection, forget))


@bp.errorhandler(RemoteProtocolError)
def answer_bad_handshake(_error: RemoteProtocolError) -> Any:
    """A handshake without its key is 400; one of another version is 426 and told ours."""
    other = request.headers.get("Sec-WebSocket-Version", "") not in ("", "13")
    message = "A WebSocket handshake of version 13 is needed"
    headers = {"Sec-WebSocket-Version": "13"}
    return handle_exception(WharfError(426 if other else 400, message, headers=headers))


@bp.teardown_request
def free_seats(_error: BaseException | None) -> None:
    """However a socket ended, in its handshake or later, its places are free again."""
    realtime().seats.leave(g.get("seats", []))


def serve_socket(ws: Any, **_: str) -> None:
    """Speak with one client until it or we close."""
    ws.connected = False  # from here on the socket is ours; flask-sock shall not write a close
    house, dialect = realtime(), get_dialect()
    house.start()
    connection = WebSocket(
        ws.sock, g.user, dialect, limits_of(dialect), g.session_id, house.traffic
    )
    g.connection_id = connection.id  # for logs
    dialect.prepare(connection)
    db.session.remove()  # no session is held while waiting for messages
    ws.ws = None  # what the handshake needed, nothing does any more
    g.pop("session", None)
    if g.refused:
        refuse(house.hub, connection)
    else:
        converse(house, connection)


for address in ("/", "/ws", "/sync", "/ws/<client_id>"):
    sock.route(address, bp=bp, endpoint=f"socket {address}")(serve_socket)


def refuse(hub: Hub, connection: WebSocket) -> None:
    """Close with 4001 and wait for the answer, so that the client reads the code."""
    hub.add(connection)
    connection.close(UNAUTHORIZED, "Unauthorized")
    for _ in connection.messages():
        pass
    hub.remove(connection)


def converse(house: Realtime, connection: WebSocket) -> None:
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
    app.config["SOCK_SERVER_OPTIONS"] = {
        "thread_class": NoThread,
        "subprotocols": AnySubprotocol(),
    }
    app.register_blueprint(bp)
    app.wsgi_app = drop_extensions(app.wsgi_app)  # type: ignore[method-assign]
    app.extensions["realtime"] = Realtime(app)
    endpoint.init_app(app)
