"""A server killed at any moment loses no file it has confirmed, and leaves nothing for good."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app import create_app
from models import Blob, File, Upload, db
from tests.file_kills import Rig
from tests.processes import Deployment

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")

MANY = {"sqlite": (200, 12), "postgres": (60, 3)}  # uploads and kills
BLOBS = select(Blob.name, Blob.sha256)
FAST = {
    "GUNICORN_CMD_ARGS": "--preload",
    "SQLITE_SYNCHRONOUS": "NORMAL",
    "UPLOAD_LIMIT": "1000000 per hour",
}


@pytest.fixture(params=MANY)
def kind(request: Any) -> str:
    """A kind of database."""
    found: str = request.param
    return found


@pytest.fixture
def rig(kind: str, request: Any, tmp_path: Path) -> Iterator[Rig]:
    """A server to be killed, on an empty database."""
    url = f"sqlite:///{tmp_path}/w.db"
    if kind == "postgres":
        url = request.getfixturevalue("empty_postgres_url")
    with ExitStack() as stack:
        deployment = Deployment(tmp_path, stack, DATABASE_URL=url, **FAST)
        deployment.migrate()
        yield Rig(deployment, secrets.randbelow(10**6))


@pytest.fixture
def app(rig: Rig) -> Iterator[Flask]:
    """An app on the same database and folder."""
    made = create_app({**rig.deployment.env, "REDIS_URL": ""}, serve="web")
    yield made
    with made.app_context():
        db.session.remove()
        db.engine.dispose()


def check(app: Flask) -> str:
    """What `flask files check --minutes 0` says; it must be content."""
    done = app.test_cli_runner().invoke(args=["files", "check", "--minutes", "0"])
    assert done.exit_code == 0, done.output
    return done.output


def stored(app: Flask) -> tuple[set[str], dict[str, set[str]]]:
    """The names of all bytes that rows lead to, and the digests by the name of a file."""
    with app.app_context():
        names = dict(list(db.session.execute(BLOBS)))
        parts = db.session.scalars(select(Upload.parts)).all()
        files = db.session.execute(select(File.original_name, File.sha256)).all()
    folder: Path = app.extensions["storage"].folder
    for name, digest in names.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    digests: dict[str, set[str]] = {}
    for name, digest in files:
        digests.setdefault(name, set()).add(digest)
    return {*names, *(name for some in parts for name, _ in some)}, digests


def test_kills_lose_nothing_and_leave_nothing(kind: str, rig: Rig, app: Flask) -> None:
    uploads, kills = MANY[kind]
    rig.run(uploads, kills)
    rig.process.kill()
    assert len(rig.done) == uploads
    check(app)
    needed, digests = stored(app)
    assert digests == {name: {digest} for name, digest in rig.done.items()}
    assert {path.name for path in app.extensions["storage"].folder.iterdir()} == needed
    assert check(app) == "0 uploads have expired\n0 orphans, 0 bytes deleted\n"
