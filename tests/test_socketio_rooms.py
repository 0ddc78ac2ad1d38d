"""What Socket.IO clients say to each other, and the rooms that are stored."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import Room, db
from tests.clients.talker import POLLING, UNTIDY, WEBSOCKET, Talker
from tests.conftest import Account, Server
from tests.processes import Deployment

pytestmark = UNTIDY

Talk = Callable[..., Talker]


def join(talker: Talker, room: str = "a", **facts: Any) -> int:
    """Come into a room; how many are in it then."""
    joined = talker.ask("join-room", "room-joined", {"roomId": room, **facts})
    assert joined["roomId"] == room
    return int(joined["memberCount"])


def make_room(
    client: FlaskClient, owner: Account, *members: Account, kind: str = "private"
) -> None:
    body = {"id": "club", "kind": kind, "members": [member.user["id"] for member in members]}
    assert client.post("/api/rooms", json=body, headers=owner.headers).status_code == 201


# Rooms of clients


def test_each_client_counts_and_the_others_hear_who_comes_and_goes(
    talk: Talk, ann: Account, bob: Account
) -> None:
    one, two, three = talk(ann), talk(bob), talk(bob)
    assert join(one) == 1
    assert join(two, roomName="The room", userInfo={"color": "red"}) == 2
    bob_id = bob.user["id"]
    came = {"roomId": "a", "userId": bob_id, "userInfo": {"color": "red"}}
    assert one.expect("user-joined") == came
    assert join(three) == 3
    assert one.expect("user-joined") == {"roomId": "a", "userId": bob_id}
    assert two.ask("leave-room", "room-left", {"roomId": "a"}) == {"roomId": "a"}
    assert one.expect("user-left") == came
    three.vanish()
    assert one.expect("user-left") == {"roomId": "a", "userId": bob_id}
    assert join(one) == 1
    assert one.until_pong() == two.until_pong() == []


def test_the_answer_names_the_room(talk: Talk, ann: Account) -> None:
    told = talk(ann).ask("join-room", "room-joined", {"roomId": 7, "roomName": "Seven"})
    assert told == {"roomId": "7", "roomName": "Seven", "memberCount": 1}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("join-room", "a"),
        ("join_room", {"room": "a"}),
        ("join-session", {"sessionId": "a"}),
        ("join_session", "a"),
        ("join-room", {"channel": "a"}),
    ],
)
def test_a_room_is_joined_under_all_its_words(
    talk: Talk, ann: Account, event: str, data: Any
) -> None:
    told = talk(ann).ask(event, "room-joined", data)
    assert told == {"roomId": "a", "roomName": "a", "memberCount": 1}


def test_visitors_count_too(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], talk: Talk
) -> None:
    url = serve(make_app(ANONYMOUS_CHAT=True)).url
    one, two = talk(url=url), talk(url=url)
    assert join(one) == 1
    assert join(two) == 2
    assert one.expect("user-joined") == {"roomId": "a", "userId": two.sid}
    assert two.demand("room:create", {"name": "x"})["status"] == 401
    for talker in (one, two):
        talker.disconnect()


@pytest.mark.parametrize("data", [{}, "", "x" * 201, {"roomId": "a", "userInfo": "x" * 2001}, [1]])
def test_a_bad_room_is_an_error(talk: Talk, ann: Account, data: Any) -> None:
    talker = talk(ann)
    assert talker.ask("join-room", "error", data)["status"] == 400
    answer = talker.demand("join-room", data)
    assert answer["ok"] is False
    assert answer["error"]


def test_one_client_is_in_a_limited_number_of_rooms(talk: Talk, ann: Account) -> None:
    talker = talk(ann)
    for number in range(100):
        talker.emit("join-channel", f"room {number}")
    assert talker.until_pong() == []
    assert talker.demand("join-channel", "one more")["code"] == "too_many"
    talker.emit("leave-channel", "room 7")
    assert talker.demand("join-channel", "one more") is None


# What is passed on


@pytest.mark.parametrize("word", ["room", "roomId", "channel", "sessionId"])
def test_an_event_goes_to_the_others_in_the_room_it_names(
    talk: Talk, ann: Account, bob: Account, word: str
) -> None:
    one, two, three, outside = talk(ann), talk(bob), talk(bob), talk(bob)
    join(one)
    join(one, "b")
    join(two)
    join(three, "b")
    for talker in (one, two, three, outside):
        talker.until_pong()
    data = {word: "a", "text": "hi", "sender": "me", "n": 1.5, "list": [None]}
    one.emit("document-change", (data, "more", 2))
    assert two.expect("document-change") == [data, "more", 2]
    assert one.until_pong() == three.until_pong() == outside.until_pong() == []


def test_without_a_room_it_goes_to_all_rooms_of_the_sender_and_to_nobody_twice(
    talk: Talk, ann: Account, bob: Account
) -> None:
    one, two, three = talk(ann), talk(bob), talk(bob)
    one.emit("message", "before")
    for talker, rooms in ((one, "abc"), (two, "cb"), (three, "cd")):
        for room in rooms:
            talker.demand("join-channel", room)
    one.demand("message", "hi")
    assert two.until_pong() == three.until_pong() == [["message", "hi"]]
    assert one.until_pong() == []
    three.demand("message", {"text": "hey"})
    assert one.until_pong() == two.until_pong() == [["message", {"text": "hey"}]]


def test_who_is_not_in_the_room_may_speak_to_it(talk: Talk, ann: Account, bob: Account) -> None:
    one, two = talk(ann), talk(bob)
    join(two)
    one.emit("message", {"room": "a", "text": "queued"})
    assert two.expect("message") == {"room": "a", "text": "queued"}


def test_a_room_that_was_left_is_heard_no_longer(talk: Talk, ann: Account, bob: Account) -> None:
    one, two, three = talk(ann), talk(bob), talk(bob)
    for talker in (one, two, three):
        talker.demand("join-channel", "a")
    two.demand("leave-channel", "a")
    three.ask("leave-room", "room-left", "a")
    one.emit("message", "hi")
    assert one.until_pong() == two.until_pong() == three.until_pong() == []


def test_room_broadcast_emits_the_event_it_names(talk: Talk, ann: Account, bob: Account) -> None:
    one, two = talk(ann), talk(bob)
    join(two)
    one.emit("room-broadcast", {"room": "a", "event": "cursor-move", "data": {"x": 1}})
    assert two.expect("cursor-move") == {"x": 1}


@pytest.mark.parametrize("event", ["room-joined", "auth-error", "room:update", "job:progress"])
def test_nobody_can_feign_what_the_server_says(
    talk: Talk, ann: Account, bob: Account, event: str
) -> None:
    one, two = talk(ann), talk(bob)
    join(two)
    assert one.ask(event, "error", {"room": "a"})["code"] == "reserved"
    assert one.demand("room-broadcast", {"room": "a", "event": event})["code"] == "reserved"
    assert two.until_pong() == []


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"text": "hi", "sender": "me", "timestamp": 1}, {"text": "hi"}),
        ("hi", {"data": "hi"}),
        ([1, None], {"data": [1, None]}),
    ],
    ids=str,
)
def test_a_broadcast_reaches_everybody_with_time_and_sender(
    talk: Talk, ann: Account, bob: Account, payload: Any, told: Any
) -> None:
    one, two = talk(ann, transports=POLLING), talk(bob, transports=WEBSOCKET)
    one.emit("broadcast-message", payload)
    heard = one.expect("message-received")
    assert heard == two.expect("message-received")
    assert heard.pop("timestamp").endswith("Z")
    assert heard == {**told, "sender": one.sid}


def test_broadcasts_have_a_limit(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], talk: Talk, ann: Account
) -> None:
    talker = talk(ann, url=serve(make_app(CHAT_LIMIT="1 per hour")).url)
    assert talker.demand("broadcast-message", 1) is None
    assert talker.demand("broadcast-message", 2)["status"] == 429
    talker.disconnect()


def test_an_event_too_large_for_so_many_rooms_is_refused(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], talk: Talk, ann: Account
) -> None:
    talker = talk(ann, url=serve(make_app(MAX_FRAME_BYTES=1000)).url)
    for number in range(10):
        talker.demand("join-channel", f"{number}")
    assert talker.demand("draw", "x" * 500)["status"] == 413
    assert talker.demand("draw", {"room": "1", "text": "x" * 500}) is None
    talker.disconnect()


# Rooms that are stored


def test_strangers_neither_enter_a_private_room_nor_speak_in_it(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make_room(client, ann)
    one, two = talk(ann), talk(bob)
    assert join(one, "club") == 1
    for event in ("join-room", "join-channel", "room:join"):
        assert two.demand(event, {"roomId": "club"})["code"] == "room_not_found"
    assert two.demand("message", {"room": "club"})["code"] == "room_not_found"
    assert two.demand("room-broadcast", {"room": "club", "event": "x"})["status"] == 404
    assert two.demand("join-room", "direct:1:2")["status"] == 404
    assert one.until_pong() == []


def test_visitors_do_not_enter_a_private_room(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    talk: Talk,
    client: FlaskClient,
    ann: Account,
) -> None:
    make_room(client, ann)
    visitor = talk(url=serve(make_app(ANONYMOUS_CHAT=True)).url)
    for room in ("club", "direct:1:2"):
        assert visitor.demand("join-room", room)["status"] == 404
        assert visitor.demand("message", {"room": room})["status"] == 404
    visitor.disconnect()


def test_who_was_there_before_a_room_became_private_hears_nothing_of_it(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    one, two = talk(ann), talk(bob)
    join(two, "club")
    make_room(client, ann)
    assert join(one, "club") == 1
    one.emit("message", {"room": "club", "text": "secret"})
    two.emit("message", {"room": "club", "text": "hello?"})
    assert one.until_pong() == two.until_pong() == []


def test_who_is_removed_hears_neither_the_room_nor_its_clients(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make_room(client, ann, bob)
    one, two = talk(ann), talk(bob)
    join(one, "club")
    assert join(two, "club") == 2
    assert one.expect("user-joined")["userId"] == bob.user["id"]
    kicked = client.delete(f"/api/rooms/club/members/{bob.user['id']}", headers=ann.headers)
    assert kicked.status_code in (200, 204)
    assert two.expect("room-left") == {"roomId": "club", "reason": "kicked"}
    assert one.expect("user-left") == {"roomId": "club", "userId": bob.user["id"]}
    one.demand("message", {"room": "club"})
    assert [event for event, *_ in two.until_pong()] in ([], ["room-removed"])
    assert two.demand("message", {"room": "club"})["status"] == 404


def test_who_is_muted_says_nothing(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make_room(client, ann, bob)
    two = talk(bob)
    join(two, "club")
    address = f"/api/rooms/club/members/{bob.user['id']}"
    assert client.put(address, json={"isMuted": True}, headers=ann.headers).status_code == 200
    assert two.demand("message", {"room": "club"})["error"] == "You are muted in this room"
    assert two.demand("message", "to all rooms")["status"] == 403


def test_members_hear_what_is_posted_in_a_stored_room(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make_room(client, ann, bob)
    two = talk(bob)
    join(two, "club")
    body = {"content": "hello"}
    posted = client.post("/api/rooms/club/messages", json=body, headers=ann.headers).json
    heard = two.expect("chat-message")
    assert heard["message"] == posted
    assert heard["seq"] > 0


def test_chat_of_a_room_stays_with_those_who_may_hear_it(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    talk: Talk,
    client: FlaskClient,
    ann: Account,
) -> None:
    make_room(client, ann, kind="public")
    visitor = talk(url=serve(make_app(ANONYMOUS_CHAT=True)).url)
    join(visitor, "club")
    client.post("/api/rooms/club/messages", json={"content": "x"}, headers=ann.headers)
    assert visitor.until_pong() == []
    visitor.disconnect()


def test_a_room_is_made_joined_locked_and_left(talk: Talk, ann: Account, bob: Account) -> None:
    one, two = talk(ann), talk(bob)
    answer = one.demand("room:create", {"id": "den", "name": "The den"})
    assert answer["ok"] is True
    assert answer["room"]["ownerId"] == ann.user["id"]
    assert one.expect("room:update")["name"] == "The den"
    answer = two.demand("room:join", {"roomId": "den", "userId": 1})
    members = [{"id": who.user["id"], "name": who.user["name"]} for who in (ann, bob)]
    assert answer["room"]["participants"] == members
    for talker in (one, two):
        told = talker.expect("room:update")
        assert {"id": "den", "name": "The den", "isLocked": False}.items() <= told.items()
        assert told["participants"] == members
    answer = one.demand("room:lock", {"roomId": "den", "isLocked": True})
    assert answer["room"]["isLocked"] is True
    assert two.expect("room:update")["isLocked"] is True
    one.expect("room:update")
    assert two.demand("room:leave", {"roomId": "den"})["ok"] is True
    assert one.expect("room:update")["participants"] == members[:1]
    two.emit("message", {"room": "den"})
    assert two.expect("error")["message"] == "Room is locked"
    answer = two.demand("room:join", {"roomId": "den"})
    assert (answer["ok"], answer["error"]) == (False, "Room is locked")


def test_leaving_a_stored_room_takes_all_clients_of_the_user_out(
    talk: Talk, ann: Account, bob: Account
) -> None:
    one, two, three = talk(ann), talk(bob), talk(bob)
    for talker in (one, two, three):
        talker.demand("room:join", {"roomId": "den"})
    two.demand("room:leave", {"roomId": "den"})
    for talker in (two, three):
        assert talker.expect("room-left") == {"roomId": "den", "reason": "left"}
    one.until_pong()
    one.demand("message", {"room": "den"})
    assert two.until_pong() == three.until_pong() == []


def test_only_the_owner_locks_a_room(talk: Talk, ann: Account, bob: Account) -> None:
    one, two = talk(ann), talk(bob)
    one.demand("room:create", {"id": "den"})
    two.demand("room:join", {"roomId": "den"})
    answer = two.demand("room:lock", {"roomId": "den", "isLocked": True})
    assert answer["ok"] is False
    assert answer["status"] == 403
    assert two.demand("room:lock", {"roomId": "nowhere", "isLocked": True})["status"] == 404
    assert two.demand("room:create", {"id": "den"})["code"] == "room_taken"


def test_who_disconnects_keeps_the_seat(server: Server, talk: Talk, ann: Account) -> None:
    talk(ann).demand("room:create", {"id": "den"})
    talk(ann).disconnect()
    with server.app.app_context():
        assert db.session.get(Room, "den").participants() == [
            {"id": ann.user["id"], "name": ann.user["name"]}
        ]


def test_what_is_told_to_a_user_reaches_all_their_clients_and_nobody_elses(
    talk: Talk, client: FlaskClient, ann: Account, bob: Account
) -> None:
    one, two, other = talk(ann), talk(ann, transports=POLLING), talk(bob)
    job = client.post("/api/jobs", json={"items": [1, 2]}, headers=ann.headers).json
    for talker in (one, two):
        told = talker.expect("job:progress")
        assert (told["jobId"], told["progress"], told["status"]) == (job["id"], 0, "pending")
        assert told["seq"] == 1
    assert other.until_pong() == []


# Several processes


@pytest.mark.skipif(os.name == "nt", reason="gunicorn needs Unix")
@pytest.mark.parametrize("transports", [POLLING, WEBSOCKET], ids=["polling", "websocket"])
def test_a_room_spans_processes(tmp_path: Path, transports: list[str]) -> None:
    with ExitStack() as stack:
        deployment = Deployment(tmp_path, stack, DATABASE_URL=f"sqlite:///{tmp_path}/w.db")
        deployment.migrate()
        web, home, away = deployment.start("web", "socket", "socket")
        ann, bob = web.register("ann"), web.register("bob")
        one = Talker(home.url, ann, transports=transports)
        two = Talker(away.url, bob, transports=transports)
        stack.callback(one.disconnect)
        assert join(one) == 1
        assert join(two) == 2
        assert one.expect("user-joined")["userId"] == bob.user["id"]
        for number in range(10):
            two.emit("draw", {"n": number, "bytes": b"\0\xff"})
        assert [one.expect("draw") for _ in range(10)] == [
            {"n": number, "bytes": b"\0\xff"} for number in range(10)
        ]
        one.emit("broadcast-message", {"text": "hi"})
        assert two.expect("message-received")["sender"] == one.sid
        two.disconnect()
        assert one.expect("user-left")["userId"] == bob.user["id"]
        assert join(one) == 1
