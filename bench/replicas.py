"""Replicas that cost little: their messages are built beforehand, and what comes is hardly read."""

import json
import random
import select
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import NamedTuple

from latency import UPGRADE, connect
from records import cpu_seconds
from servers import Server

CHANNEL = "bench"
COLUMNS = ("title", "done", "position")
REWRITES = 0.3  # of the changes; the others are new cells
WARM_UP_SECONDS = 0.5
WAIT_SECONDS = 60
RECEIVE_BYTES = 1 << 18
ACK, ERROR, CELL = b'"type":"ack"', b'"type":"error"', b'["todos",'
SITE = "4f9c2d1e-7a6b-4c3d-8e5f-00000000"


class Rate(NamedTuple):
    """What a server did for replicas that push."""

    changes_s: float
    cpu_us: float  # of the server, for each change
    cpu_share: float  # of a core


class Pulled(NamedTuple):
    """What a pull took; the largest frame in bytes."""

    first_ms: float
    all_ms: float
    largest: int


# Messages


def site_of(number: int) -> str:
    """The site id of a replica."""
    return f"{SITE}{number:04x}"


def client_frame(message: dict[str, object]) -> bytes:
    """A text frame, under a mask of zeros."""
    text = json.dumps(message, separators=(",", ":")).encode()
    size = len(text)
    if size < 126:
        head = bytes([0x81, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x81, 0x80 | 126]) + size.to_bytes(2)
    else:
        head = bytes([0x81, 0x80 | 127]) + size.to_bytes(8)
    return head + bytes(4) + text


def changes_of(site: str) -> Iterator[list[object]]:
    """What a replica writes without end: rows of three cells, and now and then a cell again."""
    dice = random.Random(site)
    cells: list[list[object]] = []  # pk, cid, col_version
    pk = ""
    for version in range(1, 1 << 30):
        if cells and dice.random() < REWRITES:
            cell = dice.choice(cells)
            cell[2] += 1  # type: ignore[operator]
        else:
            column = COLUMNS[len(cells) % len(COLUMNS)]
            pk = str(uuid.UUID(int=dice.getrandbits(128))) if column == "title" else pk
            cell = [pk, column, 1]
            cells.append(cell)
        value = f"Buy bread and {version:06d}"
        yield ["todos", *cell[:2], value, cell[2], version, site, 1, 0]


def updates(number: int, size: int, count: int) -> list[bytes]:
    """The first `count` messages of a replica, each with `size` changes."""
    site = site_of(number)
    changes = changes_of(site)
    frames = []
    for index in range(1, count + 1):
        batch = [next(changes) for _ in range(size)]
        message = {"type": "update", "siteId": site, "version": index * size, "channel": CHANNEL}
        frames.append(client_frame({**message, "changes": batch}))
    return frames


# Connections


class Replica:
    """A replica that has read `connected`."""

    def __init__(self, server: Server, site: str) -> None:
        self.site = site
        self.sock = connect(server.ports[0])
        self.sock.settimeout(WAIT_SECONDS)
        head = f"GET {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{UPGRADE}"
        self.sock.sendall(head.encode())
        self.buffer = bytearray()
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self.receive()
        del self.buffer[: end + 4]
        if b'"connected"' not in (frame := self.next_frame()):
            raise RuntimeError(f"no greeting: {bytes(frame)!r}")

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def receive(self) -> None:
        """Wait for more."""
        data = self.sock.recv(RECEIVE_BYTES)
        if not data:
            raise RuntimeError(f"the server hung up: {bytes(self.buffer[:500])!r}")
        self.buffer += data

    def next_frame(self) -> bytearray:
        """The payload of the next frame."""
        while (place := self.measure()) is None:
            self.receive()
        head, size = place
        while len(self.buffer) < head + size:
            self.receive()
        payload = self.buffer[head : head + size]
        del self.buffer[: head + size]
        if ERROR in payload[:200]:
            raise RuntimeError(payload.decode())
        return payload

    def measure(self) -> tuple[int, int] | None:
        """The sizes of the next frame's head and payload, once known."""
        short = self.buffer[1] if len(self.buffer) > 1 else 0
        head = {126: 4, 127: 10}.get(short, 2)
        if len(self.buffer) < head:
            return None
        return head, short if head == 2 else int.from_bytes(self.buffer[2:head])

    def pull(self, cells: int) -> Pulled:
        """Ask for what is missing, and read so many cells; without the primer."""
        begun = time.perf_counter()
        message = {"type": "pull", "siteId": self.site, "version": 1, "channel": CHANNEL}
        self.sock.sendall(client_frame(message))
        first = largest = found = 0.0
        while True:
            frame = self.next_frame()
            first = first or time.perf_counter() - begun
            found += frame.count(CELL)
            largest = max(largest, len(frame))
            if found >= cells:
                took = time.perf_counter() - begun
                return Pulled(first * 1e3, took * 1e3, int(largest))

    def push(self, pk: str) -> float:
        """Push one change of a new row; milliseconds until its ack."""
        change = ["todos", pk, "title", "Buy bread", 1, 1, self.site, 1, 0]
        message = {"type": "update", "siteId": self.site, "version": 1, "channel": CHANNEL}
        begun = time.perf_counter()
        self.sock.sendall(client_frame({**message, "changes": [change]}))
        while ACK not in self.next_frame():
            pass
        return (time.perf_counter() - begun) * 1e3


class Pusher(Replica):
    """A replica that pulled, and sends its next message for each ack."""

    def __init__(self, server: Server, number: int, frames: list[bytes]) -> None:
        super().__init__(server, site_of(number))
        self.pull(0)
        self.frames = iter(frames)
        self.tail = b""

    def send(self, count: int) -> bool:
        """Send so many messages; false when there are no more."""
        batch = list(islice(self.frames, count))
        self.sock.sendall(b"".join(batch))
        return len(batch) == count

    def acks(self) -> int:
        """How many came with what can be read now."""
        data = self.tail + self.sock.recv(RECEIVE_BYTES)
        if len(data) == len(self.tail) or ERROR in data:
            raise RuntimeError(f"refused: {data[-500:]!r}")
        self.tail = data[1 - len(ACK) :]
        return data.count(ACK)


def push(
    server: Server, messages: list[list[bytes]], size: int, window: int, seconds: float
) -> Rate:
    """Let a replica for each list send its messages, `window` of them unanswered, and count.

    It ends after so many seconds, or with somebody's last message.
    """
    with ExitStack() as stack:
        ready = select.epoll()
        pushers = {}
        for number, frames in enumerate(messages):
            one = stack.enter_context(closing(Pusher(server, number, frames)))
            pushers[one.sock.fileno()] = one
            ready.register(one.sock, select.EPOLLIN)
        for one in pushers.values():
            one.send(window)
        run(ready, pushers, WARM_UP_SECONDS)
        spent, begun = cpu_seconds(server.pids[0]), time.perf_counter()
        acks = run(ready, pushers, seconds)
        took = time.perf_counter() - begun
        spent = cpu_seconds(server.pids[0]) - spent
    return Rate(acks * size / took, spent / (acks * size) * 1e6, spent / took)


def run(ready: select.epoll, pushers: dict[int, Pusher], seconds: float) -> int:
    """Count acks, each answered with another message, for a while."""
    acks = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        for number, _ in ready.poll(WAIT_SECONDS):
            came = pushers[number].acks()
            acks += came
            if came and not pushers[number].send(came):
                return acks
    return acks
