"""What changed is numbered without gaps, stored with the change, and told after its commit."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, insert, select

import events
from bus import Event
from models import Signal, StoredEvent, Todo, Topic, db
from tests.conftest import assert_error


@pytest.fixture
def told(app: Flask) -> list[Event]:
    """What the bus of the app is told, in order."""
    heard: list[Event] = []
    app.extensions["bus"].publish = heard.extend
    return heard


@pytest.fixture
def in_app(app: Flask) -> Iterator[None]:
    """The test works within the app."""
    with app.app_context():
        yield


def seqs(topic: str) -> list[int]:
    query = select(StoredEvent.seq).where(StoredEvent.topic == topic)
    return list(db.session.scalars(query.order_by(StoredEvent.id)))


def test_committed_events_are_numbered_stored_and_told(told: list[Event], in_app: None) -> None:
    events.record("a", "said", {"x": 1})
    events.record("b", "said", ["ä", None])
    events.record("a", "said", "again")
    assert told == []
    db.session.commit()
    expected = [
        Event("a", "said", {"x": 1}, 1),
        Event("b", "said", ["ä", None], 1),
        Event("a", "said", "again", 2),
    ]
    assert told == expected
    assert events.read("a", 0) == [expected[0], expected[2]]
    assert events.read("a", 1) == [expected[2]]
    assert events.last_seqs(["a", "b", "c"]) == {"a": 2, "b": 1, "c": 0}


def test_numbers_go_on_in_the_next_transaction(told: list[Event], in_app: None) -> None:
    for _ in range(3):
        events.record("a", "said", None)
        db.session.commit()
    assert [event.seq for event in told] == seqs("a") == [1, 2, 3]


def test_rollback_tells_nothing_and_leaves_no_gap(told: list[Event], in_app: None) -> None:
    events.record("a", "said", "first")
    db.session.commit()
    events.record("a", "said", "never")
    events.signal("a", "typing", None)
    db.session.rollback()
    events.record("a", "said", "second")
    db.session.commit()
    assert [(event.data, event.seq) for event in told] == [("first", 1), ("second", 2)]
    assert seqs("a") == [1, 2]


def test_failed_commit_tells_nothing_and_leaves_no_gap(told: list[Event], in_app: None) -> None:
    events.record("a", "said", "never")
    db.session.add(Todo(title="x", user_id=999))  # there is no such user
    with pytest.raises(Exception, match="(?i)foreign key"):
        db.session.commit()
    db.session.rollback()
    assert told == []
    events.record("a", "said", "first")
    db.session.commit()
    assert [(event.data, event.seq) for event in told] == [("first", 1)]


def test_what_was_never_committed_is_forgotten(app: Flask, told: list[Event]) -> None:
    with app.app_context():
        events.record("a", "said", "never")
    with app.app_context():
        events.record("a", "said", "first")
        db.session.commit()
        assert [event.data for event in told] == ["first"]


def test_failed_request_tells_nothing(client: FlaskClient, told: list[Event]) -> None:
    assert_error(client.post("/api/todos", json={"title": ""}), 400)
    client.post("/api/todos", json={"title": "x"})
    assert [(event.topic, event.seq) for event in told] == [("todos:public", 1)]


def test_signal_is_told_but_not_stored(told: list[Event], in_app: None) -> None:
    events.signal("a", "typing", {"x": 1}, skip="me")
    db.session.commit()
    assert told == [Event("a", "typing", {"x": 1}, 0, "me")]
    for table in (StoredEvent, Topic, Signal):
        assert db.session.scalar(select(func.count()).select_from(table)) == 0


def test_signals_and_events_keep_their_order(told: list[Event], in_app: None) -> None:
    events.signal("a", "typing", None)
    events.record("a", "said", None)
    events.signal("a", "stopped", None)
    db.session.commit()
    assert [(event.type, event.seq) for event in told] == [
        ("typing", 0),
        ("said", 1),
        ("stopped", 0),
    ]


def test_telling_happens_after_the_commit(app: Flask, client: FlaskClient) -> None:
    seen: list[Any] = []
    with app.app_context():
        engine = db.engine

    def look(heard: list[Event]) -> None:
        with engine.connect() as other:
            titles = other.scalars(select(Todo.title)).all()
            seen.append((titles, other.scalars(select(StoredEvent.seq)).all()))

    app.extensions["bus"].subscribe(look, lambda: None)
    client.post("/api/todos", json={"title": "x"})
    assert seen[0] == (["x"], [1])


def test_long_story_is_read_in_pages(in_app: None) -> None:
    row = {"topic": "a", "type": "said", "data": "null", "created_at": events.now()}
    rows = [{**row, "seq": seq} for seq in range(1, events.PAGE + 2)]
    db.session.execute(insert(StoredEvent), rows)
    page = events.read("a", 0)
    assert [event.seq for event in page] == list(range(1, events.PAGE + 1))
    assert [event.seq for event in events.read("a", page[-1].seq)] == [events.PAGE + 1]


def test_last_seqs_of_many_topics_at_once(in_app: None) -> None:
    events.record("t2999", "said", None)
    db.session.commit()
    found = events.last_seqs([f"t{n}" for n in range(3_000)])
    assert len(found) == 3_000
    assert found["t2999"] == 1


def test_eight_writers_leave_no_gap_and_a_reader_never_sees_one(app: Flask) -> None:
    done = threading.Event()
    failures: list[str] = []

    def write(n: int) -> None:
        with app.app_context():
            for turn in range(10):
                events.record("a", "said", [n, turn])
                if n % 2:
                    events.record("b", "said", [n, turn])
                if turn % 4 == 3:
                    db.session.rollback()
                else:
                    db.session.commit()

    def read() -> None:
        with app.app_context():
            while not done.is_set():
                found = seqs("a")
                db.session.rollback()
                if found != list(range(1, len(found) + 1)):
                    failures.append(f"a reader saw {found}")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(30)
    done.set()
    reader.join(5)
    assert failures == []
    with app.app_context():
        assert seqs("a") == list(range(1, 65))
        assert seqs("b") == list(range(1, 33))
        turns: dict[int, list[int]] = {}
        for event in events.read("a", 0):
            turns.setdefault(event.data[0], []).append(event.data[1])
        assert all(told == sorted(told) for told in turns.values())
