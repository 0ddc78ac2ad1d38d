"""A client on a stream of server-sent events (WHATWG HTML 9.2): bytes go out, nothing comes in.

The server writes what `EventStream.chunks` yields, on a thread or greenlet of this client alone, so
nobody waits for a slow one. Knows nothing of Flask or of chat.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from sockets.connection import Connection
from sockets.waiting import Lock

KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_SECONDS = 15.0
DEAF_MILLISECONDS = 60_000  # how long a peer may acknowledge nothing before it counts as gone


class EventStream(Connection):
    """A client whose answer goes on; `sock` is what carries it, where the server says so."""

    def __init__(self, sock: socket.socket | None, *who: Any, **more: Any) -> None:
        super().__init__(*who, **more)
        self.sock = sock
        self.lock = Lock()  # of what waits
        self.waiting: list[bytes] = []
        self.wake = threading.Event()
        if sock:
            with contextlib.suppress(OSError, AttributeError):  # not every system has it
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAF_MILLISECONDS)

    def chunks(self) -> Iterator[bytes]:
        """What to write, until the stream ends; comments when there is nothing else."""
        while not self.gone:
            if not self.wake.wait(KEEP_ALIVE_SECONDS):
                yield KEEP_ALIVE
                continue
            self.wake.clear()
            with self.lock:
                data = b"".join(self.waiting)
                self.waiting = []
                self.queued = 0
                self.traffic.note_queue(self, 0)
            if data and not self.gone:
                self.traffic.bytes_out += len(data)
                yield data
            if self.closing and not self.waiting:
                return
            self.dialect.drained(self)

    def send(self, data: bytes, last: bool = False) -> None:
        with self.lock:
            if self.gone or self.closing:
                return
            self.closing = last
            self.traffic.frames_out += data.count(b"data: ")
            self.waiting.append(data)
            # One piece always leaves, however large: or who comes back for it is cut for ever.
            slow = self.queued > 0 and self.queued + len(data) > self.limits.queue_bytes
            self.queued += len(data)
            crowded = self.traffic.note_queue(self, self.queued)
        self.wake.set()
        if slow:
            self.cut()
        elif crowded:
            self.traffic.relieve()

    def close(self, code: int, reason: str = "") -> None:
        # The client opens another one by itself, and is refused then if it must be.
        self.send(f": {reason}\n\n".encode(), last=True)

    def shut_down(self) -> None:
        self.gone = True
        self.traffic.note_queue(self, 0)
        self.wake.set()
        if self.sock:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
