"""`flask files check`: what nothing leads to goes, what is missing is named."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from models import Blob, File, Upload, db, now
from storage import DRAFT
from tests.conftest import Account
from tests.uploads import BODY, PNG, UPLOAD, form, names_in, picture, read

STRAY = "0123456789abcdef" * 2
Check = Callable[..., Result]


@pytest.fixture
def app(make_app: Any, storage_url: str) -> Flask:
    """An app on each kind of storage."""
    made: Flask = make_app(STORAGE_URL=storage_url)
    return made


@pytest.fixture
def check(app: Flask) -> Check:
    """Runs the command, by default on bytes of any age: `check("--dry-run")`."""

    def run(*words: str) -> Result:
        given = words if "--minutes" in words else ("--minutes", "0", *words)
        return app.test_cli_runner().invoke(args=["files", "check", *given])

    return run


@pytest.fixture
def stored(client: FlaskClient, ann: Account) -> dict[str, Any]:
    """A picture of Ann's."""
    response = client.post(UPLOAD, headers=ann.headers, **form(picture()))
    assert response.status_code == 200, response.json
    return response.json


def put(app: Flask, name: str) -> str:
    """Store bytes by this name, without a row."""
    storage = app.extensions["storage"]
    with storage.draft(100) as draft:
        draft.write(b"orphan")
        made: str = storage.keep(draft, name)
        return made


def begin(client: FlaskClient, account: Account) -> str:
    """Begin an upload that has one part of six bytes; its id."""
    headers = {**account.headers, "Tus-Resumable": "1.0.0", "Upload-Length": "100"}
    headers |= {"Upload-Metadata": "filename YS5wbmc=", "Content-Type": BODY}
    response = client.post("/api/tus", headers=headers, data=PNG[:6])
    assert response.status_code == 201, response.json
    return response.headers["Location"].rpartition("/")[2]


def expire(app: Flask) -> None:
    """Let all uploads under way be too old."""
    with app.app_context():
        db.session.execute(update(Upload).values(expires_at=now() - timedelta(seconds=1)))
        db.session.commit()


def blob_names(app: Flask) -> list[str]:
    """What rows lead to."""
    with app.app_context():
        return sorted(db.session.scalars(select(Blob.name)))


def test_a_sound_storage_is_left_alone(app: Flask, check: Check, stored: Any) -> None:
    done = check()
    assert (done.exit_code, done.output) == (
        0,
        "0 uploads have expired\n0 orphans, 0 bytes deleted\n",
    )
    assert names_in(app) == blob_names(app)


def test_bytes_without_a_row_go(app: Flask, check: Check, stored: Any) -> None:
    for name in (STRAY, f"{STRAY}.png", f"{STRAY}.small.webp", f"{STRAY}.png.large.webp"):
        put(app, name)
    done = check()
    assert (done.exit_code, done.output.splitlines()[1]) == (0, "4 orphans, 24 bytes deleted")
    assert names_in(app) == blob_names(app)
    assert "0 orphans" in check().output


def test_bytes_that_may_have_a_row_soon_stay(app: Flask, check: Check) -> None:
    put(app, STRAY)
    assert "0 orphans" in check("--minutes", "1").output
    assert "0 orphans" in app.test_cli_runner().invoke(args=["files", "check"]).output
    assert names_in(app) == [STRAY]


def test_a_dry_run_only_says_so(app: Flask, client: FlaskClient, check: Check, ann: Any) -> None:
    begin(client, ann)
    expire(app)
    put(app, STRAY)
    before = names_in(app)
    done = check("--dry-run")
    assert "1 uploads have expired\n1 orphans, 6 bytes\n" in done.output
    assert names_in(app) == before
    with app.app_context():
        assert db.session.scalar(select(Upload))


def test_what_others_put_there_stays(app: Flask, check: Check) -> None:
    others = ["notes.txt", "wharf.db", STRAY[:31], STRAY.upper(), f"{STRAY} copy"]
    for name in others:
        put(app, name)
    assert "0 orphans" in check().output
    assert names_in(app) == sorted(others)


def test_expired_uploads_go_with_their_parts(
    app: Flask, client: FlaskClient, check: Check, ann: Account
) -> None:
    begin(client, ann)
    assert "0 uploads have expired\n0 orphans" in check().output
    assert len(names_in(app)) == 1
    expire(app)
    assert "1 uploads have expired\n0 orphans" in check().output
    assert names_in(app) == []
    with app.app_context():
        assert not db.session.scalar(select(Upload))


def test_missing_bytes_are_named_with_their_files(
    app: Flask,
    check: Check,
    client: FlaskClient,
    stored: dict[str, Any],
    ann: Account,
    bob: Account,
) -> None:
    again = client.post(UPLOAD, headers=bob.headers, **form(picture())).json
    whole = client.post(UPLOAD, headers=ann.headers, **form(name="b.png")).json
    with app.app_context():
        file = db.session.get(File, stored["id"])
        (name,) = db.session.scalars(select(Blob.name).where(Blob.sha256 == file.sha256))
        app.extensions["storage"].delete([name])
    done = check()
    assert done.exit_code == 1
    ids = f"{stored['id']}, {again['id']}"
    assert f"missing: {name}, of files {ids}\n" in done.output
    assert "1 contents are missing" in done.output
    assert read(client, whole["url"]).status_code == 200


def test_thumbnails_stay_as_long_as_their_picture(
    app: Flask, client: FlaskClient, check: Check, stored: dict[str, Any], ann: Account
) -> None:
    (name,) = names_in(app)
    for size in ("small", "large"):
        assert read(client, stored["thumbnails"][size]).status_code == 200
    assert "0 orphans" in check().output
    assert names_in(app) == [name, f"{name}.large.webp", f"{name}.small.webp"]
    app.extensions["storage"].delete([name])
    assert f"missing: {name}" in check().output
    client.delete(f"/api/files/{stored['id']}", headers=ann.headers)
    assert names_in(app) == []


@pytest.mark.parametrize("storage_url", ["folder"], indirect=True)
def test_forgotten_drafts_go_when_they_are_old(app: Flask, check: Check) -> None:
    folder: Path = app.extensions["storage"].folder
    folder.mkdir()
    draft, fresh, dots = (folder / name for name in (f"{DRAFT}a", f"{DRAFT}b", ".gitkeep"))
    for path in (draft, fresh, dots):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 7200,) * 2 if path != fresh else None)
    assert "1 orphans, 4 bytes deleted" in check("--minutes", "60").output
    assert sorted(folder.iterdir()) == [fresh, dots]


@pytest.mark.parametrize("storage_url", ["s3"], indirect=True)
def test_objects_that_were_half_sent_go(app: Flask, check: Check, bucket: Any) -> None:
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"wharf/{STRAY}")
    assert "1 orphans, 0 bytes\n" in check("--dry-run").output
    assert bucket.pending() == [f"wharf/{STRAY}"]
    assert "1 orphans" in check().output
    assert bucket.pending() == []


@pytest.mark.parametrize("storage_url", ["s3"], indirect=True)
def test_a_bucket_that_is_down_ends_it_with_an_error(app: Flask, check: Check, bucket: Any) -> None:
    put(app, STRAY)
    bucket.cut_off(app.extensions["storage"])
    assert check().exit_code != 0
