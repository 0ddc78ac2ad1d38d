"""Resumable uploads at the worst moment: others, crashes, races, full disks and quotas."""

import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, select, update

import storage
from models import File, Upload, db, now
from tests.conftest import Account, assert_error
from tests.tus_client import TUS, Tus, metadata
from tests.uploads import PNG, UPLOAD, form, left_behind, names_in

DATA = PNG.ljust(100, b".")


@pytest.fixture
def app(make_app: Any, storage_url: str) -> Flask:
    """An app on each kind of storage."""
    made: Flask = make_app(STORAGE_URL=storage_url)
    return made


@pytest.fixture
def tus(app: Flask, ann: Account) -> Tus:
    """Ann's client."""
    return Tus(app, ann)


def bytes_of(tus: Tus, path: str) -> bytes:
    """What the file is that an upload has become."""
    location = tus.ask("HEAD", path).headers["Content-Location"]
    data: bytes = tus.ask("GET", f"{location}/download").data
    return data


def uploads(app: Flask) -> int:
    """How many uploads there are."""
    with app.app_context():
        return len(db.session.scalars(select(Upload.id)).all())


def test_uploads_of_others_are_404(app: Flask, tus: Tus, bob: Account) -> None:
    path, other = tus.begin(len(DATA), data=DATA[:9]), Tus(app, bob)
    for method in ("HEAD", "DELETE", "PATCH"):
        assert other.ask(method, path).status_code == 404
    assert_error(other.patch(path, 9, DATA[9:]), 404)
    assert other.ask("POST", path, X_HTTP_Method_Override="DELETE").status_code == 404
    for odd in ("x", "%00", "x" * 3000):
        assert tus.ask("HEAD", f"{TUS}/{odd}").status_code == 404
    assert_error(tus.create(9, Authorization=None), 401)
    assert_error(tus.patch(path, 9, DATA[9:], Authorization=None), 401)
    assert tus.offset(path) == 9


def test_content_of_another_type_gives_the_upload_up(app: Flask, tus: Tus) -> None:
    path = tus.begin(100, data=b"<script>")
    assert_error(tus.patch(path, 8, b"." * 92), 415, "unsupported_type")
    assert tus.ask("HEAD", path).status_code == 404
    assert (uploads(app), names_in(app)) == (0, [])


def test_the_folder_is_taken_and_may_go_meanwhile(app: Flask, tus: Tus, bob: Account) -> None:
    made = tus.client.post("/api/folders", json={"name": "a"}, headers=tus.headers)
    facts = metadata(filename="a.png", folderId=str(made.json["id"]))
    path = tus.begin(len(DATA), Upload_Metadata=facts)
    done = tus.patch(path, 0, DATA)
    location = done.headers["Content-Location"]
    assert tus.ask("GET", location).json["folderId"] == made.json["id"]
    assert_error(Tus(app, bob).create(5, Upload_Metadata=facts), 400)
    path = tus.begin(len(DATA), Upload_Metadata=facts)
    assert tus.ask("DELETE", f"/api/folders/{made.json['id']}").status_code == 204
    done = tus.patch(path, 0, DATA)
    assert tus.ask("GET", done.headers["Content-Location"]).json["folderId"] is None
    assert_error(tus.create(5, Upload_Metadata=facts), 400)


# Quotas


def test_uploads_under_way_count_for_the_quota(make_app: Any, register: Any) -> None:
    app = make_app(QUOTA_BYTES=250)
    tus = Tus(app, register())
    path = tus.begin(100)
    tus.begin(100)
    assert_error(tus.create(51), 507, "quota_exceeded")
    multipart = tus.client.post(UPLOAD, headers=tus.headers, **form(PNG.ljust(51)))
    assert_error(multipart, 507, "quota_exceeded")
    assert tus.patch(path, 0, DATA).status_code == 204
    assert tus.create(50).status_code == 201
    tus.ask("DELETE", path)
    assert_error(tus.create(1), 507)


def test_a_file_that_is_deleted_counts_no_longer(make_app: Any, register: Any) -> None:
    app = make_app(QUOTA_BYTES=100)
    tus = Tus(app, register())
    path = tus.begin(100, data=DATA)
    location = tus.ask("HEAD", path).headers["Content-Location"]
    assert tus.ask("DELETE", location).status_code == 204
    assert tus.ask("HEAD", path).status_code == 404
    assert tus.create(100).status_code == 201


def test_a_user_has_so_many_under_way(app: Flask, tus: Tus, monkeypatch: Any) -> None:
    monkeypatch.setattr(Upload, "MOST", 2)
    paths = [tus.begin(100) for _ in range(2)]
    assert_error(tus.create(100), 409, "too_many")
    assert tus.patch(paths[0], 0, DATA).status_code == 204
    assert tus.create(100).status_code == 201
    assert_error(tus.create(100), 409, "too_many")
    with app.app_context():
        db.session.execute(update(Upload).values(expires_at=now() - timedelta(seconds=1)))
        db.session.commit()
    assert tus.create(100).status_code == 201


# Crashes


def test_parts_survive_a_new_process(app: Flask, tus: Tus, make_app: Any, ann: Account) -> None:
    path = tus.begin(len(DATA), data=DATA[:30])
    later = Tus(make_app(STORAGE_URL=app.config["STORAGE_URL"]), ann)
    assert later.offset(path) == 30
    assert later.patch(path, 30, DATA[30:]).status_code == 204
    assert bytes_of(later, path) == DATA
    assert len(names_in(app)) == 1


def test_a_crash_before_the_commit_costs_only_the_last_part(app: Flask, tus: Tus) -> None:
    path = tus.begin(len(DATA), data=DATA[:30])
    before = names_in(app)

    def fail(session: Any) -> None:
        if any(isinstance(one, File) for one in session.identity_map.values()):
            raise RuntimeError("the database is gone")

    event.listen(db.session, "before_commit", fail)
    try:
        assert_error(tus.patch(path, 30, DATA[30:]), 500)
    finally:
        event.remove(db.session, "before_commit", fail)
    assert names_in(app) == before
    assert tus.offset(path) == 30
    assert tus.patch(path, 30, DATA[30:]).status_code == 204
    assert bytes_of(tus, path) == DATA


def test_a_cut_connection_keeps_what_came(tus: Tus) -> None:
    path = tus.begin(len(DATA))
    headers = {
        **tus.headers,
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    tus.client.patch(path, data=DATA[:33], headers={**headers, "Content-Length": "100"})
    assert tus.offset(path) == 33
    tus.patch(path, 33, DATA[33:])
    assert bytes_of(tus, path) == DATA


def test_file_is_made_of_what_each_call_brought(app: Flask, tus: Tus) -> None:
    path = tus.begin(len(DATA), data=DATA[:30])
    tus.patch(path, 30, DATA[30:35])
    with app.app_context():
        (parts,) = db.session.scalars(select(Upload.parts))
        assert [size for _, size in parts] == [30, 5]
    tus.patch(path, 35, DATA[35:])
    assert bytes_of(tus, path) == DATA
    assert len(names_in(app)) == 1


@pytest.mark.parametrize("storage_url", ["folder"], indirect=True)
@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, 503)])
@pytest.mark.parametrize("drafts", [0, 1], ids=["the part", "the whole"])
def test_a_disk_that_fails_at_the_end_costs_only_the_last_part(
    app: Flask, tus: Tus, monkeypatch: Any, number: int, status: int, drafts: int
) -> None:
    path = tus.begin(len(DATA), data=DATA[:30])
    made: list[Any] = []
    begin = storage.Draft.__init__

    def note(draft: Any, *words: Any) -> None:
        begin(draft, *words)
        made.append(draft)
        if len(made) > drafts:
            draft.file = Full(draft.file, number)

    monkeypatch.setattr(storage.Draft, "__init__", note)
    assert_error(tus.patch(path, 30, DATA[30:]), status)
    monkeypatch.undo()
    assert (tus.offset(path), len(left_behind(app))) == (30, 1)
    assert tus.patch(path, 30, DATA[30:]).status_code == 204


class Full:
    """A file whose last bytes do not get out of memory."""

    def __init__(self, file: Any, number: int) -> None:
        self.write, self.fileno, self.close = file.write, file.fileno, file.close
        self.number = number

    def seek(self, *_place: int) -> int:
        raise OSError(self.number, "the disk does not do it")


def test_a_storage_that_is_down_costs_only_the_last_part(
    app: Flask, tus: Tus, monkeypatch: Any
) -> None:
    path = tus.begin(len(DATA), data=DATA[:30])

    def fail(*_given: Any) -> None:
        raise storage.unavailable()

    monkeypatch.setattr(app.extensions["storage"], "keep", fail)
    for body in (DATA[30:60], DATA[30:]):
        response = tus.patch(path, 30, body)
        assert_error(response, 503, "storage_unavailable")
        assert response.headers["Retry-After"] == "5"
    monkeypatch.undo()
    assert tus.offset(path) == 30
    assert tus.patch(path, 30, DATA[30:]).status_code == 204


# Races


@pytest.fixture
def meet(app: Flask, monkeypatch: Any) -> Callable[..., list[int]]:
    """Sends bodies at one offset, none of which is kept before all have come; the statuses."""

    def send(tus: Tus, path: str, offset: int, bodies: list[bytes]) -> list[int]:
        place, keep = app.extensions["storage"], app.extensions["storage"].keep
        together = threading.Barrier(len(bodies), timeout=20)

        def wait_and_keep(draft: Any, *name: str) -> str:
            together.wait()
            kept: str = keep(draft, *name)
            return kept

        monkeypatch.setattr(place, "keep", wait_and_keep)
        with ThreadPoolExecutor(len(bodies)) as pool:
            done = list(pool.map(lambda body: tus.patch(path, offset, body), bodies))
        monkeypatch.setattr(place, "keep", keep)
        return sorted(response.status_code for response in done)

    return send


def test_of_two_parts_at_one_offset_one_wins(app: Flask, tus: Tus, meet: Any) -> None:
    path = tus.begin(len(DATA), data=DATA[:10])
    bodies = [b"a" * 30, b"b" * 20]
    assert meet(tus, path, 10, bodies) == [204, 409]
    offset = tus.offset(path)
    (won,) = [body for body in bodies if len(body) + 10 == offset]
    assert len(names_in(app)) == 2
    tus.patch(path, offset, DATA[offset:])
    assert bytes_of(tus, path) == DATA[:10] + won + DATA[offset:]


def test_of_two_last_parts_one_makes_the_file(app: Flask, tus: Tus, meet: Any) -> None:
    path = tus.begin(len(DATA), data=DATA[:10])
    bodies = [b"a" * 90, b"b" * 90]
    assert meet(tus, path, 10, bodies) == [204, 409]
    assert bytes_of(tus, path)[10:] in bodies
    assert len(names_in(app)) == 1
    with app.app_context():
        assert len(db.session.scalars(select(File.id)).all()) == 1


def test_an_upload_given_up_while_its_end_comes_is_no_file(
    app: Flask, tus: Tus, monkeypatch: Any
) -> None:
    path = tus.begin(len(DATA), data=DATA[:10])
    place, keep = app.extensions["storage"], app.extensions["storage"].keep

    def be_late(draft: Any, *name: str) -> str:
        with ThreadPoolExecutor(1) as pool:  # a context of its own
            assert pool.submit(tus.ask, "DELETE", path).result(20).status_code == 204
        kept: str = keep(draft, *name)
        return kept

    monkeypatch.setattr(place, "keep", be_late)
    assert_error(tus.patch(path, 10, DATA[10:]), 409)
    assert (uploads(app), names_in(app)) == (0, [])


# Pages of elsewhere


def test_pages_read_the_headers_of_the_protocol(tus: Tus) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    response = tus.create(5, **origin)
    exposed = {
        word.strip() for word in response.headers["Access-Control-Expose-Headers"].split(",")
    }
    assert {"Location", "Upload-Offset", "Upload-Length", "Upload-Metadata"} <= exposed
    assert {"Upload-Expires", "Tus-Resumable", "Tus-Version", "Content-Location"} <= exposed
    asks = {"Access-Control-Request-Method": "PATCH"}
    asks["Access-Control-Request-Headers"] = "authorization,tus-resumable,upload-offset"
    allowed = tus.client.options(response.headers["Location"], headers={**origin, **asks})
    assert "PATCH" in allowed.headers["Access-Control-Allow-Methods"]
    words = allowed.headers["Access-Control-Allow-Headers"].lower()
    assert {"tus-resumable", "upload-offset"} <= {word.strip() for word in words.split(",")}
