"""Uploads and downloads: the seed's contract (docs/frontends/larc.md), and who may read what."""

import io
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select

from models import File, db
from tests.conftest import PASSWORD, Account, assert_error

UPLOAD = "/api/upload"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
MULTIPART = "multipart/form-data; boundary=b"
PART = b"--b\r\nContent-Disposition: form-data; %s\r\n\r\nbytes\r\n--b--\r\n"
JPEG, GIF, PDF = b"\xff\xd8\xff\xe0", b"GIF89a", b"%PDF-1.7"


def form(data: bytes = PNG, name: str = "a.png", mimetype: str = "image/png") -> dict[str, Any]:
    """The request of an upload component."""
    return {"data": {"file": (io.BytesIO(data), name, mimetype)}}


@pytest.fixture
def upload(client: FlaskClient, ann: Account) -> dict[str, Any]:
    """A picture of Ann's."""
    response = client.post(UPLOAD, headers=ann.headers, **form())
    assert response.status_code == 200, response.json
    return response.json


def read(client: FlaskClient, path: str, **headers: str) -> Any:
    """The answer to a GET, read to its end: the file is closed."""
    return client.get(path, headers=headers, buffered=True)


def left_behind(app: Flask) -> list[str]:
    """Everything in the uploads folder, hidden files too."""
    folder: Path = app.extensions["storage"].folder
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def assert_nothing_stored(app: Flask) -> None:
    assert left_behind(app) == []
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(File)) == 0


# Upload


def test_upload_answers_exactly_200(app: Flask, upload: dict[str, Any], ann: Account) -> None:
    assert upload["url"] == f"/uploads/{upload['filename']}"
    assert upload["filename"].endswith(".png")
    assert (upload["originalName"], upload["mimetype"]) == ("a.png", "image/png")
    assert upload["size"] == len(PNG)
    assert upload["createdAt"].endswith("Z")
    assert left_behind(app) == [upload["filename"]]


def test_stored_names_are_random(client: FlaskClient, ann: Account) -> None:
    names = {client.post(UPLOAD, headers=ann.headers, **form()).json["filename"] for _ in "ab"}
    assert len(names) == 2
    assert all(len(name.removesuffix(".png")) == 32 for name in names)


@pytest.mark.parametrize(
    ("data", "name", "mimetype"),
    [
        (JPEG, "a.jpg", "image/jpeg"),
        (JPEG, "a.JPEG", "image/jpeg"),
        (GIF, "a.gif", "image/gif"),
        (PDF, "a.pdf", "application/pdf"),
        (PNG, "a.exe.png", "image/png"),
    ],
)
def test_kind_is_accepted(
    client: FlaskClient, ann: Account, data: bytes, name: str, mimetype: str
) -> None:
    response = client.post(UPLOAD, headers=ann.headers, **form(data, name, mimetype))
    assert response.status_code == 200
    assert read(client, response.json["url"]).data == data


@pytest.mark.parametrize(
    ("data", "name", "mimetype"),
    [
        pytest.param(PNG, "a.exe", "image/png", id="suffix"),
        pytest.param(PNG, "a.png.exe", "image/png", id="last suffix"),
        pytest.param(PNG, "a", "image/png", id="no suffix"),
        pytest.param(PNG, ".png", "image/png", id="only a suffix"),
        pytest.param(PNG, "a.png", "text/html", id="type"),
        pytest.param(PNG, "a.png", "", id="no type"),
        pytest.param(PNG, "a.jpg", "image/png", id="suffix and type differ"),
        pytest.param(b"<script>", "a.png", "image/png", id="first bytes"),
        pytest.param(b"<svg/>", "a.svg", "image/svg+xml", id="svg"),
        pytest.param(b"\x89PNG", "a.png", "image/png", id="too short"),
        pytest.param(b"", "a.png", "image/png", id="empty"),
    ],
)
def test_other_kind_is_415(
    app: Flask, client: FlaskClient, ann: Account, data: bytes, name: str, mimetype: str
) -> None:
    response = client.post(UPLOAD, headers=ann.headers, **form(data, name, mimetype))
    assert_error(response, 415, "unsupported_type")
    assert_nothing_stored(app)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("", b"", id="no body"),
        pytest.param("application/json", b'{"file": "x"}', id="JSON"),
        pytest.param("image/png", PNG, id="bare bytes"),
        pytest.param(MULTIPART, PART % b'name="file"', id="text field"),
        pytest.param(MULTIPART, PART % b'name="other"; filename="a.png"', id="other name"),
        pytest.param(MULTIPART, PART % b'name="file"; filename=""', id="no file name"),
        pytest.param("multipart/form-data", PART % b'name="file"; filename="a.png"', id="boundary"),
        pytest.param(MULTIPART, b"x", id="no parts"),
    ],
)
def test_missing_part_is_400(
    app: Flask, client: FlaskClient, ann: Account, content_type: str, body: bytes
) -> None:
    response = client.post(UPLOAD, headers=ann.headers, data=body, content_type=content_type)
    assert assert_error(response, 400, "no_file")["error"] == "No file uploaded"
    assert_nothing_stored(app)


@pytest.mark.parametrize("over", [1, 200_000], ids=["a byte", "much"])
def test_file_above_the_limit_is_413(make_app: Any, over: int) -> None:
    app = make_app(MAX_UPLOAD_BYTES=1000)
    client = app.test_client()
    client.post("/api/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
    assert client.post(UPLOAD, **form(PNG.ljust(1000))).status_code == 200
    kept = left_behind(app)
    response = client.post(UPLOAD, **form(PNG.ljust(1000 + over)))
    body = assert_error(response, 413, "too_large")
    assert "1000 bytes" in body["error"]
    assert left_behind(app) == kept


class Counted(io.RawIOBase):
    """An endless body that counts what was read of it."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


@pytest.mark.parametrize("signed_in", [True, False])
def test_body_above_the_limit_is_not_read(
    client: FlaskClient, ann: Account, signed_in: bool
) -> None:
    body = Counted()
    environ = {"wsgi.input": body, "CONTENT_LENGTH": str(10**12), "CONTENT_TYPE": MULTIPART}
    headers = ann.headers if signed_in else {}
    response = client.post(UPLOAD, headers=headers, environ_overrides=environ)
    assert_error(response, 413 if signed_in else 401)
    assert body.taken < 100_000


def test_body_of_unknown_length_is_read_up_to_the_limit(make_app: Any) -> None:
    client = make_app(MAX_UPLOAD_BYTES=1000).test_client()
    client.post("/api/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
    body = Counted()
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_TYPE": MULTIPART}
    assert_error(client.post(UPLOAD, environ_overrides=environ), 413, "too_large")
    assert body.taken < 300_000


def test_limits_of_uploads_and_of_json_are_apart(make_app: Any) -> None:
    client = make_app(MAX_UPLOAD_BYTES=5000, MAX_BODY_BYTES=500).test_client()
    client.post("/api/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
    assert client.post(UPLOAD, **form(PNG.ljust(4000))).status_code == 200


def test_failed_commit_leaves_no_bytes(app: Flask, client: FlaskClient, ann: Account) -> None:
    def fail(session: Any) -> None:
        raise RuntimeError("the disk is full")

    event.listen(db.session, "before_commit", fail)
    try:
        response = client.post(UPLOAD, headers=ann.headers, **form())
    finally:
        event.remove(db.session, "before_commit", fail)
    assert_error(response, 500, "internal_error")
    assert_nothing_stored(app)


def test_failed_write_leaves_no_bytes(
    app: Flask, client: FlaskClient, ann: Account, monkeypatch: Any
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    assert_error(client.post(UPLOAD, headers=ann.headers, **form()), 500, "internal_error")
    monkeypatch.undo()
    assert_nothing_stored(app)


def test_upload_needs_sign_in(app: Flask, client: FlaskClient) -> None:
    assert assert_error(client.post(UPLOAD, **form()), 401)["error"] == "No token provided"
    assert_nothing_stored(app)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\\\temp\\\\a.png", "a.png"),
        ("a\tb\0c.png", "abc.png"),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
        ("\u202egnp.exe.png", "gnp.exe.png"),
    ],
)
def test_original_name_is_cleaned(
    app: Flask, client: FlaskClient, ann: Account, name: str, kept: str
) -> None:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
    response = client.post(
        UPLOAD,
        headers=ann.headers,
        data=body + PNG + b"\r\n--b--\r\n",
        content_type=MULTIPART,
    )
    assert response.status_code == 200, response.json
    assert response.json["originalName"] == kept
    assert left_behind(app) == [response.json["filename"]]


# List and download


def test_list_has_only_the_callers_files(
    client: FlaskClient, upload: dict[str, Any], ann: Account, bob: Account
) -> None:
    assert client.get("/api/files", headers=ann.headers).json == [upload]
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
    app.extensions["storage"].delete(upload["filename"])
    assert_error(client.get(upload["url"]), 404, "file_not_found")
    path = f"/api/files/{upload['id']}/download"
    assert_error(client.get(path, headers=ann.headers), 404, "file_not_found")
