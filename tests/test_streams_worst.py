"""Topic messages at their worst: large ones, quick ones, ids used twice, failures in between."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from models import Retained, db
from sockets import topics as streams
from tests.conftest import Account, Server, assert_error
from tests.streams import STREAM, Stream
from topics import TABLES

Open = Callable[..., Stream]
LARGE = "x" * 300_000


@pytest.fixture
def stream(server: Server) -> Iterator[Open]:
    """Opens streams of unnamed events, past their greeting; they are closed at the end."""
    opened: list[Stream] = []

    def start(account: Account, topics: str, last_id: str = "", query: str = "") -> Stream:
        headers = account.headers | ({"Last-Event-ID": last_id} if last_id else {})
        address = f"{STREAM}?topics={topics}&events=message{query}"
        opened.append(Stream(server.url, address, **headers))
        assert next(opened[-1].lines()) == "retry: 3000"
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def say(client: FlaskClient, account: Account, topic: str, data: Any = None, **more: Any) -> None:
    body = {"topic": topic, "data": data, **more}
    response = client.post(STREAM, json=body, headers=account.headers)
    assert response.status_code == 200, response.json


def topics_until(one: Stream, last: str) -> list[str]:
    """The topics of the messages before the last."""
    return [event.data["topic"] for event in one.until(last)]


def test_who_missed_more_than_may_wait_for_a_client_gets_it_all(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    one = stream(bob, "large,last", query="&lastEventId=0")
    say(client, ann, "large", 0)
    assert one.next()["data"] == 0
    one.close()
    for n in range(12):
        say(client, ann, "large", f"{n}{LARGE}")
    say(client, ann, "last")
    heard = stream(bob, "large,last", one.last_id).until("last")
    assert [event.data["data"].rstrip("x") for event in heard] == [str(n) for n in range(12)]


def test_a_request_is_no_larger_than_a_frame(
    client: FlaskClient, ann: Account, bob: Account, stream: Open, server: Server
) -> None:
    one, chat = stream(bob, "large,last"), server.chat(bob)
    batch = {"messages": [{"topic": "large", "data": f"{n}{LARGE}"} for n in range(4)]}
    response = client.post(STREAM, json=batch, headers=ann.headers)
    assert_error(response, 413, "too_large")
    say(client, ann, "last")
    assert topics_until(one, "last") == []
    assert [frame["topic"] for frame in chat.until_pong()] == ["last"]


def test_what_is_retained_is_bounded_and_may_always_shrink(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    for n in range(3):
        say(client, ann, f"large{n}", LARGE, retain=True)
    for topic, data in (("large3", LARGE), ("large0", 2 * LARGE)):
        body = {"topic": topic, "data": data, "retain": True}
        assert_error(client.post(STREAM, json=body, headers=ann.headers), 400, "too_many")
    say(client, ann, "large0", 1, retain=True)
    say(client, ann, "last")
    one = stream(bob, "*")
    lists = (f"{name}.list.state" for name, model in TABLES.items() if model.IS_SHORT)
    expected = {"large0", "large1", "large2", *lists}
    assert {one.next()["topic"] for _ in expected} == expected


def test_a_topic_that_is_retained_may_be_said_again_when_there_are_too_many(
    app: Flask, client: FlaskClient, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retained, "MAX", 2)
    with app.app_context():
        kept = [Retained(audience="topics", topic=f"t{n}", data="1") for n in range(3)]
        db.session.add_all(kept)
        db.session.commit()
    say(client, ann, "t0", 2, retain=True)
    body = {"topic": "t3", "data": 1, "retain": True}
    assert_error(client.post(STREAM, json=body, headers=ann.headers), 400, "too_many")


def test_who_is_cut_within_what_is_retained_is_told_all_of_it_again(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    for n in range(3):
        say(client, ann, f"state{n}", n, retain=True)
    one = stream(ann, "state0,state1,state2,last")
    one.next()
    assert one.last_id == ""
    one.close()
    again = stream(ann, "state0,state1,state2,last", one.last_id)
    say(client, ann, "last")
    assert sorted(topics_until(again, "last")) == ["state0", "state1", "state2"]
    assert again.last_id != ""


def test_a_table_that_cannot_be_read_costs_streams_their_line_and_nobody_an_event(
    server: Server,
    client: FlaskClient,
    ann: Account,
    stream: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = "todos.item.state.*,todos.list.state,last"
    one, chat = stream(ann, words), server.chat(ann)
    chat.ask("subscribe", "system", payload={"table": "todos"})
    say(client, ann, "last")
    one.until("last")
    read, failures = streams.snapshots, [OperationalError("SELECT", {}, Exception("away"))]

    def fail_once(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(*args)

    monkeypatch.setattr(streams, "snapshots", fail_once)
    client.post("/api/todos", json={"title": "milk"}, headers=ann.headers)
    assert chat.expect("database_change")["new"]["title"] == "milk"
    assert list(one.events()) == []
    again = stream(ann, words, one.last_id)
    assert again.next()["data"]["item"]["title"] == "milk"


def test_rows_that_a_page_forwards_are_not_retained(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    todo = client.post("/api/todos", json={"title": "milk"}, headers=ann.headers).json
    topic = f"todos.item.state.{todo['id']}"
    say(client, ann, topic, {"item": todo}, retain=True)
    client.delete(f"/api/todos/{todo['id']}", headers=ann.headers)
    assert (
        topics_until(stream(ann, "todos.item.state.*,todos.list.state"), "todos.list.state") == []
    )


def test_of_quick_states_the_last_is_retained(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    for on in (True, False, True):
        say(client, ann, "lamp", {"on": on}, retain=True)
    assert stream(bob, "lamp").next()["data"] == {"on": True}


def test_an_id_used_for_something_else_is_409_and_tells_nothing(
    client: FlaskClient, ann: Account, bob: Account, stream: Open, server: Server
) -> None:
    one, chat = stream(bob, "a,b,last"), server.chat(ann)
    for _ in range(2):
        say(client, ann, "a", 1, id=1)
    body = {"topic": "b", "data": 2, "id": 1}
    assert_error(client.post(STREAM, json=body, headers=ann.headers), 409, "id_reused")
    chat.socket.send('{"topic": "b", "data": 2, "id": 1}')
    assert chat.expect("error")["code"] == "id_reused"
    say(client, ann, "last")
    assert topics_until(one, "last") == ["a"]


def test_visitors_of_one_address_may_use_the_same_ids(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server]
) -> None:
    server = serve(make_app(ANONYMOUS_CHAT=True))
    visitor = server.connect("/ws")
    visitor.until_pong()
    for data in (1, 1, 2):
        body = {"topic": "a", "data": data, "id": "1"}
        assert server.app.test_client().post(STREAM, json=body).status_code == 200
    assert [frame["data"] for frame in visitor.until_pong() if "topic" in frame] == [1, 2]


def test_an_id_puts_no_lines_into_the_stream(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    feigned = quote('x\ndata: {"topic":"todos.list.state"}\n\nid: y:1')
    one = stream(ann, "a", query=f"&lastEventId={feigned}")
    say(client, ann, "a")
    assert one.next()["topic"] == "a"
    assert "y" not in one.last_id


def test_a_named_listener_may_listen_for_any_topic_but_those_of_the_browser(
    server: Server, client: FlaskClient, ann: Account
) -> None:
    one = Stream(server.url, f"{STREAM}?topics=message,error,last&events=named", **ann.headers)
    next(one.lines())
    for topic in ("error", "message", "last"):
        say(client, ann, topic, topic)
    events = one.events()
    assert [next(events).data for _ in range(2)] == ["message", "last"]
    one.close()
