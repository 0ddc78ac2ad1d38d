"""Changes told to who watches them: tables, filters, single records, and to nobody else."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from bus import Event
from sockets.dialect import Dialect
from sockets.watches import Watch, group
from sockets.widget import MAX_WATCHES
from tests.conftest import Account, Peer, Server
from topics import TABLES

TODOS = "/api/todos"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """Open to visitors."""
    return make_app(ANONYMOUS_CHAT=True)


class Page:
    """Changes todos over HTTP, of an account or of the public list."""

    def __init__(self, server: Server, account: Account | None = None) -> None:
        self.http = server.app.test_client(use_cookies=False)
        self.headers = account.headers if account else {}

    def add(self, title: str, **fields: Any) -> dict[str, Any]:
        body = {"title": title, **fields}
        row: Any = self.http.post(TODOS, json=body, headers=self.headers).json
        return row

    def change(self, row: dict[str, Any], **fields: Any) -> None:
        self.http.patch(f"{TODOS}/{row['id']}", json=fields, headers=self.headers)

    def delete(self, row: dict[str, Any]) -> None:
        self.http.delete(f"{TODOS}/{row['id']}", headers=self.headers)


def visit(server: Server) -> Peer:
    peer = server.connect("/")
    peer.expect("connected")
    return peer


def watch(peer: Peer, since: int | None = None, **payload: Any) -> dict[str, Any]:
    """Subscribe to todos; the payload of the answer."""
    more = {} if since is None else {"since": since}
    answer = peer.ask("subscribe", "system", payload={"table": "todos", **payload}, **more)
    told: dict[str, Any] = answer["payload"]
    return told


def told(peer: Peer) -> list[tuple[str, str]]:
    """The (event, title) of all changes told up to now.

    Two pings: within a turn the answers leave before what was committed elsewhere is told.
    """
    heard = [*peer.until_pong(), *peer.until_pong()]
    frames = [frame for frame in heard if frame["type"] == "database_change"]
    return [(frame["event"], frame["data"]["title"]) for frame in frames]


# Who hears


def test_a_visitor_hears_public_tables_without_subscribing(server: Server, ann: Account) -> None:
    peer, user = visit(server), server.chat(ann)
    row = Page(server).add("public")
    Page(server, ann).add("mine")
    frame = peer.receive()
    assert (frame["type"], frame["table"], frame["eventType"]) == (
        *("database_change", "todos", "INSERT"),
    )
    assert frame["data"] == frame["new"] == row
    assert frame["old"] is None
    assert told(peer) == told(user) == []


def test_nothing_is_public_without_public_todos(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server]
) -> None:
    server = serve(make_app(ANONYMOUS_CHAT=True, PUBLIC_TODOS=False))
    peer = visit(server)
    for kind in ("subscribe", "unsubscribe"):
        error = peer.ask(kind, "error", payload={"table": "todos"})
        assert (error["status"], error["code"]) == (401, "unauthorized")
    assert not [t for t in server.app.extensions["realtime"].hub.topics if t.startswith("todos")]


def test_after_auth_a_widget_hears_the_list_of_its_user_and_no_other(
    server: Server, ann: Account, bob: Account
) -> None:
    peer = visit(server)
    watch(peer, filter="completed=false")
    peer.send("auth", payload={"token": ann.token})
    assert peer.expect("auth_response")["payload"]["success"] is True
    public = {name for name, model in TABLES.items() if model.OPEN}
    assert {peer.expect("system")["payload"]["subscribed"] for _ in public} == public
    Page(server).add("public")
    Page(server, bob).add("bob's")
    Page(server, ann).add("mine, done", completed=True)
    Page(server, ann).add("mine")
    assert told(peer) == [("INSERT", "mine")]


def test_users_hear_nothing_they_did_not_ask_for(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    Page(server, ann).add("mine")
    assert told(peer) == []


def test_a_visitor_who_subscribes_hears_only_what_it_asked_for(server: Server) -> None:
    peer, other = visit(server), visit(server)
    watch(peer, filter="completed=true")
    Page(server).add("open")
    assert told(peer) == []
    assert told(other) == [("INSERT", "open")]
    peer.ask("unsubscribe", "system", payload={"table": "todos"})
    other.ask("unsubscribe", "system", payload={"table": "todos"})
    Page(server).add("done", completed=True)
    assert told(peer) == told(other) == []


# Filters


def test_rows_enter_and_leave_a_filter(server: Server, ann: Account) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    watch(peer, filter="completed=false")
    row = page.add("a")
    page.change(row, title="b")
    page.change(row, completed=True, title="out of sight")
    page.change(row, title="still out")
    page.change(row, completed=False, title="back")
    page.delete(row)
    frames = [peer.expect("database_change") for _ in range(5)]
    assert [frame["event"] for frame in frames] == [
        *("INSERT", "UPDATE", "DELETE", "INSERT", "DELETE")
    ]
    left, entered = frames[2], frames[3]
    assert (left["data"]["title"], left["new"]) == ("b", None)
    assert (entered["data"]["title"], entered["old"]) == ("back", None)
    assert "out" not in str(frames)
    assert peer.until_pong() == []


@pytest.mark.parametrize(
    ("events", "heard"),
    [
        (["INSERT"], ["INSERT", "INSERT"]),
        (["UPDATE"], ["UPDATE"]),
        (["DELETE"], ["DELETE"]),
        (["DELETE", "UPDATE", "UPDATE"], ["UPDATE", "DELETE"]),
        (None, ["INSERT", "UPDATE", "DELETE", "INSERT"]),
    ],
)
def test_only_chosen_events_are_told(
    server: Server, ann: Account, events: Any, heard: list[str]
) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    watch(peer, events=events, filter="completed=0")
    row = page.add("a")
    page.change(row, title="b")
    page.change(row, completed=True)
    page.change(row, completed=False)
    assert [event for event, _ in told(peer)] == heard


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("title=a=b", ["a=b"]),
        ("title=", []),
        ("title=é ", []),
        ("completed=TRUE", ["done"]),
        ("completed=1", ["done"]),
        ("id=999999999999999999", []),
        ("", ["a=b", "done"]),
        (None, ["a=b", "done"]),
    ],
)
def test_a_filter_chooses(server: Server, ann: Account, text: Any, heard: list[str]) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    watch(peer, filter=text)
    page.add("a=b")
    page.add("done", completed=True)
    assert [title for _, title in told(peer)] == heard


@pytest.mark.parametrize("name", ["createdAt", "created_at"])
def test_a_filter_takes_both_spellings(server: Server, ann: Account, name: str) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    row = page.add("a")
    watch(peer, filter=f"{name}={row['created_at']}")
    page.change(row, title="b")
    assert told(peer) == [("UPDATE", "b")]


BAD_PARTS = [
    pytest.param({"filter": "user_id=1"}, 400, id="column nobody may know"),
    pytest.param({"filter": "nope=1"}, 400, id="unknown column"),
    pytest.param({"filter": "__class__=1"}, 400, id="attribute"),
    pytest.param({"filter": "title"}, 400, id="no value"),
    pytest.param({"filter": "=x"}, 400, id="no column"),
    pytest.param({"filter": " title=x"}, 400, id="space"),
    pytest.param({"filter": "completed=maybe"}, 400, id="not a boolean"),
    pytest.param({"filter": "id=x"}, 400, id="not a number"),
    pytest.param({"filter": "id=-1"}, 400, id="negative"),
    pytest.param({"filter": "id=²"}, 400, id="no digit"),
    pytest.param({"filter": "id=" + "9" * 400}, 400, id="vast"),
    pytest.param({"filter": "title=\0"}, 400, id="NUL"),
    pytest.param({"filter": "title=" + "x" * 500}, 400, id="long"),
    pytest.param({"filter": {"title": "x"}}, 400, id="filter an object"),
    pytest.param({"filter": ["title=x"]}, 400, id="filter a list"),
    pytest.param({"filter": "title=x", "id": 1}, 400, id="filter and id"),
    pytest.param({"events": []}, 400, id="no events"),
    pytest.param({"events": ["insert"]}, 400, id="event in lower case"),
    pytest.param({"events": ["TRUNCATE"]}, 400, id="other event"),
    pytest.param({"events": "INSERT"}, 400, id="events a text"),
    pytest.param({"events": [["INSERT"]]}, 400, id="events nested"),
    pytest.param({"events": ["INSERT"] * 11}, 400, id="many events"),
    pytest.param({"table": None}, 400, id="neither"),
    pytest.param({"channel": "s"}, 400, id="both"),
    pytest.param({"channel": "", "table": None}, 400, id="empty channel"),
    pytest.param({"channel": "s\n", "table": None}, 400, id="unprintable channel"),
    pytest.param({"channel": "s" * 191, "table": None}, 400, id="long channel"),
    pytest.param({"channel": {}, "table": None}, 400, id="channel an object"),
    pytest.param({"table": "users"}, 404, id="other table"),
    pytest.param({"table": "todos\0"}, 404, id="NUL in table"),
    pytest.param({"table": ["todos"]}, 400, id="table a list"),
    pytest.param({"id": 999}, 404, id="no such record"),
    pytest.param({"id": 0}, 404, id="zero"),
    pytest.param({"id": -1}, 404, id="negative record"),
    pytest.param({"id": 2**31}, 404, id="large"),
    pytest.param({"id": 10**30}, 404, id="larger"),
    pytest.param({"id": ""}, 404, id="empty"),
    pytest.param({"id": "undefined"}, 404, id="undefined"),
    pytest.param({"id": "1\0"}, 400, id="NUL in id"),
    pytest.param({"id": True}, 400, id="true"),
    pytest.param({"id": [1]}, 400, id="id a list"),
]


@pytest.mark.parametrize(("part", "status"), BAD_PARTS)
def test_a_bad_subscription_is_refused_and_changes_nothing(
    server: Server, ann: Account, part: dict[str, Any], status: int
) -> None:
    peer = server.chat(ann)
    watch(peer, filter="title=x")
    error = peer.ask("subscribe", "error", id="s", payload={"table": "todos", **part})
    assert (error["status"], error["id"]) == (status, "s")
    assert error["payload"]["message"] == error["message"]
    if status == 400:
        assert error.get("errors") or error["code"] == "invalid_room"
    page = Page(server, ann)
    page.add("y")
    page.add("x")
    assert told(peer) == [("INSERT", "x")]


@pytest.mark.parametrize("since", [-1, 1.5, "x", [], 2**53 + 1])
def test_a_bad_since_is_400(server: Server, ann: Account, since: Any) -> None:
    peer = server.chat(ann)
    error = peer.ask("subscribe", "error", payload={"table": "todos"}, since=since)
    assert (error["status"], list(error["errors"])) == (400, ["since"])


# Several subscriptions


def test_subscriptions_add_up_and_each_change_is_told_once(server: Server, ann: Account) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    watch(peer, filter="title=a")
    watch(peer, filter="title=b")
    watch(peer, filter="completed=false")
    row = page.add("a")
    page.change(row, title="b")  # leaves one, enters another
    page.change(row, completed=True)
    page.change(row, title="c")
    assert told(peer) == [("INSERT", "a"), ("UPDATE", "b"), ("UPDATE", "b"), ("DELETE", "b")]


def test_one_subscription_is_taken_back_and_the_others_stay(server: Server, ann: Account) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    for text in ("title=a", "title=b"):
        watch(peer, filter=text)
    payload = {"table": "todos", "filter": "title=a"}
    assert peer.ask("unsubscribe", "system", payload=payload)["payload"]["unsubscribed"] == "todos"
    page.add("a")
    page.add("b")
    assert told(peer) == [("INSERT", "b")]
    peer.ask("unsubscribe", "system", payload={"table": "todos"})
    page.add("b")
    assert told(peer) == []


def test_subscriptions_to_a_table_are_limited(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    for number in range(MAX_WATCHES):
        watch(peer, filter=f"id={number}")
    watch(peer, filter="id=0")  # one of them again
    payload = {"table": "todos", "filter": "id=77"}
    assert peer.ask("subscribe", "error", payload=payload)["code"] == "too_many"


# Records


@pytest.mark.parametrize("spell", [int, str])
def test_one_record_is_watched(server: Server, ann: Account, spell: Any) -> None:
    peer, page = server.chat(ann), Page(server, ann)
    mine, other = page.add("mine"), page.add("other")
    answer = watch(peer, id=spell(mine["id"]))
    assert answer["record"] == mine
    assert (answer["id"], answer["seq"]) == (mine["id"], 2)
    page.change(other, title="not told")
    page.change(mine, title="told")
    page.delete(other)
    page.delete(mine)
    assert told(peer) == [("UPDATE", "told"), ("DELETE", "told")]


def test_a_record_of_somebody_else_is_404_and_never_told(
    server: Server, ann: Account, bob: Account
) -> None:
    peer, visitor, page = server.chat(bob), visit(server), Page(server, ann)
    row = page.add("secret")
    for one in (peer, visitor):
        error = one.ask("subscribe", "error", payload={"table": "todos", "id": row["id"]})
        assert (error["status"], error["code"]) == (404, "todo_not_found")
        answer = watch(one, id=row["id"], since=0)
        assert answer["record"] is None
    page.change(row, title="more")
    assert told(peer) == told(visitor) == []


def test_a_record_watched_again_tells_what_was_missed_its_end_too(
    server: Server, ann: Account
) -> None:
    page, peer = Page(server, ann), server.chat(ann)
    row = page.add("a")
    seq = watch(peer, id=row["id"])["seq"]
    peer.close()
    page.add("other")
    page.change(row, title="b")
    page.delete(row)
    again = server.chat(ann)
    again.send("subscribe", payload={"table": "todos", "id": row["id"]}, since=seq)
    assert [again.receive()["event"] for _ in range(2)] == ["UPDATE", "DELETE"]
    assert again.receive()["payload"]["record"] is None


# Reconnect


def test_a_filter_holds_for_what_was_missed(server: Server, ann: Account) -> None:
    page, peer = Page(server, ann), server.chat(ann)
    for number in range(4):
        page.add(f"t{number}", completed=number % 2 == 0)
    peer.send("subscribe", payload={"table": "todos", "filter": "completed=true"}, since=1)
    frame = peer.receive()
    assert (frame["data"]["title"], frame["seq"]) == ("t2", 3)
    assert peer.receive()["payload"]["seq"] == 4
    page.add("t4", completed=True)
    assert told(peer) == [("INSERT", "t4")]


def test_a_long_replay_is_whole_though_another_filter_comes_meanwhile(
    server: Server, ann: Account, monkeypatch: Any
) -> None:
    monkeypatch.setattr("events.PAGE", 2)
    page, peer = Page(server, ann), server.chat(ann)
    for number in range(9):
        page.add(f"t{number}")
    peer.send("subscribe", payload={"table": "todos", "filter": "completed=false"}, since=0)
    peer.send("subscribe", payload={"table": "todos", "filter": "title=t8"})
    page.add("last")
    titles: list[str] = []
    while "last" not in titles:
        titles.append(peer.expect("database_change")["data"]["title"])
    assert titles == [*(f"t{number}" for number in range(9)), "last"]


def test_a_replay_is_whole_though_another_filter_comes_in_the_same_breath(
    server: Server, ann: Account, monkeypatch: Any
) -> None:
    monkeypatch.setattr("events.PAGE", 2)
    page, peer = Page(server, ann), server.chat(ann)
    for number in range(9):
        page.add(f"t{number}")
    flusher, both = server.app.extensions["realtime"].flusher, threading.Event()
    turn = flusher.turn

    def wait_for_both() -> None:
        both.wait(5)
        turn()

    monkeypatch.setattr(flusher, "turn", wait_for_both)
    peer.send("subscribe", payload={"table": "todos", "filter": "completed=false"}, since=0)
    peer.send("subscribe", payload={"table": "todos", "filter": "title=t8"})
    while len(flusher.jobs) < 2:
        time.sleep(0.001)
    both.set()
    page.add("last")
    titles: list[str] = []
    while "last" not in titles:
        titles.append(peer.expect("database_change")["data"]["title"])
    assert titles == [*(f"t{number}" for number in range(9)), "last"]


# Framing


class Sink:
    """A connection that watches, and notes each write."""

    def __init__(self, *watches: Watch) -> None:
        from sockets.watches import Watcher

        self.id = str(id(self))
        self.state = Watcher({"todos": frozenset(watches)})
        self.writes: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.writes.append(data)


class Counting(Dialect):
    """Counts how often it words an event."""

    worded = 0

    def encode(self, event: Event) -> dict[str, Any]:
        self.worded += 1
        return {"event": event.data["event"]}


def test_clients_who_are_told_the_same_share_one_frame() -> None:
    change = {"table": "todos", "event": "INSERT", "old": None, "new": {"id": 1, "title": "a"}}
    event, dialect = Event("todos:public", "changed", change, 1), Counting()
    alike: Any = [Sink(Watch()) for _ in range(5)] + [
        *(Sink(Watch(column="id", value=1)), Sink(Watch(column="title", value="a")))
    ]
    others: Any = [Sink(Watch(column="id", value=2)), Sink()]
    for members, heard in group([*alike, *others], [event]):
        dialect.deliver(members, heard)
    assert dialect.worded == 1
    assert [len(sink.writes) for sink in alike] == [1] * 7
    assert [len(sink.writes) for sink in others] == [0, 0]
