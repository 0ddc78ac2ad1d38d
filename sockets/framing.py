"""RFC 6455 bytes: build frames, and take messages out of what was received.

Complete, unfragmented text and binary frames take a short path; everything else (fragments,
control frames, oddities) goes to wsproto, which keeps the RFC to the letter.
"""

import struct
from typing import NamedTuple

from wsproto.connection import Connection as Protocol
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
WHOLE = {FIN | TEXT: TEXT, FIN | BINARY: BINARY}

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
    return frame(struct.pack("!H", code) + reason.encode()[:123], CLOSE)


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask: as one big integer, which C does."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    both = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return both.to_bytes(size, "little")


class FrameReader:
    """Turns received bytes into messages; holds at most one message of `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.buffer = bytearray()
        self.to_skip = 0
        self.protocol: Protocol | None = None  # made when something odd arrives
        self.parts: list[str | bytes] = []
        self.parts_size = 0

    def feed(self, data: bytes) -> list[Received]:
        """What the bytes received so far complete, in order; nothing after a Closing."""
        received: list[Received] = []
        self.buffer += data
        while size := self.next_frame(received):
            self.read_frame(bytes(memoryview(self.buffer)[:size]), received)
            del self.buffer[:size]
            if received and isinstance(received[-1], Closing):
                break
        return received

    def next_frame(self, received: list[Received]) -> int:
        """The size of the frame at the start of the buffer when it is complete, else 0."""
        self.skip()
        buffer = self.buffer
        if len(buffer) < 2:
            return 0
        masked, size, head = buffer[1] & 0x80, buffer[1] & 0x7F, 2
        if size >= 126:
            head = 4 if size == 126 else 10
            if len(buffer) < head:
                return 0
            size = int.from_bytes(buffer[2:head], "big")
        if size > self.limit:
            self.refuse(size, head + (4 if masked else 0) + size, received)
            return self.next_frame(received) if not isinstance(received[-1], Closing) else 0
        total = head + (4 if masked else 0) + size
        return total if len(buffer) >= total else 0

    def refuse(self, size: int, total: int, received: list[Received]) -> None:
        """Skip a frame above the limit; a part of a fragmented message cannot be skipped."""
        if self.parts or self.buffer[0] not in WHOLE:
            received.append(Closing(TOO_BIG))
            return
        received.append(Oversized(size))
        self.to_skip = total
        self.skip()

    def skip(self) -> None:
        """Drop what has arrived of a refused frame."""
        if self.to_skip:
            dropped = min(self.to_skip, len(self.buffer))
            del self.buffer[:dropped]
            self.to_skip -= dropped

    def read_frame(self, data: bytes, received: list[Received]) -> None:
        """Take one complete frame: the short path, or wsproto."""
        opcode = WHOLE.get(data[0])
        if opcode is None or not data[1] & 0x80 or self.parts:
            self.read_oddity(data, received)
            return
        size = data[1] & 0x7F
        head = 2 if size < 126 else 4 if size == 126 else 10
        payload = unmask(data[head + 4 :], data[head : head + 4])
        try:
            received.append(payload.decode() if opcode == TEXT else payload)
        except UnicodeDecodeError:
            received.append(Closing(INVALID_DATA))

    def read_oddity(self, data: bytes, received: list[Received]) -> None:
        """Let wsproto read a frame that is fragmented, a control frame or wrong."""
        self.protocol = self.protocol or Protocol(ConnectionType.SERVER)
        self.protocol.receive_data(data)
        try:
            for event in self.protocol.events():
                self.read_event(event, received)
        except RemoteProtocolError as error:
            hint = error.event_hint
            code = hint.code if isinstance(hint, CloseConnection) else PROTOCOL_ERROR
            received.append(Closing(int(code)))

    def read_event(self, event: Event, received: list[Received]) -> None:
        """Translate wsproto's event; parts of a message are kept until it is finished."""
        if isinstance(event, CloseConnection):
            received.append(Closing(int(event.code)))
        elif isinstance(event, Ping):
            received.append(Pinged(bytes(event.payload)))
        elif isinstance(event, (TextMessage, BytesMessage)):
            self.parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
            self.parts_size += len(event.data)
            if self.parts_size > self.limit:
                received.append(Closing(TOO_BIG))
            elif event.message_finished:
                empty: str | bytes = "" if isinstance(event, TextMessage) else b""
                received.append(empty.join(self.parts))  # type: ignore[arg-type]
                self.parts, self.parts_size = [], 0
