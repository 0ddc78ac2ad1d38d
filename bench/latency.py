"""Measures how long a message posted to a web process takes to a client of a socket process.

Usage: python bench/latency.py [MESSAGES]

Both processes as the Procfile starts them, joined by each bus. One request at a time, kept alive,
after a pause of random length. The clock runs from the request to the frame, and to the answer.
"""

import json
import random
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import quantiles

import servers
from databases import Database, Postgres, Sqlite

LIMIT_SECONDS = 600
WARM_UP = 50
WAIT_SECONDS = 30  # a busy machine starts processes slowly
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def connect(port: int) -> socket.socket:
    """A connection that waits for nothing before it sends."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def join(port: int, token: str) -> socket.socket:
    """A socket in the room."""
    sock = connect(port)
    sock.sendall(f"GET /ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\n{UPGRADE}".encode())
    wait_for(b'"connected"', [sock])
    text = b'{"type":"join-room","roomId":"bench"}'
    sock.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # a mask of zeros
    wait_for(b'"user-joined"', [sock])
    return sock


def wait_for(mark: bytes, socks: list[socket.socket]) -> list[float]:
    """When `mark` arrived on each of them; raises TimeoutError."""
    seen = dict.fromkeys(socks, b"")
    times: dict[socket.socket, float] = {}
    while len(times) < len(socks):
        ready, _, _ = select.select([s for s in socks if s not in times], [], [], WAIT_SECONDS)
        if not ready:
            raise TimeoutError(f"{mark!r} did not come: {seen.values()}")
        for sock in ready:
            seen[sock] += sock.recv(65536)
            if mark in seen[sock]:
                times[sock] = time.perf_counter()
    return [times[sock] for sock in socks]


def post(web: socket.socket, frames: socket.socket, token: str) -> tuple[float, float]:
    """Post a message; milliseconds until its frame, and until the answer."""
    mark = f"#{random.getrandbits(64)}"
    body = json.dumps({"content": mark})
    head = (
        "POST /api/rooms/bench/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    begun = time.perf_counter()
    web.sendall((head + body).encode())
    heard, answered = wait_for(mark.encode(), [frames, web])
    return (heard - begun) * 1000, (answered - begun) * 1000


@contextmanager
def pair(database: Database, redis: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection to a web process, and a socket of a socket process."""
    with ExitStack() as stack:
        url = stack.enter_context(database.copies())
        settings = {"REDIS_URL": redis}
        ports = [
            stack.enter_context(servers.process(kind, url, settings))[0]
            for kind in ("web", "socket")
        ]
        web = stack.enter_context(closing(connect(ports[0])))
        yield web, stack.enter_context(closing(join(ports[1], database.token)))


def measure(database: Database, redis: str, count: int) -> list[tuple[float, float]]:
    """`count` messages, after some that do not count."""
    found = []
    with pair(database, redis) as (web, frames):
        for _ in range(WARM_UP + count):
            time.sleep(random.uniform(0.002, 0.02))
            found.append(post(web, frames, database.token))
    return found[WARM_UP:]


def print_row(name: str, found: list[tuple[float, float]]) -> None:
    """Percentiles of both, and of how much later than the answer the frame came."""
    columns = [*zip(*found, strict=True), [heard - answered for heard, answered in found]]
    cells = []
    for values in columns:
        cuts = quantiles(values, n=100)
        cells.append(f"{cuts[49]:.1f} | {cuts[98]:.1f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print one line per bus."""
    count = int(sys.argv[1]) if sys.argv[1:] else 500
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.alarm(LIMIT_SECONDS)
    servers.build()
    print("| bus | request to frame, p50 | p99 | request to answer, p50 | p99 ", end="")
    print("| answer to frame, p50 | p99, ms |\n|" + "---|" * 7)
    with tempfile.TemporaryDirectory() as name, closing(Postgres()) as postgres:
        sqlite = Sqlite(Path(name))
        print_row("PostgreSQL and Redis", measure(postgres, servers.REDIS_URL, count))
        print_row("PostgreSQL, NOTIFY", measure(postgres, "", count))
        print_row("SQLite and Redis", measure(sqlite, servers.REDIS_URL, count))
        print_row("SQLite, polled", measure(sqlite, "", count))


if __name__ == "__main__":
    main()
