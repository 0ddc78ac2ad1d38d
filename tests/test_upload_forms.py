"""Upload forms: several files, other names of parts and addresses, fields (docs/files.md)."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Account, assert_error
from tests.test_uploads import assert_nothing_stored
from tests.uploads import GIF, PDF, PNG, UPLOAD, form, left_behind, read, signed_up


def several(*files: tuple[bytes, str, str], part: str = "file") -> dict[str, Any]:
    """A form with one part for each of these."""
    return {"data": {part: [(io.BytesIO(data), *more) for data, *more in files]}}


A, B = (PNG, "a.png", "image/png"), (PDF, "b.pdf", "application/pdf")


@pytest.mark.parametrize("part", ["file", "files", "file[]", "files[]"])
def test_several_files_are_kept(client: FlaskClient, ann: Account, part: str) -> None:
    answer = client.post(UPLOAD, headers=ann.headers, **several(A, B, part=part))
    assert answer.status_code == 200
    names = [one["originalName"] for one in answer.json["files"]]
    assert names == ["a.png", "b.pdf"]
    assert answer.json["id"] == answer.json["files"][0]["id"]
    assert [one["size"] for one in answer.json["files"]] == [len(PNG), len(PDF)]


@pytest.mark.parametrize("path", ["/api/upload", "/api/files/upload", "/upload/files"])
def test_addresses_of_other_frontends(client: FlaskClient, ann: Account, path: str) -> None:
    request = form()
    request["data"] |= {"metadata": '{"tags": ["sea"]}', "csrf_token": "x"}
    file = client.post(path, headers=ann.headers, **request).json
    assert file["metadata"] == {"tags": ["sea"]}
    assert client.get(f"/api/files/{file['id']}", headers=ann.headers).json["id"] == file["id"]


def test_one_bad_file_leaves_none(app: Flask, client: FlaskClient, ann: Account) -> None:
    bad = (b"<script>", "c.gif", "image/gif")
    assert_error(client.post(UPLOAD, headers=ann.headers, **several(A, B, bad)), 415)
    assert_nothing_stored(app)


def test_number_of_files_has_an_end(app: Flask, client: FlaskClient, ann: Account) -> None:
    assert_error(client.post(UPLOAD, headers=ann.headers, **several(*[A] * 6)), 400)
    assert_nothing_stored(app)
    answer = client.post(UPLOAD, headers=ann.headers, **several(*[A] * 5))
    assert [one["version"] for one in answer.json["files"]] == [1, 2, 3, 4, 5]


def test_the_same_files_in_another_order_at_once(
    app: Flask, register: Callable[..., Account]
) -> None:
    people = [register(name) for name in ("ann", "bob", "cleo", "dan")]

    def upload(number: int, turn: int) -> int:
        files = [(PNG + bytes([turn, n]), f"{turn}-{n}.png", "image/png") for n in range(5)]
        request = several(*(files if number % 2 else reversed(files)))
        headers = people[number].headers
        return app.test_client().post(UPLOAD, headers=headers, **request).status_code

    with ThreadPoolExecutor(4) as pool:
        for turn in range(3):
            assert list(pool.map(upload, range(4), [turn] * 4)) == [200] * 4


LONG = '{"a": "' + "x" * 9_991 + '"}'


def test_metadata_has_an_end(client: FlaskClient, ann: Account) -> None:
    request = form()
    request["data"]["metadata"] = LONG
    assert len(LONG) == 10_000
    assert client.post(UPLOAD, headers=ann.headers, **request).status_code == 200


@pytest.mark.parametrize("text", ["[]", "{", '"x"', "7", '{"a": NaN}', LONG + " "])
def test_strange_metadata_is_400(app: Flask, client: FlaskClient, ann: Account, text: str) -> None:
    request = form()
    request["data"]["metadata"] = text
    assert_error(client.post(UPLOAD, headers=ann.headers, **request), 400)
    assert_nothing_stored(app)


@pytest.mark.parametrize(
    ("name", "mimetype", "data"),
    [
        ("a.txt", "text/plain", "Grüße".encode()),
        ("a.csv", "text/csv", b"a,b\n1,2\n"),
        ("a.webp", "image/webp", b"RIFF\x10\0\0\0WEBPVP8 "),
        ("a.mp4", "video/mp4", b"\0\0\0\x18ftypmp42\0\0\0\0"),
        ("a.html", "text/html", b"<script>alert(1)</script>"),
        ("a.svg", "image/svg+xml", b"<svg onload='alert(1)'/>"),
    ],
)
def test_other_types_are_a_setting(make_app: Any, name: str, mimetype: str, data: bytes) -> None:
    client = signed_up(make_app(UPLOAD_TYPES="txt, .csv,WEBP,mp4,html,svg"))
    file = client.post(UPLOAD, **form(data, name, mimetype)).json
    assert file["mimetype"] == mimetype
    shown = read(client, file["url"])
    assert shown.data == data
    assert shown.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    is_shown = mimetype == "image/webp"
    assert shown.headers["Content-Disposition"].startswith("inline" if is_shown else "attachment")
    assert_error(client.post(UPLOAD, **form()), 415)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\0a", b"a\0b", b"", b"\x80" * 5000, b"a" * 4094 + b"\xc3\xff"]
)
def test_text_is_utf8(make_app: Any, data: bytes) -> None:
    client = signed_up(make_app(UPLOAD_TYPES="txt"))
    assert_error(client.post(UPLOAD, **form(data, "a.txt", "text/plain")), 415)


def test_text_that_is_cut_in_a_letter_is_text(make_app: Any) -> None:
    client = signed_up(make_app(UPLOAD_TYPES="txt"))
    data = b"a" * 4095 + "ü".encode() * 10
    assert client.post(UPLOAD, **form(data, "a.txt", "text/plain")).status_code == 200


def test_polyglot_is_never_run(client: FlaskClient, ann: Account) -> None:
    """A picture that is a page too is a picture: nobody guesses, and nothing runs."""
    data = GIF + b"/*<html><script>alert(1)</script>*/=1"
    request = form(data, "a.gif", "image/gif")
    shown = read(client, client.post(UPLOAD, headers=ann.headers, **request).json["url"])
    assert shown.headers["Content-Type"] == "image/gif"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in shown.headers["Content-Security-Policy"]


def test_quota_is_a_limit(make_app: Any) -> None:
    app = make_app(QUOTA_BYTES=100)
    client = signed_up(app)
    assert client.post(UPLOAD, **form(PNG.ljust(60))).status_code == 200
    kept = left_behind(app)
    assert_error(client.post(UPLOAD, **form(PNG.ljust(41), "b.png")), 507, "quota_exceeded")
    assert left_behind(app) == kept
    assert client.post(UPLOAD, **form(PNG.ljust(40), "b.png")).status_code == 200


def test_body_that_ends_early_leaves_nothing(app: Flask, client: FlaskClient, ann: Account) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    body = head + b"Content-Type: image/png\r\n\r\n" + PNG * 1000
    for length in (len(body), len(body) + 5000):
        environ = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(length)}
        environ["CONTENT_TYPE"] = "multipart/form-data; boundary=b"
        answer = client.post(UPLOAD, headers=ann.headers, environ_overrides=environ)
        assert_error(answer, 400)
        assert_nothing_stored(app)
