"""`flask sync`: what an administrator looks at and mends (sync_commands.py)."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import CrdtChange, CrdtChannel, CrdtPeer, CrdtRow, Todo, db, now
from tests.conftest import Account, Server
from tests.replicas import Talker, rows_of


def run(app: Flask, *words: str) -> Any:
    return app.test_cli_runner().invoke(args=["sync", *words])


@pytest.fixture
def phone(server: Server, ann: Account) -> Talker:
    phone = Talker(server, ann, "phone", "list")
    phone.write("notes", "a", "text", "x")
    phone.write("notes", "b", "text", "y")
    phone.delete("notes", "b")
    return phone


def test_stats_count(app: Flask, phone: Talker) -> None:
    lines = run(app, "stats").output.splitlines()
    assert lines[1].split() == ["3", "3", "1", "1", "1", "list"]


def test_a_sound_channel_is_verified(
    app: Flask, server: Server, client: FlaskClient, ann: Account, phone: Talker
) -> None:
    own = Talker(server, ann, "own")
    own.write("todos", "a", "title", "Milk")
    client.post("/api/todos", json={"title": "Rice"}, headers=ann.headers)
    for words in (["verify"], ["verify", "list"]):
        result = run(app, *words)
        assert (result.exit_code, result.output) == (0, "All rules hold.\n")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"version": 99}, "has version 99"),
        ({"version": 1}, "one version"),
        ({"cl": 2, "cid": "text"}, "has cl 2"),
        ({"cl": 3, "cid": "-1"}, "tombstone of cl 3"),
        ({"val": "1.0"}, "not canonical"),
    ],
)
def test_what_is_wrong_is_told(
    app: Flask, phone: Talker, values: dict[str, Any], text: str
) -> None:
    with app.app_context():
        here = (CrdtChange.pk == "b") & (CrdtChange.cid == values.get("cid", "text"))
        db.session.execute(db.update(CrdtChange).where(here).values(values))
        db.session.commit()
    result = run(app, "verify")
    assert result.exit_code == 1
    assert text in result.output


def test_a_todo_that_differs_from_its_channel_is_told(
    app: Flask, server: Server, ann: Account
) -> None:
    own = Talker(server, ann, "own")
    own.write("todos", "a", "title", "Milk")
    own.write("todos", "b", "title", "Rice")
    with app.app_context():
        db.session.execute(db.update(Todo).where(Todo.title == "Milk").values(title="Other"))
        db.session.execute(db.delete(Todo).where(Todo.title == "Rice"))
        db.session.commit()
    result = run(app, "verify")
    assert "todos a: title differs" in result.output
    assert "todos b: one of its two doors" in result.output


def test_a_channel_is_exported(app: Flask, phone: Talker) -> None:
    told = json.loads(run(app, "export", "list").output)
    assert rows_of(told["changes"], "notes") == {"a": {"text": "x"}}
    assert told["siteId"] == phone.greeting["siteId"]


@pytest.mark.parametrize("word", ["verify", "export", "renew"])
def test_a_channel_that_is_not_there_is_told(app: Flask, word: str) -> None:
    result = run(app, word, "absent")
    assert result.exit_code == 1
    assert "There is no channel absent" in result.output


def test_after_a_restored_backup_replicas_push_anew(
    app: Flask, server: Server, ann: Account, phone: Talker
) -> None:
    phone.peer.close()
    with app.app_context():  # as a backup from before has it
        db.session.execute(db.delete(CrdtChange).where(CrdtChange.pk == "a"))
        db.session.commit()
    assert run(app, "renew", "list").exit_code == 0
    again = Talker(server, ann, "phone", "list")
    assert again.greeting["siteId"] != phone.greeting["siteId"]
    again.push(["notes", "a", "text", "x", 1, 1, "phone", 1, 0])
    assert rows_of(Talker(server, ann, "fresh", "list").pull(), "notes") == {"a": {"text": "x"}}
    with app.app_context():
        mine = db.select(CrdtPeer.received).where(CrdtPeer.site_id == "phone")
        assert db.session.scalar(mine) == 1


def test_deleted_rows_are_forgotten_once_all_know(
    app: Flask, server: Server, ann: Account, phone: Talker
) -> None:
    assert run(app, "purge").output == "0 deleted rows are forgotten.\n"
    phone.pull()
    phone.peer.send("ack", siteId="phone", version=3)
    phone.push()
    with app.app_context():
        db.session.add(CrdtPeer(channel="list", site_id="old", seen_at=now() - timedelta(days=91)))
        db.session.commit()
    assert run(app, "purge").output == "1 deleted rows are forgotten.\n"
    with app.app_context():
        assert set(db.session.scalars(db.select(CrdtChange.pk))) == {"a"}
        assert db.session.scalars(db.select(CrdtPeer.site_id)).all() == ["phone"]
        assert db.session.get(CrdtChannel, "list").crdt_db_version == 3
    phone.write("notes", "c", "text", "z")
    assert set(rows_of(Talker(server, ann, "new", "list").pull(), "notes")) == {"a", "c"}


def test_a_todo_that_the_channel_has_not_is_told(
    app: Flask, server: Server, client: FlaskClient, ann: Account
) -> None:
    Talker(server, ann, "own")
    made = client.post("/api/todos", json={"title": "Rice"}, headers=ann.headers).json
    with app.app_context():
        db.session.execute(db.delete(CrdtRow))
        db.session.commit()
    result = run(app, "verify")
    assert result.exit_code == 1
    assert f"todos {made['id']}: not in the channel" in result.output
