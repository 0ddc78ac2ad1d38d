"""Stored files: the guide's contract (docs/frontends/larc.md), and who may read what."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Account, assert_error
from tests.uploads import PDF, PNG, UPLOAD, form, left_behind, read


@pytest.fixture
def upload(client: FlaskClient, ann: Account) -> dict[str, Any]:
    """A picture of Ann's."""
    response = client.post(UPLOAD, headers=ann.headers, **form())
    assert response.status_code == 200, response.json
    return response.json


def test_upload_answers_exactly_200(app: Flask, upload: dict[str, Any], ann: Account) -> None:
    assert upload["url"] == f"/uploads/{upload['filename']}"
    assert upload["filename"].endswith(".png")
    assert (upload["originalName"], upload["mimetype"]) == ("a.png", "image/png")
    assert upload["size"] == len(PNG)
    assert upload["createdAt"].endswith("Z")
    assert upload["files"] == [{name: upload[name] for name in upload if name != "files"}]
    assert len(left_behind(app)) == 1


# List and download


def test_list_has_only_the_callers_files(
    client: FlaskClient, upload: dict[str, Any], ann: Account, bob: Account
) -> None:
    assert client.get("/api/files", headers=ann.headers).json == upload["files"]
    assert client.get("/api/files", headers=bob.headers).json == []
    assert_error(client.get("/api/files"), 401)


def test_owner_downloads_under_the_original_name(client: FlaskClient, ann: Account) -> None:
    request = form(PDF, "Ünïcode 日本.pdf", "application/pdf")
    file_id = client.post(UPLOAD, headers=ann.headers, **request).json["id"]
    response = read(client, f"/api/files/{file_id}/download", **ann.headers)
    assert (response.status_code, response.data) == (200, PDF)
    disposition = response.headers["Content-Disposition"]
    assert disposition.startswith("attachment;")
    assert "filename*=UTF-8''%C3%9Cn%C3%AFcode%20%E6%97%A5%E6%9C%AC.pdf" in disposition
    assert disposition.isascii()


def test_download_is_not_for_shared_caches(
    client: FlaskClient, upload: dict[str, Any], ann: Account
) -> None:
    response = read(client, f"/api/files/{upload['id']}/download", **ann.headers)
    words = response.headers["Cache-Control"].split(", ")
    assert "private" in words
    assert "public" not in words


def test_only_the_owner_downloads(
    client: FlaskClient, upload: dict[str, Any], bob: Account
) -> None:
    path = f"/api/files/{upload['id']}/download"
    body = assert_error(client.get(path, headers=bob.headers), 404, "file_not_found")
    assert body["error"] == "File not found"
    assert_error(client.get(path), 401)


def test_unknown_file_is_404(client: FlaskClient, ann: Account) -> None:
    for file_id in ("undefined", "-1", "0", "2147483648", "9" * 30, "%00", "..%2F1", "a%2Fb"):
        response = client.get(f"/api/files/{file_id}/download", headers=ann.headers)
        assert_error(response, 404)


def test_public_address_serves_it_sandboxed(client: FlaskClient, upload: dict[str, Any]) -> None:
    response = read(client, upload["url"])
    assert (response.status_code, response.data) == (200, PNG)
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers.get("Content-Disposition", "inline").startswith("inline")


def test_public_pdf_is_an_attachment(client: FlaskClient, ann: Account) -> None:
    request = form(PDF, "a.pdf", "application/pdf")
    url = client.post(UPLOAD, headers=ann.headers, **request).json["url"]
    assert read(client, url).headers["Content-Disposition"].startswith("attachment")


def test_public_address_answers_ranges_and_304(client: FlaskClient, upload: Any) -> None:
    part = read(client, upload["url"], Range="bytes=0-3")
    assert (part.status_code, part.data) == (206, PNG[:4])
    assert_error(read(client, upload["url"], Range="bytes=99-"), 416)
    for other in ("bytes=0-1,3-4", "lines=0-3"):
        whole = read(client, upload["url"], Range=other)
        assert (whole.status_code, whole.data) == (200, PNG)
    tag = {"If-None-Match": read(client, upload["url"]).headers["ETag"]}
    assert read(client, upload["url"], **tag).status_code == 304


TRICKS = [
    "nothing.png",
    "..%2Fwharf.db",
    "../app.py",
    "%2e%2e%2fapp.py",
    "..%5Capp.py",
    "%00",
    "%2Fetc%2Fpasswd",
    ".",
    "..",
    "",
    "%F0%9F%8E%89",
    "%FF",
    "x" * 5_000,
]


def test_path_trick_is_404(app: Flask, client: FlaskClient) -> None:
    app.extensions["storage"].folder.mkdir()
    for name in TRICKS:
        assert_error(client.get(f"/uploads/{name}"), 404)


def test_bytes_without_a_row_are_404(app: Flask, client: FlaskClient) -> None:
    folder: Path = app.extensions["storage"].folder
    folder.mkdir()
    (folder / "stray.png").write_bytes(PNG)
    assert_error(client.get("/uploads/stray.png"), 404, "file_not_found")


def test_row_without_bytes_is_404(
    app: Flask, client: FlaskClient, upload: dict[str, Any], ann: Account
) -> None:
    app.extensions["storage"].delete(left_behind(app))
    assert_error(client.get(upload["url"]), 404, "file_not_found")
    path = f"/api/files/{upload['id']}/download"
    assert_error(client.get(path, headers=ann.headers), 404, "file_not_found")


# Links


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", 303, id="browser"),
        pytest.param("*/*", 401, id="program"),
        pytest.param("", 401, id="says nothing"),
    ],
)
def test_browser_is_led_to_the_page_that_asks_for_a_links_password(
    client: FlaskClient, upload: dict[str, Any], ann: Account, accept: str, status: int
) -> None:
    body = {"password": "tide table"}
    path = f"/api/files/{upload['id']}/links"
    url = client.post(path, json=body, headers=ann.headers).json["url"]
    response = client.get(url, headers={"Accept": accept})
    assert response.status_code == status
    if status == 303:
        assert response.headers["Location"] == f"/#link={url.rpartition('/')[2]}"
    else:
        assert_error(response, 401, "password_needed")
    assert client.post(url, data=body, buffered=True).data == PNG
