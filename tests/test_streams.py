"""Server-sent events: who hears which topic, what returns after a break, how a stream ends."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import topics
from tests.conftest import Account, Server, assert_error
from tests.streams import STREAM, ServerEvent, Stream
from topics import TABLES

SHORT = [name for name, model in TABLES.items() if model.IS_SHORT]  # listed to who asks for all
Open = Callable[..., Stream]
MARK = {"topic": "mark.of.tests"}


@pytest.fixture
def stream(server: Server) -> Iterator[Open]:
    """Opens streams on the default app: `stream(ann, topics="a.*")`."""
    opened: list[Stream] = []

    def start(account: Account | None = None, last_id: str = "", **words: str) -> Stream:
        query = "&".join(f"{name}={value}" for name, value in words.items())
        headers = {"Last-Event-ID": last_id} if last_id else {}
        headers |= account.headers if account else {}
        opened.append(Stream(server.url, f"{STREAM}?{query}", **headers))
        assert opened[-1].answer.status == 200
        assert next(opened[-1].lines()) == "retry: 3000"
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def status_of(url: str, address: str = STREAM, **headers: str) -> int:
    """The status of an attempt to open a stream."""
    one = Stream(url, address, **headers)
    one.close()
    return one.answer.status


def say(client: FlaskClient, account: Account, topic: str, data: Any = None, **more: Any) -> Any:
    body = {"topic": topic, "data": data, **more}
    response = client.post(STREAM, json=body, headers=account.headers)
    assert response.status_code == 200, response.json
    return response.json


def heard(client: FlaskClient, account: Account, one: Stream) -> list[ServerEvent]:
    """What a stream for all topics was told up to now."""
    say(client, account, "mark.of.tests")
    return one.until("mark.of.tests")


def test_a_message_reaches_every_stream_that_asks_for_its_topic(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    mine, all_of_it = stream(ann, topics="cart.*,other"), stream(bob)
    assert {all_of_it.next()["topic"] for _ in SHORT} == {f"{name}.list.state" for name in SHORT}
    told = say(client, ann, "cart.added", {"n": 1})
    say(client, ann, "cart.added.twice")
    say(client, ann, "other", 0)
    assert mine.next()["data"] == {"n": 1}
    assert mine.next()["topic"] == "other"
    message = all_of_it.next()
    assert message.pop("ts") > 1_600_000_000_000
    assert message == {"topic": "cart.added", "data": {"n": 1}, "id": told["id"]}
    assert all_of_it.next()["topic"] == "cart.added.twice"


def test_each_message_comes_without_a_name_and_under_its_topic(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    styles = ("both", "message", "named")
    both, unnamed, named = (stream(ann, topics="*.*,last", events=one) for one in styles)
    say(client, ann, "cart.added", {"n": 1})
    (plain, twin) = [next(both.events()) for _ in range(2)]
    assert (plain.name, twin.name) == ("message", "cart.added")
    assert plain.data["data"] == twin.data == {"n": 1}
    assert plain.id == twin.id != ""
    assert next(unnamed.events()).name == "message"
    assert next(named.events()) == ServerEvent("cart.added", {"n": 1}, plain.id)
    say(client, ann, "last")
    assert next(unnamed.events()).data["topic"] == "last"
    assert next(named.events()).name == "last"


@pytest.mark.parametrize("name", ["error", "open", "message"])
def test_no_event_has_a_name_that_means_something_else(
    client: FlaskClient, ann: Account, stream: Open, name: str
) -> None:
    one = stream(ann, topics=f"{name},mark.*.*")
    say(client, ann, name)
    assert [event.name for event in heard(client, ann, one)] == ["message"]


def test_a_stream_goes_on_where_it_was(client: FlaskClient, ann: Account, stream: Open) -> None:
    words = "count,todos.item.state.*,mark.*.*"
    first = stream(ann, topics=words)
    for n in range(3):
        say(client, ann, "count", n)
    assert first.next()["data"] == 0
    first.close()
    client.post("/api/todos", json={"title": "milk"}, headers=ann.headers)
    query = stream(ann, topics=words, lastEventId=first.last_id)
    for one in (query, stream(ann, first.last_id, topics=words)):
        events = [e for e in heard(client, ann, one) if e.name == "message"]
        assert [e.data["data"] for e in events if e.data["topic"] == "count"] == [1, 2]
        items = [e for e in events if e.data["topic"].startswith("todos.item.state.")]
        assert [e.data["data"]["item"]["title"] for e in items] == ["milk"]


def test_of_two_ids_the_later_place_counts(client: FlaskClient, ann: Account, stream: Open) -> None:
    first = stream(ann, topics="count")
    for n in range(3):
        say(client, ann, "count", n)
    ids = [first.last_id for n in range(3) if first.next()["data"] == n]
    for earlier, later in [(ids[0], ids[1]), (ids[1], ids[0])]:
        one = stream(ann, earlier, lastEventId=later)
        assert one.next("count")["data"] == 2


def test_a_new_stream_hears_nothing_of_before_but_zero_means_from_the_beginning(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    say(client, ann, "count", 0)
    say(client, ann, f"user.{ann.user['id']}.count", 1)
    assert heard(client, ann, stream(ann, topics="count,mark.*.*")) == []
    one = stream(ann, lastEventId="0", topics="count,user.*.count")
    assert [one.next()["data"] for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("strange", ["9" * 14, "x", "todos:", "-1", "topics:99999,user:5", "%00"])
def test_an_id_that_is_none_of_ours_counts_as_none(
    client: FlaskClient, ann: Account, stream: Open, strange: str
) -> None:
    one = stream(ann, lastEventId=strange, topics="count")
    say(client, ann, "count", 1)
    assert one.next()["data"] == 1


def test_what_is_retained_comes_first_to_who_is_new(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    say(client, ann, "theme", "dark", retain=True)
    say(client, ann, "theme", "light", retain=True)
    say(client, ann, "gone", 1, retain=True)
    say(client, ann, "gone", None, retain=True)
    message = stream(ann, topics="theme,gone").next()
    assert message == {"topic": "theme", "data": "light", "retain": True}
    assert stream(ann, topics="*").next("theme")["retain"] is True


def test_a_page_that_sends_what_it_hears_starts_no_storm(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    one = stream(ann, topics="click,mark.*.*", events="message")
    for _ in range(4):
        say(client, ann, "click", {"at": 1}, id="a")
    for n in range(4):
        say(client, ann, "click", {"at": 1}, id=f"echo-{n}")
    say(client, ann, "click", {"at": 2}, id="b")
    assert [e.data["data"] for e in heard(client, ann, one)] == [{"at": 1}, {"at": 2}]


def test_the_same_words_of_two_users_are_two_messages(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    one = stream(ann, topics="vote,mark.*.*", events="message")
    say(client, ann, "vote", "yes")
    say(client, bob, "vote", "yes")
    assert len(heard(client, ann, one)) == 2


def test_a_live_table_tells_items_and_the_list(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    one, other = (stream(user, topics="todos.*.*,todos.*.*.*") for user in (ann, bob))
    assert one.next() == {"topic": "todos.list.state", "data": {"items": []}, "retain": True}
    todo = client.post("/api/todos", json={"title": "milk"}, headers=ann.headers).json
    topic = f"todos.item.state.{todo['id']}"
    assert one.next() == {"topic": topic, "data": {"item": todo}, "retain": True}
    assert one.next()["data"] == {"items": [todo]}
    client.delete(f"/api/todos/{todo['id']}", headers=ann.headers)
    assert one.next()["data"] == {"id": todo["id"], "deleted": True}
    assert one.next()["data"] == {"items": []}
    say(client, bob, "todos.end.mark")
    assert [event.data["data"] for event in other.until("todos.end.mark")[::2]] == [{"items": []}]


def test_long_rows_are_listed_to_who_names_them_and_never_too_many(
    client: FlaskClient, ann: Account, stream: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "SNAPSHOT_CHARACTERS", 2500)
    for title in "abc":
        body = {"title": title, "content": "x" * 500, "published": True}
        client.post("/api/posts", json=body, headers=ann.headers)
    listed = stream(ann, topics="posts.*.*").next()
    assert listed["topic"] == "posts.list.state"
    assert [item["title"] for item in listed["data"]["items"]] == ["c", "b"]
    heard_of_all = {
        event.data["topic"] for event in heard(client, ann, stream(ann, events="message"))
    }
    assert not [topic for topic in heard_of_all if topic.startswith("posts")]


def test_personal_topics_are_heard_by_their_user_alone(
    client: FlaskClient, ann: Account, bob: Account, stream: Open
) -> None:
    mine, his = stream(ann, events="message"), stream(bob, events="message")
    for topic in (f"user.{ann.user['id']}.note", "todos.selected", "notification"):
        say(client, ann, topic)
        assert mine.next(topic)
    heard_by_bob = [e.data["topic"] for e in heard(client, ann, his)]
    assert heard_by_bob == [f"{name}.list.state" for name in SHORT]
    body = {"topic": f"user.{ann.user['id']}.note"}
    assert_error(client.post(STREAM, json=body, headers=bob.headers), 403)


@pytest.mark.parametrize("topic", ["auth.internal.state", "sys.ping", "ws.message", "sse.open"])
def test_what_concerns_one_page_goes_nowhere(
    client: FlaskClient, ann: Account, stream: Open, topic: str
) -> None:
    one = stream(ann, topics=f"{topic},mark.*.*")
    assert say(client, ann, topic, {"token": "secret"}, retain=True)["ok"]
    assert heard(client, ann, one) == []
    assert say(client, ann, topic, {"token": "secret"})["ok"]


def test_without_account_only_public_tables_are_heard(server: Server, ann: Account) -> None:
    client = server.app.test_client(use_cookies=False)
    assert_error(client.post(STREAM, json={"topic": "a"}), 401)
    one = Stream(server.url)
    say(client, ann, "secret")
    client.post("/api/todos", json={"title": "milk"})
    public = [name for name in SHORT if TABLES[name].OPEN]
    assert [one.next()["data"] for _ in public] == [{"items": []}] * len(public)
    assert one.next()["data"]["item"]["title"] == "milk"
    one.close()


def test_without_account_a_stream_of_what_is_not_public_is_refused(
    make_app: Any, serve: Callable[[Flask], Server]
) -> None:
    url = serve(make_app(PUBLIC_TODOS=False)).url
    for address in (f"{STREAM}?topics=todos.*", f"{STREAM}?topics=todos.*,cart&since=0"):
        assert status_of(url, address) == 401


def test_visitors_hear_and_say_what_all_may_where_the_setting_lets_them(
    make_app: Any, serve: Callable[[Flask], Server]
) -> None:
    server = serve(make_app(ANONYMOUS_CHAT=True))
    client = server.app.test_client()
    one = Stream(server.url)
    for _ in range(2):
        assert client.post(STREAM, json={"topic": "hello", "data": 1}).status_code == 200
    assert_error(client.post(STREAM, json={"topic": "user.1.x"}), 401)
    assert client.post(STREAM, json={"topic": "end"}).status_code == 200
    assert one.next("hello")
    assert one.next()["topic"] == "end"
    one.close()


def test_a_bad_token_is_refused(server: Server) -> None:
    assert status_of(server.url, f"{STREAM}?token=bad") == 401
    assert status_of(server.url, Authorization="Bearer bad") == 401


def test_a_token_or_ticket_in_the_address_opens_a_stream(server: Server, ann: Account) -> None:
    ticket = server.app.test_client().post("/api/auth/ticket", headers=ann.headers).json["ticket"]
    for word in (f"token={ann.token}", f"ticket={ticket}"):
        one = Stream(server.url, f"{STREAM}?topics=mark.*.*&{word}")
        say(server.app.test_client(), ann, "mark.of.tests", word)
        assert one.next()["data"] == word
        one.close()


def test_the_end_of_its_session_ends_a_stream(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    one = stream(ann, topics="none.*")
    client.post("/api/auth/logout", headers=ann.headers)
    assert list(one.events()) == []


def test_streams_count_as_sockets(make_app: Any, serve: Any, register: Any) -> None:
    server = serve(make_app(MAX_SOCKETS_PER_USER=1))
    ann = register()
    first = Stream(server.url, **ann.headers)
    assert status_of(server.url, **ann.headers) == 429
    first.close()


def test_a_reader_too_slow_is_cut_off(make_app: Any, serve: Any, register: Any) -> None:
    server = serve(make_app(SEND_QUEUE_BYTES=200_000))
    ann, client = register(), server.app.test_client()
    one = Stream(server.url, **ann.headers)
    house = server.app.extensions["realtime"]
    for n in range(60):
        say(client, ann, "bulk", [n, "x" * 500_000])
        if house.traffic.slow_closes:
            break
    assert house.traffic.slow_closes == 1
    one.close()


def test_what_was_told_since_a_time_can_be_polled(client: FlaskClient, ann: Account) -> None:
    say(client, ann, "count", 0)
    (first,) = client.get(f"{STREAM}?since=0&topics=count", headers=ann.headers).json
    assert first["data"] == 0
    say(client, ann, "count", 1)
    say(client, ann, "other", 1)
    polled = client.get(f"{STREAM}?since={first['ts']}&topics=count", headers=ann.headers).json
    assert [message["data"] for message in polled] in ([1], [0, 1])  # of one millisecond, or two


@pytest.mark.parametrize(
    "words", ["since=x", "since=-1", "since=", "events=x", "since=" + "9" * 15]
)
def test_bad_words_are_400(client: FlaskClient, ann: Account, words: str) -> None:
    body = assert_error(client.get(f"{STREAM}?{words}", headers=ann.headers), 400)
    assert list(body["errors"]) == [words.partition("=")[0]]


def test_too_many_patterns_are_400(client: FlaskClient, ann: Account) -> None:
    many = ",".join(f"t{n}" for n in range(101))
    assert_error(client.get(f"{STREAM}?topics={many}", headers=ann.headers), 400)


BAD = [{}, {"topic": ""}, {"topic": 1}, {"topic": "a b"}, {"topic": "a..b"}, {"topic": "a.*"}]
BAD += [{"topic": "a\n"}, {"topic": "x" * 201}, {"topic": "a", "retain": 7}, {"messages": []}]
BAD += [{"messages": [{"topic": "a"}] * 101}, {"topic": "a", "id": "x" * 201}]


@pytest.mark.parametrize("body", BAD, ids=lambda body: str(body)[:30])
def test_a_bad_message_is_400(client: FlaskClient, ann: Account, body: Any) -> None:
    assert_error(client.post(STREAM, json=body, headers=ann.headers), 400)


def test_a_batch_is_told_whole_or_not_at_all(
    client: FlaskClient, ann: Account, stream: Open
) -> None:
    one = stream(ann, topics="a,b,mark.*.*", events="message")
    batch = {"messages": [{"topic": "a", "data": 1}, {"topic": "user.0.b"}], "batchSize": 2}
    assert_error(client.post(STREAM, json=batch, headers=ann.headers), 403)
    batch["messages"][1] = {"topic": "b", "timestamp": 5}
    assert len(client.post(STREAM, json=batch, headers=ann.headers).json["ids"]) == 2
    assert [e.data["topic"] for e in heard(client, ann, one)] == ["a", "b"]


def test_head_says_what_get_would_be(client: FlaskClient, ann: Account) -> None:
    response = client.head(STREAM, headers=ann.headers)
    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
