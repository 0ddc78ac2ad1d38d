"""The real commands, each in a process of its own: those of the Procfile, and `python app.py`.

What is promised of several processes and of restarts: changes cross, acknowledged data survives
`kill -9`, sockets are closed with 1001, and whoever comes back gets what was missed.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psycopg
import pytest
from simple_websocket import ConnectionClosed
from sqlalchemy import make_url

from config import HOW_TO_MAKE_A_SECRET
from tests.conftest import PASSWORD, POSTGRES_URL, Account, Peer, assert_error, unavailable

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")

ROOT = Path(__file__).parent.parent
PROCFILE = {
    name: command
    for name, _, command in (
        line.partition(": ") for line in (ROOT / "Procfile").read_text().splitlines()
    )
    if not name.startswith("#")
}
COMMANDS = {**PROCFILE, "app": shlex.join([sys.executable, str(ROOT / "app.py")])}
START_SECONDS = 10
STOP_SECONDS = 5


class Process:
    """A command of ours on a free port; `stop` or `kill` must end it."""

    def __init__(self, command: str, log_folder: Path, env: dict[str, str], cwd: Path) -> None:
        self.port = free_port()
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
            "SECRET_KEY": "test" * 8,
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

    def spawn(self, name: str, **env: str) -> Process:
        """Start a process; it is cleaned up at the end of the test."""
        process = Process(COMMANDS[name], self.folder, {**self.env, **env}, self.folder)
        self.stack.callback(process.clean_up)
        return process


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def migrated_sqlite(tmp_path_factory: Any) -> Path:
    """A folder with a migrated SQLite database, to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    with ExitStack() as stack:
        Deployment(folder, stack, DATABASE_URL=f"sqlite:///{folder}/w.db").migrate()
    return Path(folder)


@pytest.fixture
def deployment(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Deployment]:
    """A migrated SQLite database and nothing running."""
    shutil.copytree(migrated_sqlite, tmp_path, dirs_exist_ok=True)
    with ExitStack() as stack:
        yield Deployment(tmp_path, stack, DATABASE_URL=f"sqlite:///{tmp_path}/w.db")


@pytest.fixture(scope="module")
def empty_postgres(postgres_url: str) -> Iterator[str]:
    """A PostgreSQL database that other tests do not see."""
    name = f"wharf_test_{secrets.token_hex(4)}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


CARRIERS = ["sqlite", "postgres", "sqlite+redis", "postgres+redis"]


@pytest.fixture(scope="module", params=CARRIERS)
def trio(request: Any, tmp_path_factory: Any) -> Iterator[list[Process]]:
    """One `web` and two `socket` processes, joined by each of the carriers."""
    folder = tmp_path_factory.mktemp("trio")
    settings = {"DATABASE_URL": f"sqlite:///{folder}/w.db"}
    if "postgres" in request.param:
        settings["DATABASE_URL"] = request.getfixturevalue("empty_postgres")
    if "redis" in request.param:
        settings["REDIS_URL"] = request.getfixturevalue("redis_url")
    with ExitStack() as stack:
        deployment = Deployment(folder, stack, **settings)
        deployment.migrate()
        yield deployment.start("web", "socket", "socket")


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


# Several processes


def test_a_todo_written_in_web_reaches_a_subscriber_in_socket(trio: list[Process]) -> None:
    web, home, _ = trio
    ann = web.register()
    peer = home.connect("/ws", ann)
    peer.ask("subscribe", "system", payload={"table": "todos"})
    _, todo = web.call("POST", "/api/todos", {"title": "milk"}, ann)
    assert peer.expect("database_change")["new"] == todo


def test_a_message_posted_to_web_reaches_the_room_in_socket(trio: list[Process]) -> None:
    web, home, _ = trio
    ann, lobby = web.register(), room()
    peer = home.connect("/", ann)
    peer.ask("join-room", "user-joined", roomId=lobby)
    _, message = web.call("POST", f"/api/rooms/{lobby}/messages", {"content": "hi"}, ann)
    assert peer.expect("chat-message")["message"] == message


def test_chat_crosses_socket_processes_once_and_in_order(trio: list[Process]) -> None:
    web, home, away = trio
    lobby = room()
    peers = [home.connect("/ws", web.register("ann")), away.connect("/ws", web.register("bob"))]
    for peer in peers:
        peer.ask("join-room", "user-joined", roomId=lobby)
    for number in range(10):
        peers[number % 2].send("chat-message", roomId=lobby, content=str(number))
    heard = [[peer.expect("chat-message") for _ in range(10)] for peer in peers]
    assert heard[0] == heard[1]
    assert [frame["seq"] for frame in heard[0]] == list(range(1, 11))
    assert sorted(frame["message"]["content"] for frame in heard[0]) == list("0123456789")
    for peer in peers:
        assert [frame for frame in peer.until_pong() if frame["type"] == "chat-message"] == []


def test_typing_crosses_socket_processes(trio: list[Process]) -> None:
    web, home, away = trio
    ann, bob, lobby = web.register("ann"), web.register("bob"), room()
    near, far = home.connect("/ws", ann), away.connect("/ws", bob)
    for peer in (near, far):
        peer.ask("join-room", "user-joined", roomId=lobby)
    near.send("typing", roomId=lobby)
    assert far.expect("user-typing")["user"]["id"] == ann.user["id"]


def test_a_crdt_change_crosses_socket_processes(trio: list[Process]) -> None:
    web, home, away = trio
    ann = web.register()
    near, far = home.connect("/sync", ann), away.connect("/sync", ann)
    far.ask("pull", "update", siteId="far", version=0)
    near.ask("update", "ack", siteId="near", version=1, changes=[change("near", 1)])
    assert receive_values(far, "near", 1) == ["milk"]


@pytest.mark.parametrize("path", ["/", "/ws", "/sync?channel=x", "/api/todos", "/nowhere"])
def test_a_socket_that_knocks_at_web_is_404(make_app: Any, path: str) -> None:
    client = make_app(serve="web").test_client()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    body = assert_error(client.get(path, headers=upgrade), 404)
    assert body["error"] == "No socket is served at this address of this process"


@pytest.mark.parametrize("path", ["/", "/ws", "/sync?channel=x"])
def test_a_request_where_only_sockets_are_served_is_426(make_app: Any, path: str) -> None:
    response = make_app(serve="socket").test_client().get(path)
    assert_error(response, 426, "upgrade_required")
    assert response.headers["Upgrade"] == "websocket"


def test_pages_and_json_are_404_at_socket(make_app: Any) -> None:
    assert_error(make_app(serve="socket").test_client().get("/api/todos"), 404)


# Ends and restarts


def test_acknowledged_messages_survive_kill_9(deployment: Deployment) -> None:
    lobby, said = room(), []
    (process,) = deployment.start("app")
    ann = process.register()
    for number in range(10):
        peer = process.connect("/ws", ann)
        ack = peer.ask("chat-message", "ack", roomId=lobby, content=f"no. {number}", id=str(number))
        process.kill()
        said.append(ack["message"])
        (process,) = deployment.start("app")
        assert process.call("GET", f"/api/rooms/{lobby}/messages", account=ann)[1] == said


def test_acknowledged_changes_survive_kill_9(deployment: Deployment) -> None:
    web, process = deployment.start("web", "socket")
    ann = web.register()
    for version in range(1, 4):
        replica = process.connect("/sync", ann)
        changes = [change("anna", version, f"no. {version}")]
        replica.ask("update", "ack", siteId="anna", version=version, changes=changes)
        process.kill()
        (process,) = deployment.start("socket")
        reader = process.connect("/sync", ann)
        reader.send("pull", siteId=f"reader {version}", version=0)
        values = receive_values(reader, "anna", version)
        assert sorted(values) == [f"no. {number}" for number in range(1, version + 1)]


def test_a_socket_that_returns_after_a_restart_gets_what_it_missed(deployment: Deployment) -> None:
    web, process = deployment.start("web", "socket")
    ann, lobby = web.register(), room()

    def say(content: str) -> None:
        web.call("POST", f"/api/rooms/{lobby}/messages", {"content": content}, ann)

    def hear(peer: Peer) -> tuple[int, str]:
        frame = peer.expect("chat-message")
        return frame["seq"], frame["message"]["content"]

    peer = process.connect("/ws", ann)
    peer.ask("join-room", "user-joined", roomId=lobby)
    say("a")
    last, _ = hear(peer)
    process.stop()
    say("b")
    say("c")
    (process,) = deployment.start("socket")
    peer = process.connect("/ws", ann)
    peer.send("join-room", roomId=lobby, since=last)
    assert [hear(peer), hear(peer)] == [(2, "b"), (3, "c")]
    say("d")
    assert hear(peer) == (4, "d")


@pytest.mark.parametrize("name", ["socket", "app"])
def test_sigterm_closes_every_socket_with_1001(deployment: Deployment, name: str) -> None:
    web, process = deployment.start("web", name)
    ann = web.register()
    peers = [process.connect("/ws", ann) for _ in range(50)]
    process.popen.terminate()
    deadline = time.monotonic() + 1
    codes = [close_code(peer, deadline) for peer in peers]
    assert codes == [1001] * 50
    process.wait_until_stopped()


def close_code(peer: Peer, deadline: float) -> int:
    """The code a socket was closed with before `deadline`; TimeoutError when it was not."""
    try:
        while True:
            peer.receive(timeout=max(0.001, deadline - time.monotonic()))
    except ConnectionClosed as closed:
        return int(closed.reason)


# Starting


@pytest.mark.parametrize("name", ["web", "socket"])
def test_gunicorn_refuses_to_start_without_a_secret(deployment: Deployment, name: str) -> None:
    process = deployment.spawn(name, SECRET_KEY="")
    assert process.wait(START_SECONDS)  # an exit code that is not 0
    assert HOW_TO_MAKE_A_SECRET in process.log.read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone of the repository holds."""
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    try:
        files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        unavailable("this is no git checkout")
    for name in files.splitlines():
        if (ROOT / name).exists():
            (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


def test_a_fresh_clone_runs_without_any_setting(clone: Path, tmp_path: Path) -> None:
    process = Process(shlex.join([sys.executable, "app.py"]), tmp_path, {}, clone)
    try:
        process.wait_until_ready()
        assert "<!doctype html>" in process.call("GET", "/")[1].lower()
        assert process.call("GET", "/api/health")[1]["databaseConnected"] is True
        process.stop()
    finally:
        process.clean_up()
    secret = clone / "instance" / "secret"
    assert len(secret.read_text()) == 64
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (clone / "instance" / "wharf.db").exists()
