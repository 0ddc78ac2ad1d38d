"""Rooms on the chat socket: who may join, who is removed, and what happens to messages."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from events import record
from models import db
from tests.conftest import Account, Peer, Server
from tests.test_presence import wait_until

CLUB = {"roomId": "club"}


@pytest.fixture
def http(server: Server) -> FlaskClient:
    return server.app.test_client(use_cookies=False)


def make_club(http: FlaskClient, owner: Account, *members: Account) -> None:
    """A private room."""
    ids = [member.user["id"] for member in members]
    body = {"id": "club", "kind": "private", "members": ids}
    assert http.post("/api/rooms", json=body, headers=owner.headers).status_code == 201


def joined(server: Server, account: Account, room: str = "club") -> Peer:
    peer = server.chat(account)
    peer.ask("join-room", "user-joined", roomId=room)
    return peer


def say(peer: Peer, content: str = "hello") -> int:
    """Say something and hear it; the id of the message."""
    return int(peer.ask("chat-message", "chat-message", **CLUB, content=content)["message"]["id"])


def tell_removal(server: Server, account: Account, reason: str = "kicked") -> None:
    with server.app.app_context():
        data = {"roomId": "club", "userId": account.user["id"], "reason": reason}
        record("room:club", "member-removed", data)
        db.session.commit()


FRAMES = [
    pytest.param("join-room", {}, id="join"),
    pytest.param("chat-message", {"content": "x"}, id="post"),
    pytest.param("edit-message", {"messageId": 1, "content": "x"}, id="edit"),
    pytest.param("delete-message", {"messageId": 1}, id="delete"),
    pytest.param("read", {"messageId": 1}, id="read"),
]


@pytest.mark.parametrize(("kind", "fields"), FRAMES)
def test_a_private_room_is_not_there_for_strangers(
    server: Server, http: FlaskClient, ann: Account, bob: Account, kind: str, fields: Any
) -> None:
    make_club(http, ann)
    one, two = joined(server, ann), server.chat(bob)
    error = two.ask(kind, "error", **CLUB, **fields, id=1)
    assert (error["status"], error["code"], error["id"]) == (404, "room_not_found", 1)
    say(one)
    assert two.until_pong() == []
    assert joined(server, ann).until_pong() == []


def test_a_member_of_a_private_room_joins(
    server: Server, http: FlaskClient, ann: Account, bob: Account
) -> None:
    make_club(http, ann, bob)
    one, two = joined(server, ann), joined(server, bob)
    say(one)
    assert two.expect("chat-message")["message"]["content"] == "hello"


def test_a_locked_room_takes_nobody_new(
    server: Server, http: FlaskClient, ann: Account, bob: Account
) -> None:
    joined(server, ann)
    body = {"isLocked": True}
    assert http.patch("/api/rooms/club", json=body, headers=ann.headers).status_code == 200
    two = server.chat(bob)
    assert two.ask("join-room", "error", **CLUB)["status"] == 403
    assert two.ask("chat-message", "error", **CLUB, content="x")["status"] == 403
    joined(server, ann)  # who has a seat returns


def test_who_is_removed_hears_no_more_on_any_tab(
    server: Server, ann: Account, bob: Account
) -> None:
    one, tabs = joined(server, ann), [joined(server, bob) for _ in range(2)]
    one.until_pong()
    tell_removal(server, bob)
    for tab in tabs:
        assert tab.expect("room-left") == {"type": "room-left", **CLUB, "reason": "kicked"}
    removed = one.expect("member-removed")
    assert (removed["userId"], removed["reason"], removed["seq"]) == (bob.user["id"], "kicked", 1)
    assert one.expect("user-left")["user"]["name"] == "Bob"
    say(one)
    for tab in tabs:
        assert tab.until_pong() == []
    assert one.until_pong() == []


def test_the_others_stay_when_the_last_of_a_process_is_removed(
    server: Server, ann: Account
) -> None:
    one = joined(server, ann)
    tell_removal(server, ann, "left")
    assert one.expect("room-left")["reason"] == "left"
    assert one.until_pong() == []
    hub = server.app.extensions["realtime"].hub
    assert "room:club" not in hub.topics
    wait_until(lambda: not hub.presence.places)


def test_an_edited_message_is_told_to_the_room(server: Server, ann: Account, bob: Account) -> None:
    one, two = joined(server, ann), joined(server, bob)
    message_id = say(one)
    one.send("edit-message", **CLUB, messageId=message_id, content="better")
    for peer in (one, two):
        edited = peer.expect("message-edited")
        assert (edited["roomId"], edited["seq"]) == ("club", 2)
        assert (edited["message"]["id"], edited["message"]["content"]) == (message_id, "better")
        assert edited["message"]["editedAt"].endswith("Z")


def test_a_deleted_message_is_told_to_the_room_and_gone(
    server: Server, http: FlaskClient, ann: Account, bob: Account
) -> None:
    one, two = joined(server, ann), joined(server, bob)
    message_id = say(two)
    one.send("delete-message", **CLUB, messageId=message_id)  # who made the room owns it
    for peer in (one, two):
        assert peer.expect("message-deleted")["messageId"] == message_id
    assert http.get("/api/rooms/club/messages", headers=ann.headers).json == []


@pytest.mark.parametrize(
    ("kind", "fields"), [("edit-message", {"content": "x"}), ("delete-message", {})]
)
def test_messages_of_others_are_left_alone(
    server: Server, ann: Account, bob: Account, kind: str, fields: Any
) -> None:
    one, two = joined(server, ann), joined(server, bob)
    message_id = say(one)
    assert two.ask(kind, "error", **CLUB, messageId=message_id, **fields)["status"] == 403
    missing = two.ask(kind, "error", **CLUB, messageId=message_id + 1, **fields)
    assert (missing["status"], missing["code"]) == (404, "message_not_found")
    assert one.ask("edit-message", "error", **CLUB, messageId="x", content="x")["status"] == 400


def test_reading_is_told_to_all_devices_of_the_reader_alone(
    server: Server, ann: Account, bob: Account
) -> None:
    one, tabs = joined(server, ann), [joined(server, bob) for _ in range(2)]
    first, second = say(one), say(one)
    one.until_pong()
    tabs[0].send("read", **CLUB, messageId=first)
    for tab in tabs:
        read = tab.expect("room-read")
        assert (read["roomId"], read["messageId"], read["unread"]) == ("club", first, 1)
    tabs[0].send("read", **CLUB)
    assert tabs[1].expect("room-read")["messageId"] == second
    tabs[0].send("read", **CLUB, messageId=first)
    tabs[0].until_pong()
    assert tabs[1].until_pong() == one.until_pong() == []
