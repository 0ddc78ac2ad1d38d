"""Versions: uploads under one name, restoring and pruning (docs/files.md#versions)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Account, assert_error
from tests.uploads import PDF, PNG, UPLOAD, form, left_behind, read, signed_up

FIRST, SECOND = PNG + b"1", PNG + b"2"


def put(client: FlaskClient, account: Account, data: bytes, name: str = "a.png") -> dict[str, Any]:
    response = client.post(UPLOAD, headers=account.headers, **form(data, name))
    assert response.status_code == 200, response.json
    stored: dict[str, Any] = response.json
    return stored


def versions(client: FlaskClient, account: Account, file: dict[str, Any]) -> list[Any]:
    path = f"/api/files/{file['id']}/versions"
    listed: list[Any] = client.get(path, headers=account.headers).json
    return listed


def test_same_name_is_a_version_more(client: FlaskClient, ann: Account) -> None:
    first, second = put(client, ann, FIRST), put(client, ann, SECOND)
    assert second["id"] == first["id"]
    assert [first["version"], second["version"]] == [1, 2]
    assert first["url"] != second["url"]
    for file, data in ((first, FIRST), (second, SECOND)):
        assert read(client, file["url"]).data == data  # an address always means the same bytes
    listed = versions(client, ann, first)
    assert [one["version"] for one in listed] == [2, 1]
    assert [one["url"] for one in listed] == [second["url"], first["url"]]
    assert listed[1]["size"] == len(FIRST)
    path = f"/api/files/{first['id']}"
    for number, data in ((1, FIRST), (2, SECOND)):
        part = read(client, f"{path}/versions/{number}/download", **ann.headers)
        assert part.data == data
    assert read(client, f"{path}/download", **ann.headers).data == SECOND


def test_same_name_elsewhere_is_another_file(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    folder = client.post("/api/folders", json={"name": "x"}, headers=ann.headers).json
    request = form(FIRST)
    request["data"]["folderId"] = str(folder["id"])
    ids = [
        put(client, ann, FIRST)["id"],
        put(client, bob, FIRST)["id"],
        put(client, ann, FIRST, "A.png")["id"],
        client.post(UPLOAD, headers=ann.headers, **request).json["id"],
    ]
    assert len(set(ids)) == 4


def test_version_is_restored_as_the_newest(app: Flask, client: FlaskClient, ann: Account) -> None:
    file = put(client, ann, FIRST)
    put(client, ann, SECOND)
    path = f"/api/files/{file['id']}"
    answer = client.post(f"{path}/versions/1/restore", headers=ann.headers)
    assert (answer.status_code, answer.json["version"]) == (200, 3)
    assert read(client, f"{path}/download", **ann.headers).data == FIRST
    assert [one["version"] for one in versions(client, ann, file)] == [3, 2, 1]
    assert len(left_behind(app)) == 2  # the same bytes, once
    for number in ("4", "0", "x"):
        unknown = client.post(f"{path}/versions/{number}/restore", headers=ann.headers)
        assert_error(unknown, 404, "version_not_found")


def test_version_keeps_the_type(client: FlaskClient, ann: Account) -> None:
    file = put(client, ann, FIRST)
    path = f"/api/files/{file['id']}/versions"
    pdf = form(PDF, "a.pdf", "application/pdf")
    assert_error(client.post(path, headers=ann.headers, **pdf), 415)
    assert_error(client.post(path, headers=ann.headers, **form(PDF, "b.png")), 415)
    two = form(SECOND, "b.png")
    two["data"]["files"] = form(SECOND, "c.png")["data"]["file"]
    assert_error(client.post(path, headers=ann.headers, **two), 400, "too_many_files")
    added = client.post(path, headers=ann.headers, **form(SECOND, "b.png"))
    assert (added.status_code, added.json["originalName"]) == (201, "a.png")


def test_old_versions_are_pruned(make_app: Any) -> None:
    app = make_app(FILE_VERSIONS=2)
    client = signed_up(app)
    files = [client.post(UPLOAD, **form(PNG + bytes([n]))).json for n in range(4)]
    listed = client.get(f"/api/files/{files[0]['id']}/versions").json
    assert [one["version"] for one in listed] == [4, 3]
    assert len(left_behind(app)) == 2
    assert_error(client.get(files[0]["url"]), 404)
    assert read(client, files[2]["url"]).status_code == 200


def test_versions_count_for_the_quota(make_app: Any) -> None:
    app = make_app(QUOTA_BYTES=2 * len(FIRST))
    client = signed_up(app)
    file = client.post(UPLOAD, **form(FIRST)).json
    client.post(UPLOAD, **form(FIRST, "b.png"))  # stored once, and counted twice
    kept = left_behind(app)
    assert_error(client.post(UPLOAD, **form(SECOND)), 507, "quota_exceeded")
    path = f"/api/files/{file['id']}"
    assert_error(client.post(f"{path}/versions/1/restore"), 507, "quota_exceeded")
    assert_error(client.post(f"{path}/versions", **form(SECOND)), 507)
    assert left_behind(app) == kept
    assert client.get(path).json["version"] == 1
    assert client.delete(path).status_code == 204
    assert client.post(UPLOAD, **form(SECOND)).status_code == 200


@pytest.mark.parametrize("name", ["one.png", "several"])
def test_writers_at_once_lose_nothing(
    app: Flask, client: FlaskClient, ann: Account, name: str
) -> None:
    def write(number: int) -> int:
        own = name if name.endswith(".png") else f"{number}.png"
        request = form(PNG + str(number % 3).encode(), own)
        response = app.test_client().post(UPLOAD, headers=ann.headers, **request)
        return response.status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(12))) == [200] * 12
    files = client.get("/api/files", headers=ann.headers).json
    numbers = [one["version"] for file in files for one in versions(client, ann, file)]
    assert sorted(numbers) == (list(range(1, 13)) if name == "one.png" else [1] * 12)
    assert len(left_behind(app)) == 3
    for file in files:
        for one in versions(client, ann, file):
            assert read(client, one["url"]).status_code == 200


def test_bytes_that_are_deleted_while_they_come_again_stay(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    def delete(file: dict[str, Any]) -> None:
        app.test_client().delete(f"/api/files/{file['id']}", headers=ann.headers)

    for _ in range(8):
        file = put(client, ann, FIRST)
        with ThreadPoolExecutor(2) as pool:
            pool.submit(delete, file)
            kept = pool.submit(put, app.test_client(), bob, FIRST).result()
        assert read(client, kept["url"]).data == FIRST
        client.delete(f"/api/files/{kept['id']}", headers=bob.headers)
    assert left_behind(app) == []


def test_the_same_bytes_are_deleted_in_another_order_at_once(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    def delete(account: Account, ids: list[int]) -> int:
        call = {"json": {"ids": ids}, "headers": account.headers}
        return app.test_client().delete("/api/files/batch", **call).status_code

    for _ in range(4):
        order = range(8)
        anns = [put(client, ann, PNG + bytes([n]), f"{n}.png")["id"] for n in order]
        bobs = [put(client, bob, PNG + bytes([n]), f"{n}.png")["id"] for n in reversed(order)]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(delete, (ann, bob), (anns, bobs))) == [200, 200]
    assert left_behind(app) == []
