"""Files in a bucket, as clients see them, and what only a bucket does."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from gunicorn.http.wsgi import FileWrapper
from PIL import Image
from sqlalchemy import event, func, select

from errors import WharfError
from models import Blob, File, db
from s3_storage import S3Storage
from tests.buckets import Bucket
from tests.conftest import Account, assert_error
from tests.uploads import PNG, UPLOAD, form, picture, read


@pytest.fixture
def app(make_app: Any, bucket: Bucket) -> Flask:
    """An app whose files lie in a bucket."""
    made: Flask = make_app(STORAGE_URL=bucket.url)
    return made


@pytest.fixture
def storage(app: Flask) -> S3Storage:
    """Its storage."""
    found: S3Storage = app.extensions["storage"]
    return found


@pytest.fixture
def stored(client: FlaskClient, ann: Account) -> dict[str, Any]:
    """A picture of Ann's."""
    response = client.post(UPLOAD, headers=ann.headers, **form(picture()))
    assert response.status_code == 200, response.json
    return response.json


def count(app: Flask, model: Any) -> int:
    """How many rows there are."""
    with app.app_context():
        return int(db.session.scalar(select(func.count()).select_from(model)))


def test_an_upload_is_one_object_under_the_prefix(
    app: Flask, bucket: Bucket, stored: dict[str, Any]
) -> None:
    with app.app_context():
        assert bucket.keys() == [f"wharf/{db.session.scalar(select(Blob.name))}"]


def test_the_same_bytes_are_one_object(
    client: FlaskClient, bucket: Bucket, stored: dict[str, Any], bob: Account
) -> None:
    assert client.post(UPLOAD, headers=bob.headers, **form(picture())).status_code == 200
    assert len(bucket.keys()) == 1


def test_a_download_is_whole(client: FlaskClient, stored: dict[str, Any], ann: Account) -> None:
    response = read(client, f"/api/files/{stored['id']}/download", **ann.headers)
    assert (response.status_code, response.data) == (200, picture())
    assert response.headers["Content-Length"] == str(len(picture()))
    head = client.head(stored["url"])
    assert (head.data, head.headers["Content-Length"]) == (b"", str(len(picture())))


def test_a_part_is_206(client: FlaskClient, stored: dict[str, Any]) -> None:
    data, size = picture(), len(picture())
    for asked, there in (("5-9", data[5:10]), ("5-", data[5:]), ("-4", data[-4:])):
        part = read(client, stored["url"], Range=f"bytes={asked}")
        assert (part.status_code, part.data) == (206, there)
        start = data.index(there)
        assert part.headers["Content-Range"] == f"bytes {start}-{start + len(there) - 1}/{size}"


def test_a_part_past_the_end_is_416(client: FlaskClient, stored: dict[str, Any]) -> None:
    response = read(client, stored["url"], Range="bytes=99999-")
    assert_error(response, 416)
    assert response.headers["Content-Range"] == f"bytes */{len(picture())}"


def test_if_range_and_304(client: FlaskClient, stored: dict[str, Any]) -> None:
    whole = read(client, stored["url"])
    tag, since = whole.headers["ETag"], whole.headers["Last-Modified"]
    part = {"Range": "bytes=0-3"}
    assert read(client, stored["url"], **part, **{"If-Range": tag}).status_code == 206
    assert read(client, stored["url"], **part, **{"If-Range": '"other"'}).data == picture()
    assert read(client, stored["url"], **{"If-None-Match": tag}).status_code == 304
    assert read(client, stored["url"], **{"If-Modified-Since": since}).status_code == 304


def test_of_a_part_only_that_is_asked_of_the_bucket(
    client: FlaskClient, storage: S3Storage, stored: dict[str, Any]
) -> None:
    asked = []
    storage.client.meta.events.register(
        "before-call.s3.GetObject", lambda params, **_: asked.append(params["headers"]["Range"])
    )
    server = {"wsgi.file_wrapper": FileWrapper}  # gunicorn's
    headers = {"Range": "bytes=100-109"}
    part = client.get(stored["url"], headers=headers, environ_overrides=server, buffered=True)
    assert part.data == picture()[100:110]
    assert asked == ["bytes=100-"]


def test_a_thumbnail_is_an_object_too(
    client: FlaskClient, bucket: Bucket, stored: dict[str, Any]
) -> None:
    response = read(client, stored["thumbnails"]["small"])
    assert (response.status_code, response.mimetype) == (200, "image/webp")
    assert Image.open(io.BytesIO(response.data)).size == (128, 64)
    original, small = sorted(bucket.keys())
    assert small == f"{original}.small.webp"
    tag = {"If-None-Match": response.headers["ETag"]}
    assert read(client, stored["thumbnails"]["small"], **tag).status_code == 304
    part = read(client, stored["thumbnails"]["small"], Range="bytes=0-3")
    assert (part.status_code, part.data) == (206, b"RIFF")


def test_deletion_takes_all_objects_after_the_commit(
    client: FlaskClient, bucket: Bucket, stored: dict[str, Any], ann: Account
) -> None:
    read(client, stored["thumbnails"]["small"])
    during: list[int] = []

    def look(_session: Any) -> None:
        during.append(len(bucket.keys()))

    event.listen(db.session, "before_commit", look)
    try:
        assert client.delete(f"/api/files/{stored['id']}", headers=ann.headers).status_code == 204
    finally:
        event.remove(db.session, "before_commit", look)
    assert set(during) == {2}
    assert bucket.keys() == []


def test_failed_commit_leaves_no_object(
    app: Flask, client: FlaskClient, ann: Account, bucket: Bucket
) -> None:
    def fail(_session: Any) -> None:
        if bucket.keys():
            raise RuntimeError("the database is gone")

    event.listen(db.session, "before_commit", fail)
    try:
        response = client.post(UPLOAD, headers=ann.headers, **form())
    finally:
        event.remove(db.session, "before_commit", fail)
    assert_error(response, 500)
    assert (bucket.keys(), count(app, File)) == ([], 0)


def test_upload_while_the_bucket_is_down_is_503(
    app: Flask, client: FlaskClient, ann: Account, bucket: Bucket, storage: S3Storage
) -> None:
    bucket.cut_off(storage)
    response = client.post(UPLOAD, headers=ann.headers, **form())
    assert_error(response, 503, "storage_unavailable")
    assert response.headers["Retry-After"] == "5"
    assert (count(app, File), count(app, Blob)) == (0, 0)


def test_download_while_the_bucket_is_down_is_503(
    client: FlaskClient, stored: dict[str, Any], bucket: Bucket, storage: S3Storage
) -> None:
    bucket.cut_off(storage)
    assert_error(client.get(stored["url"]), 503, "storage_unavailable")
    assert_error(client.get(stored["thumbnails"]["small"]), 503, "storage_unavailable")


def test_a_bucket_that_keeps_what_is_deleted_does_not_keep_the_row(
    app: Flask, client: FlaskClient, stored: Any, ann: Account, bucket: Bucket, storage: S3Storage
) -> None:
    bucket.cut_off(storage)
    assert client.delete(f"/api/files/{stored['id']}", headers=ann.headers).status_code == 204
    assert (count(app, File), count(app, Blob)) == (0, 0)
    assert len(bucket.keys()) == 1


@pytest.mark.parametrize("what", ["url", "small"])
def test_no_connection_is_held_while_the_bucket_thinks(
    client: FlaskClient, stored: Any, storage: S3Storage, held: set[Any], what: str
) -> None:
    counted: list[int] = []
    for call in ("HeadObject", "GetObject"):
        storage.client.meta.events.register(
            f"before-call.s3.{call}", lambda **_: counted.append(len(held))
        )
    address = stored["thumbnails"]["small"] if what == "small" else stored["url"]
    assert read(client, address).status_code == 200
    assert counted and not any(counted)


# What only a bucket does


def test_a_draft_has_no_name_that_a_killed_process_leaves(storage: S3Storage) -> None:
    with storage.draft(10) as draft:
        draft.write(b"half")
        assert os.name == "nt" or not draft.path.exists()


def test_temporary_folder_that_is_gone_is_503(
    storage: S3Storage, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(WharfError) as caught:
        storage.draft(10)
    assert caught.value.status == 503


def test_a_bucket_that_says_nothing_is_given_up_in_time(storage: S3Storage) -> None:
    patience = storage.client.meta.config
    tries = patience.retries["total_max_attempts"]
    assert tries * (patience.connect_timeout + patience.read_timeout) <= 30  # seconds


def test_names_that_the_bucket_does_not_delete_are_told(
    storage: S3Storage, monkeypatch: Any
) -> None:
    refused = {"Errors": [{"Key": "wharf/a", "Code": "AccessDenied"}]}
    monkeypatch.setattr(storage.client, "delete_objects", lambda **_: refused)
    with pytest.raises(WharfError) as caught:
        storage.delete(["a", "b"])
    assert caught.value.status == 503


def test_what_was_sent_of_an_object_is_listed_and_forgotten(
    bucket: Bucket, storage: S3Storage
) -> None:
    for key in ("wharf/half", "elsewhere/half"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    (draft,) = storage.list()
    assert draft.name.startswith(".draft-")
    storage.delete([draft.name])
    assert bucket.pending() == ["elsewhere/half"]
    storage.delete([draft.name])  # fine when it is gone already


def test_large_objects_are_sent_in_parts(bucket: Bucket, storage: S3Storage) -> None:
    data = os.urandom(1 << 20) * 9
    with storage.draft(len(data)) as draft:
        draft.write(data)
        name = storage.keep(draft)
    with storage.open(name) as file:
        assert file.read() == data
    assert bucket.pending() == []


def test_only_what_is_under_the_prefix_is_ours(bucket: Bucket, storage: S3Storage) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="elsewhere/a", Body=PNG)
    bucket.client.put_object(Bucket=bucket.name, Key="wharfage", Body=PNG)
    assert list(storage.list()) == []
