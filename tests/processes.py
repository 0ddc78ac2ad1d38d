"""The commands of the Procfile, and `python app.py`, each in a process of its own."""

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.conftest import PASSWORD, SECRET_KEY, Account, Peer

ROOT = Path(__file__).parent.parent
PROCFILE = {
    name: command
    for name, _, command in (
        line.partition(": ") for line in (ROOT / "Procfile").read_text().splitlines()
    )
    if not name.startswith("#")
}
COMMANDS = {**PROCFILE, "app": shlex.join([sys.executable, str(ROOT / "app.py")])}
START_SECONDS = 30
STOP_SECONDS = 5


class Process:
    """A command of ours on a free port, or a given one; `stop` or `kill` must end it."""

    def __init__(
        self, command: str, log_folder: Path, env: dict[str, str], cwd: Path, port: int = 0
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log_folder / f"{self.port}.log"
        self.peers: list[Peer] = []
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                env={**env, "PORT": str(self.port)},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that `kill` reaches the workers of gunicorn too
            )

    def wait_until_ready(self) -> "Process":
        """Return once it answers; fail with its log when it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            running = self.wait(0.02) is None
            assert running, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
        return self

    def answers(self) -> bool:
        """Whether the health check is good."""
        with suppress(URLError, OSError):
            return self.call("GET", "/api/health")[0] == 200
        return False

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it still runs after `timeout` seconds."""
        with suppress(subprocess.TimeoutExpired):
            return self.popen.wait(timeout)
        return None

    def call(
        self, method: str, path: str, body: Any = None, account: Account | None = None
    ) -> tuple[int, Any]:
        """Status and parsed JSON of a request; `body` is sent as JSON."""
        headers = {"Content-Type": "application/json", **(account.headers if account else {})}
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=5) as response:
                text, status = response.read(), response.status
        except HTTPError as error:
            with error:
                text, status = error.read(), error.code
        return status, json.loads(text) if text.startswith((b"{", b"[")) else text.decode()

    def register(self, name: str = "ann") -> Account:
        """A new account."""
        email = f"{name}-{secrets.token_hex(4)}@example.com"
        body = {"email": email, "password": PASSWORD, "name": name.capitalize()}
        status, reply = self.call("POST", "/api/auth/register", body)
        assert status == 201, reply
        return Account(reply, email)

    def connect(self, path: str, account: Account) -> Peer:
        """A socket that has been greeted."""
        joint = "&" if "?" in path else "?"
        url = f"ws://127.0.0.1:{self.port}{path}{joint}token={account.token}"
        self.peers.append(Peer(url))
        self.peers[-1].expect("connected")
        return self.peers[-1]

    def stop(self) -> None:
        """SIGTERM; fails when it does not obey in time, or not without an error."""
        self.popen.terminate()
        self.wait_until_stopped()

    def wait_until_stopped(self) -> None:
        """Return once it has ended after a SIGTERM, in time and without an error."""
        assert self.wait(STOP_SECONDS) is not None, f"still there after {STOP_SECONDS} s"
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def kill(self) -> None:
        """SIGKILL, to gunicorn's workers too; harmless when it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def clean_up(self) -> None:
        """Leave nothing behind."""
        self.kill()
        for peer in self.peers:
            peer.close()


class Deployment:
    """Processes that share one database."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: str) -> None:
        self.folder = folder
        self.stack = stack
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),  # run from another folder: a developer's .env is not read
            "FLASK_APP": "app",
            "SECRET_KEY": SECRET_KEY,
            "BCRYPT_ROUNDS": "4",
            "STORAGE_URL": str(folder / "uploads"),
            **settings,
        }

    def migrate(self) -> None:
        """Run the release command."""
        process = self.spawn("release")
        assert process.wait(START_SECONDS) == 0, process.log.read_text()

    def start(self, *names: str) -> list[Process]:
        """Start processes side by side and wait until all answer."""
        processes = [self.spawn(name) for name in names]
        return [process.wait_until_ready() for process in processes]

    def spawn(self, name: str, port: int = 0, **env: str) -> Process:
        """Start a process; it is cleaned up at the end of the test."""
        process = Process(COMMANDS[name], self.folder, {**self.env, **env}, self.folder, port)
        self.stack.callback(process.clean_up)
        return process


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def room() -> str:
    """A room nobody was in."""
    return f"room-{secrets.token_hex(4)}"


def change(site: str, version: int, value: str = "milk") -> list[Any]:
    """A CRDT change of one cell."""
    return ["todos", f"[{version}]", "title", value, 1, version, site, 1, 0]


def receive_values(replica: Peer, site: str, count: int) -> list[Any]:
    """The values of the next `count` changes made by `site`."""
    values: list[Any] = []
    while len(values) < count:
        received = replica.expect("update")["changes"]
        values += [value for _, _, _, value, _, _, author, _, _ in received if author == site]
    return values
