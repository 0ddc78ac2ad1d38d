"""Socket.IO: its transports, who is let in, its limits and its end; what it says of rooms is in
test_socketio_rooms.py."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import socketio
from flask import Flask
from simple_websocket import Client as RawSocket
from simple_websocket import ConnectionClosed

from sockets.socketio import client, endpoint
from tests.clients.talker import (
    END,
    POLLING,
    UNTIDY,
    UPGRADE,
    WEBSOCKET,
    Client,
    Poller,
    Talker,
    put_away,
)
from tests.conftest import Account, Server
from tests.waiting import wait_until

pytestmark = UNTIDY

PATHS = ["socket.io", "brolostack-ws", "brolostack-multiagent"]
each_transport = pytest.mark.parametrize(
    "transports", [POLLING, WEBSOCKET, UPGRADE], ids=["polling", "websocket", "upgrade"]
)


@pytest.fixture
def dial(server: Server) -> Iterator[Callable[..., RawSocket]]:
    """Opens WebSockets on which a test says what it likes; they are closed at the end."""
    sockets: list[RawSocket] = []

    def connect(url: str = server.url, **options: Any) -> RawSocket:
        address = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        sockets.append(RawSocket(address, **options))
        return sockets[-1]

    yield connect
    for raw in sockets:
        raw.sock.close()


def connections(server: Server) -> list[Any]:
    return list(server.app.extensions["realtime"].hub.connections.values())


def user_of(talker: Talker) -> Any:
    """Whom the server takes a client for."""
    answer = talker.demand("room:create", {"name": "mine"})
    return answer["room"]["ownerId"] if answer["ok"] else None


def refusal(url: str, **options: Any) -> str:
    """Why a client is not let in."""
    heard: list[Any] = []
    own_origin = {"suppress_origin": True}  # the library would add its own
    client = Client(reconnection=False, websocket_extra_options=own_origin)
    client.on("connect_error", heard.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(url, wait_timeout=5, **options)
    put_away(client)
    return heard[0]["message"]


# Transports


@each_transport
@pytest.mark.parametrize("path", PATHS)
def test_each_path_serves_each_transport(
    server: Server, talk: Callable[..., Talker], ann: Account, path: str, transports: list[str]
) -> None:
    talker = talk(ann, transports=transports, socketio_path=path)
    assert talker.client.transport() == transports[-1]
    assert talker.demand("ping", 7) is None
    assert talker.expect("pong") == 7
    assert [one.id for one in connections(server)] == [talker.sid]


@each_transport
def test_what_is_said_arrives_whole_and_in_order(
    talk: Callable[..., Talker], ann: Account, bob: Account, transports: list[str]
) -> None:
    one, two = talk(ann, transports=transports), talk(bob, transports=transports)
    for talker in (one, two):
        talker.demand("join-channel", "a")
    said = [{"number": number, "text": "ä\x1e" * 1000} for number in range(50)]
    for data in said:
        one.emit("draw", data)
    assert [two.expect("draw") for _ in said] == said


@each_transport
def test_bytes_are_passed_on(
    talk: Callable[..., Talker], ann: Account, bob: Account, transports: list[str]
) -> None:
    one, two = talk(ann, transports=transports), talk(bob, transports=transports)
    for talker in (one, two):
        talker.demand("join-channel", "a")
    data = {"name": "dot.png", "parts": [b"\0\xff\x1e", b""]}
    one.emit("file", data)
    assert two.expect("file") == data


def test_a_large_message_crosses_to_a_websocket_whole(
    talk: Callable[..., Talker], ann: Account, bob: Account
) -> None:
    one, two = talk(ann), talk(bob)
    for talker in (one, two):
        talker.demand("join-channel", "a")
    one.emit("draw", "x" * 900_000)
    assert two.expect("draw") == "x" * 900_000


def test_a_queue_flushed_by_one_poll_loses_nothing(
    server: Server, talk: Callable[..., Talker], ann: Account, bob: Account
) -> None:
    two = talk(bob)
    two.demand("join-room", "a")
    poller = Poller(server.url)
    poller.enter(ann)
    queued = [f'42["message",{{"room":"a","n":{number}}}]' for number in range(100)]
    assert poller.post(*queued).text == "OK"
    assert [two.expect("message")["n"] for _ in range(100)] == list(range(100))


def test_the_client_is_told_the_limits(server: Server) -> None:
    told = json.loads(Poller(server.url).opened.text[1:])
    assert told["upgrades"] == ["websocket"]
    assert (told["pingInterval"], told["pingTimeout"]) == (30000, 20000)
    assert told["maxPayload"] == 1_000_000


def test_its_public_id_is_not_the_key_to_its_transport(server: Server, ann: Account) -> None:
    poller = Poller(server.url)
    assert poller.enter(ann)["sid"] not in poller.url


# Who is let in


def cookie(server: Server, account: Account) -> str:
    body = {"email": account.email, "password": "correct horse"}
    response = requests.post(f"{server.url}/api/auth/login", json=body, timeout=5)
    return f"wharf_session={response.cookies['wharf_session']}"


@each_transport
@pytest.mark.parametrize("place", ["auth", "query", "header", "cookie"])
def test_a_token_is_found_wherever_it_stands(
    server: Server,
    talk: Callable[..., Talker],
    ann: Account,
    place: str,
    transports: list[str],
) -> None:
    options: dict[str, Any] = {
        "auth": {"auth": {"token": ann.token, "apiKey": "k", "userId": "somebody"}},
        "query": {"url": f"{server.url}?token={ann.token}", "auth": {"token": None}},
        "header": {"headers": ann.headers, "auth": {"apiKey": "k"}},
        "cookie": {"headers": {"Cookie": cookie(server, ann)}},
    }[place]
    assert user_of(talk(transports=transports, **options)) == ann.user["id"]


@each_transport
@pytest.mark.parametrize("token", ["x.y.z", 7, ["a"]], ids=str)
def test_a_bad_token_is_refused(server: Server, token: Any, transports: list[str]) -> None:
    reason = refusal(server.url, auth={"token": token}, transports=transports)
    assert reason == "Invalid token"


@each_transport
def test_nobody_is_refused_unless_visitors_are_welcome(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    server: Server,
    talk: Callable[..., Talker],
    transports: list[str],
) -> None:
    assert refusal(server.url, transports=transports) == "No token provided"
    open_server = serve(make_app(ANONYMOUS_CHAT=True))
    visitor = talk(url=open_server.url, transports=transports, auth={"token": "null"})
    assert user_of(visitor) is None
    assert refusal(open_server.url, auth={"token": "x"}, transports=transports) == "Invalid token"
    visitor.disconnect()


def test_who_was_refused_may_try_again(server: Server, ann: Account) -> None:
    poller = Poller(server.url)
    assert poller.enter()["message"] == "No token provided"
    assert poller.enter(ann)["sid"]


@each_transport
def test_a_page_elsewhere_may_not_use_the_cookie(
    server: Server, ann: Account, transports: list[str]
) -> None:
    headers = {"Cookie": cookie(server, ann), "Origin": "https://evil.example"}
    reason = refusal(server.url, headers=headers, transports=transports)
    assert reason == "This origin may not use the session cookie"


@pytest.mark.parametrize(
    ("origin", "credentials"),
    [("https://app.example", "true"), ("https://evil.example", None)],
)
def test_polls_are_answered_to_the_origins_of_the_settings_alone(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], origin: str, credentials: Any
) -> None:
    server = serve(make_app(CORS_ORIGINS="https://app.example"))
    poller = Poller(server.url, Origin=origin)
    for response in (poller.opened, poller.post("3")):
        allowed = response.headers.get("Access-Control-Allow-Origin")
        assert allowed == (origin if credentials else None)
        assert response.headers.get("Access-Control-Allow-Credentials") == credentials
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_other_namespaces_are_refused(server: Server) -> None:
    poller = Poller(server.url)
    poller.post("40/admin,")
    assert poller.poll() == ['44/admin,{"message":"Invalid namespace"}']


# Limits


def test_places_are_limited_and_free_again(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    talk: Callable[..., Talker],
    ann: Account,
) -> None:
    server = serve(make_app(MAX_SOCKETS_PER_ADDRESS=2, MAX_SOCKETS_PER_USER=1))
    one = talk(ann, url=server.url)
    assert refusal(server.url, auth={"token": ann.token}) == "Too many sockets of this user"
    two = Poller(server.url)
    assert Poller(server.url).opened.status_code == 429
    assert requests.get(two.url.replace("polling", "nothing"), timeout=5).status_code == 400
    one.disconnect()
    two.post("1")
    wait_until(lambda: not connections(server))
    assert not server.app.extensions["realtime"].seats.taken
    talk(ann, url=server.url).disconnect()


def test_a_request_that_opens_nothing_keeps_no_place(server: Server) -> None:
    assert requests.get(f"{server.url}/socket.io/?EIO=3", timeout=5).status_code == 400
    wait_until(lambda: not server.app.extensions["realtime"].seats.taken)


def test_who_says_too_much_is_warned_and_then_sent_away(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    talk: Callable[..., Talker],
    ann: Account,
) -> None:
    server = serve(make_app(FRAMES_PER_SECOND=1))
    talker = talk(ann, url=server.url)
    for number in range(5):
        talker.emit("ping", number)
    assert talker.expect("error")["status"] == 429
    talker.wait_for_end()


def test_a_message_above_the_limit_is_refused(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    talk: Callable[..., Talker],
    ann: Account,
) -> None:
    server = serve(make_app(MAX_FRAME_BYTES=1000))
    talker = talk(ann, url=server.url)
    talker.emit("draw", "x" * 1000)
    talker.wait_for_end()
    poller = Poller(server.url)
    assert poller.post("4" + "x" * 1000).status_code == 413


def test_attachments_are_bounded_together(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], ann: Account
) -> None:
    server = serve(make_app(MAX_FRAME_BYTES=1000))
    poller = Poller(server.url)
    poller.enter(ann)
    parts = ["b" + "QUFB" * 70] * 4
    poller.post(*['459-["x"]'])
    for part in parts[:-1]:
        poller.post(part, part)
    wait_until(lambda: not connections(server))


def test_who_does_not_read_is_cut_off_and_harms_nobody(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    talk: Callable[..., Talker],
    ann: Account,
    dial: Callable[..., RawSocket],
) -> None:
    server = serve(make_app(SEND_QUEUE_BYTES=100_000))
    house = server.app.extensions["realtime"]
    one, two = talk(ann, url=server.url), talk(ann, url=server.url)
    lazy = Poller(server.url)
    lazy.enter(ann)
    lazy.post('42["join-channel","a"]')
    stuck = dial(server.url, thread_class=Asleep)
    stuck.send(f'40{{"token":"{ann.token}"}}')
    stuck.send('42["join-channel","a"]')
    for talker in (one, two):
        talker.demand("join-channel", "a")
    wait_until(lambda: len(house.hub.topics["io:public:a"].everybody()) == 4)
    for number in range(40):
        one.emit("draw", {"n": number, "text": "x" * 20_000})
        assert two.expect("draw")["n"] == number
    wait_until(lambda: house.traffic.slow_closes >= 1)
    assert requests.get(lazy.url, timeout=5).json()["code"] == "unknown_session"
    for number in range(100):
        one.emit("draw", {"n": number, "text": "x" * 90_000})
        two.expect("draw")
    wait_until(lambda: house.traffic.slow_closes == 2)
    wait_until(lambda: len(connections(server)) == 2)
    assert house.traffic.queued_bytes == 0


class Asleep:
    """In place of the thread by which a socket reads."""

    name = ""

    def __init__(self, target: Any) -> None:
        pass

    def start(self) -> None:
        pass


# What no client sends


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("EIO=4&transport=polling&sid=unheard-of", "unknown_session"),
        ("EIO=4&transport=polling&j=0", "bad_request"),
    ],
)
def test_a_bad_poll_is_400(server: Server, query: str, code: str) -> None:
    response = requests.get(f"{server.url}/socket.io/?{query}", timeout=5)
    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    "body", [b"x", b"\xff", b"4" + b"[" * 100_000, END.join(["3"] * 1001).encode()]
)
def test_a_body_that_is_no_engine_io_is_400_and_ends_nothing(
    server: Server, ann: Account, body: bytes
) -> None:
    poller = Poller(server.url)
    assert requests.post(poller.url, data=body, timeout=5).status_code == 400
    assert poller.enter(ann)["sid"]


@pytest.mark.parametrize(
    "packet",
    ["4", "49", "4x", '42["x"', "42", '451-["x"]', "4499999999999-[]", "bAAAA", '42["x",NaN]'],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_packet_that_is_no_socket_io_ends_it_without_noise(
    server: Server,
    ann: Account,
    packet: str,
    transport: str,
    caplog: pytest.LogCaptureFixture,
    dial: Callable[..., RawSocket],
) -> None:
    if transport == "polling":
        poller = Poller(server.url)
        poller.post(packet)
    else:
        raw = dial()
        raw.send(packet)
        with pytest.raises(ConnectionClosed):
            while True:
                assert raw.receive(timeout=5)
    wait_until(lambda: not connections(server))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("packet", ["", "x", "4" + "[" * 100_000])
def test_a_websocket_message_that_is_no_engine_io_ends_it_without_noise(
    server: Server,
    packet: str,
    caplog: pytest.LogCaptureFixture,
    dial: Callable[..., RawSocket],
) -> None:
    raw = dial()
    raw.send(packet)
    with pytest.raises(ConnectionClosed):
        while True:
            assert raw.receive(timeout=5)
    wait_until(lambda: not connections(server))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("data", [[], ["a" * 201], [7], {"name": 1}, "text"], ids=str)
def test_an_event_without_a_name_is_answered_with_an_error(
    server: Server, ann: Account, data: Any
) -> None:
    poller = Poller(server.url)
    poller.enter(ann)
    poller.post(f"42{json.dumps(data)}")
    [packet] = poller.poll()
    name, error = json.loads(packet[2:])
    assert (name, error["status"]) == ("error", 400)


def test_a_second_poll_at_a_time_ends_the_client(server: Server, ann: Account) -> None:
    poller = Poller(server.url)
    poller.enter(ann)
    first = threading.Thread(target=requests.get, args=(poller.url,), kwargs={"timeout": 5})
    first.start()
    client = connections(server)[0]
    wait_until(client.poll.locked)
    assert requests.get(poller.url, timeout=5).status_code == 400
    first.join()
    wait_until(lambda: not connections(server))


# The end


@each_transport
def test_the_end_of_a_session_ends_its_clients_for_good(
    server: Server, talk: Callable[..., Talker], ann: Account, bob: Account, transports: list[str]
) -> None:
    one, other = talk(ann, transports=transports), talk(bob)
    requests.post(f"{server.url}/api/auth/logout", headers=ann.headers, timeout=5)
    assert one.expect("auth-error") == {"message": "session ended"}
    one.wait_for_end()
    wait_until(lambda: [c.user.id for c in connections(server)] == [bob.user["id"]])
    assert other.until_pong() == []


def test_a_restart_ends_a_client_without_telling_it_to_stay_away(
    server: Server,
    ann: Account,
    dial: Callable[..., RawSocket],
) -> None:
    poller = Poller(server.url)
    poller.enter(ann)
    raw = dial()
    raw.send(f'40{{"token":"{ann.token}"}}')
    assert raw.receive(timeout=5).startswith("0")
    assert raw.receive(timeout=5).startswith("40")
    polled: list[str] = []
    poll = threading.Thread(target=lambda: polled.extend(poller.poll()))
    poll.start()
    clients = connections(server)
    wait_until(lambda: any(client.poll.locked() for client in clients))
    server.app.extensions["realtime"].hub.close_all()
    poll.join()
    assert polled == ["1"]
    heard = []
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            heard.append(raw.receive(timeout=5))
    assert closed.value.reason == 1001
    assert heard == ["1"]


def test_a_silent_client_is_forgotten(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    ann: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint, "PING_TIMEOUT", 0.3)
    server = serve(make_app(PING_SECONDS=0.2))
    poller = Poller(server.url)
    poller.enter(ann)
    wait_until(lambda: not connections(server))
    assert not server.app.extensions["realtime"].seats.taken


def test_who_never_says_who_it_is_is_forgotten(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    Poller(server.url)
    wait_until(lambda: not connections(server))


def test_no_database_session_is_held_while_clients_wait(
    server: Server, talk: Callable[..., Talker], ann: Account
) -> None:
    from models import db

    for transports in (POLLING, WEBSOCKET, UPGRADE):
        talk(ann, transports=transports).until_pong()
    with server.app.app_context():
        wait_until(lambda: db.engine.pool.checkedout() == 0)
