"""A client of the chat socket on bare bytes, many to a thread: it can be cut at any of them.

`Log` is what such a client remembers to resume: the last seq, and what it heard.
"""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sockets.framing import CLOSE, FIN, PING, PONG, TEXT, unmask

CONNECT_SECONDS = 15.0
LINGER_NOT = struct.pack("ii", 1, 0)  # a close says RST, as when a network or a machine dies
STORED = {"chat-message", "message-edited", "message-deleted", "database_change"}

Frame = dict[str, Any]


class Violation(AssertionError):
    """A hole, a double or a frame that must not come."""


class NotConnected(Exception):
    """The server refused the handshake, or was gone before it answered."""


class SocketClient(asyncio.Protocol):
    """One socket: `hear` gets each frame, `gone` the close code once (0: the stream just ended).

    With `limit` the client cuts itself off when that many bytes have come after the handshake;
    a frame begun is lost.
    """

    def __init__(
        self, hear: Callable[[Frame], None], gone: Callable[[int], None], limit: int | None = None
    ) -> None:
        self.hear = hear
        self.gone = gone
        self.limit = limit
        self.buffer = bytearray()
        self.code = 0
        self.is_open = False
        self.transport: asyncio.Transport
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, port: int, path: str) -> "SocketClient":
        """Shake hands; raises NotConnected."""
        loop = asyncio.get_running_loop()
        key = base64.b64encode(os.urandom(16)).decode()
        lines = f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade"
        more = "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: self, "127.0.0.1", port)
                self.transport.write("\r\n".join((*lines, *more, "", "")).encode())
                await self.greeted
        except (OSError, TimeoutError) as error:
            self.cut()
            raise NotConnected from error
        return self

    # In

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.greeted.done():
            self.read_answer()
        if self.is_open:
            self.read_frames()

    def read_answer(self) -> None:
        """Read the answer to the handshake, once it is whole."""
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if end:
            self.is_open = head.startswith(b"HTTP/1.1 101 ")
            self.buffer = rest
            if self.is_open:
                self.greeted.set_result(None)
            else:
                self.greeted.set_exception(NotConnected(bytes(head[:40])))

    def read_frames(self) -> None:
        """Take whole frames out of what has come; servers never mask or fragment."""
        taken = 0
        buffer = bytes(self.buffer if self.limit is None else self.buffer[: self.limit])
        while self.is_open and len(buffer) >= taken + 2:
            size, start = buffer[taken + 1], taken + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(buffer[taken + 2 : start], "big")
            if len(buffer) < start + size:
                break
            self.take(buffer[taken] & 0x0F, buffer[start : start + size])
            taken = start + size
        del self.buffer[:taken]
        if self.limit is not None:
            self.limit -= taken
            if self.is_open and len(self.buffer) >= self.limit:
                self.cut()
                self.gone(0)

    def take(self, opcode: int, payload: bytes) -> None:
        """Hear a message, answer a ping, keep the code of a close."""
        if opcode == TEXT:
            self.hear(json.loads(payload))
        elif opcode == PING:
            self.write(payload, PONG)
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2], "big")
            self.write(payload[:2], CLOSE)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(NotConnected("no answer"))
            self.greeted.exception()  # nobody need have waited for it
        if self.is_open:
            self.is_open = False
            self.gone(self.code)

    # Out

    def send(self, type: str, **fields: Any) -> None:
        """Send a frame."""
        self.write(json.dumps({"type": type, **fields}).encode())

    def write(self, payload: bytes, opcode: int = TEXT, size: int | None = None) -> None:
        """Send a masked frame, or only the first `size` bytes of one."""
        length, mask = len(payload), os.urandom(4)
        head = bytes([FIN | opcode, 0x80 | min(length, 126)])
        head += length.to_bytes(2, "big") if length >= 126 else b""
        if not self.transport.is_closing():
            self.transport.write((head + mask + unmask(payload, mask))[:size])

    def cut(self, politely: bool = False) -> None:
        """End the stream at once, without a close frame; hears nothing more.

        Politely: what was sent still arrives, then the end of the stream, instead of a reset.
        """
        self.is_open = False
        if hasattr(self, "transport"):
            if politely:
                self.transport.close()
                return
            with suppress(OSError):
                raw = self.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            self.transport.abort()


class Log:
    """What one client heard of a topic, over all its connections, and where to resume.

    `since` is the last seq heard, None before the first; `heard` what was kept of each stored
    event after `first`, in order.
    """

    def __init__(self, since: int | None = None) -> None:
        self.first = self.since = since
        self.heard: list[Any] = []

    def take(self, frame: Frame, kept: Any) -> None:
        """Take a frame of the topic; raises Violation unless it is the next."""
        seq = frame.get("seq")
        if seq is None:
            return  # of presence, while what was missed is still on its way
        stored = frame["type"] in STORED
        if self.since is None:
            self.first = self.since = seq - stored
        if seq != self.since + stored:
            raise Violation(f"{frame} came after seq {self.since}")
        self.since = seq
        if stored:
            self.heard.append(kept)
