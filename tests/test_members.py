"""Members of rooms over HTTP: joining, leaving, inviting, muting, banning, kicking."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import User, db
from tests.conftest import Account, Server, assert_error
from tests.test_room_list import ROOMS, make, say, told

CLUB = f"{ROOMS}/club"
MEMBERS = f"{CLUB}/members"


@pytest.fixture
def cid(register: Any) -> Account:
    """A third user."""
    return register("cid")


def names(client: FlaskClient, account: Account, query: str = "?sort=name") -> list[str]:
    """The members of the club, as the account sees them."""
    answer = client.get(MEMBERS + query, headers=account.headers).json
    return [one["name"] for one in (answer["items"] if isinstance(answer, dict) else answer)]


def change(client: FlaskClient, owner: Account, member: Account, **body: Any) -> Any:
    """Mute or ban, and the like."""
    path = f"{MEMBERS}/{member.user['id']}"
    return client.patch(path, json=body, headers=owner.headers)


def kick(client: FlaskClient, owner: Account, member: Account) -> Any:
    return client.delete(f"{MEMBERS}/{member.user['id']}", headers=owner.headers)


def test_join_takes_a_seat_once_and_the_room_is_told(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club")
    for _ in range(2):
        room = client.post(f"{CLUB}/join", headers=bob.headers)
        assert (room.status_code, room.json["members"]) == (200, 2)
    assert [one["name"] for one in room.json["participants"]] == ["Ann", "Bob"]
    member = client.get(f"{MEMBERS}?q=bob", headers=ann.headers).json[0]
    assert told(app, "room:club") == [("member-changed", {"roomId": "club", "member": member})]
    assert (member["userId"], member["isMuted"], member["isBanned"]) == (
        bob.user["id"],
        False,
        False,
    )


def test_locked_room_takes_nobody_new(client: FlaskClient, ann: Account, bob: Account) -> None:
    make(client, ann, id="club")
    client.patch(CLUB, json={"isLocked": True}, headers=ann.headers)
    refused = client.post(f"{CLUB}/join", headers=bob.headers)
    assert assert_error(refused, 403)["error"] == "Room is locked"
    invited = client.post(MEMBERS, json={"userId": bob.user["id"]}, headers=ann.headers)
    assert_error(invited, 403)
    assert client.post(f"{CLUB}/join", headers=ann.headers).status_code == 200


def test_room_of_an_owner_who_leaves_goes_to_who_is_there_longest(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, cid: Account
) -> None:
    make(client, ann, id="club")
    for account in (cid, bob):
        client.post(f"{CLUB}/join", headers=account.headers)
    for _ in range(2):
        assert client.post(f"{CLUB}/leave", headers=ann.headers).json == {"ok": True, "id": "club"}
    assert client.get(CLUB, headers=ann.headers).json["ownerId"] == cid.user["id"]
    assert names(client, bob) == ["Bob", "Cid"]
    assert client.get(ROOMS, headers=ann.headers).json == []
    left, update = told(app, "room:club")[-2:]
    removed = {"roomId": "club", "userId": ann.user["id"], "reason": "left"}
    assert left == ("member-removed", removed)
    assert (update[0], update[1]["ownerId"]) == ("room:update", cid.user["id"])


def test_public_room_that_everybody_left_stays_its_owners(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club")
    client.post(f"{CLUB}/leave", headers=ann.headers)
    room = client.post(f"{CLUB}/join", headers=bob.headers).json
    assert (room["ownerId"], room["members"]) == (ann.user["id"], 1)


def test_invited_user_enters_a_private_room_and_hears_of_it(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club", kind="private", name="The club")
    body = {"userId": bob.user["id"]}
    statuses = [client.post(MEMBERS, json=body, headers=ann.headers).status_code for _ in "ab"]
    assert statuses == [201, 200]
    assert client.get(CLUB, headers=bob.headers).json["members"] == 2
    added = {"roomId": "club", "kind": "private", "name": "The club"}
    assert told(app, f"user:{bob.user['id']}") == [("room-added", added)]


@pytest.mark.parametrize(("user_id", "status"), [(2**31 - 1, 404), (0, 400), ("x", 400)])
def test_only_users_are_invited(
    client: FlaskClient, ann: Account, user_id: Any, status: int
) -> None:
    make(client, ann, id="club")
    answer = client.post(MEMBERS, json={"userId": user_id}, headers=ann.headers)
    assert_error(answer, status)


def test_members_neither_invite_nor_moderate(
    client: FlaskClient, ann: Account, bob: Account, cid: Account
) -> None:
    make(client, ann, id="club", members=[bob.user["id"], cid.user["id"]])
    body = {"userId": cid.user["id"]}
    assert_error(client.post(MEMBERS, json=body, headers=bob.headers), 403)
    assert_error(change(client, bob, cid, isBanned=True), 403)
    assert_error(kick(client, bob, cid), 403)
    assert_error(change(client, ann, ann, isMuted=True), 403)
    assert_error(kick(client, ann, ann), 403)


def test_admin_moderates_and_the_banned_owners_room_goes_on(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, cid: Account
) -> None:
    make(client, ann, id="club", members=[bob.user["id"]])
    with app.app_context():
        db.session.get(User, cid.user["id"]).role = "admin"
        db.session.commit()
    assert change(client, cid, ann, isBanned=True).status_code == 200
    assert client.get(CLUB, headers=bob.headers).json["ownerId"] == bob.user["id"]
    assert_error(client.get(CLUB, headers=ann.headers), 403)


def test_ban_holds_until_it_is_lifted(client: FlaskClient, ann: Account, bob: Account) -> None:
    make(client, ann, id="club")
    say(client, "club", bob)
    assert change(client, ann, bob, isBanned=True).json["isBanned"] is True
    assert kick(client, ann, bob).status_code == 204  # does not end it
    for method, end in [("GET", ""), ("GET", "/messages"), ("POST", "/join"), ("POST", "/leave")]:
        assert_error(client.open(CLUB + end, method=method, headers=bob.headers), 403)
    assert client.get(ROOMS, headers=bob.headers).json == []
    assert client.get(CLUB, headers=ann.headers).json["members"] == 1
    assert change(client, ann, bob, isBanned=False).status_code == 200
    assert client.get(CLUB, headers=bob.headers).json["members"] == 2


def test_who_left_can_still_be_banned(client: FlaskClient, ann: Account, bob: Account) -> None:
    make(client, ann, id="club")
    assert_error(change(client, ann, bob, isMuted=True), 404, "member_not_found")
    assert change(client, ann, bob, isBanned=True).status_code == 200
    assert_error(client.post(f"{CLUB}/join", headers=bob.headers), 403)


def test_banned_are_listed_for_the_owner_alone(
    client: FlaskClient, ann: Account, bob: Account, cid: Account
) -> None:
    make(client, ann, id="club", members=[bob.user["id"], cid.user["id"]])
    change(client, ann, bob, isBanned=True)
    assert names(client, cid) == ["Ann", "Cid"]
    assert names(client, ann) == ["Ann", "Bob", "Cid"]
    assert names(client, ann, "?isBanned=true") == ["Bob"]
    assert names(client, ann, "?sort=-name&limit=1") == ["Cid"]
    assert names(client, ann, "?q=B") == ["Bob"]


@pytest.mark.parametrize("escape", ["leave", "kick"])
def test_mute_is_not_shaken_off(
    client: FlaskClient, ann: Account, bob: Account, escape: str
) -> None:
    make(client, ann, id="club")
    message = say(client, "club", bob)
    change(client, ann, bob, isMuted=True)
    if escape == "leave":
        client.post(f"{CLUB}/leave", headers=bob.headers)
    else:
        kick(client, ann, bob)
    client.post(f"{CLUB}/join", headers=bob.headers)
    body = {"json": {"content": "x"}, "headers": bob.headers}
    assert_error(client.post(f"{CLUB}/messages", **body), 403)
    assert_error(client.patch(f"{CLUB}/messages/{message['id']}", **body), 403)
    change(client, ann, bob, isMuted=False)
    assert client.post(f"{CLUB}/messages", **body).status_code == 201


@pytest.mark.parametrize("reason", ["kicked", "banned"])
def test_removed_member_is_told_on_the_room_and_on_their_own_topic(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, reason: str
) -> None:
    make(client, ann, id="club", kind="private", members=[bob.user["id"]])
    if reason == "kicked":
        kick(client, ann, bob)
    else:
        change(client, ann, bob, isBanned=True)
    removed = {"roomId": "club", "userId": bob.user["id"], "reason": reason}
    assert ("member-removed", removed) in told(app, "room:club")
    own = ("room-removed", {"roomId": "club", "reason": reason})
    assert own in told(app, f"user:{bob.user['id']}")
    status = 404 if reason == "kicked" else 403
    assert_error(client.get(CLUB, headers=bob.headers), status)


def test_sockets_in_the_room_hear_what_is_done_over_http(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    make(client, ann, id="club")
    peer = server.chat(ann)
    peer.ask("join-room", "user-joined", roomId="club")
    client.post(f"{CLUB}/join", headers=bob.headers)
    assert peer.expect("member-changed")["member"]["userId"] == bob.user["id"]
    client.patch(CLUB, json={"name": "new"}, headers=ann.headers)
    assert peer.expect("room:update")["name"] == "new"
    kick(client, ann, bob)
    assert peer.expect("member-removed")["reason"] == "kicked"
