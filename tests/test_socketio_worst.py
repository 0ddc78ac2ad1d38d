"""Socket.IO at its worst: races, half an upgrade, odd names, floods, a database that is away."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from simple_websocket import Client as RawSocket
from simple_websocket import ConnectionClosed
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from events import RECORDED
from models import Session, db
from sockets.socketio import dialect
from tests.clients.talker import UNTIDY, Poller, Talker
from tests.conftest import Account, Server
from tests.test_presence import wait_until

pytestmark = UNTIDY
Talk = Callable[..., Talker]


def taken(server: Server) -> dict[Any, int]:
    return dict(server.app.extensions["realtime"].seats.taken)


def connections(server: Server) -> list[Any]:
    return list(server.app.extensions["realtime"].hub.connections.values())


def topics(server: Server) -> set[str]:
    return set(server.app.extensions["realtime"].hub.topics)


def test_a_client_that_comes_while_the_database_is_away_takes_no_seat(
    server: Server, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(Session, "find_live", fail)
    url = f"{server.url}/socket.io/?EIO=4&transport=polling"
    assert requests.get(url, headers=ann.headers, timeout=5).status_code == 503
    wait_until(lambda: not taken(server))


def test_half_an_upgrade_ends_with_its_client(server: Server, ann: Account) -> None:
    poller = Poller(server.url)
    poller.enter(ann)
    url = poller.url.replace("http", "ws", 1).replace("transport=polling", "transport=websocket")
    half = RawSocket(url)
    [client] = connections(server)
    wait_until(lambda: client.wire)
    assert poller.post("1").ok
    with pytest.raises(ConnectionClosed):
        half.receive(timeout=5)
    wait_until(lambda: not taken(server))


def test_a_second_poll_is_refused_however_it_is_dressed(server: Server, ann: Account) -> None:
    poller = Poller(server.url)
    poller.enter(ann)
    answers: list[int] = []

    def poll() -> None:
        response = requests.get(poller.url, headers={"Upgrade": "websocket"}, timeout=5)
        answers.append(response.status_code)

    polls = [threading.Thread(target=poll) for _ in range(3)]
    for one in polls:
        one.start()
    for one in polls:
        one.join()
    assert 400 in answers


class Desk:
    """Where tokens are looked up: who stands there waits until the test lets all go on."""

    def __init__(self, look_up: Callable[..., Any]) -> None:
        self.look_up = look_up
        self.came = threading.Semaphore(0)
        self.go_on = threading.Event()

    def serve(self, *token: Any) -> Any:
        session = self.look_up(*token)
        self.came.release()
        assert self.go_on.wait(5)
        return session


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(dialect.session_of)
    monkeypatch.setattr(dialect, "session_of", made.serve)
    return made


def come(poller: Poller, account: Account) -> threading.Thread:
    """Connect, without waiting for the answer."""
    packet = f"40{json.dumps({'token': account.token})}"
    coming = threading.Thread(target=poller.post, args=(packet,))
    coming.start()
    return coming


def test_who_goes_while_it_is_looked_up_is_never_let_in(
    server: Server, ann: Account, desk: Desk
) -> None:
    poller = Poller(server.url)
    coming = come(poller, ann)
    assert desk.came.acquire(timeout=5)
    poller.post("1")
    desk.go_on.set()
    coming.join()
    wait_until(lambda: not taken(server))
    assert topics(server) == set()


def test_who_comes_as_two_users_at_once_is_one_of_them(
    server: Server, ann: Account, bob: Account, desk: Desk
) -> None:
    poller = Poller(server.url)
    comings = [come(poller, one) for one in (ann, bob)]
    for _ in comings:
        assert desk.came.acquire(timeout=5)
    desk.go_on.set()
    for one in comings:
        one.join()
    poller.poll()
    assert len([topic for topic in topics(server) if topic.startswith("user:")]) == 1
    assert sum(count for (kind, _), count in taken(server).items() if kind == "user") == 1


@pytest.fixture
def pair(talk: Talk, ann: Account, bob: Account) -> tuple[Talker, Talker]:
    """Two clients in the room `open`."""
    one, two = talk(ann), talk(bob)
    for talker in (one, two):
        talker.ask("join-room", "room-joined", "open")
    one.until_pong()
    return one, two


@pytest.mark.parametrize("number", [0, 1])
def test_the_name_of_a_room_may_be_a_number(pair: tuple[Talker, Talker], number: int) -> None:
    one, two = pair
    one.demand("join-channel", number)
    two.demand("draw", {"room": number})
    assert one.until_pong() == [["draw", {"room": number}]]


def test_an_event_for_all_rooms_costs_one_query(
    server: Server, pair: tuple[Talker, Talker]
) -> None:
    one, two = pair
    for number in range(20):
        two.demand("join-channel", f"room {number}")
    asked: list[str] = []
    with server.app.app_context():
        engine = db.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if threading.current_thread().name == "flusher" and "members" in statement:
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    two.demand("draw", {"x": 1})
    event.remove(engine, "before_cursor_execute", note)
    assert one.until_pong() == [["draw", {"x": 1}]]
    assert len(asked) == 1


@pytest.mark.parametrize("name", sorted({*RECORDED, "user-typing"}))
def test_what_the_house_tells_cannot_be_feigned(pair: tuple[Talker, Talker], name: str) -> None:
    one, two = pair
    assert two.demand(name, {"roomId": "open", "seq": 99})["code"] == "reserved"
    assert one.until_pong() == []


@pytest.mark.parametrize("name", [{"id": "club"}, ["club"], "", 1.5, True])
def test_an_event_for_a_room_that_cannot_be_is_told_to_nobody(
    pair: tuple[Talker, Talker], name: Any
) -> None:
    one, two = pair
    assert two.demand("draw", {"room": name, "x": 1})["code"] == "invalid_room"
    assert one.until_pong() == []


def test_an_event_for_many_rooms_crosses_the_bus_once(
    server: Server, talk: Talk, ann: Account, bob: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = talk(ann), talk(bob)
    for number in range(20):
        for talker in (one, two):
            talker.demand("join-channel", f"room {number}")
    one.until_pong()
    told: list[Any] = []
    bus = server.app.extensions["bus"]
    publish = bus.publish
    monkeypatch.setattr(bus, "publish", lambda events: (told.extend(events), publish(events)))
    two.demand("draw", {"x": 1})
    assert one.until_pong() == [["draw", {"x": 1}]]
    assert len(told) == 1


def test_who_is_muted_or_banned_is_not_heard_though_here_before_the_room_was_made(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    early = talk(bob)
    early.ask("join-room", "room-joined", "club")
    body = {"id": "club", "kind": "public"}
    assert client.post("/api/rooms", json=body, headers=ann.headers).status_code == 201
    member = f"/api/rooms/club/members/{bob.user['id']}"
    client.patch(member, json={"isBanned": True, "isMuted": True}, headers=ann.headers)
    assert early.demand("draw", {"roomId": "club"})["status"] == 403


def test_bytes_where_only_json_can_be_are_refused(server: Server, talk: Talk, ann: Account) -> None:
    talker = talk(ann)
    info = {"roomId": "club", "userInfo": {"picture": b"abc"}}
    assert talker.demand("join-room", info)["code"] == "invalid_input"
    talker.emit("ping", b"\xff\xfe")
    assert talker.expect("error")["code"] == "invalid_input"
    assert talker.until_pong() == []


def test_a_room_with_a_long_id_is_made(talk: Talk, ann: Account) -> None:
    assert talk(ann).demand("room:create", {"id": "x" * 150})["ok"]


def test_nothing_is_kept_of_rooms_that_were_left(server: Server, talk: Talk, ann: Account) -> None:
    talker = talk(ann)
    for number in range(5):
        talker.emit("join-room", {"roomId": f"room {number}", "userInfo": "x"})
        talker.emit("leave-room", f"room {number}")
    talker.until_pong()
    [client] = connections(server)
    assert client.guests == {}


def test_connecting_again_and_again_is_limited(server: Server, ann: Account) -> None:
    raw = RawSocket(f"{server.url.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket")
    with pytest.raises((ConnectionClosed, OSError)):
        for _ in range(2000):
            raw.send("40/elsewhere,")
        while True:
            assert raw.receive(timeout=5)
