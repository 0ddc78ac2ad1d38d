"""The end of a session closes its sockets, in each process, and no others."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from simple_websocket import ConnectionClosed

import auth
import sockets
from tests.accounts import ANN, LOGIN, LOGOUT, REFRESH, bearer
from tests.conftest import PASSWORD, Account, Peer, Server

SESSIONS, CHANGE, TICKET = "/api/auth/sessions", "/api/auth/password", "/api/auth/ticket"
CHAT, SYNC = "/ws", "/sync?channel=default"
IN_TIME = 1.0
Serve = Callable[[Flask], Server]


# The ways to end the session of `device`; `other` is of the same user


def call(app: Flask, method: str, path: str, **request: Any) -> None:
    response = app.test_client(use_cookies=False).open(path, method=method, **request)
    assert response.status_code == 200, response.json


def sid(app: Flask, account: Account) -> str:
    with app.app_context():
        return str(auth.claims_of(account.token)["sid"])


def sign_out(app: Flask, device: Account, other: Account) -> None:
    call(app, "POST", LOGOUT, headers=device.headers)


def end_it(app: Flask, device: Account, other: Account) -> None:
    call(app, "DELETE", f"{SESSIONS}/{sid(app, device)}", headers=other.headers)


def end_itself(app: Flask, device: Account, other: Account) -> None:
    call(app, "DELETE", f"{SESSIONS}/{sid(app, device)}", headers=device.headers)


def end_others(app: Flask, device: Account, other: Account) -> None:
    call(app, "DELETE", SESSIONS, headers=other.headers)


def change_password(app: Flask, device: Account, other: Account) -> None:
    body = {"currentPassword": PASSWORD, "newPassword": "another horse"}
    call(app, "POST", CHANGE, json=body, headers=other.headers)


def reuse_a_refresh_token(app: Flask, device: Account, other: Account) -> None:
    statuses = [
        app.test_client(use_cookies=False)
        .post(REFRESH, headers=bearer(device.refresh_token))
        .status_code
        for _ in range(2)
    ]
    assert statuses == [200, 401]


ENDS = [sign_out, end_it, end_itself, end_others, change_password, reuse_a_refresh_token]


# What sockets see


def sign_in(app: Flask) -> Account:
    """Ann on one more device."""
    response = app.test_client(use_cookies=False).post(LOGIN, json=ANN)
    return Account(response.json, ANN["email"])


def open_sockets(server: Server, account: Account) -> list[Peer]:
    """A chat socket, which is in a room, and a sync socket that was served all there is."""
    sync = server.connect(SYNC, account)
    sync.expect("connected")
    chat = server.chat(account)
    chat.ask("join-room", "user-joined", roomId="lobby")
    return [chat, sync]


def until_closed(peer: Peer) -> tuple[list[str], int]:
    """The types of the frames that still come, and the code of the close."""
    types = []
    try:
        while True:
            types.append(peer.receive()["type"])
    except ConnectionClosed as closed:
        return types, int(closed.reason)


def assert_closed(peers: list[Peer], ended_at: float) -> None:
    """Each is closed with 4001, in time, and is told nothing that is none of its business."""
    for peer in peers:
        types, code = until_closed(peer)
        assert code == 4001
        assert set(types) <= {"user-joined", "user-left"}
    assert time.monotonic() - ended_at < IN_TIME


def pull(sync: Peer) -> list[dict[str, Any]]:
    """What a sync socket is sent up to the answer of a pull, but for the answer."""
    sync.send("pull", siteId="me", version=1)
    frames = [sync.receive()]
    while frames[-1]["type"] != "update":
        frames.append(sync.receive())
    assert frames[-1]["changes"] == []
    return frames[:-1]


def assert_open(chat: Peer, sync: Peer) -> None:
    """Both answer, and heard nothing but who is in the room."""
    heard = {frame["type"] for frame in chat.until_pong()}
    assert heard <= {"user-joined", "user-left"}
    assert pull(sync) == []


# In one process


@pytest.mark.parametrize("end", ENDS)
def test_the_end_closes_the_sockets_of_the_session(
    make_app: Any, serve: Serve, ann: Account, bob: Account, end: Any
) -> None:
    server = serve(make_app(REFRESH_ROTATION="strict"))
    phone = sign_in(server.app)
    closed = open_sockets(server, phone) + open_sockets(server, phone)
    stay = [open_sockets(server, account) for account in (ann, bob)]
    start = time.monotonic()
    end(server.app, phone, ann)
    assert_closed(closed, start)
    for pair in stay:
        assert_open(*pair)


def test_ending_all_others_closes_the_sockets_of_each(server: Server, ann: Account) -> None:
    others = [sign_in(server.app) for _ in range(3)]
    peers = [peer for account in others for peer in open_sockets(server, account)]
    mine = open_sockets(server, ann)
    start = time.monotonic()
    end_others(server.app, others[0], ann)
    assert_closed(peers, start)
    assert_open(*mine)


def test_a_socket_opened_by_ticket_or_cookie_closes_too(server: Server, ann: Account) -> None:
    client = server.app.test_client()
    ticket = client.post(TICKET, headers=ann.headers).json["ticket"]
    assert client.post(REFRESH, headers=bearer(ann.refresh_token)).status_code == 200
    cookie = f"{auth.COOKIE}={client.get_cookie(auth.COOKIE).value}"
    peers = [server.connect(f"{CHAT}?ticket={ticket}"), server.connect(CHAT, Cookie=cookie)]
    peers.append(server.connect(SYNC, Cookie=cookie))
    for peer in peers:
        peer.expect("connected")
    start = time.monotonic()
    sign_out(server.app, ann, ann)
    assert_closed(peers, start)


def test_what_else_is_told_to_a_user_is_not_for_sync(
    server: Server, ann: Account, bob: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, sync = open_sockets(server, ann)
    assert pull(sync) == []
    chat.until_pong()  # and the pump has come to its end
    pumped: list[Any] = []
    monkeypatch.setattr(sockets.crdt.dialect, "pump", lambda *words: pumped.append(words))
    sender = server.chat(bob)
    for number in range(3):
        sender.send("direct", targetUserId=ann.user["id"], text=str(number))
    assert [chat.expect("direct")["text"] for _ in range(3)] == ["0", "1", "2"]
    end_it(server.app, sign_in(server.app), ann)
    assert chat.until_pong() == []  # comes behind all that was told
    assert pumped == []  # nor is the database read for it
    monkeypatch.undo()
    assert_open(chat, sync)


@pytest.mark.parametrize("type", ["direct", "broadcast", "chat-message"])
def test_no_client_can_feign_the_end_of_a_session(
    server: Server, ann: Account, bob: Account, type: str
) -> None:
    chat, sync = open_sockets(server, ann)
    sender = server.chat(bob)
    ids = [sid(server.app, ann)]
    feigned = {"ids": ids, "data": {"ids": ids}, "event": "sessions-ended", "content": "x"}
    sender.send(type, targetUserId=ann.user["id"], roomId="lobby", **feigned)
    chat.expect(type)
    sender.send("sessions-ended", ids=ids)
    assert sender.expect("error")["code"] == "unknown_type"
    assert_open(chat, sync)


# An end between the handshake and the first job


@pytest.fixture(params=["converse", "enter"])
def end_early(request: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Ends a session by `end(app, device, other)` once its next socket has shaken hands."""
    step = getattr(sockets, request.param)

    def arrange(end: Any, *args: Any) -> None:
        def end_and_go_on(*words: Any) -> None:
            end(*args)
            step(*words)

        monkeypatch.setattr(sockets, request.param, end_and_go_on)

    return arrange


@pytest.mark.parametrize("path", [CHAT, SYNC])
@pytest.mark.parametrize("here", [True, False], ids=["same process", "other process"])
def test_a_session_that_ends_during_the_handshake_gets_no_socket(
    make_app: Any, serve: Serve, ann: Account, end_early: Any, path: str, here: bool
) -> None:
    server = serve(make_app())
    phone = sign_in(server.app)
    mine = open_sockets(server, ann)
    end_early(end_it, server.app if here else make_app(), phone, ann)
    start = time.monotonic()
    peer = server.connect(path, phone)
    assert until_closed(peer) == ([], 4001)
    assert time.monotonic() - start < IN_TIME
    assert_open(*mine)


# In two processes


@pytest.fixture(params=["database", "redis"])
def pair(request: Any, make_app: Any, serve: Serve) -> list[Server]:
    """Two apps on one database, joined by it (SQLite, PostgreSQL) or by Redis."""
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    settings = {"REDIS_URL": redis_url, "REFRESH_ROTATION": "strict"}
    return [serve(make_app(**settings)) for _ in range(2)]


@pytest.mark.parametrize("end", ENDS)
def test_the_end_closes_sockets_of_another_process(
    pair: list[Server], ann: Account, bob: Account, end: Any
) -> None:
    here, there = pair
    phone = sign_in(here.app)
    closed = open_sockets(here, phone) + open_sockets(there, phone)
    stay = [open_sockets(server, account) for server in pair for account in (ann, bob)]
    start = time.monotonic()
    end(here.app, phone, ann)
    assert_closed(closed, start)
    for chat_and_sync in stay:
        assert_open(*chat_and_sync)


def test_the_end_told_by_a_process_without_sockets(
    pair: list[Server], make_app: Any, ann: Account
) -> None:
    web = make_app(serve="web", REDIS_URL=pair[0].app.config["REDIS_URL"])
    phone = sign_in(web)
    closed = [peer for server in pair for peer in open_sockets(server, phone)]
    start = time.monotonic()
    sign_out(web, phone, ann)
    assert_closed(closed, start)


def test_an_end_that_the_bus_lost_closes_sockets_all_the_same(
    pair: list[Server], ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    phone = sign_in(here.app)
    closed, stay = open_sockets(there, phone), open_sockets(there, ann)
    monkeypatch.setattr(here.app.extensions["bus"], "publish", lambda events: None)
    monkeypatch.setattr(there.app.extensions["realtime"].flusher, "queue_events", lambda _: None)
    end_it(here.app, phone, ann)
    for peer in closed:
        assert until_closed(peer)[1] == 4001
    assert_open(*stay)
