"""One client: its socket, the one way out, and its liveness. Knows nothing of Flask or of chat.

Everything that leaves, data, pings and closes alike, takes `Connection.send`: a non-blocking write,
the rest on a bounded queue drained in the background, so that no frame lands inside another and
nobody waits for a slow client.
"""

import contextlib
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockets import framing
from sockets.capacity import Traffic
from sockets.framing import Closing, FrameReader, Oversized, Pinged
from sockets.waiting import wait_readable, wait_writable

if TYPE_CHECKING:
    from sockets.dialect import Dialect
    from sockets.hub import Hub

RECEIVE_BYTES = 1 << 16
KERNEL_SEND_BYTES = 1 << 17  # without it the kernel takes megabytes before our bound counts
CLOSE_SECONDS = 1.0  # how long a peer may take to answer a close
CUT_SECONDS = 5.0  # how long a peer that is too slow may take to read that it is
PING_FRAME = framing.frame(b"", framing.PING)


@dataclass(frozen=True)
class Limits:
    """What one connection may do; sizes in bytes (docs/settings.md)."""

    frame_bytes: int
    frames_per_second: int
    queue_bytes: int
    ping_seconds: float


class Connection:
    """A client on a WebSocket whose handshake is done."""

    def __init__(
        self,
        sock: socket.socket,
        user: Any,
        dialect: "Dialect",
        limits: Limits,
        session_id: str = "",
        traffic: Traffic | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.user = user
        self.session_id = session_id  # the sign-in it lives on; empty without account
        self.dialect = dialect
        self.hub: Hub  # set by Hub.add
        self.topics: set[str] = set()
        self.behind: dict[str, int] = {}  # topics it still reads, with the last seq it was sent
        self.suspect = False  # a message of it failed: its others are committed alone
        self.state: Any = None  # what the dialect keeps about this client
        self.replies: list[bytes] = []  # leave when what they report is committed
        self.effects: list[Callable[[], None]] = []  # happen when the message is committed
        self.limits = limits
        self.traffic = traffic or Traffic()
        self.sock = sock
        self.reader = FrameReader(limits.frame_bytes)
        self.lock = threading.Lock()
        self.queue: deque[bytes] = deque()
        self.queued = 0
        self.partial = False  # the first of the queue has been sent in part
        self.draining = False
        self.closing = False  # a close frame is on its way, nothing may follow it
        self.gone = False
        self.deadline = 0.0
        self.heard = True
        self.next_ping = time.monotonic() + limits.ping_seconds
        self.allowance = 2.0 * limits.frames_per_second
        self.refilled = time.monotonic()
        self.strikes = 0
        self.pending = 0  # weight of the messages that wait in the flusher
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
        """Echo the peer's close, or tell it what was wrong; then end the stream."""
        if not self.closing:
            valid = 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
            echo = framing.close_frame(code) if valid else framing.frame(b"", framing.CLOSE)
            self.send(echo, last=True)
        self.shut_down()

    def may_send(self) -> bool:
        """Whether the client keeps to its frames per second; bursts of two seconds are fine."""
        now = time.monotonic()
        rate = self.limits.frames_per_second
        self.allowance = min(2.0 * rate, self.allowance + (now - self.refilled) * rate)
        self.refilled = now
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True

    def strike(self, code: int, reason: str) -> None:
        """Count an abuse; the third one between two pings closes the socket with `code`."""
        self.strikes += 1
        if self.strikes >= 3:
            self.close(code, reason)

    def roll_back(self) -> None:
        """The transaction has not committed: nothing happened."""
        self.replies, self.effects = [], []

    # Out

    def reply(self, frame: bytes) -> None:
        """Answer this client once the current message's transaction has committed."""
        self.replies.append(frame)

    def after_commit(self, effect: Callable[[], None]) -> None:
        """Change memory once the current message's transaction has committed."""
        self.effects.append(effect)

    def commit(self) -> None:
        """The transaction has committed: let its effects happen and its replies leave."""
        effects, self.effects = self.effects, []
        for effect in effects:
            effect()
        if self.replies:
            replies, self.replies = self.replies, []
            self.send(b"".join(replies))

    def send(self, data: bytes, last: bool = False) -> None:
        """Send whole frames; never blocks, from any thread. A client too slow is cut off (1013).

        Nothing follows the `last` ones.
        """
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
        """Cut off for the sake of the others; who is on the way out already, ends at once."""
        with self.lock:
            if self.gone or self.closing:
                self.shut_down()
            else:
                self.cut_off()
                self.traffic.note_queue(self, self.queued)
                self.start_draining()

    def start_draining(self) -> None:
        """Let a background thread write the queue as the client reads."""
        if not self.draining:
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
        """Say goodbye with `code`; the stream ends when the peer answers, or a second later."""
        self.send(framing.close_frame(code, reason), last=True)
        self.deadline = self.deadline or time.monotonic() + CLOSE_SECONDS

    def tick(self, now: float) -> None:
        """Ping a silent peer; end one that missed a pong or a deadline (monotonic seconds)."""
        if self.deadline:
            if now > self.deadline:
                self.shut_down()
        elif now > self.next_ping:
            self.next_ping = now + self.limits.ping_seconds
            self.strikes, self.suspect = 0, False
            if not self.heard:
                self.shut_down()
            else:
                self.heard = False
                self.send(PING_FRAME)

    def shut_down(self) -> None:
        """End the stream, so that whoever reads or writes it wakes up."""
        self.gone = True
        self.traffic.note_queue(self, 0)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
