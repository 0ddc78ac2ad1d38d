"""Resumable uploads by the letter of tus 1.0.0: its core, and each of its extensions.

https://tus.io/protocols/resumable-upload
"""

import hashlib
import io
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update
from werkzeug.http import parse_date

from models import Upload, db, now
from tests.conftest import Account, assert_error
from tests.tus_client import TUS, Tus, checksum, encoded, metadata
from tests.uploads import BODY, PNG, left_behind

DATA = PNG.ljust(100, b".")


@pytest.fixture
def tus(app: Flask, ann: Account) -> Tus:
    """Ann's client."""
    return Tus(app, ann)


def bytes_at(tus: Tus, response: Any) -> bytes:
    """What the file is that an upload has become."""
    data: bytes = tus.ask("GET", f"{response.headers['Content-Location']}/download").data
    return data


# Core


def test_options_tell_what_there_is(app: Flask) -> None:
    for path in (TUS, f"{TUS}/anything"):
        response = app.test_client().options(path)
        assert response.status_code in (200, 204)
        assert response.headers["Tus-Resumable"] == response.headers["Tus-Version"] == "1.0.0"
        assert response.headers["Tus-Max-Size"] == "5000000"
        extensions = set(response.headers["Tus-Extension"].split(","))
        assert {"creation", "creation-with-upload", "checksum"} < extensions
        assert {"expiration", "termination"} < extensions
        assert "sha1" in response.headers["Tus-Checksum-Algorithm"].split(",")


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1", ""])
def test_another_version_is_412_and_does_nothing(app: Flask, tus: Tus, version: Any) -> None:
    path = tus.begin(len(DATA))
    for response in (
        tus.create(len(DATA), Tus_Resumable=version),
        tus.patch(path, 0, DATA, Tus_Resumable=version),
        tus.ask("HEAD", path, Tus_Resumable=version),
        tus.ask("DELETE", path, Tus_Resumable=version),
    ):
        assert response.status_code == 412
        assert response.headers["Tus-Version"] == "1.0.0"
    assert tus.offset(path) == 0
    with app.app_context():
        assert len(db.session.scalars(select(Upload)).all()) == 1


def test_bytes_come_in_parts_and_are_a_file(tus: Tus) -> None:
    path = tus.begin(len(DATA))
    first = tus.patch(path, 0, DATA[:40])
    assert (first.status_code, first.data) == (204, b"")
    assert first.headers["Upload-Offset"] == "40"
    assert first.headers["Tus-Resumable"] == "1.0.0"
    assert "Content-Location" not in first.headers
    last = tus.patch(path, 40, DATA[40:])
    assert (last.status_code, last.headers["Upload-Offset"]) == (204, "100")
    file = tus.ask("GET", last.headers["Content-Location"]).json
    assert file["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (file["originalName"], file["mimetype"]) == ("a.png", "image/png")
    assert bytes_at(tus, last) == DATA


def test_head_tells_how_far_it_is(tus: Tus) -> None:
    facts = metadata(filename="a.png", note="für Bob") + ",is_confidential"
    path = tus.begin(len(DATA), Upload_Metadata=facts)
    tus.patch(path, 0, DATA[:7])
    response = tus.ask("HEAD", path)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Upload-Offset"] == "7"
    assert response.headers["Upload-Length"] == "100"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Upload-Metadata"] == facts


def test_head_of_a_whole_one_names_the_file(tus: Tus) -> None:
    path = tus.begin(len(DATA))
    location = tus.patch(path, 0, DATA).headers["Content-Location"]
    response = tus.ask("HEAD", path)
    assert (response.status_code, response.headers["Upload-Offset"]) == (200, "100")
    assert response.headers["Content-Location"] == location


@pytest.mark.parametrize("offset", [0, 9, 11, 100])
def test_another_offset_is_409(tus: Tus, offset: int) -> None:
    path = tus.begin(len(DATA), data=DATA[:10])
    assert_error(tus.patch(path, offset, b""), 409, "wrong_offset")
    assert tus.offset(path) == 10


@pytest.mark.parametrize("offset", [None, "", "-1", "1.0", "x", "٣", "9" * 30])
def test_no_offset_is_400(tus: Tus, offset: Any) -> None:
    assert_error(tus.patch(tus.begin(len(DATA)), offset, DATA), 400)


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", None])
def test_another_content_type_is_415(tus: Tus, kind: Any) -> None:
    path = tus.begin(len(DATA))
    assert_error(tus.patch(path, 0, DATA, Content_Type=kind), 415)
    assert tus.offset(path) == 0


def test_more_than_its_length_is_413(app: Flask, tus: Tus) -> None:
    path = tus.begin(len(DATA), data=DATA[:10])
    assert_error(tus.patch(path, 10, DATA[10:] + b"x"), 413, "too_large")
    assert tus.offset(path) == 10
    assert_error(tus.create(5, data=b"123456"), 413, "too_large")


@pytest.mark.parametrize("more", [b"", b"x", b"x" * 70_000])
@pytest.mark.parametrize("start", [0, 10])
def test_a_body_of_unknown_length_is_read_to_its_end(tus: Tus, more: bytes, start: int) -> None:
    path = tus.begin(len(DATA), data=DATA[:start])
    stream = {"wsgi.input": io.BytesIO(DATA[start:] + more), "wsgi.input_terminated": True}
    headers = {**tus.headers, "Upload-Offset": str(start), "Content-Type": BODY}
    response = tus.client.patch(path, headers=headers, environ_overrides=stream)
    assert response.status_code == (413 if more else 204)
    assert tus.offset(path) == (start if more else 100)


@pytest.mark.parametrize("lengths", [[100], [40, 60]])
def test_a_server_that_ends_bodies_itself_takes_them_whole(tus: Tus, lengths: list[int]) -> None:
    path, start = tus.begin(len(DATA)), 0
    for length in lengths:
        body = DATA[start : start + length]
        stream = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
        headers = {**tus.headers, "Upload-Offset": str(start), "Content-Type": BODY}
        given = {**stream, "CONTENT_LENGTH": str(length)}
        assert tus.client.patch(path, headers=headers, environ_overrides=given).status_code == 204
        start += length
    assert bytes_at(tus, tus.ask("HEAD", path)) == DATA


def test_what_is_whole_takes_nothing_and_stays(tus: Tus) -> None:
    path = tus.begin(len(DATA), data=DATA)
    assert tus.patch(path, 100, b"").status_code == 204
    assert_error(tus.patch(path, 100, b"x"), 413)
    assert bytes_at(tus, tus.ask("HEAD", path)) == DATA


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_post_stands_for_other_methods(tus: Tus, method: str) -> None:
    path = tus.begin(len(DATA))
    facts = {"X_HTTP_Method_Override": method, "Upload_Offset": 0, "Content_Type": BODY}
    response = tus.ask("POST", path, DATA[:10] if method == "PATCH" else None, **facts)
    assert response.status_code == (200 if method == "HEAD" else 204)
    there = tus.ask("HEAD", path)
    assert there.status_code == (404 if method == "DELETE" else 200)
    assert there.headers.get("Upload-Offset") == {"HEAD": "0", "PATCH": "10"}.get(method)


def test_post_that_stands_for_nothing_is_405(tus: Tus) -> None:
    assert_error(tus.ask("POST", tus.begin(5)), 405)


# Creation


def test_creation_tells_where(app: Flask, tus: Tus) -> None:
    response = tus.create(len(DATA))
    assert (response.status_code, response.data) == (201, b"")
    assert response.headers["Location"].startswith(f"{TUS}/")
    assert response.headers["Upload-Offset"] == "0"
    assert left_behind(app) == []


def test_creation_takes_the_first_bytes(tus: Tus) -> None:
    response = tus.create(len(DATA), data=DATA[:10])
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "10")
    whole = tus.create(len(DATA), data=DATA)
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, "100")
    assert bytes_at(tus, whole) == DATA


@pytest.mark.parametrize("length", [None, "", "-1", "x", "1e3"])
def test_no_length_is_400(tus: Tus, length: Any) -> None:
    assert_error(tus.create(length), 400)


def test_too_long_is_413(make_app: Any, register: Any) -> None:
    app = make_app(MAX_UPLOAD_BYTES=100)
    tus = Tus(app, register())
    assert tus.create(100).status_code == 201
    assert_error(tus.create(101), 413, "too_large")


@pytest.mark.parametrize(
    "facts",
    ["filename a", "filename ====", "filename YQ==YQ==!", "filename é", "filename /w==", ","],
)
def test_metadata_that_is_not_base64_is_400(tus: Tus, facts: str) -> None:
    assert_error(tus.create(5, Upload_Metadata=facts), 400)


@pytest.mark.parametrize("name", ["a.exe", "a", "", "a.svg"])
def test_a_type_that_is_not_taken_is_415(tus: Tus, name: str) -> None:
    assert_error(tus.create(5, name), 415, "unsupported_type")


def test_a_declared_type_that_differs_is_415(tus: Tus) -> None:
    facts = metadata(filename="a.png", filetype="image/gif")
    assert_error(tus.create(5, Upload_Metadata=facts), 415)


def test_nothing_is_no_file_of_any_kind(app: Flask, tus: Tus) -> None:
    assert_error(tus.create(0), 415, "unsupported_type")
    assert_error(tus.create(0, data=b""), 415, "unsupported_type")
    with app.app_context():
        assert not db.session.scalar(select(Upload))


# Checksum


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_good_checksum_is_taken_and_another_is_460(tus: Tus, algorithm: str) -> None:
    path = tus.begin(len(DATA))
    good = checksum(DATA[:50], algorithm)
    assert_error(tus.patch(path, 0, DATA[1:51], **good), 460, "checksum")
    assert tus.offset(path) == 0
    assert tus.patch(path, 0, DATA[:50], **good).status_code == 204
    assert_error(tus.patch(path, 50, DATA[50:], **good), 460)
    assert tus.offset(path) == 50
    rest = checksum(DATA[50:], algorithm)
    assert bytes_at(tus, tus.patch(path, 50, DATA[50:], **rest)) == DATA


@pytest.mark.parametrize("words", ["crc32 AAAA", "sha1", "sha1 ", "sha1 !", "sha1 é", "AAAA"])
def test_an_unknown_checksum_is_400(tus: Tus, words: str) -> None:
    path = tus.begin(len(DATA))
    assert_error(tus.patch(path, 0, DATA, Upload_Checksum=words), 400)
    assert tus.offset(path) == 0


# Expiration


def test_an_upload_expires(app: Flask, tus: Tus) -> None:
    response = tus.create(len(DATA), data=DATA[:5])
    path, until = response.headers["Location"], parse_date(response.headers["Upload-Expires"])
    assert until
    assert abs(until.replace(tzinfo=None) - now() - timedelta(hours=24)) < timedelta(minutes=10)
    assert tus.patch(path, 5, DATA[5:9]).headers["Upload-Expires"]
    with app.app_context():
        db.session.execute(update(Upload).values(expires_at=now() - timedelta(seconds=1)))
        db.session.commit()
    for method in ("HEAD", "DELETE"):
        assert tus.ask(method, path).status_code == 410
    assert_error(tus.patch(path, 9, DATA[9:]), 410, "upload_expired")


# Termination


def test_termination_takes_the_parts(app: Flask, tus: Tus) -> None:
    path = tus.begin(len(DATA), data=DATA[:5])
    assert len(left_behind(app)) == 1
    response = tus.ask("DELETE", path)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Tus-Resumable"] == "1.0.0"
    assert left_behind(app) == []
    for method in ("HEAD", "PATCH", "DELETE"):
        assert tus.ask(method, path).status_code == 404


def test_termination_leaves_the_file(tus: Tus) -> None:
    path = tus.begin(len(DATA), data=DATA)
    there = tus.ask("HEAD", path)
    assert tus.ask("DELETE", path).status_code == 204
    assert bytes_at(tus, there) == DATA


def test_values_are_base64_and_keys_stand_alone(tus: Tus) -> None:
    facts = f"relativePath {encoded('x/y')}, filename {encoded('a.png')},empty "
    assert tus.create(5, Upload_Metadata=facts).status_code == 201
