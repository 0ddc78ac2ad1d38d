"""One-time tickets: open one socket, once, within half a minute, and nothing else."""

import socket
import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from simple_websocket import ConnectionClosed
from sqlalchemy import select

import auth
import models
from models import OneTimeToken, User, db
from tests.accounts import LOGOUT, ME
from tests.conftest import Account, Server, assert_error

TICKET, CONFIRM = "/api/auth/ticket", "/api/auth/password-reset/confirm"
CHAT, SYNC = "/ws", "/sync?channel=default"
HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
DOORS = pytest.mark.parametrize("path", [CHAT, "/", SYNC, "/?channel=default"])


def take_ticket(app: Flask, account: Account) -> str:
    response = app.test_client(use_cookies=False).post(TICKET, headers=account.headers)
    assert response.status_code == 200, response.json
    return str(response.json["ticket"])


def make_reset(app: Flask, account: Account) -> str:
    """The token of a password reset."""
    with app.app_context():
        user = User.load(account.user["id"])
        token = OneTimeToken.issue("reset", user, timedelta(hours=1))
        db.session.commit()
    return token


def door(path: str, ticket: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}ticket={ticket}"


def knock(server: Server, path: str, ticket: str) -> str:
    """`connected`, or how the socket was refused: `4001` on chat, `401` on sync."""
    if path not in (CHAT, "/"):
        return knock_at_sync(server, door(path, ticket))
    peer = server.connect(door(path, ticket))
    try:
        assert peer.receive()["type"] == "system"  # the first frame of every chat socket
        return str(peer.receive()["type"])
    except ConnectionClosed as closed:
        return str(closed.reason)


def knock_at_sync(server: Server, path: str) -> str:
    """Shake hands by hand: the library would not tell what a refusal says."""
    address = ("127.0.0.1", server.server.port)
    with socket.create_connection(address, timeout=5) as wire, wire.makefile("rb") as answer:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: wharf.test\r\n{HANDSHAKE}\r\n".encode())
        status = answer.readline().split()[1].decode()
        while answer.readline().strip():
            pass  # headers
        if status == "101":
            assert b'"connected"' in answer.read(30)  # it is in the registry, so it will be missed
            return "connected"
        assert b'"unauthorized"' in answer.read()
        return status


def refused(path: str) -> str:
    return "4001" if path in (CHAT, "/") else "401"


# Good ones


@pytest.mark.parametrize("path", [TICKET, "/auth/ticket"])
def test_the_answer_is_a_ticket_and_its_life(
    app: Flask, client: FlaskClient, ann: Account, path: str
) -> None:
    answers = [client.post(path, headers=ann.headers) for _ in range(2)]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 2
    first, second = (answer.json for answer in answers)
    assert first == {"ticket": first["ticket"], "expiresIn": 30}
    assert len(first["ticket"]) >= 32
    assert first["ticket"] != second["ticket"]
    with app.app_context():
        stored = db.session.scalars(select(OneTimeToken)).all()
    assert {row.purpose for row in stored} == {"ticket"}
    assert not {first["ticket"], second["ticket"]} & {row.digest for row in stored}


@DOORS
def test_it_opens_a_socket_once(server: Server, ann: Account, path: str) -> None:
    ticket = take_ticket(server.app, ann)
    assert knock(server, path, ticket) == "connected"
    assert knock(server, path, ticket) == refused(path)


def test_the_socket_is_that_of_the_user(server: Server, ann: Account, bob: Account) -> None:
    take_ticket(server.app, bob)
    peer = server.connect(door(CHAT, take_ticket(server.app, ann)))
    assert peer.expect("connected")["user"] == ann.user


@pytest.mark.parametrize("path", [CHAT, SYNC])
def test_it_opens_a_socket_of_another_process(
    make_app: Any, serve: Any, ann: Account, path: str
) -> None:
    here, there = make_app(), serve(make_app())
    ticket = take_ticket(here, ann)
    assert knock(there, path, ticket) == "connected"
    assert knock(serve(here), path, ticket) == refused(path)


@pytest.mark.parametrize("path", [CHAT, SYNC])
@pytest.mark.parametrize("processes", [1, 2])
def test_of_sockets_at_the_same_time_one_wins(
    make_app: Any, serve: Any, ann: Account, path: str, processes: int
) -> None:
    servers = [serve(make_app()) for _ in range(processes)]
    for _ in range(5):
        ticket = take_ticket(servers[0].app, ann)
        start, heard = threading.Barrier(4), []

        def rush(server: Server, ticket: str = ticket, start: Any = start, heard: Any = heard):
            start.wait()
            heard.append(knock(server, path, ticket))

        threads = [threading.Thread(target=rush, args=(servers[n % processes],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(heard) == sorted(["connected", *[refused(path)] * 3])


# Bad ones


def nonsense(app: Flask, ann: Account, move: Any) -> str:
    return "nonsense"


def nothing(app: Flask, ann: Account, move: Any) -> str:
    return ""


def worst(app: Flask, ann: Account, move: Any) -> str:
    return "%00%ff%ed%a0%80"


def vast(app: Flask, ann: Account, move: Any) -> str:
    return "x" * 20_000


def expired(app: Flask, ann: Account, move: Any) -> str:
    ticket = take_ticket(app, ann)
    move(seconds=30)
    return ticket


def of_an_ended_session(app: Flask, ann: Account, move: Any) -> str:
    ticket = take_ticket(app, ann)
    app.test_client().post(LOGOUT, headers=ann.headers)
    return ticket


def reset_token(app: Flask, ann: Account, move: Any) -> str:
    return make_reset(app, ann)


def access_token(app: Flask, ann: Account, move: Any) -> str:
    return ann.token


def refresh_token(app: Flask, ann: Account, move: Any) -> str:
    return ann.refresh_token


def its_digest(app: Flask, ann: Account, move: Any) -> str:
    return models.fingerprint(take_ticket(app, ann).encode())


BAD = [
    nonsense,
    nothing,
    worst,
    vast,
    expired,
    of_an_ended_session,
    reset_token,
    access_token,
    refresh_token,
    its_digest,
]


@pytest.fixture
def move_time(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the one clock on: `move_time(seconds=30)`."""
    real, moved = models.now, [timedelta()]
    for module in (models, auth):
        monkeypatch.setattr(module, "now", lambda: real() + moved[0])

    def move(**by: float) -> None:
        moved[0] += timedelta(**by)

    return move


@pytest.mark.parametrize("path", [CHAT, SYNC])
@pytest.mark.parametrize("make", BAD)
def test_a_bad_ticket_opens_nothing(
    server: Server, ann: Account, move_time: Any, make: Any, path: str
) -> None:
    assert knock(server, path, make(server.app, ann, move_time)) == refused(path)


def test_it_lives_for_half_a_minute(server: Server, ann: Account, move_time: Any) -> None:
    ticket = take_ticket(server.app, ann)
    move_time(seconds=25)
    assert knock(server, CHAT, ticket) == "connected"


def test_old_tickets_are_swept_out(app: Flask, ann: Account, move_time: Any) -> None:
    take_ticket(app, ann)
    move_time(seconds=31)
    take_ticket(app, ann)
    with app.app_context():
        assert len(db.session.scalars(select(OneTimeToken)).all()) == 1


def test_a_ticket_resets_no_password_and_is_not_used_up(server: Server, ann: Account) -> None:
    ticket = take_ticket(server.app, ann)
    client = server.app.test_client()
    body = {"token": ticket, "password": "another horse"}
    assert_error(client.post(CONFIRM, json=body), 400, "invalid_token")
    assert knock(server, CHAT, ticket) == "connected"


def test_a_reset_token_opens_no_socket_and_is_not_used_up(server: Server, ann: Account) -> None:
    token = make_reset(server.app, ann)
    for path in (CHAT, SYNC):
        assert knock(server, path, token) == refused(path)
    body = {"token": token, "password": "another horse"}
    assert server.app.test_client().post(CONFIRM, json=body).json == {"ok": True}


@pytest.mark.parametrize("path", [CHAT, SYNC])
def test_a_ticket_is_for_sockets_alone(server: Server, ann: Account, path: str) -> None:
    ticket = take_ticket(server.app, ann)
    client = server.app.test_client()
    assert_error(client.get(door(ME, ticket)), 401, "unauthorized")
    assert client.get(door("/api/auth/check", ticket)).json["authenticated"] is False
    assert client.get(door("/api/todos", ticket)).status_code == 200
    assert_error(client.post(door(TICKET, ticket)), 401, "unauthorized")
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert_error(client.get(door(ME, ticket), headers=upgrade), 404)
    alone = {"Upgrade": "websocket"}  # a plain request that poses as a handshake
    assert_error(client.get(door(ME, ticket), headers=alone), 401, "unauthorized")
    assert_error(client.post(door(TICKET, ticket), headers=alone), 401, "unauthorized")
    assert knock(server, path, ticket) == "connected"
