"""What every socket keeps to: identity, bad input, failing handlers, sessions, shutdown."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from flask import Flask
from simple_websocket import ConnectionClosed
from sqlalchemy.exc import OperationalError

from auth import COOKIE
from models import db
from sockets import chat
from sockets.dialect import Frame, merge
from sockets.flusher import Flusher, Job
from tests.conftest import PASSWORD, Account, Server, assert_error
from tests.waiting import wait_until


def session_cookie(server: Server, account: Account) -> str:
    browser = server.app.test_client()
    browser.post("/api/auth/login", json={"email": account.email, "password": PASSWORD})
    return f"{COOKIE}={browser.get_cookie(COOKIE).value}"


@pytest.mark.parametrize("path", ["/ws", "/sync"])
def test_a_bearer_token_in_any_case_opens_a_socket(server: Server, ann: Account, path: str) -> None:
    peer = server.connect(path, Authorization=f"bearer {ann.token}")
    assert peer.expect("connected")


def test_the_session_cookie_opens_a_socket_from_our_own_page(server: Server, ann: Account) -> None:
    headers = {"Cookie": session_cookie(server, ann), "Origin": server.url}
    assert server.connect("/ws", **headers).expect("connected")


def test_the_session_cookie_opens_no_socket_from_another_site(server: Server, ann: Account) -> None:
    headers = {"Cookie": session_cookie(server, ann), "Origin": "https://evil.example"}
    assert_error(server.refusal("/ws", **headers), 403, "forbidden")


@pytest.mark.parametrize("query", ["", "?token=", "?token=nonsense"])
def test_sync_without_a_token_is_refused_before_the_upgrade(server: Server, query: str) -> None:
    assert_error(server.refusal("/sync" + query), 401, "unauthorized")


def test_an_ended_session_opens_no_socket(server: Server, ann: Account) -> None:
    server.app.test_client().post("/api/auth/logout", headers=ann.headers)
    assert server.connect("/ws", ann).close_code() == 4001


BAD_FRAMES = [
    pytest.param("{", "invalid_json", id="half an object"),
    pytest.param("[]", "invalid_json", id="a list"),
    pytest.param("null", "invalid_json", id="null"),
    pytest.param('{"type":"ping","sentAt":NaN}', "invalid_json", id="NaN"),
    pytest.param('{"type":"ping","sentAt":"\\ud800"}', "invalid_json", id="lone surrogate"),
    pytest.param("[" * 100_000, "invalid_json", id="deep nesting"),
    pytest.param("{}", "unknown_type", id="no type"),
    pytest.param('{"type":null}', "unknown_type", id="type null"),
    pytest.param('{"type":["join-room"]}', "unknown_type", id="type a list"),
    pytest.param('{"type":"no-such-type"}', "unknown_type", id="unknown type"),
    pytest.param('{"type":"join-room"}', "invalid_input", id="missing field"),
    pytest.param('{"type":"join-room","roomId":{}}', "invalid_input", id="wrong type"),
    pytest.param('{"type":"join-room","roomId":""}', "invalid_room", id="empty room"),
    pytest.param('{"type":"join-room","roomId":"a\\u0000"}', "invalid_room", id="NUL in room"),
    pytest.param(
        json.dumps({"type": "join-room", "roomId": "r" * 201}), "invalid_room", id="long room"
    ),
    pytest.param('{"type":"join-room","roomId":"a","since":"x"}', "invalid_input", id="since"),
    pytest.param(
        '{"type":"chat-message","roomId":"a","content":""}', "invalid_input", id="empty content"
    ),
    pytest.param(
        '{"type":"chat-message","roomId":"a","content":"\\u0000"}', "invalid_input", id="NUL"
    ),
    pytest.param('{"type":"subscribe","payload":{"table":"users"}}', "table_not_found", id="table"),
    pytest.param('{"type":"subscribe"}', "invalid_input", id="no payload"),
    pytest.param('{"type":"broadcast","x":1e999}', "invalid_json", id="vast float"),
    pytest.param(
        '{"type":"broadcast","x":1' + "0" * 298 + "e99}", "invalid_json", id="vast in two ways"
    ),
    pytest.param('{"type":"ping","sentAt":' + "9" * 5000 + "}", "invalid_json", id="vast integer"),
    pytest.param(
        '{"type":"join-room","roomId":"a","since":-1' + "0" * 30 + "}", "invalid_input", id="ago"
    ),
    pytest.param(
        json.dumps({"type": "chat-message", "roomId": "a", "content": "x", "id": "i" * 201}),
        "invalid_input",
        id="long id",
    ),
    pytest.param(b"\xff\xfe", "invalid_json", id="binary garbage"),
]


@pytest.mark.parametrize(("frame", "code"), BAD_FRAMES)
def test_bad_input_is_answered_and_the_socket_lives_on(
    server: Server, ann: Account, frame: str | bytes, code: str
) -> None:
    peer = server.chat(ann)
    peer.socket.send(frame)
    error = peer.expect("error")
    assert error["code"] == code
    assert error["error"] == error["message"] == error["detail"] == error["payload"]["message"]
    assert error["status"] in (400, 404)
    assert peer.until_pong() == []
    with server.app.app_context():
        counts = [
            db.session.scalar(db.select(db.func.count()).select_from(db.metadata.tables[name]))
            for name in ("messages", "rooms", "events")
        ]
    assert counts == [0, 0, 0]


def test_an_error_names_the_frame_it_answers(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    assert peer.ask("chat-message", "error", roomId="", content="x", id="m7")["id"] == "m7"


def test_a_message_too_large_is_refused_and_repetition_closes_with_1009(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], register: Any
) -> None:
    server = serve(make_app(MAX_FRAME_BYTES=1000))
    peer = server.chat(register("ann"))
    peer.send("ping", sentAt="x" * 5000)
    error = peer.expect("error")
    assert (error["status"], error["code"]) == (413, "too_large")
    assert peer.until_pong() == []
    peer.send("ping", sentAt="x" * 5000)
    peer.send("ping", sentAt="x" * 5000)
    assert peer.close_code() == 1009


def test_too_many_messages_are_refused_and_repetition_closes_with_1008(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], register: Any
) -> None:
    server = serve(make_app(FRAMES_PER_SECOND=5))
    peer = server.chat(register("ann"))
    for _ in range(12):
        peer.send("ping")
    error = peer.expect("error")
    assert (error["status"], error["code"]) == (429, "too_many_requests")
    with suppress(ConnectionClosed, OSError):
        for _ in range(5):
            peer.send("ping")
    assert peer.close_code() == 1008


def test_a_handler_that_raises_closes_with_1011_and_harms_nobody_else(
    server: Server, ann: Account, bob: Account, monkeypatch: Any, caplog: Any
) -> None:
    def explode(_connection: Any, _frame: Any) -> None:
        raise RuntimeError("a secret of ours")

    table = merge(chat.dialect.handlers, {"explode": (Frame, explode)})
    monkeypatch.setattr(chat.ChatDialect, "handlers", table)
    one, two = server.chat(ann), server.chat(bob)
    with caplog.at_level(logging.ERROR):
        one.send("explode")
        two.send("chat-message", roomId="lobby", content="still here", id="1")
        assert one.close_code() == 1011
    assert two.expect("ack")["message"]["content"] == "still here"
    assert "handler failed" in caplog.text


def test_no_session_is_held_while_sockets_wait(server: Server, ann: Account) -> None:
    peers = [server.chat(ann) for _ in range(12)]
    for peer in peers:
        peer.ask("join-room", "user-joined", roomId="lobby")
    with server.app.app_context():
        pool = db.engine.pool
    wait_until(lambda: pool.checkedout() == 0)  # other threads of the app hold one now and then


def test_two_tables_with_the_same_type_fail_at_import() -> None:
    with pytest.raises(ValueError, match="chat-message"):
        merge(chat.CHAT_HANDLERS, {"chat-message": chat.CHAT_HANDLERS["chat-message"]})


def test_every_type_has_a_model_and_a_documented_handler() -> None:
    for model, handler in chat.dialect.handlers.values():
        assert issubclass(model, Frame)
        assert handler.__doc__
        assert model.__doc__


def test_stopping_asks_every_client_to_reconnect_elsewhere(server: Server, ann: Account) -> None:
    peers = [server.chat(ann) for _ in range(10)]
    server.app.extensions["realtime"].stop()
    assert [peer.close_code() for peer in peers] == [1001] * 10


def test_compression_is_not_negotiated(server: Server, ann: Account) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    assert server.connect("/ws", ann, **offer).expect("connected")


@pytest.fixture
def spoiled_turn(server: Server, monkeypatch: Any) -> Callable[[], None]:
    """Makes the next turn with several messages fail once, so that its messages run again."""
    attempt, left = Flusher.attempt, [0]

    def fail_late(flusher: Flusher, jobs: list[Job]) -> Exception | None:
        if left[0] and jobs:
            left[0] -= 1
            jobs = [*jobs, Job(jobs[0].connection, lambda _connection: 1 / 0)]
        return attempt(flusher, jobs)

    def arm() -> None:
        left[0] = 1

    monkeypatch.setattr(Flusher, "attempt", fail_late)
    return arm


def test_leaving_is_told_when_its_transaction_is_run_again(
    server: Server, ann: Account, bob: Account, spoiled_turn: Callable[[], None]
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    for peer in (one, two):
        peer.ask("join-room", "user-joined", roomId="lobby")
    one.until_pong()
    spoiled_turn()
    two.send("leave-room", roomId="lobby")
    assert one.expect("user-left")["user"]["name"] == "Bob"
    two.ask("join-room", "user-joined", roomId="lobby")
    spoiled_turn()
    two.close()
    assert one.expect("user-left")["stays"] is False


def test_joining_with_since_replays_once_when_its_transaction_is_run_again(
    server: Server, ann: Account, spoiled_turn: Callable[[], None]
) -> None:
    peer = server.chat(ann)
    for number in range(3):
        peer.ask("chat-message", "ack", roomId="lobby", content="x", id=str(number))
    spoiled_turn()
    peer.send("join-room", roomId="lobby", since=1)
    assert [peer.receive()["seq"] for _ in range(3)] == [2, 3, 3]  # two messages, user-joined
    assert peer.until_pong() == []


def test_ids_come_back_as_they_were_sent(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    ack = peer.ask("chat-message", "ack", roomId="lobby", content="x", id=7)
    assert ack["id"] == 7
    assert peer.ask("no-such-type", "error", id=7)["id"] == 7


def test_who_leaves_while_the_database_is_away_is_forgotten(
    server: Server, ann: Account, monkeypatch: Any
) -> None:
    @contextmanager
    def away() -> Iterator[None]:
        yield
        raise OperationalError("commit", {}, Exception("the database is away"))

    peer = server.chat(ann)
    peer.ask("join-room", "user-joined", roomId="lobby")
    realtime, gone = server.app.extensions["realtime"], threading.Event()
    remove = realtime.hub.remove

    def note(connection: Any) -> None:
        remove(connection)
        gone.set()

    monkeypatch.setattr(realtime.hub, "remove", note)
    monkeypatch.setattr(realtime.flusher, "transaction", away)
    peer.close()
    assert gone.wait(5)
    assert not realtime.hub.connections
    assert not realtime.hub.topics


def test_a_bug_before_the_handler_closes_with_1011(
    server: Server, ann: Account, monkeypatch: Any
) -> None:
    peer = server.chat(ann)
    monkeypatch.setattr(chat.ChatDialect, "look_up", lambda dialect, data: 1 / 0)
    peer.send("ping")
    assert peer.close_code() == 1011


@pytest.mark.parametrize("name", [0, "", "\U0001f600" * 200], ids=["0", "empty", "long"])
def test_any_id_is_acknowledged(server: Server, ann: Account, name: Any) -> None:
    room = "\U0001f600" * 200
    ack = server.chat(ann).ask("chat-message", "ack", roomId=room, content="x", id=name)
    assert ack["id"] == name
