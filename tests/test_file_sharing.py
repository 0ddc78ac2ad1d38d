"""Sharing files with users, what they may do, and what they hear (docs/files.md#sharing)."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import File
from tests.conftest import Account, Peer, Server, assert_error
from tests.races import before_lock
from tests.uploads import PNG, UPLOAD, form, left_behind, read

OTHER = PNG + b"more"


class Shared:
    """A file of Ann's, and what others do with it."""

    def __init__(self, client: FlaskClient, ann: Account) -> None:
        self.client, self.ann = client, ann
        self.file: dict[str, Any] = client.post(UPLOAD, headers=ann.headers, **form()).json
        self.path = f"/api/files/{self.file['id']}"

    def share(self, account: Account, mode: str = "read", by: Account | None = None) -> Any:
        path = f"{self.path}/shares/{account.user['id']}"
        return self.client.put(path, json={"mode": mode}, headers=(by or self.ann).headers)

    def take_back(self, account: Account, by: Account | None = None) -> Any:
        path = f"{self.path}/shares/{account.user['id']}"
        return self.client.delete(path, headers=(by or self.ann).headers)

    def get(self, account: Account, more: str = "") -> Any:
        return read(self.client, self.path + more, **account.headers)

    def add_version(self, account: Account) -> Any:
        path = f"{self.path}/versions"
        return self.client.post(path, headers=account.headers, **form(OTHER))


@pytest.fixture
def shared(client: FlaskClient, ann: Account) -> Shared:
    return Shared(client, ann)


def test_reader_reads_and_no_more(client: FlaskClient, shared: Shared, bob: Account) -> None:
    assert_error(shared.get(bob), 404)
    answer = shared.share(bob)
    expected = {"userId": bob.user["id"], "name": "Bob", "mode": "read"}
    assert (answer.status_code, answer.json) == (200, expected)
    assert shared.get(bob).json["sharedWith"] == [{"userId": bob.user["id"], "mode": "read"}]
    assert shared.get(bob, "/download").data == PNG
    assert shared.get(bob, "/versions/1/download").data == PNG
    assert [one["version"] for one in shared.get(bob, "/versions").json] == [1]
    assert shared.get(bob, "/shares").json == [expected]
    listed = client.get("/api/files", headers=bob.headers).json
    assert [one["id"] for one in listed] == [shared.file["id"]]
    name = {"originalName": "b.png"}
    assert_error(client.patch(shared.path, json=name, headers=bob.headers), 403)
    assert_error(shared.add_version(bob), 403)
    assert_error(client.post(f"{shared.path}/versions/1/restore", headers=bob.headers), 403)
    assert_error(client.delete(shared.path, headers=bob.headers), 403)
    assert_error(client.post(f"{shared.path}/links", json={}, headers=bob.headers), 403)
    assert_error(shared.get(bob, "/links"), 403)
    assert shared.get(bob).json["version"] == 1


def test_writer_renames_and_adds_versions(
    client: FlaskClient, shared: Shared, bob: Account
) -> None:
    shared.share(bob, "write")
    name = {"originalName": "b.png"}
    assert client.patch(shared.path, json=name, headers=bob.headers).status_code == 200
    answer = shared.add_version(bob)
    assert (answer.status_code, answer.json["version"]) == (201, 2)
    assert answer.json["originalName"] == "b.png"
    assert answer.json["userId"] == shared.ann.user["id"]
    assert shared.get(shared.ann, "/download").data == OTHER
    versions = shared.get(shared.ann, "/versions").json
    assert [one["userId"] for one in versions] == [bob.user["id"], shared.ann.user["id"]]
    folder = client.post("/api/folders", json={"name": "x"}, headers=bob.headers).json
    body = {"folderId": folder["id"]}
    assert_error(client.patch(shared.path, json=body, headers=bob.headers), 403)
    assert_error(client.delete(shared.path, headers=bob.headers), 403)


def test_only_the_owner_shares(shared: Shared, bob: Account, register: Any) -> None:
    cleo = register("cleo")
    assert_error(shared.share(cleo, by=bob), 404)
    shared.share(bob, "write")
    assert_error(shared.share(cleo, by=bob), 403)
    assert_error(shared.share(shared.ann), 400, "own_file")
    assert_error(shared.share(bob, "own"), 400)
    path = f"{shared.path}/shares/999999"
    nobody = shared.client.put(path, json={}, headers=shared.ann.headers)
    assert_error(nobody, 404, "user_not_found")


def test_share_is_taken_back_by_owner_or_reader(
    shared: Shared, bob: Account, register: Any
) -> None:
    cleo = register("cleo")
    for one in (bob, cleo):
        shared.share(one)
    assert_error(shared.take_back(cleo, by=bob), 403)
    assert shared.take_back(cleo).status_code == 204
    assert shared.take_back(bob, by=bob).status_code == 204
    assert shared.take_back(cleo).status_code == 204  # gone already
    for one in (bob, cleo):
        assert_error(shared.get(one), 404)
    assert shared.get(shared.ann).json["sharedWith"] == []


@pytest.mark.parametrize("of", ["versions", "shares", "links"])
def test_search_where_there_are_no_texts_finds_nothing(
    shared: Shared, bob: Account, of: str
) -> None:
    shared.share(bob)
    shared.client.post(f"{shared.path}/links", json={}, headers=shared.ann.headers)
    answer = shared.get(shared.ann, f"/{of}?q=x")
    assert (answer.status_code, answer.json) == (200, [])
    assert len(shared.get(shared.ann, f"/{of}?q=").json) == 1


def test_one_user_has_one_share(shared: Shared, bob: Account) -> None:
    shared.share(bob)
    shared.share(bob, "write")
    assert [one["mode"] for one in shared.get(bob, "/shares").json] == ["write"]


def test_share_without_a_mode_stays_what_it_is(
    client: FlaskClient, shared: Shared, bob: Account
) -> None:
    shared.share(bob, "write")
    path = f"{shared.path}/shares/{bob.user['id']}"
    for call in (client.patch, client.put):
        assert call(path, json={}, headers=shared.ann.headers).json["mode"] == "write"


LATE: list[tuple[str, str, Any]] = [  # what writers do, when it is too late
    ("PATCH", "", lambda: {"json": {"originalName": "b.png"}}),
    ("POST", "/versions", lambda: form(OTHER)),
    ("POST", "/versions/1/restore", dict),
]
LATE_OWNER: list[tuple[str, str, Any]] = [
    *LATE,
    ("PUT", "/shares/{bob}", lambda: {"json": {}}),
    ("DELETE", "/shares/{bob}", dict),
    ("POST", "/links", lambda: {"json": {}}),
]


@pytest.mark.parametrize(("method", "path", "body"), LATE_OWNER)
def test_file_that_is_deleted_meanwhile_is_404(
    app: Flask, shared: Shared, bob: Account, monkeypatch: Any, method: str, path: str, body: Any
) -> None:
    headers = shared.ann.headers
    shared.share(bob)
    before_lock(monkeypatch, File, lambda: app.test_client().delete(shared.path, headers=headers))
    address = shared.path + path.format(bob=bob.user["id"])
    answer = shared.client.open(address, method=method, headers=headers, **body())
    assert_error(answer, 404, "file_not_found")
    assert left_behind(app) == []


@pytest.mark.parametrize(("method", "path", "body"), LATE)
def test_who_may_write_no_longer_writes_nothing(
    app: Flask, shared: Shared, bob: Account, monkeypatch: Any, method: str, path: str, body: Any
) -> None:
    shared.share(bob, "write")
    share, headers = f"{shared.path}/shares/{bob.user['id']}", shared.ann.headers
    before_lock(monkeypatch, File, lambda: app.test_client().delete(share, headers=headers))
    address = shared.path + path
    answer = shared.client.open(address, method=method, headers=bob.headers, **body())
    assert_error(answer, 403)
    file = shared.get(shared.ann).json
    assert (file["originalName"], file["version"]) == ("a.png", 1)
    assert len(left_behind(app)) == 1


def test_writer_sends_the_whole_file_back(
    client: FlaskClient, shared: Shared, bob: Account
) -> None:
    folder = client.post("/api/folders", json={"name": "x"}, headers=shared.ann.headers).json
    moved = {"folderId": folder["id"]}
    assert client.patch(shared.path, json=moved, headers=shared.ann.headers).status_code == 200
    shared.share(bob, "write")
    whole = shared.get(bob).json | {"originalName": "b.png"}
    answer = client.put(shared.path, json=whole, headers=bob.headers)
    assert (answer.status_code, answer.json["originalName"]) == (200, "b.png")
    assert_error(client.put(shared.path, json={"folderId": None}, headers=bob.headers), 403)


def watch(peer: Peer) -> None:
    peer.ask("subscribe", "system", payload={"table": "files"})


def test_changes_are_told_to_all_who_may_read(
    client: FlaskClient, server: Server, shared: Shared, bob: Account, register: Any
) -> None:
    ann, reader, stranger = (server.chat(one) for one in (shared.ann, bob, register("cleo")))
    for peer in (ann, reader, stranger):
        watch(peer)

    def told(peer: Peer) -> tuple[str, dict[str, Any]]:
        frame = peer.expect("database_change")
        return frame["event"], frame["data"]

    shared.share(bob)
    event, row = told(reader)
    assert (event, row["id"], row["sharedWith"][0]["mode"]) == ("INSERT", shared.file["id"], "read")
    assert told(ann)[0] == "UPDATE"
    client.patch(shared.path, json={"originalName": "b.png"}, headers=shared.ann.headers)
    for peer in (ann, reader):
        event, row = told(peer)
        assert (event, row["originalName"]) == ("UPDATE", "b.png")
    shared.add_version(shared.ann)
    assert [told(peer)[1]["version"] for peer in (ann, reader)] == [2, 2]
    shared.take_back(bob)
    assert told(reader)[0] == "DELETE"
    assert told(ann)[1]["sharedWith"] == []
    client.delete(shared.path, headers=shared.ann.headers)
    assert told(ann)[0] == "DELETE"
    client.post(UPLOAD, headers=shared.ann.headers, **form())
    assert told(ann)[0] == "INSERT"
    for peer in (reader, stranger):
        heard = [*peer.until_pong(), *peer.until_pong()]
        assert not [frame for frame in heard if frame["type"] == "database_change"]


def test_what_was_told_is_forgotten_with_the_share(
    server: Server, shared: Shared, bob: Account
) -> None:
    peer = server.chat(bob)
    watch(peer)
    shared.share(bob)
    shared.take_back(bob)
    again = server.chat(bob)
    again.send("subscribe", payload={"table": "files"}, since=0)
    heard = [*again.until_pong(), *again.until_pong()]
    assert [frame["event"] for frame in heard if frame["type"] == "database_change"][-1] == "DELETE"
    assert "a.png" not in str(heard)
