"""A WebSocket client of bare bytes, which can say whatever RFC 6455 forbids, and whom to tell it.

The wire has nothing to do with the database: its tests run on SQLite alone.
"""

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask_migrate import upgrade

from app import create_app
from models import db
from tests.conftest import SETTINGS, Server
from tests.processes import Deployment

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
MASK = b"\x37\xfa\x21\x3d"
OPEN = {"ANONYMOUS_CHAT": "true", "FRAMES_PER_SECOND": "1000000"}
MARK = "the last word"
GUNICORN = pytest.param(
    "gevent", marks=pytest.mark.skipif(os.name == "nt", reason="gunicorn needs Unix")
)

# What is sent


def head(first: int, size: int, length: int = 0, masked: bool = True) -> bytes:
    """The first bytes of a frame, with as many of length (1, 3 or 9) as asked, or as needed."""
    length = length or (1 if size < 126 else 3 if size < 65536 else 9)
    mask = 0x80 if masked else 0
    if length == 1:
        return bytes([first, mask | size])
    if length == 3:
        return bytes([first, mask | 126]) + struct.pack("!H", size)
    return bytes([first, mask | 127]) + struct.pack("!Q", size)


def build(payload: bytes | str = b"", first: int = FIN | TEXT, length: int = 0) -> bytes:
    """A masked frame; `first` is its first byte."""
    data = payload.encode() if isinstance(payload, str) else payload
    mask = (MASK * (len(data) // 4 + 1))[: len(data)]
    hidden = (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(data), "big")
    return head(first, len(data), length) + MASK + hidden


def parts(*payloads: bytes | str, opcode: int = TEXT) -> bytes:
    """A fragmented message."""
    firsts = [opcode] + [0] * (len(payloads) - 1)
    firsts[-1] |= FIN
    return b"".join(build(payload, first) for payload, first in zip(payloads, firsts, strict=True))


def word(payload: Any) -> str:
    """A text that the server echoes."""
    return json.dumps({"type": "say", "clientId": "c", "payload": payload}, ensure_ascii=False)


def goodbye(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return build(struct.pack("!H", code) + reason, FIN | CLOSE)


# Who sends it


class Wire:
    """A socket whose handshake is done; never waits longer than 5 seconds."""

    def __init__(self, port: int, more: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(handshake(f"Sec-WebSocket-Key: {key}\r\n{more}"))
        self.answer = self.read_answer()
        assert self.answer.startswith(b"HTTP/1.1 101 "), self.answer

    def read_answer(self) -> bytes:
        """The head of the answer to the handshake."""
        lines = [self.stream.readline()]
        while lines[-1] not in (b"\r\n", b""):
            lines.append(self.stream.readline())
        return b"".join(lines)

    def send(self, data: bytes, step: int = 0) -> None:
        """Send bytes, `step` of them at a time; whatever the server thinks of it by then."""
        step = step or len(data) or 1
        with suppress(ConnectionError):
            for start in range(0, len(data), step):
                self.socket.sendall(data[start : start + step])

    def read_frame(self) -> tuple[int, bytes] | None:
        """Opcode and payload of the next frame; None at the end of the stream."""
        with suppress(ConnectionError):
            if start := self.stream.read(2):
                assert start[0] & 0xF0 == FIN, "servers send whole frames, without extensions"
                size = start[1]  # servers do not mask
                if size >= 126:
                    size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
                return start[0] & 0x0F, self.stream.read(size)
        return None

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """All frames until the end of the stream."""
        while frame := self.read_frame():
            yield frame

    def hear(self) -> "Heard":
        """What the server says until the echo of `MARK`, or the end of the stream."""
        heard = Heard()
        for opcode, payload in self.frames():
            if opcode == CLOSE:
                assert heard.code is None, "nothing follows a close"
                heard.code = int.from_bytes(payload[:2], "big")
            elif opcode == PONG:
                heard.pongs.append(payload)
            elif heard.take(json.loads(payload)):
                break
        return heard

    def ask(self, data: bytes, step: int = 0) -> "Heard":
        """What the server says to `data`."""
        self.send(data + build(word(MARK)), step)
        return self.hear()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave without a word."""
        self.stream.close()
        self.socket.close()


class Heard:
    """Echoes and codes of error frames, pongs, and how the server closed: 0 without a code."""

    def __init__(self, *texts: Any, pongs: tuple[bytes, ...] = (), code: int | None = None) -> None:
        self.texts, self.pongs, self.code = list(texts), list(pongs), code

    def take(self, frame: dict[str, Any]) -> bool:
        """Keep what a frame says; whether it was the mark."""
        if frame["type"] == "error":
            self.texts.append(frame["code"])
        elif frame["type"] == "echo" and frame["payload"] == MARK:
            return True
        elif frame["type"] == "echo":
            self.texts.append(frame["payload"])
        return False

    def fits(self, due: "Heard") -> bool:
        """Whether it is what was due; answers on their way when the stream ends may be lost."""
        if self.code is None:
            return (self.texts, self.pongs, due.code) == (due.texts, due.pongs, None)
        texts, pongs = due.texts[: len(self.texts)], due.pongs[: len(self.pongs)]
        return (self.texts, self.pongs, self.code) == (texts, pongs, due.code)

    def __repr__(self) -> str:
        return f"Heard({self.texts}, pongs={self.pongs}, code={self.code})"


def handshake(headers: str, method: str = "GET", version: str = "13") -> bytes:
    """A request to upgrade, with `headers` as they are."""
    return (
        f"{method} /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: {version}\r\n{headers}\r\n"
    ).encode()


# Who hears it


@contextmanager
def serving(kind: str, folder: Path, **settings: str) -> Iterator[int]:
    """The port of a server on SQLite: on threads in this process, or `socket` of the Procfile."""
    settings = {**OPEN, "DATABASE_URL": f"sqlite:///{folder}/wharf.db", **settings}
    with serving_threads(settings) as server, ExitStack() as stack:
        if kind == "threads":
            yield server.server.port
        else:
            (process,) = Deployment(folder, stack, **settings).start("socket")
            yield process.port
            process.stop()


@contextmanager
def serving_threads(settings: dict[str, str]) -> Iterator[Server]:
    """The app as `python app.py` serves it, on a new database; nobody may be left at the end."""
    app = create_app({**SETTINGS, **settings})
    with app.app_context():
        upgrade()
        server = Server(app)
        yield server
        server.stop()
        app.extensions["bus"].close()
        db.session.remove()
        db.engine.dispose()
