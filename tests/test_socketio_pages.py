"""The JavaScript client of Socket.IO, as pages use it, in Node: `npm ci` in tests/clients first."""

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from tests.conftest import Account, Server
from tests.test_presence import wait_until

CLIENTS = Path(__file__).parent / "clients"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None or not (CLIENTS / "node_modules" / "socket.io-client").exists(),
    reason="needs node, and `npm ci` in tests/clients",
)
BROLOSTACK = {"path": "/brolostack-ws", "transports": ["websocket", "polling"], "timeout": 5000}


class Page:
    """A page in a Node of its own."""

    def __init__(self) -> None:
        self.node = subprocess.Popen(
            [str(NODE), "page.mjs"],
            cwd=CLIENTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told: queue.Queue[list[Any]] = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Queue what it tells."""
        assert self.node.stdout
        for line in self.node.stdout:
            self.told.put(json.loads(line))

    def do(self, *action: Any) -> None:
        """Let it do something."""
        assert self.node.stdin
        self.node.stdin.write(json.dumps(action) + "\n")
        self.node.stdin.flush()

    def expect(self, *start: Any) -> list[Any]:
        """The next thing it tells that begins so; others before it are dropped."""
        while (told := self.told.get(timeout=10))[: len(start)] != list(start):
            pass
        return told[len(start) :]

    def ask(self, event: str, *args: Any) -> Any:
        """Emit, and wait for the ack."""
        self.do("ask", event, *args)
        answer = self.expect("answered")
        return answer[0] if answer else None

    def leave(self) -> None:
        """End it."""
        assert self.node.stdin and self.node.stdout
        self.node.kill()
        self.node.wait()
        self.reader.join()
        self.node.stdin.close()
        self.node.stdout.close()


@pytest.fixture
def page() -> Iterator[Callable[..., Page]]:
    """Opens pages, `page(url, ann, **options of io())`."""
    pages: list[Page] = []

    def open_page(url: str, account: Account | None = None, **options: Any) -> Page:
        pages.append(Page())
        auth = {"token": account.token, "apiKey": "k"} if account else {}
        pages[-1].do("connect", url, {"auth": auth, **options})
        return pages[-1]

    yield open_page
    for one in pages:
        one.leave()


def test_a_page_polls_first_and_goes_over_to_a_websocket(
    server: Server, page: Callable[..., Page], ann: Account
) -> None:
    one = page(server.url, ann)
    assert one.expect("opened") == ["polling"]
    assert one.expect("upgraded") == ["websocket"]
    assert one.ask("join-channel", "a") is None
    [client] = server.app.extensions["realtime"].hub.connections.values()
    assert client.user.id == ann.user["id"]
    assert client.wire is not None


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_refused_page_stays_away(
    server: Server, page: Callable[..., Page], transport: str
) -> None:
    one = page(server.url, auth={"token": "x"}, transports=[transport])
    assert one.expect("refused") == ["Invalid token"]
    wait_until(lambda: not server.app.extensions["realtime"].hub.connections)
    assert one.told.empty()


def test_two_brolostack_pages_share_a_room(
    server: Server, page: Callable[..., Page], ann: Account, bob: Account
) -> None:
    one, two = page(server.url, ann, **BROLOSTACK), page(server.url, bob, **BROLOSTACK)
    assert one.expect("connected")[1] == two.expect("connected")[1] == "websocket"
    for count, joining in ((1, one), (2, two)):
        room = {"roomId": "r", "roomName": "R", "userInfo": {"name": "x"}, "timestamp": 1}
        joining.do("emit", "join-room", room)
        [joined] = joining.expect("heard", "room-joined")
        assert joined == {"roomId": "r", "roomName": "R", "memberCount": count}
    [came] = one.expect("heard", "user-joined")
    assert came == {"roomId": "r", "userId": bob.user["id"], "userInfo": {"name": "x"}}
    one.do("emit", "message", {"text": "hi"})
    one.do("emit", "ping", 1717171717171)
    assert two.expect("heard", "message") == [{"text": "hi"}]
    assert one.told.get(timeout=10) == ["heard", "pong", 1717171717171]
    two.leave()
    [gone] = one.expect("heard", "user-left")
    assert (gone["roomId"], gone["userId"]) == ("r", bob.user["id"])
    one.do("emit", "leave-room", {"roomId": "r", "timestamp": 2})
    assert one.expect("heard", "room-left") == [{"roomId": "r"}]


def test_what_was_queued_offline_arrives_in_order_before_rooms_are_joined(
    server: Server, page: Callable[..., Page], ann: Account, bob: Account
) -> None:
    two = page(server.url, bob, **BROLOSTACK)
    two.ask("join-room", {"roomId": "r"})
    one = page(server.url, ann, autoConnect=True)
    for number in range(100):
        one.do("emit", "message", {"room": "r", "n": number})
    assert [two.expect("heard", "message")[0]["n"] for _ in range(100)] == list(range(100))


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_page_comes_back_after_a_restart_of_the_server(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    page: Callable[..., Page],
    ann: Account,
    transport: str,
) -> None:
    server = serve(make_app())
    one = page(server.url, ann, transports=[transport])
    one.expect("connected")
    hub = server.app.extensions["realtime"].hub
    hub.close_all()
    assert one.expect("disconnected")[0].startswith("transport")
    hub.stopping = False
    assert one.expect("connected")[1] == transport


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_page_whose_session_ended_stays_away(
    server: Server, page: Callable[..., Page], ann: Account, transport: str
) -> None:
    one = page(server.url, ann, transports=[transport])
    one.expect("connected")
    requests.post(f"{server.url}/api/auth/logout", headers=ann.headers, timeout=5)
    assert one.expect("heard", "auth-error") == [{"message": "session ended"}]
    assert one.expect("disconnected") == ["io server disconnect"]


def test_a_reactive_page_makes_and_locks_a_room(
    server: Server, page: Callable[..., Page], ann: Account, bob: Account
) -> None:
    one, two = page(server.url, ann), page(server.url, bob)
    assert one.ask("room:create", {"id": "den", "name": "The den"})["ok"] is True
    assert one.ask("room:lock", {"roomId": "den", "isLocked": True})["room"]["isLocked"] is True
    refused = two.ask("room:join", {"roomId": "den"})
    assert (refused["ok"], refused["error"]) == (False, "Room is locked")
    one.ask("room:lock", {"roomId": "den", "isLocked": False})
    assert two.ask("room:join", {"roomId": "den"})["ok"] is True
    told = one.expect("heard", "room:update")[0]
    while len(told["participants"]) < 2:
        told = one.expect("heard", "room:update")[0]
    assert told["isLocked"] is False
