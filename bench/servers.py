"""Starts what is measured, on free loopback ports and new SQLite files, and stops it."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
START_SECONDS = 20
SETTINGS = {
    "SECRET_KEY": "bench" * 8,
    "REDIS_URL": "",
    "BCRYPT_ROUNDS": "4",
    "FRAMES_PER_SECOND": "1000000",
    "MAX_SOCKETS_PER_USER": "100000",
    "MAX_SOCKETS_PER_ADDRESS": "100000",
    "LOG_LEVEL": "WARNING",
}


class Server(NamedTuple):
    """A server that answers: where, and the process that does the work."""

    port: int
    path: str
    pid: int


def prepare(folder: Path) -> str:
    """Build what is needed, and an empty database with one account; returns its token."""
    build = ["gcc", "-O2", "-Wall", "-o", HERE / "load", HERE / "load.c"]
    subprocess.run(build, check=True)
    if not (HERE / "peer" / "node_modules").exists():
        npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=HERE / "peer", check=True, stdout=sys.stderr)
    sys.path.insert(0, str(ROOT))
    from flask_migrate import upgrade

    from app import create_app
    from models import db

    app = create_app({**SETTINGS, "DATABASE_URL": f"sqlite:///{folder}/empty.db"})
    account = {"email": "bench@example.com", "password": "bench bench", "name": "Bench"}
    with app.app_context():
        upgrade()
        reply = app.test_client().post("/api/auth/register", json=account)
        db.engine.dispose()
    return str(reply.json["token"])


@contextmanager
def wharf(folder: Path, token: str, **settings: str) -> Iterator[Server]:
    """The socket process as the Procfile starts it."""
    port = free_port()
    database = new_database(folder)
    shutil.copy(folder / "empty.db", database)
    environment = {**os.environ, **SETTINGS, **settings}
    environment["DATABASE_URL"] = f"sqlite:///{database}"
    lines = (ROOT / "Procfile").read_text().splitlines()
    line = next(line for line in lines if line.startswith("socket:"))
    line = line.partition(":")[2].replace("0.0.0.0:$PORT", f"127.0.0.1:{port}")
    command = [sys.executable, "-m", *shlex.split(line)]
    with running(command, port, cwd=ROOT, env=environment) as master:
        yield Server(port, f"/ws?token={token}", only_child(master))


@contextmanager
def peer(folder: Path, token: str, *, encode: str = "", **_settings: str) -> Iterator[Server]:
    """The same work on Node."""
    port = free_port()
    server = HERE / "peer" / "server.js"
    command = ["node", str(server), str(port), str(new_database(folder)), encode]
    with running(command, port) as pid:
        yield Server(port, f"/?token={token}", pid)


def plain(folder: Path, token: str, **_settings: str) -> AbstractContextManager[Server]:
    """The peer as tutorials write it: a message is encoded once for every client."""
    return peer(folder, token, encode="per-client")


@contextmanager
def bare(_folder: Path, _token: str, **_settings: str) -> Iterator[Server]:
    """The bare loop of sends."""
    port = free_port()
    with running([sys.executable, str(HERE / "bare.py"), str(port)], port) as pid:
        yield Server(port, "/", pid)


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


def new_database(folder: Path) -> Path:
    """A file name not used before."""
    return folder / f"{time.monotonic_ns()}.db"


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
    numbers = {"p": server.port, "P": server.pid, **options}
    flags = [word for name, value in numbers.items() for word in (f"-{name}", str(value))]
    return [str(HERE / "load"), "-m", mode, "-u", server.path, *flags]


def load(server: Server, mode: str, options: dict[str, int]) -> dict[str, float]:
    """Run the load client to its end; returns what it measured."""
    command = load_command(server, mode, options)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=150)
    result: dict[str, float] = json.loads(done.stdout)
    return result
