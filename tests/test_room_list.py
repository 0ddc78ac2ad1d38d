"""Rooms over HTTP: making, listing, changing and deleting them, and the read marker."""

import json
import threading
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from models import Message, Room, StoredEvent, User, db
from tests.conftest import Account, assert_error

ROOMS = "/api/rooms"


def make(client: FlaskClient, owner: Account, **body: Any) -> Any:
    """A new room, as its owner reads it."""
    answer = client.post(ROOMS, json=body, headers=owner.headers)
    assert answer.status_code == 201, answer.json
    return answer.json


def say(client: FlaskClient, room_id: str, account: Account, content: str = "hi") -> Any:
    """A message in the room."""
    path = f"{ROOMS}/{quote(room_id)}/messages"
    answer = client.post(path, json={"content": content}, headers=account.headers)
    assert answer.status_code == 201, answer.json
    return answer.json


def told(app: Flask, topic: str) -> list[tuple[str, Any]]:
    """What is stored to be told on a topic: (type, data)."""
    with app.app_context():
        query = select(StoredEvent).where(StoredEvent.topic == topic).order_by(StoredEvent.seq)
        return [(row.type, json.loads(row.data)) for row in db.session.scalars(query)]


def test_room_is_made_with_its_owner_inside(client: FlaskClient, ann: Account) -> None:
    room = make(client, ann, id="club", name="The club", kind="private")
    assert client.get(f"{ROOMS}/club", headers=ann.headers).json == room
    assert room.pop("createdAt").endswith("Z")
    assert room == {
        "id": "club",
        "kind": "private",
        "name": "The club",
        "ownerId": ann.user["id"],
        "isLocked": False,
        "members": 1,
        "unread": 0,
        "lastMessage": None,
        "participants": [{"id": ann.user["id"], "name": "Ann"}],
    }


def test_room_without_id_gets_one_of_its_own(client: FlaskClient, ann: Account) -> None:
    first, second = make(client, ann), make(client, ann)
    assert first["id"] != second["id"]
    assert (first["kind"], first["name"]) == ("public", first["id"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"id": ""}, "invalid_room"),
        ({"id": "a\0b"}, "invalid_room"),
        ({"id": "a/b"}, "invalid_room"),
        ({"id": "x" * 201}, "invalid_room"),
        ({"id": "direct:1:2"}, "invalid_room"),
        ({"id": "x", "kind": "direct"}, "invalid_input"),
        ({"id": "x", "name": "a\nb"}, "invalid_input"),
        ({"id": "x", "members": [2**31]}, "invalid_input"),
        ({"id": "x", "members": [2**31 - 1]}, "invalid_input"),
        ({"userId": "nobody"}, "invalid_input"),
        ({"userId": 0}, "invalid_input"),
    ],
)
def test_bad_room_is_refused_and_not_made(
    app: Flask, client: FlaskClient, ann: Account, body: Any, code: str
) -> None:
    assert_error(client.post(ROOMS, json=body, headers=ann.headers), 400, code)
    with app.app_context():
        assert db.session.scalars(select(Room)).all() == []


@pytest.mark.parametrize("kind", ["public", "private"])
def test_id_in_use_is_taken(client: FlaskClient, ann: Account, bob: Account, kind: str) -> None:
    make(client, ann, id="club", kind=kind)
    for account in (ann, bob):
        answer = client.post(ROOMS, json={"id": "club"}, headers=account.headers)
        assert_error(answer, 409, "room_taken")


def test_of_many_who_make_a_room_at_once_one_owns_it(
    app: Flask, ann: Account, bob: Account
) -> None:
    start, answers = threading.Barrier(4), []

    def create(account: Account) -> None:
        start.wait()
        answers.append(app.test_client().post(ROOMS, json={"id": "club"}, headers=account.headers))

    threads = [threading.Thread(target=create, args=(one,)) for one in (ann, bob, ann, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    owner = next(answer.json["ownerId"] for answer in answers if answer.status_code == 201)
    seen = app.test_client().get(f"{ROOMS}/club", headers=ann.headers).json
    assert (seen["ownerId"], seen["members"]) == (owner, 1)


def test_who_enters_too_late_gets_no_seat_in_a_private_room(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    with app.app_context():
        user = db.session.get(User, bob.user["id"])
        room = Room.load("club", user)
        db.session.rollback()
        make(client, ann, id="club", kind="private")
        with pytest.raises(Exception, match="Room not found"):
            room.enter(user)
        db.session.rollback()


def test_direct_room_is_made_once_and_named_after_the_other(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    room = make(client, ann, userId=bob.user["id"])
    again = client.post(ROOMS, json={"userId": ann.user["id"]}, headers=bob.headers)
    assert (again.status_code, again.json["id"]) == (200, room["id"])
    assert (room["kind"], room["name"], room["members"]) == ("direct", "Bob", 2)
    assert [one["name"] for one in client.get(ROOMS, headers=bob.headers).json] == ["Ann"]


@pytest.mark.parametrize(("own", "status"), [(True, 400), (False, 404)])
def test_direct_room_needs_another_user(
    client: FlaskClient, ann: Account, own: bool, status: int
) -> None:
    body = {"userId": ann.user["id"] if own else 2**31 - 1}
    assert_error(client.post(ROOMS, json=body, headers=ann.headers), status)


def test_list_holds_the_callers_rooms_with_what_is_unread(
    client: FlaskClient, ann: Account, bob: Account, register: Any
) -> None:
    cid = register("cid")
    make(client, cid, id="elsewhere")
    make(client, ann, id="empty", kind="private")
    make(client, ann, id="club", members=[bob.user["id"]])
    for account in (ann, bob, bob):
        last = say(client, "club", account)
    direct = make(client, ann, userId=cid.user["id"])
    say(client, "club", bob)
    last = say(client, "club", bob, "latest")
    rooms = client.get(ROOMS, headers=ann.headers).json
    assert [room["id"] for room in rooms][0] == "club"
    found = {room["id"]: room for room in rooms}
    assert found.keys() == {"empty", "club", direct["id"]}
    assert found["club"]["lastMessage"] == last
    assert [found["club"][key] for key in ("unread", "members")] == [4, 2]
    assert [found["empty"][key] for key in ("unread", "members", "lastMessage")] == [0, 1, None]
    assert found[direct["id"]]["name"] == "Cid"
    mine = {room["id"]: room["unread"] for room in client.get(ROOMS, headers=bob.headers).json}
    assert mine == {"club": 1}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=id", ["a", "b", "c"]),
        ("sort=-id&limit=2", ["c", "b"]),
        ("sort=id&limit=2&page=2", ["c"]),
        ("kind=private", ["b"]),
        ("q=SEC", ["b"]),
        ("limit=1", ["c"]),
    ],
)
def test_rooms_follow_the_list_rule(
    client: FlaskClient, ann: Account, query: str, expected: list[str]
) -> None:
    for room_id, body in {"a": {}, "b": {"kind": "private", "name": "secret"}, "c": {}}.items():
        make(client, ann, id=room_id, **body)
        say(client, room_id, ann)
    answer = client.get(f"{ROOMS}?{query}", headers=ann.headers).json
    items = answer["items"] if isinstance(answer, dict) else answer
    assert [room["id"] for room in items] == expected


def test_more_rooms_take_no_more_queries(
    client: FlaskClient, ann: Account, statements: Any
) -> None:
    def count() -> int:
        with statements() as asked:
            assert client.get(ROOMS, headers=ann.headers).status_code == 200
        return len(asked)

    make(client, ann, id="0")
    few = count()
    for number in range(1, 6):
        make(client, ann, id=str(number))
        say(client, str(number), ann)
    assert count() == few


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_owner_renames_and_locks_and_the_room_is_told(
    app: Flask, client: FlaskClient, ann: Account, method: str
) -> None:
    make(client, ann, id="club", name="old")
    for body in ({"name": "new"}, {"isLocked": True}, {}):
        answer = client.open(f"{ROOMS}/club", method=method, json=body, headers=ann.headers)
        assert answer.status_code == 200
    assert (answer.json["name"], answer.json["isLocked"]) == ("new", True)
    peers = [{"id": ann.user["id"], "name": "Ann"}]
    data = {"roomId": "club", "id": "club", "ownerId": ann.user["id"], "participants": peers}
    assert told(app, "room:club") == [
        ("room:update", {**data, "name": "new", "isLocked": False}),
        ("room:update", {**data, "name": "new", "isLocked": True}),
    ]


def test_only_owner_and_admin_change_a_room(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club", members=[bob.user["id"]])
    request = {"json": {"name": "bobs"}, "headers": bob.headers}
    assert_error(client.patch(f"{ROOMS}/club", **request), 403)
    with app.app_context():
        db.session.get(User, bob.user["id"]).role = "admin"
        db.session.commit()
    assert client.patch(f"{ROOMS}/club", **request).json["name"] == "bobs"


def test_direct_room_cannot_be_changed_left_or_deleted(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    path = f"{ROOMS}/{make(client, ann, userId=bob.user['id'])['id']}"
    calls = [("PATCH", ""), ("DELETE", ""), ("POST", "/leave"), ("POST", "/members")]
    for method, end in calls:
        assert_error(client.open(path + end, method=method, headers=ann.headers), 403)


def test_private_room_is_deleted_once_the_owner_is_alone(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club", kind="private", members=[bob.user["id"]])
    say(client, "club", bob)
    assert_error(client.delete(f"{ROOMS}/club", headers=bob.headers), 403)
    assert_error(client.delete(f"{ROOMS}/club", headers=ann.headers), 409, "room_in_use")
    client.post(f"{ROOMS}/club/leave", headers=bob.headers)
    assert_error(client.post(f"{ROOMS}/club/leave", headers=ann.headers), 409, "last_member")
    assert client.delete(f"{ROOMS}/club", headers=ann.headers).status_code == 204
    assert_error(client.get(f"{ROOMS}/club", headers=ann.headers), 404, "room_not_found")
    with app.app_context():
        assert db.session.scalars(select(Message)).all() == []
    # Nothing that was said may be replayed to who makes a room of this id.
    removed = {"roomId": "club", "userId": ann.user["id"], "reason": "deleted"}
    assert told(app, "room:club") == [("member-removed", removed)]


def test_public_room_is_not_deleted(client: FlaskClient, ann: Account) -> None:
    make(client, ann, id="club")
    assert_error(client.delete(f"{ROOMS}/club", headers=ann.headers), 403)


def test_read_marker_moves_forward_only_and_is_told_to_other_devices(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club", members=[bob.user["id"]])
    ids = [say(client, "club", bob)["id"] for _ in range(3)]
    answers = [
        client.post(f"{ROOMS}/club/read", json=body, headers=ann.headers).json
        for body in ({"messageId": ids[1]}, {"messageId": ids[0]}, {}, {"messageId": 2**53})
    ]
    told_of = [{"roomId": "club", "messageId": ids[i], "unread": 2 - i} for i in (1, 1, 2, 2)]
    assert answers == told_of
    read = [data for type, data in told(app, f"user:{ann.user['id']}") if type == "room-read"]
    assert read == [told_of[0], told_of[2]]
    say(client, "club", bob)
    assert client.get(f"{ROOMS}/club", headers=ann.headers).json["unread"] == 1


def test_who_is_no_member_has_no_read_marker(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club")
    assert_error(client.post(f"{ROOMS}/club/read", json={}, headers=bob.headers), 403)


CALLS = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/join"),
    ("POST", "/leave"),
    ("POST", "/read"),
    ("GET", "/members"),
    ("POST", "/members"),
    ("PATCH", "/members/1"),
    ("DELETE", "/members/1"),
    ("GET", "/messages"),
    ("POST", "/messages"),
    ("PATCH", "/messages/1"),
    ("DELETE", "/messages/1"),
]
each_call = pytest.mark.parametrize(("method", "end"), CALLS)


@each_call
def test_rooms_of_others_are_404_and_anonymous_callers_401(
    app: Flask,
    client: FlaskClient,
    ann: Account,
    bob: Account,
    register: Any,
    method: str,
    end: str,
) -> None:
    stranger = register("cid")
    direct = make(client, ann, userId=bob.user["id"])["id"]
    make(client, ann, id="club", kind="private")
    with app.app_context():  # an admin is a stranger too
        db.session.get(User, stranger.user["id"]).role = "admin"
        db.session.commit()
    for room_id in (direct, "club"):
        path, body = f"{ROOMS}/{room_id}{end}", {"content": "x"}
        assert_error(client.open(path, method=method, json=body), 401)
        answer = client.open(path, method=method, json=body, headers=stranger.headers)
        assert_error(answer, 404, "room_not_found")


@each_call
@pytest.mark.parametrize(
    ("name", "status"), [("a%00b", 400), ("x" * 201, 400), ("a%2Fb%2Fc%2Fd", 404)]
)
def test_bad_room_id_is_refused_everywhere(
    client: FlaskClient, ann: Account, method: str, end: str, name: str, status: int
) -> None:
    body = {"content": "x"}
    path = f"{ROOMS}/{name}{end}"
    assert_error(client.open(path, method=method, json=body, headers=ann.headers), status)
