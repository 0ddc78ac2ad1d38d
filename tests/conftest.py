"""Fixtures: an app on each database, a client, accounts, a live server and socket peers.

The suite runs on SQLite, and again on PostgreSQL when one answers. Where CI is set, a service that
does not answer is a failure instead of a skip.
"""

import gc
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from simple_websocket import Client, ConnectionClosed
from sqlalchemy import create_engine, event, make_url
from werkzeug.routing import Rule
from werkzeug.serving import make_server

from app import QuietHandler, create_app
from models import db
from tests import conformance

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
PASSWORD = "correct horse"
SECRET_KEY = secrets.token_hex(32)  # names what is in Redis too: nobody else shall share it
SETTINGS = {"SECRET_KEY": SECRET_KEY, "BCRYPT_ROUNDS": 4, "REDIS_URL": "", "CORS_ORIGINS": ""}


class SharedRule(Rule):
    """A route whose code is compiled once for all apps: else that is most of what an app costs.

    The code builds addresses from values alone; what belongs to an app stays with its own rules.
    """

    shared: ClassVar[dict[Any, Any]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        if self.defaults:  # they are part of the code
            return super()._compile_builder(append_unknown)
        key = (self.rule, append_unknown, *self._trace)
        if key not in self.shared:
            self.shared[key] = super()._compile_builder(append_unknown)
        return self.shared[key]


Flask.url_rule_class = SharedRule


def pytest_collection_finish() -> None:
    """What is loaded now stays: the garbage collector need not look through it over and over."""
    gc.collect()
    gc.freeze()


def unavailable(reason: str) -> None:
    """Skip where a service is missing; fail where it was promised."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def collected() -> Iterator[None]:
    """What a library has left open is closed here, and not while another test runs."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database of our own, dropped at the end."""
    yield from make_postgres()


@pytest.fixture
def empty_postgres_url() -> Iterator[str]:
    """Another one, for a single test."""
    yield from make_postgres()


def make_postgres() -> Iterator[str]:
    """A new database."""
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


@pytest.fixture(scope="session")
def delete_rows(database_url: str) -> Iterator[Callable[[], None]]:
    """Deletes every row; its open connection also spares SQLite to begin a new log each time."""
    deletes = [f"DELETE FROM {table.name}" for table in reversed(db.metadata.sorted_tables)]
    engine = create_engine(database_url, pool_pre_ping=True)
    if engine.dialect.name == "postgresql":
        deletes = [";".join(deletes)]  # one trip to the server

    def delete() -> None:
        with engine.begin() as connection:
            for statement in deletes:
                connection.exec_driver_sql(statement)

    yield delete
    engine.dispose()


@pytest.fixture
def make_app(
    database_url: str, delete_rows: Callable[[], None], tmp_path: Path
) -> Iterator[Callable[..., Flask]]:
    """Builds apps on one database, `make_app(PUBLIC_TODOS=False)`; all rows go at the end."""
    apps: list[Flask] = []
    problems: list[str] = []  # of answers that are not as the document says

    def make(serve: str = "app", **overrides: Any) -> Flask:
        settings = {**SETTINGS, "DATABASE_URL": database_url, "STORAGE_URL": f"{tmp_path}/uploads"}
        app = create_app({**settings, **overrides}, serve=serve)
        conformance.watch(app, problems)
        app.testing = False  # errors are answered as in production
        apps.append(app)
        return app

    yield make
    for app in apps:
        if "realtime" in app.extensions:
            app.extensions["realtime"].stop()
        app.extensions["bus"].close()
    for app in apps:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    delete_rows()
    assert not problems


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[str]:
    """Where buckets of S3 are served."""
    from tests.buckets import served  # here: few tests need it

    with served() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(bucket_server: str, monkeypatch: Any) -> Iterator[Any]:
    """A bucket for this test; the environment leads to it."""
    from tests.buckets import lent

    with lent(bucket_server, monkeypatch) as made:
        yield made


@pytest.fixture(params=["folder", "s3"])
def storage_url(request: Any, tmp_path: Path) -> str:
    """The STORAGE_URL of each kind of storage."""
    if request.param == "folder":
        return f"{tmp_path}/uploads"
    url: str = request.getfixturevalue("bucket").url
    return url


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The app with default settings."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser: keeps cookies."""
    return app.test_client()


@pytest.fixture
def statements(app: Flask) -> Callable[[], AbstractContextManager[list[str]]]:
    """Keeps what the database is asked meanwhile: `with statements() as asked`."""
    with app.app_context():
        engine = db.engine

    @contextmanager
    def watch() -> Iterator[list[str]]:
        asked: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            asked.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        yield asked
        event.remove(engine, "before_cursor_execute", note)

    return watch


@pytest.fixture
def held(app: Flask) -> set[Any]:
    """The connections to the database that this thread holds: a request by `client` is on it."""
    thread, found = threading.get_ident(), set[Any]()

    def taken(_: Any, connection: Any, __: Any) -> None:
        if threading.get_ident() == thread:
            found.add(connection)

    with app.app_context():
        event.listen(db.engine, "checkout", taken)
        event.listen(db.engine, "checkin", lambda _, connection: found.discard(connection))
    return found


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
def admin(app: Flask, register: Callable[..., Account]) -> Account:
    """A registered user who may do everything."""
    from tests.accounts import make_admin  # here: it imports this module

    return make_admin(app, register("root"))


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


class EagerClient(Client):
    """Reads what came in one piece with the handshake too; the library waits for more first."""

    def _thread(self) -> None:
        self.connected = self._handle_events()
        super()._thread()


class Peer:
    """A socket client that speaks JSON and never waits longer than 5 seconds."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.socket = EagerClient(url, headers=headers)

    def send(self, type: str, **fields: Any) -> None:
        """Send a frame."""
        self.socket.send(json.dumps({"type": type, **fields}))

    def receive(self, timeout: float = 20) -> dict[str, Any]:
        """The next frame; raises TimeoutError, or ConnectionClosed with its `reason` code.

        Patient: a busy machine takes its time.
        """
        text = self.socket.receive(timeout=timeout)
        if text is None:
            raise TimeoutError("no frame came")
        return json.loads(text)

    def expect(self, type: str) -> dict[str, Any]:
        """The next frame of a type; others before it are dropped."""
        while (frame := self.receive()).get("type") != type:
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


@pytest.fixture
def talk(server: Server) -> Iterator[Callable[..., Any]]:
    """Connects clients of Socket.IO, `talk(ann, transports=POLLING)`; they leave at the end."""
    from tests.clients.talker import talking  # here: it imports this module

    yield from talking(server.url)
