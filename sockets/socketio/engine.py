"""The Engine.IO server of the library: polling, WebSocket, the way from one to the other, pings.

It is given a counted queue and a bounded WebSocket for each client.
"""

import logging
import queue
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import engineio
import simple_websocket
from flask import current_app, g

from sockets import framing
from sockets.framing import Closing, FrameReader, Oversized, Pinged, Received
from sockets.websocket import CLOSE_SECONDS, KERNEL_SEND_BYTES, RECEIVE_BYTES

if TYPE_CHECKING:
    from sockets.socketio.client import Client

log = logging.getLogger(__name__)

NORMAL = 1000


class Outbox(queue.Queue[Any]):
    """The packets that wait for one client, and how many bytes they are."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.client: Client | None = None

    def _put(self, item: Any) -> None:
        super()._put(item)
        self.count(item, 1)

    def _get(self) -> Any:
        item = super()._get()
        self.count(item, -1)
        return item

    def count(self, item: Any, sign: int) -> None:
        """Note what came or went."""
        size = len(item.data) if item and isinstance(item.data, str | bytes) else 0
        self.bytes += sign * size
        if self.client:
            self.client.queued = self.bytes
            self.client.traffic.note_queue(self.client, self.bytes)

    def join(self) -> None:
        """The library would wait here until the client has read."""


class Wire:
    """A WebSocket as the library wants it: reads and writes wait, and no message is too large."""

    def __init__(self, handler: Any, server: "Engine") -> None:
        self.handler = handler
        self.reader = FrameReader(server.max_http_buffer_size)
        self.received: deque[Received] = deque()
        self.lock = threading.Lock()  # of the way out: no pong lands inside a packet
        self.over = False
        self.client: Client
        self.sock: socket.socket

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.client = g.client
        try:
            shaken = simple_websocket.Server(environ, **current_app.config["SOCK_SERVER_OPTIONS"])
        except Exception:  # the handshake is wrong
            self.client.shut_down()
            start_response("400 BAD REQUEST", [("Content-Type", "text/plain")])
            return (b"Bad handshake",)  # no list: the library takes that for packets
        self.sock = shaken.sock
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_SEND_BYTES)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.wire = self
        if self.client.gone:
            self.shut_down()
        try:
            self.handler(self)
        except Exception:  # no client of Socket.IO sends that
            log.info("not Engine.IO, connection %s", self.client.id)
            self.client.shut_down()
        self.client.wire = None
        self.shut_down()
        if shaken.mode == "gunicorn":  # how it is told that the socket was taken
            raise StopIteration
        start_response("200 OK", [])  # read by nobody; Werkzeug would wait for another request
        return (b"",)

    def wait(self) -> str | bytes | None:
        """The next message; None at the end."""
        while not self.over:
            if not self.received:
                self.receive()
                continue
            received = self.received.popleft()
            if isinstance(received, str | bytes):
                return received
            if isinstance(received, Pinged):
                self.write(framing.frame(received.payload, framing.PONG))
            else:
                self.end(received)
        return None

    def receive(self) -> None:
        """Wait for bytes and read them."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        self.over = not data
        self.client.traffic.bytes_in += len(data)
        self.received += self.reader.feed(data)

    def send(self, message: str | bytes) -> None:
        """Write a message, however long it takes; raises OSError when the client is gone."""
        if isinstance(message, str):
            self.write(framing.frame(message.encode()))
        else:
            self.write(framing.frame(message, framing.BINARY))

    def write(self, data: bytes) -> None:
        """Write whole frames."""
        with self.lock:
            self.sock.sendall(data)
        self.client.traffic.bytes_out += len(data)

    def end(self, received: Closing | Oversized) -> None:
        """The client closes, or has sent too much."""
        code = received.code if isinstance(received, Closing) else framing.TOO_BIG
        with suppress(OSError):
            self.write(framing.close_frame(code if 1000 <= code < 5000 else NORMAL))
        self.over = True

    def close(self) -> None:
        """Say goodbye; the stream ends when the client answers, or a second later."""
        if not self.over:
            with suppress(OSError):
                self.write(framing.close_frame(self.client.code))
            late = threading.Timer(CLOSE_SECONDS, self.shut_down)
            late.daemon = True
            late.start()

    def shut_down(self) -> None:
        """End it, so that whoever reads or writes wakes up."""
        self.over = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Engine(engineio.Server):
    """The library's server, with the queue and the WebSocket of ours."""

    def __init__(self, **options: Any) -> None:
        # Threads under gevent too: gunicorn's worker has made them greenlets.
        super().__init__(async_mode="threading", async_handlers=False, **options)
        self._async: dict[str, Any] = {**self._async, "queue": Outbox, "websocket": Wire}
