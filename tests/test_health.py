"""GET /health and /api/health: ok, degraded, down, and never hanging."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from bus import Event
from models import db
from routes import health
from tests.waiting import wait_until

KEYS = {"status", "timestamp", "version", "uptime", "environment", "websocket", "bus", "storage"}
KEYS |= {"databaseConnected", "supabaseConnected", "mysqlConnected"}

each_path = pytest.mark.parametrize("path", ["/health", "/api/health"])


@each_path
def test_all_is_well(client: FlaskClient, path: str) -> None:
    body = client.get(path).json
    assert set(body) == KEYS
    assert body["status"] == "ok"
    assert body["databaseConnected"] is body["bus"] is body["storage"] is True
    assert body["environment"] == "production"
    assert body["uptime"] > 0


@pytest.mark.parametrize(("serve", "status"), [("web", "degraded"), ("socket", "ok")])
def test_each_process_speaks_for_what_it_serves(
    make_app: Callable[..., Flask], serve: Any, status: str
) -> None:
    body = make_app(serve, STORAGE_URL="/proc/nothing").test_client().get("/health").json
    assert body["status"] == status
    assert body["websocket"] is (serve == "socket")
    assert body["storage"] is (None if serve == "socket" else False)


def assert_down(response: Any) -> None:
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    body = response.json
    assert set(body) == KEYS | {"error", "message", "detail", "code"}
    assert body["status"] == "down"
    assert body["databaseConnected"] is body["supabaseConnected"] is False
    assert body["error"] == body["message"] == body["detail"] != ""
    assert body["code"] == "unavailable"


@each_path
def test_without_a_database_it_is_down(client: FlaskClient, monkeypatch: Any, path: str) -> None:
    def fail(*_args: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the address of the database"))

    monkeypatch.setattr(db.session, "execute", fail)
    response = client.get(path)
    assert_down(response)
    assert "address" not in response.text
    monkeypatch.undo()
    assert client.get(path).json["status"] == "ok"


@pytest.fixture
def hanging(monkeypatch: Any) -> Iterator[list[int]]:
    """A database that does not answer before the test ends; who asked it."""
    monkeypatch.setattr(health, "DATABASE_SECONDS", 0.1)
    asked: list[int] = []
    end, execute = threading.Event(), db.session.execute

    def hang(*args: Any) -> Any:
        asked.append(1)
        end.wait(30)
        return execute(*args)

    monkeypatch.setattr(db.session, "execute", hang)
    yield asked
    end.set()
    assert health.probing.acquire(timeout=10)
    health.probing.release()


def test_a_database_that_hangs_is_down_in_time_and_asked_once(
    client: FlaskClient, hanging: list[int]
) -> None:
    begun = time.monotonic()
    for _ in range(5):
        assert_down(client.get("/health"))
    assert time.monotonic() - begun < 5
    assert len(hanging) == 1


def test_a_silent_database_server_is_down_in_time(
    client: FlaskClient, make_app: Callable[..., Flask], monkeypatch: Any
) -> None:
    monkeypatch.setattr(health, "DATABASE_SECONDS", 0.5)
    assert client.get("/health").status_code == 200
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        port = silent.getsockname()[1]
        app = make_app(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/none")
        begun = time.monotonic()
        assert_down(app.test_client().get("/health"))
        assert time.monotonic() - begun < 10
        silent.accept()[0].close()
        with app.app_context():
            assert health.probing.acquire(timeout=10)
            health.probing.release()


def test_many_at_once_are_all_told_the_truth(app: Flask) -> None:
    told: list[str] = []

    def ask() -> None:
        told.append(app.test_client().get("/health").json["status"])

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["ok"] * 20


def test_a_lost_bus_degrades(make_app: Callable[..., Flask]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # not listening
        app = make_app(REDIS_URL=f"redis://127.0.0.1:{reserved.getsockname()[1]}/0")
        app.extensions["bus"].publish([Event("room:a", "typing", {})])
        wait_until(lambda: not app.test_client().get("/health").json["bus"])
        response = app.test_client().get("/health")
    assert response.status_code == 200
    assert response.json["status"] == "degraded"


def test_a_folder_that_takes_nothing_degrades(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    app = make_app(STORAGE_URL=f"{tmp_path}/file/uploads")
    response = app.test_client().get("/health")
    assert response.status_code == 200
    assert (response.json["status"], response.json["storage"]) == ("degraded", False)


def test_a_full_disk_degrades(client: FlaskClient, monkeypatch: Any) -> None:
    def full(**_how: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert client.get("/health").json["storage"] is False


def test_asking_leaves_nothing_on_disk(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    app = make_app(STORAGE_URL=f"{folder}/uploads")
    folder.mkdir()
    assert app.test_client().get("/health").json["storage"] is True
    assert list(folder.iterdir()) == []
