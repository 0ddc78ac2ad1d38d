"""Uploads: which are taken, which refused, and that a refused one leaves nothing behind."""

import errno
import io
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select

from models import File, db
from tests.conftest import PASSWORD, Account, assert_error
from tests.uploads import GIF, JPEG, PDF, PNG, UPLOAD, form, left_behind, read

MULTIPART = "multipart/form-data; boundary=b"
PART = b"--b\r\nContent-Disposition: form-data; %s\r\n\r\nbytes\r\n--b--\r\n"


def assert_nothing_stored(app: Flask) -> None:
    assert left_behind(app) == []
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(File)) == 0


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


def test_pages_are_told_what_may_be_uploaded(make_app: Any) -> None:
    told = make_app().test_client().get("/api/config").json
    assert told["uploadTypes"] == ["jpeg", "jpg", "png", "gif", "pdf"]
    assert told["maxUploadBytes"] == 5_000_000
    settings = {"UPLOAD_TYPES": "webp,txt", "MAX_UPLOAD_BYTES": 1000}
    told = make_app(**settings).test_client().get("/api/config").json
    assert (told["uploadTypes"], told["maxUploadBytes"]) == (["webp", "txt"], 1000)


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


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(errno.ENOSPC, 507, "storage_full"), (errno.EIO, 503, "storage_unavailable")],
)
def test_failed_write_leaves_no_bytes(
    app: Flask,
    client: FlaskClient,
    ann: Account,
    monkeypatch: Any,
    number: int,
    status: int,
    code: str,
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, "the disk does not do it")

    monkeypatch.setattr("os.fsync", fail)
    assert_error(client.post(UPLOAD, headers=ann.headers, **form()), status, code)
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
    assert len(left_behind(app)) == 1
