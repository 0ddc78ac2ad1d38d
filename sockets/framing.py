"""RFC 6455 bytes: build frames, and take messages out of what was received.

Complete, unfragmented text and binary frames, pings and pongs take a short path; everything else
(fragments, closes, oddities) goes to wsproto, which keeps the RFC to the letter.
"""

import struct
import time
from typing import NamedTuple

from wsproto.connection import Connection as Protocol
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
CONTROL = 0x08  # the bit that close, ping and pong have
MASKED = 0x80
WHOLE = {FIN | TEXT, FIN | BINARY}
BEATS = {FIN | PING, FIN | PONG}  # cheap, lest a flood of them holds up everybody
EXTRAS = 100  # pings and parts read in one go; who sends more of them is read more slowly
PAUSE_SECONDS = 0.01
SHORTEST = {4: 126, 10: 1 << 16}  # payloads that a head of so many bytes is for

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
INVALID_DATA = 1007
POLICY = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013
UNAUTHORIZED = 4001


class Closing(NamedTuple):
    """The peer closes, or must be closed, with this code."""

    code: int


class Oversized(NamedTuple):
    """A message above the limit was skipped; `size` in bytes."""

    size: int


class Pinged(NamedTuple):
    """The peer wants this payload back in a pong."""

    payload: bytes


Received = str | bytes | Closing | Oversized | Pinged


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked, unfragmented frame, as servers send them."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", FIN | opcode, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", FIN | opcode, 126, size)
    else:
        head = struct.pack("!BBQ", FIN | opcode, 127, size)
    return head + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; a reason longer than a control frame holds is cut."""
    fitting = reason.encode()[:123].decode(errors="ignore")  # no half a character at the end
    return frame(struct.pack("!H", code) + fitting.encode(), CLOSE)


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask: as one big integer, which C does."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    both = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return both.to_bytes(size, "little")


def is_closed(received: list[Received]) -> bool:
    """Whether a Closing is the last of what was received."""
    return bool(received) and isinstance(received[-1], Closing)


class FrameReader:
    """Turns received bytes into messages; holds at most one message of `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.buffer = bytearray()
        self.extras = 0  # frames that are no message, since the last pause
        self.rest = 0  # bytes to come of a frame that is skipped, or wsproto's
        self.skipping = False
        self.protocol: Protocol | None = None  # made when something odd arrives
        self.unfinished = False  # a fragmented message has begun
        self.announced = 0  # bytes of it, as its frames say
        self.body = bytearray()  # those that came, in one piece: many small ones weigh much more

    def feed(self, data: bytes) -> list[Received]:
        """What the bytes received so far complete, in order; nothing after a Closing.

        Waits now and then when most of it is no message: no limit on messages counts that.
        """
        received: list[Received] = []
        self.buffer += data
        while self.buffer and self.read(received) and not is_closed(received):
            if self.extras >= EXTRAS:
                self.extras = 0
                time.sleep(PAUSE_SECONDS)
        return received

    def read(self, received: list[Received]) -> bool:
        """Take what stands at the start of the buffer; False when it takes more bytes."""
        if self.rest:
            self.read_rest(received)
            return True
        head, size = self.measure()
        if not head:
            return False
        self.extras += self.buffer[0] not in WHOLE
        if not self.is_plain(head, size):
            self.begin_oddity(head, size, received)
        elif size > self.limit:
            received.append(Oversized(size))
            self.rest, self.skipping = head + 4 + size, True
        elif len(self.buffer) < head + 4 + size:
            return False
        else:
            self.read_plain(head, size, received)
        return True

    def measure(self) -> tuple[int, int]:
        """Bytes of the next frame's head, without its mask, and of its payload; 0 if unknown."""
        buffer = self.buffer
        if len(buffer) < 2:
            return 0, 0
        size = buffer[1] & 0x7F
        if size < 126:
            return 2, size
        head = 4 if size == 126 else 10
        if len(buffer) < head:
            return 0, 0
        return head, int.from_bytes(buffer[2:head], "big")

    def is_plain(self, head: int, size: int) -> bool:
        """Whether the next frame is a whole message, a ping or a pong, and its head is right."""
        first, second = self.buffer[0], self.buffer[1]
        if first in BEATS:
            return head == 2 and second & MASKED != 0
        if first not in WHOLE or not second & MASKED or self.unfinished:
            return False
        return head == 2 or (size >= SHORTEST[head] and not size >> 63)

    def read_plain(self, head: int, size: int, received: list[Received]) -> None:
        """The short path."""
        total = head + 4 + size
        data = bytes(memoryview(self.buffer)[:total])
        del self.buffer[:total]
        payload = unmask(data[head + 4 :], data[head : head + 4])
        if data[0] == FIN | BINARY:
            received.append(payload)
        elif data[0] == FIN | PING:
            received.append(Pinged(payload))
        elif data[0] == FIN | TEXT:
            try:
                received.append(payload.decode())
            except UnicodeDecodeError:
                received.append(Closing(INVALID_DATA))

    def begin_oddity(self, head: int, size: int, received: list[Received]) -> None:
        """Let wsproto judge a frame's head; then refuse a part that makes its message too large.

        It cannot be skipped, as whole messages are: others of its message were taken.
        """
        control = self.buffer[0] & CONTROL
        self.rest, self.skipping = head + 4 + size, False
        self.read_oddity(head, received)
        if not control and not is_closed(received):
            self.announced += size
            if self.announced > self.limit:
                received.append(Closing(TOO_BIG))

    def read_rest(self, received: list[Received]) -> None:
        """Take what has arrived of the frame begun."""
        present = min(self.rest, len(self.buffer))
        if self.skipping:
            del self.buffer[:present]
            self.rest -= present
        else:
            self.read_oddity(present, received)

    def read_oddity(self, count: int, received: list[Received]) -> None:
        """Let wsproto read bytes of a frame that is fragmented, a control frame or wrong."""
        self.protocol = self.protocol or Protocol(ConnectionType.SERVER)
        self.protocol.receive_data(bytes(memoryview(self.buffer)[:count]))
        del self.buffer[:count]
        self.rest -= count
        for event in self.protocol.events():
            self.read_event(event, received)

    def read_event(self, event: Event, received: list[Received]) -> None:
        """Translate wsproto's event; parts of a message are kept until it is finished."""
        if isinstance(event, CloseConnection):
            received.append(Closing(int(event.code)))
        elif isinstance(event, (TextMessage, BytesMessage)):
            data = event.data
            self.body += data.encode() if isinstance(data, str) else data
            self.unfinished = not event.message_finished
            if event.message_finished:
                text = isinstance(data, str)
                received.append(self.body.decode() if text else bytes(self.body))
                self.announced, self.body = 0, bytearray()
