"""Fixtures: an app on each database, a client, accounts, a live server and socket peers.

The suite runs on SQLite, and again on PostgreSQL when one answers. Where CI is set, a service that
does not answer is a failure instead of a skip.
"""

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from simple_websocket import Client, ConnectionClosed
from sqlalchemy import make_url
from werkzeug.serving import make_server

from app import QuietHandler, create_app
from models import db

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
PASSWORD = "correct horse"
SETTINGS = {"SECRET_KEY": "test" * 8, "BCRYPT_ROUNDS": 4, "REDIS_URL": "", "CORS_ORIGINS": ""}


def unavailable(reason: str) -> None:
    """Skip where a service is missing; fail where it was promised."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database of our own, dropped at the end."""
    name = f"wharf_test_{secrets.token_hex(4)}"
    try:
        server = psycopg.connect(POSTGRES_URL, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        unavailable("no PostgreSQL answers at TEST_POSTGRES_URL")
    server.execute(f"CREATE DATABASE {name}")
    url = make_url(POSTGRES_URL).set(drivername="postgresql+psycopg", database=name)
    yield url.render_as_string(hide_password=False)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    server.close()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis that answers."""
    import redis

    try:
        with redis.Redis.from_url(REDIS_URL, socket_connect_timeout=2) as connection:
            connection.ping()
    except redis.RedisError:
        unavailable("no Redis answers at TEST_REDIS_URL")
    return REDIS_URL


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def database_url(request: Any, tmp_path_factory: Any) -> str:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('database')}/wharf.db"
    else:
        url = request.getfixturevalue("postgres_url")
    app = create_app({**SETTINGS, "DATABASE_URL": url})
    with app.app_context():
        upgrade()
        db.engine.dispose()
    return url


@pytest.fixture
def make_app(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Builds apps on one database, `make_app(PUBLIC_TODOS=False)`; all rows go at the end."""
    apps: list[Flask] = []

    def make(serve: str = "app", **overrides: Any) -> Flask:
        settings = {**SETTINGS, "DATABASE_URL": database_url, "STORAGE_URL": f"{tmp_path}/uploads"}
        app = create_app({**settings, **overrides}, serve=serve)
        app.testing = False  # errors are answered as in production
        apps.append(app)
        return app

    yield make
    for app in apps:
        if "realtime" in app.extensions:
            app.extensions["realtime"].stop()
        app.extensions["bus"].close()
    for index, app in enumerate(apps):
        with app.app_context():
            if index == 0:
                for table in reversed(db.metadata.sorted_tables):
                    db.session.execute(table.delete())
                db.session.commit()
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The app with default settings."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser: keeps cookies."""
    return app.test_client()


class Account:
    """A registered user, with what is needed to call as them."""

    def __init__(self, reply: dict[str, Any], email: str) -> None:
        self.email = email
        self.user: dict[str, Any] = reply["user"]
        self.token: str = reply["accessToken"]
        self.refresh_token: str = reply["refreshToken"]
        self.headers = {"Authorization": f"Bearer {self.token}"}


@pytest.fixture
def register(app: Flask) -> Callable[..., Account]:
    """Registers accounts: `register("ann")`."""

    def make(name: str = "ann", **fields: Any) -> Account:
        email = f"{name}@example.com"
        body = {"email": email, "password": PASSWORD, "name": name.capitalize(), **fields}
        response = app.test_client().post("/api/auth/register", json=body)
        assert response.status_code == 201, response.json
        return Account(response.json, email)

    return make


@pytest.fixture
def ann(register: Callable[..., Account]) -> Account:
    """A signed-in user."""
    return register("ann")


@pytest.fixture
def bob(register: Callable[..., Account]) -> Account:
    """Another one."""
    return register("bob")


def assert_error(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The whole error shape, which every failure has."""
    assert response.status_code == status, response.get_data(as_text=True)
    body: dict[str, Any] = response.json
    assert body["error"] == body["message"] == body["detail"] != ""
    assert body["status"] == status
    assert set(body) <= {"error", "message", "detail", "code", "status", "errors"}
    if code:
        assert body["code"] == code
    return body


class Peer:
    """A socket client that speaks JSON and never waits longer than 5 seconds."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.socket = Client(url, headers=headers)
        # What came in one piece with the handshake is left unread by the library.
        with suppress(ValueError):  # its thread reads at this very moment: then it sees that too
            self.socket._handle_events()

    def send(self, type: str, **fields: Any) -> None:
        """Send a frame."""
        self.socket.send(json.dumps({"type": type, **fields}))

    def receive(self, timeout: float = 5) -> dict[str, Any]:
        """The next frame; raises TimeoutError, or ConnectionClosed with its `reason` code."""
        text = self.socket.receive(timeout=timeout)
        if text is None:
            raise TimeoutError("no frame came")
        return json.loads(text)

    def expect(self, type: str) -> dict[str, Any]:
        """The next frame of a type; others before it are dropped."""
        while (frame := self.receive())["type"] != type:
            pass
        return frame

    def ask(self, type: str, answer: str, **fields: Any) -> dict[str, Any]:
        """Send a frame and wait for the frame of type `answer`."""
        self.send(type, **fields)
        return self.expect(answer)

    def until_pong(self) -> list[dict[str, Any]]:
        """What arrives before the answer to a ping: all that was told up to now."""
        mark = secrets.token_hex(4)
        self.send("ping", sentAt=mark)
        frames = []
        while (frame := self.receive()).get("sentAt") != mark:
            frames.append(frame)
        return frames

    def close_code(self) -> int:
        """Read until the server closes; the code it closed with."""
        try:
            while True:
                self.receive()
        except ConnectionClosed as closed:
            return int(closed.reason)

    def close(self) -> None:
        """Leave, if still there."""
        with suppress(ConnectionClosed, OSError):
            self.socket.close()


class Server:
    """An app on a real port, as `python app.py` serves it."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
        self.peers: list[Peer] = []
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """The address of the pages."""
        return f"http://127.0.0.1:{self.server.port}"

    def connect(self, path: str, account: Account | None = None, **headers: str) -> Peer:
        """A socket peer at `path`, with the token of `account` in the address."""
        if account:
            path += f"{'&' if '?' in path else '?'}token={account.token}"
        peer = Peer(self.url.replace("http", "ws") + path, headers or None)
        self.peers.append(peer)
        return peer

    def refusal(self, path: str, account: Account | None = None, **headers: str) -> Any:
        """The plain HTTP answer to a handshake that is refused: `.status_code` and `.json`."""
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", **headers}
        if account:
            upgrade["Authorization"] = f"Bearer {account.token}"
        client = self.app.test_client(use_cookies=False)
        return client.get(path, headers=upgrade, base_url=self.url)

    def chat(self, account: Account) -> Peer:
        """A chat peer that has been greeted."""
        peer = self.connect("/ws", account)
        peer.expect("connected")
        return peer

    def stop(self) -> None:
        """Close everything; no connection may be left in the registry."""
        for peer in self.peers:
            peer.close()
        realtime = self.app.extensions["realtime"]
        realtime.stop()
        self.server.shutdown()
        self.server.server_close()
        assert not realtime.hub.connections
        assert not realtime.hub.topics


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], Server]]:
    """Serves apps on real ports until the test ends."""
    servers: list[Server] = []

    def start(app: Flask) -> Server:
        servers.append(Server(app))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(app: Flask, serve: Callable[[Flask], Server]) -> Server:
    """The default app on a real port."""
    return serve(app)
