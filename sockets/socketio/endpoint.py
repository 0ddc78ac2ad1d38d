"""Where Socket.IO clients come in: the addresses, and who may wait at them."""

import logging
from io import BytesIO
from typing import Any

from engineio.payload import Payload
from flask import Blueprint, Flask, Response, current_app, g, request

from auth import is_socket
from errors import bad_request
from rate_limits import caller_address
from sockets.dialect import Dialect
from sockets.flusher import Job
from sockets.realtime import Realtime, forget, limits_of
from sockets.socketio.client import Client
from sockets.socketio.dialect import dialect, look_up_caller
from sockets.socketio.engine import Engine

bp = Blueprint("socketio", __name__)

PING_TIMEOUT = 20  # seconds a client may take to answer a ping
Payload.max_decode_packets = 1000  # of one poll: with 16, what was queued offline would be lost


class Endpoint:
    """Where the clients of one app come in."""

    def __init__(self, app: Flask, house: Realtime, dialect: Dialect) -> None:
        self.house = house
        self.dialect = dialect
        self.clients: dict[str, Client] = {}
        self.limit = app.config[dialect.frame_limit]
        library = logging.getLogger("engineio")
        library.setLevel(logging.ERROR)  # what it says else holds what clients say
        self.engine = Engine(
            ping_interval=app.config["PING_SECONDS"],
            ping_timeout=PING_TIMEOUT,
            max_http_buffer_size=self.limit,
            http_compression=False,
            cors_allowed_origins=[],  # origins.py does it
            monitor_clients=False,  # the hub does it
            logger=library,
        )
        self.engine.on("connect", self.enter)
        self.engine.on("message", self.hear)
        self.engine.on("disconnect", self.leave)

    def enter(self, sid: str, _environ: dict[str, Any]) -> None:
        """Somebody has come, who is still unknown."""
        house, dialect = self.house, self.dialect
        house.start()
        client = Client(self.engine, sid, None, dialect, limits_of(dialect), traffic=house.traffic)
        client.seats, g.seats = g.seats, []
        dialect.prepare(client)
        self.clients[sid] = g.client = client
        house.hub.add(client)

    def hear(self, sid: str, message: Any) -> None:
        """A client says something."""
        client = self.clients.get(sid)
        if client and not client.closing and not client.gone:
            client.traffic.frames_in += 1
            client.dialect.receive(client, message)

    def leave(self, sid: str, _reason: str) -> None:
        """A client has gone, in whatever way."""
        client = self.clients.pop(sid, None)
        if client:
            with client.lock:  # so that it is not let in at the same time
                client.gone = client.ending = True
            if (wire := client.wire) and not client.carrier.upgraded:  # it was on its way over
                wire.shut_down()
            client.traffic.note_queue(client, 0)
            self.house.seats.leave(client.seats)
            if client.known:
                self.house.flusher.submit(Job(client, client.dialect.closed))
            self.house.flusher.submit(Job(client, forget))
            self.engine.sockets.pop(sid, None)


class Handover(Response):
    """Lets the library answer, with the headers that all answers of ours have."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        own = [(name, value) for name, value in self.headers if not name.startswith("Content-")]

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *own], *more)

        return endpoint().engine.handle_request(environ, start)


def endpoint() -> Endpoint:
    """The endpoint of the current app."""
    found: Endpoint = current_app.extensions["socketio"]
    return found


def carry() -> Response:
    """One request of a client: it comes, polls, speaks, or goes over to a WebSocket."""
    g.seats = []
    sid = request.args.get("sid")
    if "j" in request.args:  # its answers would be scripts for the pages of any site
        raise bad_request("JSONP is not served")
    if sid is None and request.method == "GET":
        endpoint().house.seats.enter(caller_address(), g.seats)
        g.caller = look_up_caller()
    else:
        g.client = endpoint().clients.get(sid or "")
        if g.client is None:
            raise bad_request("Session ID unknown", code="unknown_session")
        read_body() if request.method == "POST" else take_turn(g.client)
    return Handover()


def read_body() -> None:
    """Read what was sent, within bounds, before the library does; raises 400 and 413."""
    request.max_content_length = endpoint().limit
    body = request.get_data()
    try:
        Payload(encoded_payload=body.decode())
    except Exception:  # whatever it stumbles over, it would log, and drop the rest
        raise bad_request("This is not Engine.IO") from None
    request.environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    g.client.traffic.bytes_in += len(body)


def take_turn(client: Client) -> None:
    """One poll at a time, and one WebSocket; raises 400 for a second one."""
    if is_socket():
        if client.wire:
            raise bad_request("There is a WebSocket already")
    elif client.poll.acquire(blocking=False):
        g.polls = True
    else:
        client.shut_down()
        raise bad_request("One poll at a time")


@bp.teardown_request
def let_go(_error: BaseException | None) -> None:
    """However the request ended."""
    if g.pop("polls", False):
        g.client.poll.release()
    endpoint().house.seats.leave(g.get("seats", []))


for name in ("socket.io", "brolostack-ws", "brolostack-multiagent"):
    rule, endpoint_name = f"/{name}/", name.replace(".", "-")
    bp.add_url_rule(rule, endpoint_name, carry, methods=["GET", "POST"])
    bp.add_url_rule(rule, f"{endpoint_name} socket", carry, websocket=True)


def init_app(app: Flask) -> None:
    """Let `app` serve Socket.IO."""
    app.extensions["socketio"] = Endpoint(app, app.extensions["realtime"], dialect)
    app.register_blueprint(bp)
