"""Ends and starts of the real commands, each in a process of its own.

Acknowledged data survives `kill -9`, sockets are closed with 1001, and whoever comes back gets
what was missed.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from simple_websocket import ConnectionClosed

from config import HOW_TO_MAKE_A_SECRET
from tests.conftest import Peer, unavailable
from tests.processes import (
    ROOT,
    START_SECONDS,
    Deployment,
    Process,
    change,
    receive_values,
    room,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")


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
