"""A deleted account: what was its user's alone is gone, what others read stays (erasure.py)."""

import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

import channels
from models import Activity, CrdtChange, Receipt, StoredEvent, User, db
from tests.accounts import ANN, LOGIN, ME, REGISTER, make_admin, path_of
from tests.accounts import stored_users as stored
from tests.conftest import Account, Server, assert_error
from tests.replicas import Talker
from tests.uploads import UPLOAD, form

BATCH = "/api/users/batch"


def test_deleted_account_is_gone_for_everybody(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    assert client.delete(path_of(ann), headers=ann.headers).status_code == 204
    assert_error(client.get(ME, headers=ann.headers), 401)
    assert_error(app.test_client().post(LOGIN, json=ANN), 401)
    assert_error(client.get(path_of(ann), headers=bob.headers), 404, "user_not_found")
    assert_error(client.delete(path_of(ann), headers=bob.headers), 404)
    assert client.get("/api/users", headers=bob.headers).json == [bob.user]
    assert "ann@example.com" not in str(stored(app))
    again = app.test_client().post(REGISTER, json=ANN)
    assert again.json["user"]["id"] != ann.user["id"]


def test_only_user_and_admin_delete_an_account(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, admin: Account
) -> None:
    before = stored(app)
    assert_error(client.delete(path_of(ann), headers=bob.headers), 403)
    body = {"ids": [bob.user["id"], ann.user["id"]]}
    assert_error(client.delete(BATCH, json=body, headers=bob.headers), 403)
    assert stored(app) == before
    response = client.delete(path_of(ann), json={}, headers=admin.headers)
    assert response.json == {"ok": True, "id": ann.user["id"]}
    with app.app_context():
        entry = db.session.scalars(select(Activity).where(Activity.type == "deleted")).one()
        assert entry.detail == f"by Root ({admin.user['id']})"


def test_batch_deletes_all_of_its_users(
    client: FlaskClient, ann: Account, bob: Account, admin: Account
) -> None:
    body = {"ids": [str(ann.user["id"]), bob.user["id"], 10**12, "undefined"]}
    deleted = [ann.user["id"], bob.user["id"]]
    response = client.delete(BATCH, json=body, headers=admin.headers)
    assert (response.status_code, response.json) == (200, {"ok": True, "ids": deleted})
    assert client.delete("/users/batch", json=body, headers=admin.headers).json["ids"] == []
    assert [user["name"] for user in client.get(BATCH[:-6], headers=admin.headers).json] == ["Root"]


@pytest.mark.parametrize("body", [{}, {"ids": "1"}, {"ids": [None]}, {"ids": [1] * 101}])
def test_batch_without_a_list_of_ids_is_400(
    client: FlaskClient, ann: Account, body: dict[str, Any]
) -> None:
    answer = client.delete(BATCH, json=body, headers=ann.headers)
    assert next(iter(assert_error(answer, 400)["errors"])).startswith("ids")


def test_sockets_of_a_deleted_account_are_closed(
    client: FlaskClient, server: Server, ann: Account, admin: Account
) -> None:
    peer = server.chat(ann)
    client.delete(path_of(ann), headers=admin.headers)
    assert peer.close_code() == 4001


def test_nothing_points_to_a_deleted_account_but_what_was_said(
    app: Flask, client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    fill(client, server, ann, bob)
    pointing = [
        (table, key.parent)
        for table in db.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table is User.__table__
    ]

    def count() -> dict[str, int]:
        with app.app_context():
            return {
                table.name: db.session.scalar(
                    select(func.count()).select_from(table).where(column == ann.user["id"])
                )
                for table, column in pointing
            }

    before = count()
    untried = {name for name, rows in before.items() if not rows}
    assert untried <= {"push_subscriptions", "one_time_tokens", "crdt_tracked_peers"}
    client.delete(path_of(ann), headers=ann.headers)
    kept = {name: rows for name, rows in count().items() if rows}
    said = {"messages": before["messages"], "members": 1, "posts": 1, "comments": 1}
    assert (kept, before["posts"]) == (said, 2)


def fill(client: FlaskClient, server: Server, ann: Account, bob: Account) -> None:
    """Let Ann have something in every table."""
    key = {"Idempotency-Key": "k", **ann.headers}
    client.post("/api/todos", json={"title": "secret"}, headers=key)
    client.post("/api/channels", json={"name": "deleted"}, headers=ann.headers)
    client.delete("/api/channels/deleted", headers=ann.headers)
    client.post("/api/jobs", json={}, headers=ann.headers)
    client.post("/api/auth/ticket", headers=ann.headers)
    client.put(path_of(ann), json={"username": "annie", "currentPassword": "correct horse"})
    client.post("/api/rooms/lobby/messages", json={"content": "hi"}, headers=ann.headers)
    client.post("/api/rooms", json={"userId": bob.user["id"]}, headers=ann.headers)
    client.post("/api/rooms", json={"id": "own", "kind": "private"}, headers=ann.headers)
    file = client.post(UPLOAD, headers=ann.headers, **form()).json
    client.post("/api/folders", json={"name": "secret"}, headers=ann.headers)
    client.post(f"/api/files/{file['id']}/links", json={}, headers=ann.headers)
    begin = {"Upload-Length": "9", "Upload-Metadata": "filename YS5wbmc=", "Tus-Resumable": "1.0.0"}
    assert client.post("/api/tus", headers=ann.headers | begin).status_code == 201
    file = client.post(UPLOAD, headers=bob.headers, **form()).json
    client.put(f"/api/files/{file['id']}/shares/{ann.user['id']}", json={}, headers=bob.headers)
    post = client.post("/api/posts", json={"title": "x", "published": True}, headers=ann.headers)
    client.post("/api/posts", json={"title": "draft"}, headers=ann.headers)
    path = f"/api/posts/{post.json['id']}/comments"
    client.post(path, json={"content": "hi"}, headers=ann.headers)
    client.put(path_of(ann), json={"name": "Ann"}, headers=ann.headers)
    client.post("/api/collections/notes", json={"text": "secret"}, headers=ann.headers)
    server.connect("/?channel=default", ann).expect("connected")
    client.post("/api/channels", json={"name": "bobs"}, headers=bob.headers)
    seat = f"/api/channels/bobs/members/{ann.user['id']}"
    client.put(seat, json={"role": "writer"}, headers=bob.headers)
    body = {"username": "annie", "currentPassword": "correct horse"}
    client.put(path_of(ann), json=body, headers=ann.headers)
    client.post("/api/rooms/lobby/messages", json={"content": "@annie"}, headers=bob.headers)


def test_words_to_others_stay_and_words_of_ones_own_go(
    app: Flask, client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    fill(client, server, ann, bob)
    client.delete(path_of(ann), headers=ann.headers)
    said = client.get("/api/rooms/lobby/messages", headers=bob.headers).json
    assert [(one["content"], one["userName"]) for one in said] == [
        ("hi", "Deleted user"),
        ("@annie", "Bob"),
    ]
    rooms = client.get("/api/rooms", headers=bob.headers).json
    assert {room["name"] for room in rooms} == {"lobby", "Deleted user"}
    assert client.get("/api/rooms/lobby", headers=bob.headers).json["ownerId"] == bob.user["id"]
    with app.app_context():
        ann_id = ann.user["id"]
        topics = ("user", "todos", "files", "folders")
        own = StoredEvent.topic.in_([f"{topic}:{ann_id}" for topic in topics])
        told = "".join(db.session.scalars(select(StoredEvent.data).where(own)))
        told += "".join(db.session.scalars(select(Receipt.answer)))
        assert "secret" not in told
        assert "annie" not in told
        heard = "".join(db.session.scalars(select(StoredEvent.data).where(~own)))
        assert ann.user["name"] not in heard
        assert "Deleted user" in heard


def test_names_of_files_are_forgotten_and_who_shared_one_is_told(
    app: Flask, client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    for one, other, name in ((ann, bob, "anns.png"), (bob, ann, "bobs.png")):
        file = client.post(UPLOAD, headers=one.headers, **form(name=name)).json
        path = f"/api/files/{file['id']}/shares/{other.user['id']}"
        assert client.put(path, json={}, headers=one.headers).status_code == 200
    peer = server.chat(bob)
    peer.ask("subscribe", "system", payload={"table": "files"})
    assert client.delete(path_of(ann), headers=ann.headers).status_code == 204
    told = [peer.expect("database_change") for _ in range(2)]
    assert sorted(one["event"] for one in told) == ["DELETE", "UPDATE"]
    [changed] = [one["data"] for one in told if one["event"] == "UPDATE"]
    assert (changed["originalName"], changed["sharedWith"]) == ("bobs.png", [])
    with app.app_context():
        kept = "".join(db.session.scalars(select(StoredEvent.data)))
        own = StoredEvent.topic == f"files:{ann.user['id']}"
        heard = "".join(db.session.scalars(select(StoredEvent.data).where(own)))
        assert "anns.png" not in kept
        assert "bobs.png" not in heard
        assert "bobs.png" in kept


def test_files_of_a_deleted_account_are_gone(client: FlaskClient, ann: Account) -> None:
    url = client.post(UPLOAD, headers=ann.headers, **form()).json["url"]
    with client.get(url, buffered=True) as response:
        assert response.status_code == 200
    client.delete(path_of(ann), headers=ann.headers)
    assert_error(client.get(url), 404)


def test_files_that_cannot_be_deleted_keep_no_account_alive(
    app: Flask,
    client: FlaskClient,
    ann: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("a.png", "b.png"):
        response = client.post(UPLOAD, **form(name=name), headers=ann.headers)
        assert response.status_code == 200, response.json
    tried: list[list[str]] = []

    def fail(_storage: Any, names: list[str]) -> None:
        tried.append(names)
        raise OSError("read only")

    monkeypatch.setattr(type(app.extensions["storage"]), "delete", fail)
    assert client.delete(path_of(ann), headers=ann.headers).status_code == 204
    assert len(tried) == 1
    assert "are left for `flask files check`" in caplog.text


def test_the_only_admin_stays(
    app: Flask, client: FlaskClient, admin: Account, ann: Account
) -> None:
    calls = [
        client.delete(path_of(admin), headers=admin.headers),
        client.delete(BATCH, json={"ids": [admin.user["id"]]}, headers=admin.headers),
        client.patch(path_of(admin), json={"role": "user"}, headers=admin.headers),
    ]
    for response in calls:
        assert_error(response, 409, "last_admin")
    make_admin(app, ann)
    both = {"ids": [admin.user["id"], ann.user["id"]]}
    assert_error(client.delete(BATCH, json=both, headers=admin.headers), 409, "last_admin")
    assert client.delete(path_of(admin), headers=admin.headers).status_code == 204
    assert_error(client.delete(path_of(ann), headers=ann.headers), 409, "last_admin")


def test_who_was_muted_does_not_inherit_a_room_after_deletion(
    client: FlaskClient, ann: Account, bob: Account, register: Callable[..., Account]
) -> None:
    cleo = register("cleo")
    client.post("/api/rooms", json={"id": "club", "kind": "public"}, headers=ann.headers)
    members = "/api/rooms/club/members"
    for one in (bob, cleo):
        client.post(members, json={"userId": one.user["id"]}, headers=ann.headers)
    bobs = f"{members}/{bob.user['id']}"
    assert client.patch(bobs, json={"isMuted": True}, headers=ann.headers).status_code == 200
    client.delete(path_of(bob), headers=bob.headers)
    client.delete(path_of(ann), headers=ann.headers)
    [room] = client.get("/api/rooms", headers=cleo.headers).json
    assert room["ownerId"] == cleo.user["id"]


def test_an_account_is_deleted_while_its_replica_writes(
    app: Flask, client: FlaskClient, server: Server, ann: Account, monkeypatch: Any
) -> None:
    merged, merge = Event(), channels.merge

    def take_long(*args: Any) -> Any:
        outcome = merge(*args)
        merged.set()
        time.sleep(0.5)
        return outcome

    phone = Talker(server, ann, "phone", "list")
    monkeypatch.setattr(channels, "merge", take_long)
    change = ["notes", "a", "text", "x", 1, 1, "phone", 1, 0]
    phone.peer.send("update", siteId="phone", version=1, changes=[change])
    assert merged.wait(5)
    assert client.delete(path_of(ann), headers=ann.headers).status_code == 204
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(CrdtChange)) == 0
