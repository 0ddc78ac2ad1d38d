"""Starts what is measured, on free loopback ports and new databases, and stops it."""

import json
import os
import resource
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from databases import SECRET, Database

HERE = Path(__file__).parent
ROOT = HERE.parent
START_SECONDS = 20
REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/14")
SETTINGS = {
    "SECRET_KEY": SECRET,
    "REDIS_URL": "",
    "BCRYPT_ROUNDS": "4",
    "FRAMES_PER_SECOND": "1000000",
    "MAX_SOCKETS_PER_USER": "100000",
    "MAX_SOCKETS_PER_ADDRESS": "100000",
    "API_LIMIT": "1000000 per minute",
    "LOG_LEVEL": "WARNING",
}


class Server(NamedTuple):
    """A server that answers: where, and the processes that do the work."""

    ports: tuple[int, ...]
    path: str
    pids: tuple[int, ...]


def build() -> None:
    """Compile the load client and fetch what the peer needs; allow as many files as we may."""
    warnings = ["-Wall", "-Wextra"]
    subprocess.run(["gcc", "-O2", *warnings, "-o", HERE / "load", HERE / "load.c"], check=True)
    if not (HERE / "peer" / "node_modules" / "pg").exists():
        npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=HERE / "peer", check=True, stdout=sys.stderr)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def wharf(database: Database, processes: int = 1, **settings: str) -> Iterator[Server]:
    """The socket process as the Procfile starts it, or several on one database."""
    with ExitStack() as stack:
        url = stack.enter_context(database.copies())
        started = [stack.enter_context(process("socket", url, settings)) for _ in range(processes)]
        ports, masters = zip(*started, strict=True)
        workers = tuple(only_child(master) for master in masters)
        yield Server(ports, f"/ws?token={database.token}", workers)


@contextmanager
def process(kind: str, url: str, settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    """One line of the Procfile, on the database at `url`: its port and its gunicorn master."""
    port = free_port()
    environment = {**os.environ, **SETTINGS, **settings, "DATABASE_URL": url}
    lines = (ROOT / "Procfile").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{kind}:"))
    line = line.partition(":")[2].replace("0.0.0.0:$PORT", f"127.0.0.1:{port}")
    command = [sys.executable, "-m", *shlex.split(line), "--log-level", "warning"]
    with running(command, port, cwd=ROOT, env=environment) as master:
        yield port, master


@contextmanager
def peer(database: Database, encode: str = "", **_settings: str) -> Iterator[Server]:
    """The same work on Node."""
    port = free_port()
    with database.copies() as url:
        place = url.removeprefix("sqlite:///")
        command = ["node", str(HERE / "peer" / "server.js"), str(port), place, encode]
        with running(command, port) as pid:
            yield Server((port,), "/", (pid,))


def plain(database: Database, **_settings: str) -> AbstractContextManager[Server]:
    """The peer as tutorials write it: a message is encoded once for every client."""
    return peer(database, encode="per-client")


@contextmanager
def bare(_database: Database, **_settings: str) -> Iterator[Server]:
    """The bare loop of sends."""
    port = free_port()
    with running([sys.executable, str(HERE / "bare.py"), str(port)], port) as pid:
        yield Server((port,), "/", (pid,))


@contextmanager
def running(command: list[str], port: int, **options: Any) -> Iterator[int]:
    """A child process that listens on `port`; ended at the end."""
    process = subprocess.Popen(command, stdout=sys.stderr, **options)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"did not start: {shlex.join(command)}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on `port`."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def only_child(pid: int) -> int:
    """The one worker of a gunicorn master."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if children := path.read_text().split():
            return int(children[0])
        time.sleep(0.05)
    raise RuntimeError("gunicorn has no worker")


def load_command(server: Server, mode: str, options: dict[str, int]) -> list[str]:
    """How load.c is called; `options` by its letters."""
    places = dict(zip("pq", server.ports, strict=False)) | dict(
        zip("PQ", server.pids, strict=False)
    )
    numbers = {**places, **options}
    flags = [word for name, value in numbers.items() for word in (f"-{name}", str(value))]
    return [str(HERE / "load"), "-m", mode, "-u", server.path, *flags]


def load(server: Server, mode: str, options: dict[str, int]) -> dict[str, float]:
    """Run the load client to its end; returns what it measured."""
    command = load_command(server, mode, options)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=150)
    result: dict[str, float] = json.loads(done.stdout)
    return result
