"""The chat widget's dialect: docs/frontends/widget.md, with and without an account."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from sockets import visitors, widget
from sockets.framing import POLICY
from sockets.widget import MAX_WATCHES
from tests.conftest import Account, Peer, Server
from tests.waiting import wait_until

TODOS = "/api/todos"
ENVELOPE = {"clientId": "client_1", "timestamp": "2026-11-20T13:59:22.171Z"}
SAID = {"content": "hello", "sender": "user", "timestamp": "2026-11-20T13:59:22.171Z"}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """Open to visitors."""
    return make_app(ANONYMOUS_CHAT=True)


@pytest.fixture
def closed(make_app: Callable[..., Flask], serve: Callable[[Flask], Server]) -> Server:
    """As it is without settings."""
    return serve(make_app())


def visit(server: Server, path: str = "/") -> Peer:
    """A visitor who has been greeted."""
    peer = server.connect(path)
    assert peer.expect("connected")["user"] is None
    return peer


def sign_in(peer: Peer, account: Account) -> dict[str, Any]:
    """The payload of the answer to an `auth` frame."""
    answer = peer.ask("auth", "auth_response", payload={"token": account.token}, **ENVELOPE)
    assert answer["timestamp"].endswith("Z")
    payload: dict[str, Any] = answer["payload"]
    return payload


# Opening


@pytest.mark.parametrize("path", ["/", "/ws", "/?token=", "/ws?token=null", "/ws?ticket=undefined"])
def test_a_visitor_is_greeted(server: Server, path: str) -> None:
    peer = server.connect(path)
    system = peer.receive()
    assert system["type"] == "system"
    assert system["payload"]["message"]
    assert system["timestamp"].endswith("Z")
    assert peer.receive() == {"type": "connected", "user": None}
    assert peer.until_pong() == []


def test_a_user_is_greeted_alike(server: Server, ann: Account) -> None:
    peer = server.connect("/", ann)
    assert peer.receive()["type"] == "system"
    assert peer.receive()["user"]["id"] == ann.user["id"]


@pytest.mark.parametrize("path", ["/?token=nonsense", "/ws?token=a.b.c", "/ws?ticket=nonsense"])
def test_a_bad_token_is_closed_with_4001_also_where_visitors_may_come(
    server: Server, path: str
) -> None:
    assert server.connect(path).close_code() == 4001


def test_an_ended_session_does_not_open_as_a_visitor(server: Server, ann: Account) -> None:
    server.app.test_client().post("/api/auth/logout", headers=ann.headers)
    assert server.connect("/ws", ann).close_code() == 4001


@pytest.mark.parametrize("path", ["/", "/ws", "/ws?token=", "/ws?token=null", "/?token=bad"])
def test_without_the_setting_visitors_are_closed_with_4001(closed: Server, path: str) -> None:
    assert closed.connect(path).close_code() == 4001


def test_sync_stays_closed_to_visitors(server: Server) -> None:
    assert server.refusal("/sync").status_code == 401


# What visitors may do


def test_a_ping_is_answered(server: Server) -> None:
    pong = visit(server).ask("ping", "pong", sentAt=1732111162171, **ENVELOPE)
    assert pong["sentAt"] == 1732111162171
    assert pong["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("join-room", {"roomId": "lobby"}),
        ("leave-room", {"roomId": "lobby"}),
        ("chat-message", {"roomId": "lobby", "content": "x"}),
        ("typing", {"roomId": "lobby"}),
        ("broadcast", {"text": "x"}),
        ("direct", {"targetUserId": 1}),
        ("chat", {"payload": {"content": "x", "session_id": "s"}}),
        ("subscribe", {"payload": {"channel": "s"}}),
    ],
)
def test_all_else_is_401_for_visitors(
    server: Server, ann: Account, kind: str, fields: dict[str, Any]
) -> None:
    user, visitor = server.chat(ann), visit(server)
    user.ask("join-room", "user-joined", roomId="lobby")
    error = visitor.ask(kind, "error", id="f1", **fields)
    assert (error["status"], error["code"], error["id"]) == (401, "unauthorized", "f1")
    assert error["payload"]["message"] == error["message"]
    assert visitor.until_pong() == []
    assert user.until_pong() == []


def test_only_handlers_that_say_so_are_open_to_visitors() -> None:
    assert {handler.__name__ for handler in visitors.OPEN} == {
        *("authenticate", "subscribe", "unsubscribe", "chat", "echo", "answer_ping"),
        *("relay", "relay_to_all", "relay_binary", "tune_in", "tune_out", "publish_frame"),
    }


def test_visitors_do_not_hear_broadcasts_and_users_do(server: Server, ann: Account) -> None:
    user, visitor = server.chat(ann), visit(server)
    user.ask("broadcast", "broadcast", text="internal")
    assert visitor.until_pong() == []


# Chat


def test_chat_reaches_all_clients_the_sender_included(
    server: Server, ann: Account, bob: Account
) -> None:
    visitor, other, user = visit(server), visit(server), server.chat(ann)
    visitor.send("chat", payload={**SAID, "mood": ["x"]}, **ENVELOPE)
    for peer in (visitor, other, user):
        told = peer.receive()
        assert told.pop("timestamp").endswith("Z")
        payload = {**SAID, "mood": ["x"]}
        assert told == {"type": "chat", "payload": payload, "clientId": "client_1", "user": None}
    user.send("chat", payload={"content": "hi"})
    told = visitor.receive()
    assert told["user"] == {"id": ann.user["id"], "name": "Ann"}
    assert told["payload"] == {"content": "hi"}
    assert told["clientId"] is None


BAD_SAID = [
    pytest.param(None, id="null"),
    pytest.param("hello", id="a text"),
    pytest.param([], id="a list"),
    pytest.param({}, id="empty"),
    pytest.param({"content": ""}, id="no words"),
    pytest.param({"content": None}, id="words null"),
    pytest.param({"content": {"x": 1}}, id="words an object"),
    pytest.param({"content": "a\0"}, id="NUL"),
    pytest.param({"content": "x" * 100_001}, id="long"),
    pytest.param({"content": "x", "session_id": ""}, id="session empty"),
    pytest.param({"content": "x", "session_id": ["s"]}, id="session a list"),
    pytest.param({"content": "x", "session_id": "s" * 191}, id="session long"),
    pytest.param({"content": "x", "session_id": "s\0"}, id="session NUL"),
    pytest.param({"content": "x", "session_id": True}, id="session true"),
]


@pytest.mark.parametrize("payload", BAD_SAID)
def test_bad_chat_is_400_and_told_to_nobody(server: Server, payload: Any) -> None:
    visitor, other = visit(server), visit(server)
    error = visitor.ask("chat", "error", payload=payload, **ENVELOPE)
    assert (error["status"], error["code"]) == (400, "invalid_input")
    assert all(field.startswith("payload") for field in error["errors"])
    assert visitor.until_pong() == other.until_pong() == []


@pytest.mark.parametrize("client_id", [["x"], {}, "x" * 501, "\0", True])
def test_a_bad_client_id_is_400(server: Server, client_id: Any) -> None:
    error = visit(server).ask("chat", "error", payload=SAID, clientId=client_id)
    assert (error["status"], list(error["errors"])) == (400, ["clientId"])


def test_chat_to_all_is_limited(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server]
) -> None:
    server = serve(make_app(ANONYMOUS_CHAT=True, CHAT_LIMIT="2 per hour"))
    one, two = visit(server), visit(server)
    one.ask("chat", "chat", payload=SAID)
    one.ask("chat", "chat", payload=SAID)
    for peer in (one, two):  # one address
        peer.until_pong()
        assert peer.ask("chat", "error", payload=SAID, id=3)["status"] == 429
        assert peer.until_pong() == []


# Chat sessions


def test_a_session_is_told_to_its_sender_and_its_subscribers(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two, three, visitor = server.chat(ann), server.chat(bob), server.chat(bob), visit(server)
    system = two.ask("subscribe", "system", payload={"channel": "s1"})["payload"]
    assert (system["subscribed"], system["seq"]) == ("s1", 0)
    one.send("chat", payload={**SAID, "session_id": "s1"}, **ENVELOPE)
    mine, theirs = one.receive(), two.receive()
    assert theirs.pop("seq") == 1
    assert mine == theirs
    assert mine["payload"] == {**SAID, "session_id": "s1"}
    assert three.until_pong() == visitor.until_pong() == one.until_pong() == []
    history = server.app.test_client().get("/api/rooms/chat:s1/messages", headers=bob.headers).json
    assert [(m["id"], m["content"]) for m in history] == [(mine["messageId"], "hello")]


def test_a_sender_who_subscribes_is_told_once(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    peer.ask("subscribe", "system", payload={"channel": "chat:s1"})
    peer.send("chat", payload={"content": "x", "session_id": "s1"})
    assert peer.receive()["seq"] == 1
    assert peer.until_pong() == []


def test_a_session_is_a_room_of_the_chat(server: Server, ann: Account, bob: Account) -> None:
    widget_page, room_page = server.chat(ann), server.chat(bob)
    room_page.ask("join-room", "user-joined", roomId="chat:s1")
    widget_page.send("chat", payload={"content": "x", "session_id": "s1"})
    told = room_page.expect("chat-message")
    assert (told["roomId"], told["message"]["content"]) == ("chat:s1", "x")


def test_a_session_resumes_where_it_was_left(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    two.ask("subscribe", "system", payload={"channel": "s1"})
    for word in "abc":
        one.send("chat", payload={"content": word, "session_id": "s1"})
    assert [two.expect("chat")["payload"]["content"] for _ in range(3)] == ["a", "b", "c"]
    two.close()
    again = server.chat(bob)
    again.send("subscribe", payload={"channel": "s1"}, since=1)
    assert [again.receive()["seq"] for _ in range(2)] == [2, 3]
    assert again.receive()["payload"]["seq"] == 3
    assert again.until_pong() == []


def test_an_unsubscribed_session_is_silent(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    two.ask("subscribe", "system", payload={"channel": "s1"})
    gone = two.ask("unsubscribe", "system", payload={"channel": "s1"})["payload"]
    assert gone["unsubscribed"] == "s1"
    one.ask("chat", "chat", payload={"content": "x", "session_id": "s1"})
    assert two.until_pong() == []


def test_subscriptions_in_one_breath_end_as_the_last_word_says(
    server: Server, ann: Account
) -> None:
    peer = server.chat(ann)
    for kind in ("subscribe", "unsubscribe", "subscribe"):
        peer.send(kind, payload={"channel": "s1"})
    peer.until_pong()
    peer.send("chat", payload={"content": "x", "session_id": "s1"})
    assert peer.receive()["seq"] == 1


def test_a_session_closed_to_a_user_is_not_told_to_them(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    one.ask("chat", "chat", payload={"content": "mine", "session_id": "s1"})
    lock_room(server, "chat:s1")
    for kind, payload in (
        ("subscribe", {"channel": "s1"}),
        ("chat", {"content": "x", "session_id": "s1"}),
    ):
        assert two.ask(kind, "error", payload=payload)["status"] == 403
    one.ask("chat", "chat", payload={"content": "secret", "session_id": "s1"})
    assert two.until_pong() == []


def test_who_is_banned_from_a_session_hears_no_more_of_it(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    one.ask("chat", "chat", payload={"content": "mine", "session_id": "s1"})
    two.ask("subscribe", "system", payload={"channel": "s1"})
    path = f"/api/rooms/chat:s1/members/{bob.user['id']}"
    http = server.app.test_client(use_cookies=False)
    banned = http.patch(path, json={"isBanned": True}, headers=ann.headers)
    assert banned.status_code == 200
    two.expect("room-left")
    one.ask("chat", "chat", payload={"content": "secret", "session_id": "s1"})
    assert "secret" not in str([*two.until_pong(), *two.until_pong()])
    error = two.ask("chat", "error", payload={"content": "x", "session_id": "s1"})
    assert error["status"] == 403


def test_words_of_a_deleted_message_are_not_replayed(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    chat = peer.ask("chat", "chat", payload={"content": "secret", "session_id": "s1"})
    peer.send("delete-message", roomId="chat:s1", messageId=chat["messageId"])
    peer.send("subscribe", payload={"channel": "s1"}, since=0)
    frames = peer.until_pong()
    assert frames[-1]["payload"]["subscribed"] == "s1"
    assert "secret" not in str(frames)


def test_what_others_write_in_the_room_reaches_the_session_as_chat(
    server: Server, ann: Account, bob: Account
) -> None:
    peer = server.chat(ann)
    peer.ask("subscribe", "system", payload={"channel": "s1"})
    http, body = server.app.test_client(), {"content": "an answer"}
    http.post("/api/rooms/chat:s1/messages", json=body, headers=bob.headers)
    told = peer.expect("chat")
    assert told["user"] == {"id": bob.user["id"], "name": "Bob"}
    assert told["payload"].pop("timestamp") == told["timestamp"]
    assert told["payload"] == {"content": "an answer", "sender": "Bob", "session_id": "s1"}


def lock_room(server: Server, room_id: str) -> None:
    from models import Room, db

    with server.app.app_context():
        db.session.get(Room, room_id).is_locked = True
        db.session.commit()


# Echo


@pytest.mark.parametrize("payload", [{"deep": [1, None]}, "x", 0, None, []])
@pytest.mark.parametrize("kind", ["echo", "widget_opened", "", "connected"])
def test_unknown_types_of_a_widget_are_echoed(server: Server, kind: str, payload: Any) -> None:
    answer = visit(server).ask(kind, "echo", payload=payload, **ENVELOPE)
    assert answer.pop("timestamp").endswith("Z")
    assert answer == {"type": "echo", "originalType": kind, "payload": payload}


def test_an_echo_needs_no_envelope(server: Server, ann: Account) -> None:
    assert server.chat(ann).ask("echo", "echo", payload=1)["payload"] == 1


@pytest.mark.parametrize(
    "frame",
    [{"type": "nope", "payload": 1}, {"type": None, "clientId": "x"}, {"clientId": "x"}]
    + [{"type": ["chat"], "clientId": "x"}, {"type": 7, "clientId": "x", "payload": 1}],
)
def test_other_unknown_types_stay_errors(server: Server, frame: dict[str, Any]) -> None:
    peer = visit(server)
    peer.socket.send(json.dumps(frame))
    assert peer.receive()["code"] == "unknown_type"


def test_bad_json_is_an_error_frame_and_the_socket_lives_on(server: Server) -> None:
    peer = visit(server)
    peer.socket.send("{not json")
    error = peer.receive()
    assert (error["type"], error["code"]) == ("error", "invalid_json")
    assert error["payload"]["message"]
    assert error["timestamp"].endswith("Z")
    assert peer.until_pong() == []


# auth


@pytest.mark.parametrize("beside", [False, True], ids=["in the payload", "beside the type"])
def test_auth_makes_a_visitor_a_user(server: Server, ann: Account, beside: bool) -> None:
    peer = visit(server)
    fields = {"token": ann.token} if beside else {"payload": {"token": ann.token}}
    payload = peer.ask("auth", "auth_response", **fields, **ENVELOPE)["payload"]
    assert (payload["success"], payload["userId"]) == (True, ann.user["id"])
    assert payload["permissions"] == ann.user["permissions"]
    peer.ask("join-room", "user-joined", roomId="lobby")
    ack = peer.ask("chat-message", "ack", roomId="lobby", content="x", id=1)
    assert ack["message"]["userId"] == ann.user["id"]


def test_what_is_sent_behind_auth_is_done_as_the_user(server: Server, ann: Account) -> None:
    peer = visit(server)
    peer.send("auth", payload={"token": ann.token})
    peer.send("join-room", roomId="lobby")
    assert peer.expect("auth_response")["payload"]["success"] is True
    assert peer.expect("user-joined")["user"]["name"] == "Ann"


def bad_tokens() -> list[Any]:
    fields = [{}, {"payload": None}, {"payload": {}}, {"token": ""}, {"token": None}]
    words = ["", None, "null", "undefined", "nonsense", "a.b.c", "x" * 10_000, "é\0"]
    return [*fields, *({"payload": {"token": word}} for word in words)]


@pytest.mark.parametrize("fields", bad_tokens(), ids=lambda fields: str(fields)[:30])
def test_a_bad_token_fails_and_the_socket_stays_a_visitor(
    server: Server, fields: dict[str, Any]
) -> None:
    peer = visit(server)
    payload = peer.ask("auth", "auth_response", **fields)["payload"]
    assert payload.pop("error") in ("Invalid token", "No token provided")
    assert payload == {"success": False, "userId": None, "permissions": []}
    assert peer.ask("join-room", "error", roomId="lobby")["status"] == 401


@pytest.mark.parametrize(
    "fields",
    [{"payload": []}, {"payload": "t"}, {"payload": {"token": 7}}, {"token": {}}, {"token": []}],
)
def test_a_token_of_a_wrong_type_is_400(server: Server, fields: dict[str, Any]) -> None:
    peer = visit(server)
    assert peer.ask("auth", "error", **fields)["status"] == 400
    assert peer.until_pong() == []


def test_refresh_tokens_and_tokens_of_ended_sessions_fail(server: Server, ann: Account) -> None:
    peer = visit(server)
    for token in (ann.refresh_token, ann.token):
        server.app.test_client().post("/api/auth/logout", headers=ann.headers)
        answer = peer.ask("auth", "auth_response", payload={"token": token})
        assert answer["payload"]["success"] is False
    assert [
        topic for topic in server.app.extensions["realtime"].hub.topics if "user:" in topic
    ] == []


def test_the_end_of_its_session_closes_a_socket_that_signed_in(
    server: Server, ann: Account
) -> None:
    peer, stranger = visit(server), visit(server)
    sign_in(peer, ann)
    server.app.test_client().post("/api/auth/logout", headers=ann.headers)
    assert peer.close_code() == 4001
    assert stranger.until_pong() == []


def test_a_session_that_ends_while_its_token_is_looked_up_opens_nothing(
    server: Server, ann: Account, monkeypatch: Any
) -> None:
    peer, find = visit(server), visitors.Auth.find_session

    def find_late(frame: Any) -> Any:
        session = find(frame)
        server.app.test_client().post("/api/auth/logout", headers=ann.headers)
        return session

    monkeypatch.setattr(visitors.Auth, "find_session", find_late)
    answer = peer.ask("auth", "auth_response", payload={"token": ann.token})
    assert answer["payload"]["success"] is False
    assert peer.ask("join-room", "error", roomId="lobby")["status"] == 401


def test_a_socket_that_signed_in_hears_what_users_hear(
    server: Server, ann: Account, bob: Account
) -> None:
    peer, other = visit(server), server.chat(bob)
    sign_in(peer, ann)
    peer.until_pong()
    other.send("direct", targetUserId=ann.user["id"], text="psst")
    assert peer.receive()["text"] == "psst"
    other.send("broadcast", text="all")
    assert peer.receive()["text"] == "all"


def test_a_socket_changes_no_account(server: Server, ann: Account, bob: Account) -> None:
    peer = server.chat(ann)
    refused = peer.ask("auth", "auth_response", payload={"token": bob.token})["payload"]
    assert (refused["success"], refused["userId"]) == (False, None)
    assert peer.ask("join-room", "user-joined", roomId="lobby")["user"]["name"] == "Ann"
    assert sign_in(peer, ann)["success"] is True  # of its own, as often as it likes


def test_no_session_of_the_database_is_held_by_sockets_that_signed_in(
    server: Server, ann: Account
) -> None:
    from models import db

    for _ in range(8):
        sign_in(visit(server), ann)
    with server.app.app_context():
        pool = db.engine.pool
    wait_until(lambda: pool.checkedout() == 0)  # other threads of the app hold one now and then


def test_constants_are_as_documented() -> None:
    assert (MAX_WATCHES, POLICY) == (20, 1008)
    public = {"todos", "posts", "comments", "categories", "context_rules"}
    assert set(widget.TABLES) == {*public, "files", "folders"}
