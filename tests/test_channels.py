"""Sync channels over HTTP: who may enter them, and what they take (routes/channels.py)."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import channels
from models import CrdtChannel, CrdtInvite, DeletedChannel, db, now
from tests.conftest import Account, Server, assert_error
from tests.races import before_lock
from tests.replicas import Talker, rows_of
from tests.waiting import wait_until

CHANNELS = "/api/channels"
LIST = f"{CHANNELS}/list"


def make(client: FlaskClient, account: Account, name: str = "list", **fields: Any) -> Any:
    return client.post(CHANNELS, json={"name": name, **fields}, headers=account.headers)


def seat(client: FlaskClient, account: Account, other: Account, role: str) -> Any:
    address = f"{LIST}/members/{other.user['id']}"
    return client.put(address, json={"role": role}, headers=account.headers)


# Channels


def test_a_channel_is_made_read_changed_and_deleted(client: FlaskClient, ann: Account) -> None:
    made = make(client, ann, tables=["notes"])
    assert made.status_code == 201
    assert made.json["role"] == "owner"
    assert (made.json["version"], made.json["tables"], made.json["kind"]) == (0, ["notes"], "log")
    assert client.get(LIST, headers=ann.headers).json == made.json
    changed = client.patch(LIST, json={"kind": "cl", "tables": None}, headers=ann.headers).json
    assert changed == {**made.json, "kind": "cl", "tables": None}
    assert client.get(CHANNELS, headers=ann.headers).json == [changed]
    assert client.delete(LIST, headers=ann.headers).status_code == 204
    assert_error(client.get(LIST, headers=ann.headers), 404, "channel_not_found")


def test_a_name_that_is_taken_is_409(client: FlaskClient, ann: Account, bob: Account) -> None:
    make(client, ann)
    assert_error(make(client, ann), 409)
    assert_error(make(client, bob), 409)


@pytest.mark.parametrize(
    ("name", "status"),
    [("", 400), ("a" * 201, 400), ("a\nb", 400), ("user:999999", 403), ("user:x", 403)],
)
def test_a_name_that_cannot_be_one_is_refused(
    client: FlaskClient, ann: Account, name: str, status: int
) -> None:
    assert_error(make(client, ann, name), status)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "other"}, "kind"),
        ({"tables": "notes"}, "tables"),
        ({"tables": [""]}, "tables.0"),
        ({"tables": ["a\0"]}, "tables.0"),
        ({"tables": ["t"] * 101}, "tables"),
        ({"schemas": []}, "schemas"),
        ({"schemas": {"notes": {"type": 5}}}, "schema"),
        ({"schemas": {"notes": {"$ref": "#"}}}, "schema"),
    ],
)
def test_wrong_settings_are_400_and_change_nothing(
    client: FlaskClient, ann: Account, body: dict[str, Any], field: str
) -> None:
    before = make(client, ann).json
    assert field in assert_error(client.put(LIST, json=body, headers=ann.headers), 400)["errors"]
    assert client.get(LIST, headers=ann.headers).json == before
    assert_error(make(client, ann, "other", **body), 400)
    assert len(client.get(CHANNELS, headers=ann.headers).json) == 1


def test_default_is_the_caller_s_own(client: FlaskClient, server: Server, ann: Account) -> None:
    assert_error(client.get(f"{CHANNELS}/default", headers=ann.headers), 404)
    Talker(server, ann, "phone")
    name = f"user:{ann.user['id']}"
    shown = client.get(f"{CHANNELS}/default", headers=ann.headers).json
    assert (shown["name"], shown["role"]) == (name, "owner")
    address = f"{CHANNELS}/default/members/{ann.user['id']}"
    error = client.put(address, json={"role": "reader"}, headers=ann.headers)
    assert_error(error, 400, "private")
    invite = client.post(
        f"{CHANNELS}/default/invites", json={"role": "reader"}, headers=ann.headers
    )
    assert_error(invite, 400, "private")


def test_a_user_makes_so_many_and_no_more(
    client: FlaskClient, server: Server, ann: Account, monkeypatch: Any
) -> None:
    monkeypatch.setattr(CrdtChannel, "MOST", 2)
    make(client, ann, "one")
    Talker(server, ann, "phone", "two")
    assert_error(make(client, ann, "three"), 409, "too_many")
    assert_error(server.refusal("/sync?channel=three", ann), 409, "too_many")
    Talker(server, ann, "phone", "two")
    Talker(server, ann, "phone")  # one's own is not counted


def test_one_s_own_channel_goes_with_the_account_alone(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone = Talker(server, ann, "phone")
    phone.write("todos", "a", "title", "Milk")
    for name in ("default", f"user:{ann.user['id']}"):
        answer = client.delete(f"{CHANNELS}/{name}", headers=ann.headers)
        assert_error(answer, 409, "own_channel")
    assert phone.write("todos", "b", "title", "Rice")["version"] == 2


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_strangers_have_no_business_there(
    client: FlaskClient, ann: Account, bob: Account, method: str
) -> None:
    before = make(client, ann).json
    for path in ("", "/snapshot"):
        if path and method in ("patch", "delete"):
            continue
        call = getattr(client, method)
        assert_error(call(LIST + path, json={"changes": []}, headers=bob.headers), 403)
        assert_error(call(LIST + path, json={"changes": []}), 401)
    assert client.get(LIST, headers=ann.headers).json == before


def test_if_match_guards_settings_and_deletion(client: FlaskClient, ann: Account) -> None:
    made = make(client, ann)
    stale = {**ann.headers, "If-Match": '"old"'}
    assert_error(client.put(LIST, json={"kind": "cl"}, headers=stale), 412)
    assert_error(client.delete(LIST, headers=stale), 412)
    fresh = {**ann.headers, "If-Match": made.headers["ETag"]}
    assert client.put(LIST, json={"kind": "cl"}, headers=fresh).status_code == 200


def test_sockets_of_a_deleted_channel_are_closed(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone = Talker(server, ann, "phone", "list")
    phone.write("notes", "a", "text", "x")
    client.delete(LIST, headers=ann.headers)
    assert phone.peer.close_code() == 1008
    make(client, ann)
    assert Talker(server, ann, "phone", "list").pull() == []


# Tables and schemas


def test_other_tables_than_those_allowed_are_refused_by_position(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    make(client, ann, tables=["notes"])
    phone = Talker(server, ann, "phone", "list")
    good = ["notes", "a", "text", "x", 1, 1, "phone", 1, 0]
    bad = ["other", "a", "text", "x", 1, 2, "phone", 1, 0]
    phone.peer.send("update", siteId="phone", version=2, changes=[bad, good])
    error = phone.peer.expect("error")
    assert (error["position"], error["code"]) == (0, "bad_change")
    assert phone.peer.expect("ack")["version"] == 2
    assert Talker(server, ann, "fresh", "list").pull() == [good]


def test_values_that_a_schema_does_not_take_are_corrected(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    schema = {"properties": {"stars": {"type": "integer"}}, "additionalProperties": False}
    make(client, ann, schemas={"notes": schema})
    phone = Talker(server, ann, "phone", "list")
    phone.pull()
    phone.write("notes", "a", "stars", 3)
    phone.write("notes", "a", "stars", "many", 2)
    assert [one[3:5] for one in phone.next()] == [[3, 3]]
    phone.write("notes", "a", "colour", "red")
    assert [one[2:5] for one in phone.next()] == [["colour", None, 2]]
    phone.write("other", "a", "colour", "red")
    assert rows_of(Talker(server, ann, "fresh", "list").pull(), "other") == {"a": {"colour": "red"}}


def test_the_kind_of_a_channel_is_that_of_who_says_nothing_else(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    make(client, ann, kind="cl")
    phone = Talker(server, ann, "phone", "list")
    phone.write("notes", "a", "text", "x")
    phone.delete("notes", "a", cl=2)
    Talker(server, ann, "old", "list", kind="log").write("notes", "b", "text", "y")
    peers = client.get(f"{LIST}/peers?sort=site_id", headers=ann.headers).json
    assert [(one["siteId"], one["kind"]) for one in peers] == [("old", "log"), ("phone", "cl")]
    assert_error(server.refusal("/sync?channel=list&kind=x", ann), 400)


# Members


def test_readers_receive_and_writers_write(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    make(client, ann)
    assert_error(server.refusal("/sync?channel=list", bob), 403)
    assert seat(client, ann, bob, "reader").json["role"] == "reader"
    phone, guest = Talker(server, ann, "phone", "list"), Talker(server, bob, "guest", "list")
    guest.pull()
    phone.write("notes", "a", "text", "x")
    assert guest.next()[0][3] == "x"
    change = ["notes", "b", "text", "y", 1, 1, "guest", 1, 0]
    words = {"siteId": "guest", "version": 1, "changes": [change]}
    assert guest.peer.ask("update", "error", **words)["status"] == 403
    seat(client, ann, bob, "reader")
    assert guest.peer.ask("update", "error", **words)["status"] == 403  # the socket is as it was
    seat(client, ann, bob, "writer")
    assert guest.peer.close_code() == 1013  # or a later ack would cover what was refused
    guest = Talker(server, bob, "guest", "list")
    assert guest.push(change)["version"] == 1
    seat(client, ann, bob, "reader")
    assert guest.peer.close_code() == 1013
    guest = Talker(server, bob, "guest", "list")
    assert guest.peer.ask("update", "error", **words)["status"] == 403
    assert [one["role"] for one in client.get(f"{LIST}/members", headers=bob.headers).json] == [
        "reader"
    ]
    assert [one["role"] for one in client.get(CHANNELS, headers=bob.headers).json] == ["reader"]


def test_who_is_removed_is_shown_out(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    make(client, ann)
    seat(client, ann, bob, "writer")
    phone, guest = Talker(server, ann, "phone", "list"), Talker(server, bob, "guest", "list")
    address = f"{LIST}/members/{bob.user['id']}"
    assert client.delete(address, headers=ann.headers).status_code == 204
    assert guest.peer.close_code() == 1008
    assert_error(server.refusal("/sync?channel=list", bob), 403)
    assert_error(client.delete(address, headers=ann.headers), 404)
    assert phone.write("notes", "a", "text", "x")["version"] == 1


def test_who_is_removed_while_they_enter_is_shown_out(
    client: FlaskClient, server: Server, ann: Account, bob: Account, monkeypatch: Any
) -> None:
    make(client, ann)
    seat(client, ann, bob, "reader")
    enter, entered = channels.enter, []
    address = f"{LIST}/members/{bob.user['id']}"

    def be_late(*words: Any) -> Any:
        channel = enter(*words)
        entered.append(channel)
        if len(entered) == 2:  # after the handshake, on the socket
            with ThreadPoolExecutor(1) as pool:
                pool.submit(client.delete, address, headers=ann.headers).result(10)
        return channel

    monkeypatch.setattr(channels, "enter", be_late)
    assert Talker(server, bob, "guest", "list").peer.close_code() == 1008


def test_a_member_leaves_and_decides_nothing(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann)
    seat(client, ann, bob, "writer")
    for call, path in (("put", ""), ("delete", ""), ("put", f"/members/{bob.user['id']}"),
                       ("delete", f"/members/{ann.user['id']}"), ("get", "/invites"),
                       ("post", "/invites")):  # fmt: skip
        body = {"role": "writer", "kind": "cl"}
        answer = getattr(client, call)(LIST + path, json=body, headers=bob.headers)
        assert_error(answer, 403)
    mine = f"{LIST}/members/{bob.user['id']}"
    assert client.delete(mine, headers=bob.headers).status_code == 204
    assert_error(client.get(LIST, headers=bob.headers), 403)


@pytest.mark.parametrize(
    ("user_id", "role", "status"),
    [("x", "reader", 404), ("999999", "reader", 404), ("0", "reader", 404), ("{bob}", "owner", 400),
     ("{bob}", None, 400), ("{ann}", "reader", 400)],
)  # fmt: skip
def test_a_member_that_cannot_be_is_refused(
    client: FlaskClient, ann: Account, bob: Account, user_id: str, role: Any, status: int
) -> None:
    make(client, ann)
    address = f"{LIST}/members/{user_id.format(ann=ann.user['id'], bob=bob.user['id'])}"
    assert_error(client.put(address, json={"role": role}, headers=ann.headers), status)
    assert client.get(f"{LIST}/members", headers=ann.headers).json == []


def test_there_are_so_many_members_and_no_more(
    client: FlaskClient, ann: Account, bob: Account, admin: Account, monkeypatch: Any
) -> None:
    make(client, ann)
    monkeypatch.setattr(CrdtChannel, "MOST_MEMBERS", 1)
    assert seat(client, ann, bob, "reader").status_code == 200
    assert seat(client, ann, bob, "writer").status_code == 200
    assert_error(seat(client, ann, admin, "reader"), 409, "too_many")


# Invites


def invite(client: FlaskClient, account: Account, **fields: Any) -> Any:
    body = {"role": "reader", **fields}
    return client.post(f"{LIST}/invites", json=body, headers=account.headers)


def join(client: FlaskClient, account: Account, token: str) -> Any:
    return client.post("/api/channel-invites", json={"token": token}, headers=account.headers)


def test_an_invite_lets_in_who_brings_it(client: FlaskClient, ann: Account, bob: Account) -> None:
    make(client, ann)
    told = invite(client, ann).json
    [listed] = client.get(f"{LIST}/invites", headers=ann.headers).json
    assert {**listed, "token": told["token"]} == told
    assert join(client, bob, told["token"]).json["role"] == "reader"
    assert join(client, ann, told["token"]).json["role"] == "owner"
    writer = invite(client, ann, role="writer").json["token"]
    assert join(client, bob, writer).json["role"] == "writer"
    assert join(client, bob, told["token"]).json["role"] == "writer"


def test_an_invite_ends(client: FlaskClient, app: Flask, ann: Account, bob: Account) -> None:
    make(client, ann)
    one, two = invite(client, ann).json, invite(client, ann).json
    assert client.delete(f"{LIST}/invites/{one['id']}", headers=ann.headers).status_code == 204
    assert_error(join(client, bob, one["token"]), 404)
    assert_error(client.delete(f"{LIST}/invites/{one['id']}", headers=ann.headers), 404)
    with app.app_context():
        past = db.update(CrdtInvite).values(expires_at=now() - timedelta(seconds=1))
        db.session.execute(past)
        db.session.commit()
    assert_error(join(client, bob, two["token"]), 404)
    assert client.get(f"{LIST}/invites", headers=ann.headers).json == []
    invite(client, ann)
    assert len(client.get(f"{LIST}/invites", headers=ann.headers).json) == 1


def test_an_invite_of_another_channel_cannot_be_revoked_here(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    make(client, ann)
    token = invite(client, ann).json
    make(client, bob, "bobs")
    address = f"{CHANNELS}/bobs/invites/{token['id']}"
    assert_error(client.delete(address, headers=bob.headers), 404)
    assert join(client, bob, token["token"]).status_code == 200


@pytest.mark.parametrize("seconds", [0, -1, 59, 31 * 86400, "soon"])
def test_an_invite_lasts_a_minute_to_a_month(
    client: FlaskClient, ann: Account, seconds: Any
) -> None:
    make(client, ann)
    assert_error(invite(client, ann, expiresIn=seconds), 400)


def test_a_token_is_kept_as_its_hash(client: FlaskClient, app: Flask, ann: Account) -> None:
    make(client, ann)
    token = invite(client, ann).json["token"]
    with app.app_context():
        kept = db.session.scalar(db.select(CrdtInvite))
        assert token not in json.dumps(kept.to_dict()) + kept.digest


@pytest.mark.parametrize("path", ["", "/invites/{id}"])
def test_an_invite_that_ends_while_it_is_brought_lets_nobody_in(
    client: FlaskClient, app: Flask, ann: Account, bob: Account, monkeypatch: Any, path: str
) -> None:
    make(client, ann)
    told = invite(client, ann).json
    other, address = app.test_client(use_cookies=False), LIST + path.format(**told)
    before_lock(monkeypatch, CrdtChannel, lambda: other.delete(address, headers=ann.headers))
    assert_error(join(client, bob, told["token"]), 404, "invite_not_found")
    make(client, ann)
    assert client.get(f"{LIST}/members", headers=ann.headers).json == []


# Peers


def test_peers_are_listed_with_what_they_lack(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone, tablet = Talker(server, ann, "phone", "list"), Talker(server, ann, "tablet", "list")
    phone.write("notes", "a", "text", "x")
    tablet.pull()
    tablet.peer.send("ack", siteId="tablet", version=1)
    phone.write("notes", "b", "text", "y")
    tablet.next()

    def peers() -> list[tuple[Any, ...]]:
        found = client.get(f"{LIST}/peers?sort=site_id", headers=ann.headers).json
        assert {one["userId"] for one in found} == {ann.user["id"]}
        return [(one["siteId"], one["received"], one["sent"], one["lag"]) for one in found]

    wait_until(lambda: peers() == [("phone", 2, 2, 0), ("tablet", 0, 1, 1)])  # no ack has an answer


# A name that was somebody's


def test_a_deleted_channel_is_not_made_again_by_who_comes_back(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    make(client, ann)
    seat(client, ann, bob, "reader")
    guest = Talker(server, bob, "guest", "list")
    assert client.delete(LIST, headers=ann.headers).status_code == 204
    assert guest.peer.close_code() == 1008
    for account in (ann, bob):
        assert_error(server.refusal("/sync?channel=list", account), 409, "channel_deleted")
        body = {"siteId": "http", "version": 0, "changes": []}
        pushed = client.post(f"{LIST}/changes", json=body, headers=account.headers)
        assert_error(pushed, 409, "channel_deleted")
    assert_error(make(client, bob), 409, "channel_deleted")
    assert make(client, ann).json["role"] == "owner"
    assert_error(server.refusal("/sync?channel=list", bob), 403)


def test_a_name_is_kept_for_a_month_also_when_its_owner_goes(
    client: FlaskClient, app: Flask, ann: Account, bob: Account
) -> None:
    make(client, ann)
    make(client, ann, "other")
    client.delete(LIST, headers=ann.headers)
    gone = client.delete(f"/api/users/{ann.user['id']}", headers=ann.headers)
    assert gone.status_code == 204
    for name in ("list", "other"):
        assert_error(make(client, bob, name), 409, "channel_deleted")
    with app.app_context():
        db.session.execute(db.update(DeletedChannel).values(deleted_at=now() - timedelta(days=31)))
        db.session.commit()
    for name in ("list", "other"):
        assert make(client, bob, name).status_code == 201
