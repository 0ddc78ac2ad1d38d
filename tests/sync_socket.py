"""A socket of a replica that never waits unasked, and that may be torn without a word."""

import base64
import json
import os
import select
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import Any

from tests.wire import CLOSE, FIN, PING, PONG, TEXT, build

SECONDS = 5  # for the handshake, and for what is sent
AT_ONCE = 1 << 18  # bytes


class SyncSocket:
    """A sync socket whose handshake is done; raises ConnectionError once it is lost."""

    def __init__(self, port: int, words: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        try:
            self.data = bytearray()
            self.shake_hands(words)
        except OSError as error:
            self.cut()
            raise ConnectionError(str(error)) from None
        self.messages: deque[Any] = deque()

    def shake_hands(self, words: str) -> None:
        """Ask for `/sync?words`; raises AssertionError when that is refused."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /sync?{words} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.data:
            self.read()
        answer, _, self.data = self.data.partition(b"\r\n\r\n")
        if b" 503 " in answer[:16]:
            raise ConnectionError("the server has no time")
        assert answer.startswith(b"HTTP/1.1 101 "), answer.decode()

    def read(self) -> None:
        """Take what has come, waiting for it."""
        if not (data := self.socket.recv(AT_ONCE)):
            raise ConnectionError("the server is gone")
        self.data += data

    def send(self, message: Any) -> None:
        """Send one message."""
        self.socket.sendall(build(json.dumps(message)))

    def receive(self, wait: float = 0.0) -> list[Any]:
        """The messages that have come, or come within `wait` seconds."""
        if select.select([self.socket], [], [], wait)[0]:
            self.read()
        while frame := self.next_frame():
            opcode, payload = frame
            if opcode == TEXT:
                self.messages.append(json.loads(payload))
            elif opcode == PING:
                self.socket.sendall(build(payload, FIN | PONG))
            elif opcode == CLOSE:
                raise ConnectionError(f"closed: {payload!r}")
        messages = list(self.messages)
        self.messages.clear()
        return messages

    def next_frame(self) -> tuple[int, bytes] | None:
        """The opcode and payload of the first frame that is whole."""
        data, start = self.data, 2
        if len(data) < 2:
            return None
        size = data[1]  # servers do not mask
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        opcode, payload = data[0] & 0x0F, bytes(data[start : start + size])
        del data[: start + size]
        return opcode, payload

    def cut(self, hard: bool = True) -> None:
        """Lose the connection without a close frame; a hard cut drops what is on its way too."""
        with suppress(OSError):
            if hard:
                at_once = struct.pack("ii", 1, 0)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.socket.close()
