"""The commands of the Procfile, side by side: changes cross from one process to another."""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conftest import POSTGRES_URL, assert_error
from tests.processes import Deployment, Process, change, receive_values, room

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")


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
