"""A client on a WebSocket whose handshake is done: its socket, the one way out, its liveness.

Everything that leaves, data, pings and closes alike, takes `WebSocket.send`: a non-blocking write,
the rest on a bounded queue drained in the background, so that no frame lands inside another and
nobody waits for a slow client. Knows nothing of Flask or of chat.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from sockets import framing
from sockets.connection import Connection
from sockets.framing import Closing, FrameReader, Oversized, Pinged
from sockets.waiting import Lock, wait_readable, wait_writable

RECEIVE_BYTES = 1 << 16
KERNEL_SEND_BYTES = 1 << 17  # without it the kernel takes megabytes before our bound counts
CLOSE_SECONDS = 1.0  # how long a peer may take to answer a close
DRAIN_SECONDS = 0.01  # between two looks whether all was written
CUT_SECONDS = 5.0  # how long a peer that is too slow may take to read that it is
PING_FRAME = framing.frame(b"", framing.PING)


class WebSocket(Connection):
    """A client on `sock`, a TCP socket; the other parameters are those of `Connection`."""

    def __init__(self, sock: socket.socket, *who: Any, **more: Any) -> None:
        super().__init__(*who, **more)
        self.sock = sock
        self.reader = FrameReader(self.limits.frame_bytes)
        self.lock = Lock()  # of all below; whoever holds it does nothing that waits
        self.queue: deque[bytes] = deque()
        self.partial = False  # the first of the queue has been sent in part
        self.draining = False
        self.deadline = 0.0
        self.heard = True
        self.next_ping = time.monotonic() + self.limits.ping_seconds
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_SEND_BYTES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # gevent's socket waits inside send; the one beneath it answers at once.
        self.write = getattr(sock, "_sock", sock).send

    # In

    def messages(self) -> Iterator[str | bytes | Oversized]:
        """The messages of the client until it or we close; control frames are dealt with here."""
        while not self.gone:
            for received in self.receive():
                if isinstance(received, Pinged):
                    self.send(framing.frame(received.payload, framing.PONG))
                elif isinstance(received, Closing):
                    self.answer_close(received.code)
                    return
                elif not self.closing:
                    yield received

    def receive(self) -> list[framing.Received]:
        """Wait for bytes and read them; the end of the stream reads as a close."""
        try:
            wait_readable(self.sock.fileno())
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            data = b""
        if not data:
            self.shut_down()
            return []
        self.heard = True
        received = self.reader.feed(data)
        self.traffic.bytes_in += len(data)
        self.traffic.frames_in += len(received)
        return received

    def answer_close(self, code: int) -> None:
        """Echo the peer's close, or tell it what was wrong; then end the stream.

        What was begun before is finished, if the peer still reads: no frame ends in the middle.
        """
        if not self.closing:
            valid = 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
            echo = framing.close_frame(code) if valid else framing.frame(b"", framing.CLOSE)
            self.send(echo, last=True)
            deadline = time.monotonic() + CLOSE_SECONDS
            while self.queue and not self.gone and time.monotonic() < deadline:
                time.sleep(DRAIN_SECONDS)
        self.shut_down()

    # Out

    def send(self, data: bytes, last: bool = False) -> None:
        with self.lock:
            if self.gone or self.closing:
                return
            self.closing = last
            self.traffic.count_sent(data)
            if not self.queue:
                rest = self.write_now(data)
                if not rest:
                    return
                self.partial = len(rest) < len(data)
                data = rest
            self.queue.append(data)
            self.queued += len(data)
            if self.queued > self.limits.queue_bytes:
                self.cut_off()
            crowded = self.traffic.note_queue(self, self.queued)
        self.start_draining()
        if crowded:
            self.traffic.relieve()

    def write_now(self, data: bytes) -> bytes:
        """Write what the kernel takes at once; returns the rest."""
        try:
            sent = self.write(data)
        except BlockingIOError:
            return data
        except OSError:
            self.shut_down()
            return b""
        self.traffic.bytes_out += sent
        return data[sent:] if sent < len(data) else b""

    def cut_off(self) -> None:
        """Give up on a slow client: finish the frames begun, drop the others, say 1013."""
        begun = self.queue[0] if self.partial else b""
        self.queue.clear()
        last = framing.close_frame(framing.TRY_AGAIN_LATER, "too slow")
        self.queue.append(begun + last)
        self.queued = len(self.queue[0])
        self.closing = True
        self.deadline = time.monotonic() + CUT_SECONDS
        self.traffic.slow_closes += 1

    def cut(self) -> None:
        with self.lock:
            if self.gone or self.closing:
                self.shut_down()
                return
            self.cut_off()
            self.traffic.note_queue(self, self.queued)
        self.start_draining()

    def start_draining(self) -> None:
        """Let a background thread write the queue as the client reads."""
        with self.lock:
            if self.draining or not self.queue:
                return
            self.draining = True
        try:
            threading.Thread(target=self.drain, daemon=True).start()
        except RuntimeError:  # no more threads: this client suffers, not who writes to it
            self.shut_down()

    def drain(self) -> None:
        """Write the queue until it is empty or the client is gone."""
        while not self.gone:
            with contextlib.suppress(OSError, ValueError):
                wait_writable(self.sock.fileno(), CLOSE_SECONDS)
            with self.lock:
                if self.gone or self.write_queue():
                    self.draining = False
                    break
        if not self.gone:
            self.dialect.drained(self)
            return
        with self.lock:
            self.queue.clear()  # megabytes, which nobody will read

    def write_queue(self) -> bool:
        """Write the queue until the kernel takes no more; whether it is empty now."""
        while self.queue and not self.gone:
            first = self.queue.popleft()
            rest = self.write_now(first)
            self.queued -= len(first) - len(rest)
            if rest:
                self.partial = self.partial or len(rest) < len(first)
                self.queue.appendleft(rest)
                break
            self.partial = False
        self.traffic.note_queue(self, self.queued)
        return not self.queue

    # The end

    def close(self, code: int, reason: str = "") -> None:
        # The stream ends when the peer answers, or a second later.
        self.send(framing.close_frame(code, reason), last=True)
        self.deadline = self.deadline or time.monotonic() + CLOSE_SECONDS

    def tick(self, now: float) -> None:
        # Ping a silent peer; end one that missed a pong or a deadline.
        if self.deadline:
            if now > self.deadline:
                self.shut_down()
        elif now > self.next_ping:
            self.next_ping = now + self.limits.ping_seconds
            self.pardon()
            if not self.heard:
                self.shut_down()
            else:
                self.heard = False
                self.send(PING_FRAME)

    def shut_down(self) -> None:
        self.gone = True
        self.traffic.note_queue(self, 0)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
