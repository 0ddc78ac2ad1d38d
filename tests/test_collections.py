"""Collections: nouns that apps invent (routes/collections.py)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import Collection, Item, StoredEvent, db
from tests.conftest import Account, Server, assert_error
from tests.races import before_lock
from tests.streams import STREAM, Stream

COLLECTIONS = "/api/collections"
NOTES = f"{COLLECTIONS}/notes"
Watch = Callable[[], AbstractContextManager[list[str]]]


def shared_address(account: Account, name: str = "notes") -> str:
    """Where others find a collection of this account."""
    return f"{COLLECTIONS}/{account.user['id']}:{name}"


def make_note(client: FlaskClient, account: Account, **fields: Any) -> dict[str, Any]:
    response = client.post(NOTES, json=fields, headers=account.headers)
    assert response.status_code == 201, response.json
    return dict(response.json)


def share(client: FlaskClient, account: Account, access: str) -> Any:
    body = {"access": access}
    return client.put(f"{NOTES}/settings", json=body, headers=account.headers)


# Items


def test_first_write_makes_a_collection_of_ones_own(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    assert client.get(NOTES, headers=ann.headers).json == []
    note = make_note(client, ann, title="First", tags=["a", "b"], done=False, size=None)
    assert note == {**note, "title": "First", "tags": ["a", "b"], "done": False, "size": None}
    assert note["createdAt"] == note["created_at"] == note["updatedAt"]
    address = f"{NOTES}/{note['id']}"
    assert client.get(address, headers=ann.headers).json == note
    assert client.get(NOTES, headers=ann.headers).json == [note]
    changed = client.put(address, json={"done": True, "id": "x"}, headers=ann.headers).json
    assert changed == {**note, "done": True, "updated_at": changed["updated_at"],
                       "updatedAt": changed["updatedAt"]}  # fmt: skip
    assert client.get(NOTES, headers=bob.headers).json == []
    assert_error(client.get(address, headers=bob.headers), 404, "item_not_found")
    assert_error(client.put(address, json={}, headers=bob.headers), 404, "item_not_found")
    assert client.delete(address, headers=bob.headers).status_code == 204
    assert client.get(address, headers=ann.headers).json == changed
    assert client.delete(address, headers=ann.headers).status_code == 204
    assert client.get(NOTES, headers=ann.headers).json == []


def test_id_may_be_chosen_and_posted_again(client: FlaskClient, ann: Account) -> None:
    first = make_note(client, ann, id="a-1", title="One", size=1)
    again = make_note(client, ann, id="a-1", title="Two")
    assert again == {**first, "title": "Two", "updated_at": again["updated_at"],
                     "updatedAt": again["updatedAt"]}  # fmt: skip
    assert make_note(client, ann, id=7)["id"] == "7"
    assert [note["id"] for note in client.get(NOTES, headers=ann.headers).json] == ["7", "a-1"]
    for wrong in ("", "a/b", "batch", "settings", "a.b", "x" * 101, "a\n", [], {}, True, 1.5):
        response = client.post(NOTES, json={"id": wrong}, headers=ann.headers)
        assert "id" in assert_error(response, 400)["errors"]


def test_batch_makes_and_changes_in_order(client: FlaskClient, ann: Account) -> None:
    make_note(client, ann, id="b", n=0)
    items = [{"id": "a", "n": 1}, {"id": "b", "n": 2}, {"n": 3}, {"id": "a", "m": 4}]
    response = client.post(f"{NOTES}/batch", json={"items": items}, headers=ann.headers)
    assert response.status_code == 201
    made = response.json["items"]
    assert [(item["n"], item.get("m")) for item in made] == [(1, 4), (2, None), (3, None), (1, 4)]
    gone = client.delete(f"{NOTES}/batch", json={"ids": ["a", "x", "b"]}, headers=ann.headers)
    assert sorted(gone.json["ids"]) == ["a", "b"]
    [left] = client.get(NOTES, headers=ann.headers).json
    assert left["id"] == made[2]["id"]
    wrong = {"items": [{"n": 1}, {"id": "a b"}]}
    assert_error(client.post(f"{NOTES}/batch", json=wrong, headers=ann.headers), 400)
    assert client.get(NOTES, headers=ann.headers).json == [left]


def test_retry_and_match(client: FlaskClient, ann: Account) -> None:
    retry = {**ann.headers, "Idempotency-Key": "1"}
    first = client.post(NOTES, json={"n": 1}, headers=retry)
    assert client.post(NOTES, json={"n": 1}, headers=retry).json == first.json
    address = f"{NOTES}/{first.json['id']}"
    match = {**ann.headers, "If-Match": first.headers["ETag"]}
    second = client.patch(address, json={"z": 1.50, "a": {"y": 1, "b": 2}}, headers=match)
    assert second.status_code == 200
    assert_error(client.patch(address, json={"n": 3}, headers=match), 412)
    assert_error(client.delete(address, headers=match), 412)
    match["If-Match"] = second.headers["ETag"]
    assert client.delete(address, headers=match).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "a\0b"}, "title"),
        ({"a\0b": 1}, "ab"),
        ({"deep": [{"n": ["\0"]}]}, "deep.0.n.0"),
        ({"n": 2**63}, "n"),
        ({"n": -(2**63) - 1}, "n"),
        ({"n": 10**400}, "n"),
    ],
)
def test_what_no_database_keeps_is_refused(
    client: FlaskClient, ann: Account, body: dict[str, Any], field: str
) -> None:
    response = client.post(NOTES, json=body, headers=ann.headers)
    assert list(assert_error(response, 400, "invalid_input")["errors"]) == [field]
    assert client.get(NOTES, headers=ann.headers).json == []


def test_any_name_may_be_that_of_a_field(client: FlaskClient, ann: Account) -> None:
    names = ("self", "user", "collection", "data", "key", "cls", "fields", "", "a.b", "$x", "texts")
    fields = dict.fromkeys(names, "1")
    note = make_note(client, ann, **fields)
    assert fields.items() <= note.items()
    address = f"{NOTES}/{note['id']}"
    changes = dict.fromkeys(names, "2")
    assert changes.items() <= client.put(address, json=changes, headers=ann.headers).json.items()
    times = {"created_at": "x", "updatedAt": "x"}
    assert "x" not in client.put(address, json=times, headers=ann.headers).json.values()


# Lists


def ids(client: FlaskClient, account: Account, query: str) -> list[str]:
    response = client.get(f"{NOTES}?{query}", headers=account.headers)
    assert response.status_code == 200, response.json
    items = response.json
    return [item["id"] for item in (items if isinstance(items, list) else items["items"])]


@pytest.fixture
def mixed(client: FlaskClient, ann: Account) -> FlaskClient:
    """Ann's notes of all kinds of values."""
    items: list[dict[str, Any]] = [
        {"id": "a", "weight": 9, "title": "Zebra", "done": True},
        {"id": "b", "weight": 10, "title": "apple pie", "done": False},
        {"id": "c", "weight": "10", "title": None},
        {"id": "d", "weight": -1.5, "title": "50% off"},
        {"id": "e", "weight": {"x": 1}, "title": ["Zebra"]},
        {"id": "f"},
    ]
    client.post(f"{NOTES}/batch", json={"items": items}, headers=ann.headers)
    return client


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("weight=10", "cb"),
        ("done=true", "a"),
        ("done=false&done=true", "ba"),
        ("title=Zebra", "a"),
        ("id=c&id=f", "fc"),
        ("nothing=1", ""),
        ("bad-name=1", "fedcba"),
        ('where={"weight":{"gt":9}}', "b"),
        ('where={"weight":{"gte":-1.5,"lt":10}}', "da"),
        ('where={"weight":{"gt":"0"}}', "cba"),
        ('where={"weight":{"lt":1e999}}', None),
        ('where={"done":true}', "a"),
        ('where={"title":{"contains":"APPLE"}}', "b"),
        ('where={"title":{"startsWith":"50%25"}}', "d"),
        ('where={"title":null}', "fec"),
        ('where={"title":{"not":"Zebra"}}', "fedcb"),
        ('where={"weight":{"in":[9,"10"]}}', "cba"),
        ('where={"id":{"in":["a","f"]}}', "fa"),
        ('where={"a.b":1}', None),
        ("sort=weight", "dabcfe"),
        ("sort=-weight", "badcfe"),
        ("sort=id", "abcdef"),
        ("sort=-id&limit=2", "fe"),
        ("q=zebra", "ea"),
        ("q=done", ""),
        ("q=%25", "d"),
    ],
)
def test_fields_are_found_and_sorted(
    mixed: FlaskClient, ann: Account, query: str, found: str | None
) -> None:
    if found is None:
        assert_error(mixed.get(f"{NOTES}?{query}", headers=ann.headers), 400)
    else:
        assert "".join(ids(mixed, ann, query)) == found


@pytest.mark.parametrize(
    "sort", ["weight", "-weight", "title", "-title", "done", "id", "created_at"]
)
def test_pages_lead_through_every_order(mixed: FlaskClient, ann: Account, sort: str) -> None:
    found: list[str] = []
    following = ""
    while following is not None:
        query = f"sort={sort}&limit=1&next={following}"
        page = mixed.get(f"{NOTES}?{query}", headers=ann.headers).json
        found += [item["id"] for item in page["items"]]
        following = page["next"]
    assert found == ids(mixed, ann, f"sort={sort}")
    assert sorted(found) == list("abcdef")


def test_list_takes_the_same_statements_for_any_length(
    client: FlaskClient, ann: Account, statements: Watch
) -> None:
    counts = []
    for size in (1, 20):
        items = [{"n": n} for n in range(size)]
        client.post(f"{NOTES}/batch", json={"items": items}, headers=ann.headers)
        with statements() as told:
            client.get(NOTES, headers=ann.headers)
        counts.append(len(told))
    assert counts[0] == counts[1] <= 3


# Who may


def test_shared_is_written_by_all_with_an_account(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    note = make_note(client, ann, title="Ours")
    there = shared_address(ann)
    for headers in (ann.headers, bob.headers):  # not shared yet
        assert_error(client.get(there, headers=headers), 404, "collection_not_found")
    settings = share(client, ann, "shared")
    assert (settings.status_code, settings.json["sharedName"]) == (200, f"{ann.user['id']}:notes")
    assert client.get(there, headers=bob.headers).json == [note]
    assert_error(client.get(there), 404, "collection_not_found")
    changed = client.put(f"{there}/{note['id']}", json={"by": "Bob"}, headers=bob.headers)
    assert changed.json["by"] == "Bob"
    assert client.get(NOTES, headers=ann.headers).json == [changed.json]
    mine = client.post(there, json={"id": "b"}, headers=bob.headers)
    assert mine.status_code == 201
    assert client.get(NOTES, headers=bob.headers).json == []  # a name alone is one's own
    assert len(client.get(there, headers=ann.headers).json) == 2
    assert_error(client.get(f"{there}/settings", headers=bob.headers), 404)
    assert_error(client.put(f"{there}/settings", json={}, headers=bob.headers), 404)
    assert_error(client.delete(f"{there}/settings", headers=bob.headers), 404)
    assert client.delete(f"{there}/b", headers=bob.headers).status_code == 204
    share(client, ann, "private")
    assert_error(client.get(there, headers=bob.headers), 404)
    assert_error(client.post(there, json={}, headers=bob.headers), 404)


def test_public_is_read_by_all_and_written_by_its_owner(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    note = make_note(client, ann, title="For all")
    share(client, ann, "public")
    there = shared_address(ann)
    address = f"{there}/{note['id']}"
    assert client.get(there).json == client.get(there, headers=bob.headers).json == [note]
    assert client.get(address).json == note
    for account in (bob, ann):
        headers = account.headers
        assert_error(client.post(there, json={}, headers=headers), 403)
    assert_error(client.put(address, json={}, headers=bob.headers), 403)
    assert_error(client.delete(address, headers=bob.headers), 403)
    body = {"ids": [note["id"]]}
    assert_error(client.delete(f"{there}/batch", json=body, headers=bob.headers), 403)
    assert_error(client.post(there, json={}), 401)
    assert client.put(address, json={"n": 1}, headers=ann.headers).status_code == 200


def test_visitor_has_no_collection(client: FlaskClient) -> None:
    for method in (client.get, client.post):
        assert_error(method(NOTES, json={}), 401)
    assert client.get(COLLECTIONS).json == []


@pytest.mark.parametrize("name", ["todos", "1", "a b", "é", "x" * 65, ":a", "0:a", "1:", "1:2:a"])
def test_wrong_names_are_refused(client: FlaskClient, ann: Account, name: str) -> None:
    for response in (
        client.get(f"{COLLECTIONS}/{name}", headers=ann.headers),
        client.post(f"{COLLECTIONS}/{name}", json={}, headers=ann.headers),
    ):
        assert "collection" in assert_error(response, 400)["errors"]


# Settings


def test_collections_are_listed_with_those_of_others_that_are_shared(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    make_note(client, ann, n=1)
    make_note(client, bob, n=1)
    share(client, bob, "shared")
    listed = client.get(COLLECTIONS, headers=ann.headers).json
    assert [(one["owner_id"], one["access"], one["count"]) for one in listed] == [
        (bob.user["id"], "shared", 1),
        (ann.user["id"], "private", 1),
    ]
    assert (
        client.get(f"{COLLECTIONS}?owner_id={ann.user['id']}", headers=ann.headers).json
        == listed[1:]
    )
    assert client.get(COLLECTIONS).json == []
    share(client, bob, "public")
    [shown] = client.get(COLLECTIONS).json
    assert shown["sharedName"] == f"{bob.user['id']}:notes"


def test_schema_is_asked_of_every_write(client: FlaskClient, ann: Account) -> None:
    schema = {
        "type": "object",
        "required": ["title"],
        "properties": {"title": {"type": "string", "maxLength": 5}, "size": {"minimum": 0}},
    }
    settings = client.put(f"{NOTES}/settings", json={"schema": schema}, headers=ann.headers)
    assert settings.json["schema"] == schema
    note = make_note(client, ann, title="Fine")
    wrong = {"title": "Too long", "size": -1}
    error = assert_error(client.post(NOTES, json=wrong, headers=ann.headers), 400)
    assert set(error["errors"]) == {"title", "size"}
    assert_error(client.post(NOTES, json={}, headers=ann.headers), 400)
    address = f"{NOTES}/{note['id']}"
    assert_error(client.patch(address, json={"title": 5}, headers=ann.headers), 400)
    assert client.patch(address, json={"size": 5}, headers=ann.headers).status_code == 200
    body = {"items": [{"title": "Good"}, wrong]}
    assert_error(client.post(f"{NOTES}/batch", json=body, headers=ann.headers), 400)
    assert len(client.get(NOTES, headers=ann.headers).json) == 1
    client.put(f"{NOTES}/settings", json={"schema": None}, headers=ann.headers)
    assert make_note(client, ann, **wrong)["size"] == -1


@pytest.mark.parametrize(
    "schema",
    [
        [],
        True,
        {"type": "strin"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "file:///etc/passwd"}]},
        {"pattern": "(?=a)b"},
        {"pattern": "("},
        {"title": "x" * 20_001},
        {"title": "\0"},
    ],
)
def test_schema_that_is_none_is_refused(client: FlaskClient, ann: Account, schema: Any) -> None:
    body = {"schema": schema, "access": "public"}
    response = client.put(f"{NOTES}/settings", json=body, headers=ann.headers)
    assert_error(response, 400)
    assert client.get(COLLECTIONS, headers=ann.headers).json == []


def test_settings_take_if_match_and_deletion_takes_all(
    client: FlaskClient, app: Flask, ann: Account
) -> None:
    address = f"{NOTES}/settings"
    assert_error(client.get(address, headers=ann.headers), 404, "collection_not_found")
    tag = share(client, ann, "shared").headers["ETag"]
    match = {**ann.headers, "If-Match": tag}
    assert client.put(address, json={"access": "public"}, headers=match).status_code == 200
    assert_error(client.put(address, json={"access": "private"}, headers=match), 412)
    make_note(client, ann, n=1)
    assert client.delete(address, headers=ann.headers).status_code == 204
    assert client.get(COLLECTIONS, headers=ann.headers).json == []
    assert_error(client.delete(address, headers=ann.headers), 404)
    with app.app_context():
        assert db.session.query(Item).count() == 0


def test_limits(client: FlaskClient, ann: Account, monkeypatch: Any) -> None:
    big = {"text": "x" * 100_000}
    assert_error(client.post(NOTES, json=big, headers=ann.headers), 413)
    monkeypatch.setattr(Collection, "MOST_ITEMS", 2)
    monkeypatch.setattr(Collection, "MOST_CHARACTERS", 100)
    monkeypatch.setattr(Collection, "MOST", 1)
    body = {"items": [{}, {}, {}]}
    assert_error(client.post(f"{NOTES}/batch", json=body, headers=ann.headers), 413)
    for key in ("a", "b", "a"):
        make_note(client, ann, id=key, n=1)
    assert_error(client.post(NOTES, json={}, headers=ann.headers), 413)
    assert_error(client.patch(f"{NOTES}/a", json={"n": "x" * 90}, headers=ann.headers), 413)
    assert client.delete(f"{NOTES}/b", headers=ann.headers).status_code == 204
    make_note(client, ann, text="x" * 50)
    [settings] = client.get(COLLECTIONS, headers=ann.headers).json
    assert settings["count"] == 2
    other = client.post(f"{COLLECTIONS}/more", json={}, headers=ann.headers)
    assert_error(other, 409, "too_many")


# Live


def subscribe(talk: Any, table: str, **payload: Any) -> None:
    talk.send("subscribe", payload={"table": table, **payload})
    talk.expect("system")


def test_changes_are_told_to_who_may_read(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    mine, yours = server.connect("/ws", ann), server.connect("/ws", bob)
    subscribe(mine, "notes")  # before there are any
    note = make_note(client, ann, id="n", done=False)
    told = mine.expect("database_change")
    assert (told["table"], told["event"], told["new"]) == ("notes", "INSERT", note)
    yours.send("subscribe", payload={"table": f"{ann.user['id']}:notes"})
    assert yours.expect("error")["code"] == "collection_not_found"
    share(client, ann, "shared")
    subscribe(yours, f"{ann.user['id']}:notes", filter="done=true")
    changed = client.patch(f"{NOTES}/n", json={"done": True}, headers=ann.headers).json
    assert mine.expect("database_change")["new"] == changed
    told = yours.expect("database_change")
    assert (told["table"], told["event"]) == (f"{ann.user['id']}:notes", "INSERT")
    share(client, ann, "private")
    told = yours.expect("database_change")
    assert (told["event"], told["new"]) == ("DELETE", None)
    client.patch(f"{NOTES}/n", json={"n": 1}, headers=ann.headers)
    mine.expect("database_change")
    assert yours.until_pong() == []


def test_what_is_not_shared_any_longer_is_not_replayed(
    client: FlaskClient, app: Flask, ann: Account
) -> None:
    share(client, ann, "public")
    make_note(client, ann, id="n", text="secret")
    share(client, ann, "private")
    with app.app_context():
        said = db.session.query(StoredEvent.data).filter(StoredEvent.topic.like("public:%"))
        assert "secret" not in str(said.all())
        assert said.count() == 2
    client.delete(f"{NOTES}/settings", headers=ann.headers)
    with app.app_context():
        assert "secret" not in str(db.session.query(StoredEvent.data).all())


def test_deletion_is_told_and_who_watches_one_item_hears_of_no_other(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    for key in ("a", "b"):
        make_note(client, ann, id=key)
    share(client, ann, "shared")
    mine, yours = server.connect("/ws", ann), server.connect("/ws", bob)
    subscribe(mine, "notes")
    subscribe(yours, f"{ann.user['id']}:notes", id="b")
    client.delete(f"{NOTES}/settings", headers=ann.headers)
    told = [mine.expect("database_change") for _ in "ab"]
    assert [(one["event"], one["old"]) for one in told] == [
        ("DELETE", {"id": "a"}),
        ("DELETE", {"id": "b"}),
    ]
    told = [one for one in yours.until_pong() if one["type"] == "database_change"]
    assert [(one["event"], one["old"]) for one in told] == [("DELETE", {"id": "b"})]


def test_deleted_account_takes_its_collections_along(
    client: FlaskClient, app: Flask, server: Server, ann: Account, bob: Account
) -> None:
    share(client, ann, "shared")
    make_note(client, ann, text="secret")
    peer = server.connect("/ws", bob)
    subscribe(peer, f"{ann.user['id']}:notes")
    client.post(shared_address(ann), json={"text": "Bob's"}, headers=bob.headers)
    assert peer.expect("database_change")["event"] == "INSERT"
    client.delete(f"/api/users/{ann.user['id']}", headers=ann.headers)
    assert peer.expect("database_change")["event"] == "DELETE"
    assert_error(client.get(shared_address(ann), headers=bob.headers), 404)
    with app.app_context():
        assert db.session.query(Item).count() == db.session.query(Collection).count() == 0
        assert "secret" not in str(db.session.query(StoredEvent.data).all())


# Streams and topics


def hear(server: Server, account: Account, **words: str) -> Stream:
    query = "&".join(f"{name}={value}" for name, value in words.items())
    stream = Stream(server.url, f"{STREAM}?{query}", **account.headers)
    assert stream.answer.status == 200
    return stream


def test_stream_tells_a_collection_as_pages_read_it(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    mine = hear(
        server, ann, topics="notes.*,notes.list.state,notes.item.state.*,mark", events="message"
    )
    note = make_note(client, ann, id="n", text="Hi")
    client.post(STREAM, json={"topic": "mark", "data": 1}, headers=ann.headers)
    told = [event.data for event in mine.until("mark")]
    assert {"topic": "notes.item.state.n", "data": {"item": note}, "retain": True} in told
    assert {"topic": "notes.list.state", "data": {"items": [note]}, "retain": True} in told
    mine.close()
    body = {"topic": "notes.item.state.n", "data": {"item": note}, "retain": True}
    theirs = hear(server, bob, topics="*")
    client.post(STREAM, json=body, headers=ann.headers)  # a page forwards what it was told
    client.post(STREAM, json={"topic": "mark", "data": 2}, headers=ann.headers)
    assert "notes" not in str(theirs.until("mark"))
    theirs.close()


def test_stream_goes_on_where_it_was(client: FlaskClient, server: Server, ann: Account) -> None:
    make_note(client, ann, id="a")
    stream = hear(server, ann, topics="notes.item.state.*,mark", events="message")
    make_note(client, ann, id="b")
    client.post(STREAM, json={"topic": "mark", "data": 3}, headers=ann.headers)
    assert [event.data["topic"] for event in stream.until("mark")] == ["notes.item.state.b"]
    stream.close()
    make_note(client, ann, id="c")
    words = {
        "topics": "notes.item.state.*,mark",
        "events": "message",
        "lastEventId": stream.last_id,
    }
    again = hear(server, ann, **words)
    client.post(STREAM, json={"topic": "mark", "data": 4}, headers=ann.headers)
    assert [event.data["topic"] for event in again.until("mark")] == ["notes.item.state.c"]
    again.close()


def test_what_is_said_of_rows_reaches_its_user_alone(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    client.post(f"{COLLECTIONS}/cart", json={}, headers=ann.headers)
    for topic in ("notes.item.save", "cart.item.state.1", f"{ann.user['id']}:cart.list.state"):
        body = {"topic": topic, "data": {"item": topic}, "retain": True}
        client.post(STREAM, json=body, headers=bob.headers)
    stream = hear(server, ann, lastEventId="0", events="message")
    client.post(STREAM, json={"topic": "mark"}, headers=ann.headers)
    told = {event.data["topic"] for event in stream.until("mark")}
    assert not told & {"notes.item.save", "cart.item.state.1", f"{ann.user['id']}:cart.list.state"}
    stream.close()


# Worst cases


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"items": {"allOf": [{"type": "string"}] * 800}}, [0] * 30_000),
        ({"patternProperties": {f"a{n}": {"type": "null"} for n in range(500)}},
         {f"a{n}": 0 for n in range(8_000)}),
        ({"items": {"anyOf": [{"type": "string"}] * 900}}, ["x"] * 20_000),
    ],
)  # fmt: skip
def test_schema_that_takes_long_is_not_tried(
    client: FlaskClient, ann: Account, part: Any, value: Any
) -> None:
    schema = {"properties": {"v": part}}
    settings = client.put(f"{NOTES}/settings", json={"schema": schema}, headers=ann.headers)
    assert settings.status_code == 200
    assert_error(client.post(NOTES, json={"v": value}, headers=ann.headers), 413)


def test_of_large_data_the_first_error_is_told(client: FlaskClient, ann: Account) -> None:
    schema = {"properties": {"v": {"items": {"type": "string"}}}}
    client.put(f"{NOTES}/settings", json={"schema": schema}, headers=ann.headers)
    for size, count in ((100, 10), (5_000, 1)):
        response = client.post(NOTES, json={"v": [0] * size}, headers=ann.headers)
        assert len(assert_error(response, 400)["errors"]) == count


@pytest.mark.parametrize(
    "query",
    [
        "&".join(f"f{n}=1" for n in range(11)),
        "&".join(f"f{n}=1" for n in range(2_000)),
        'where={"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"OR":[{"i":1},{"j":1},{"k":1}]}',
        'orderBy=[{"a":"asc"},{"b":"asc"},{"c":"asc"},{"d":"asc"},{"e":"asc"},{"f":"asc"}]',
    ],
)
def test_query_of_many_fields_is_refused(client: FlaskClient, ann: Account, query: str) -> None:
    make_note(client, ann, a=1)
    assert_error(client.get(f"{NOTES}?{query}", headers=ann.headers), 400, "invalid_input")


@pytest.mark.parametrize("item", [1, None, "x", [], True])
def test_batch_of_what_are_no_items_is_400(client: FlaskClient, ann: Account, item: Any) -> None:
    body = {"items": [{}, item]}
    response = client.post(f"{NOTES}/batch", json=body, headers=ann.headers)
    assert "items.1" in assert_error(response, 400)["errors"]


def test_large_numbers_have_pages_too(client: FlaskClient, ann: Account) -> None:
    for number in (1e308, 1e301, 1e302, -1e308, 0.1 + 0.2):
        make_note(client, ann, n=number)
    found, following = [], ""
    while following is not None:
        query = f"sort=n&limit=1&next={following}"
        page = client.get(f"{NOTES}?{query}", headers=ann.headers).json
        found += [item["n"] for item in page["items"]]
        following = page["next"]
    assert found == [-1e308, 0.1 + 0.2, 1e301, 1e302, 1e308]
    for number in found:
        assert len(ids(client, ann, f'where={{"n":{number}}}'.replace("+", "%2B"))) == 1


def test_change_under_way_while_it_is_unshared_is_refused(
    client: FlaskClient, ann: Account, bob: Account, monkeypatch: Any
) -> None:
    make_note(client, ann, id="n", text="old")
    share(client, ann, "shared")
    other = client.application.test_client()

    def keep_to_oneself() -> None:
        share(other, ann, "private")
        other.put(f"{NOTES}/n", json={"text": "secret"}, headers=ann.headers)

    before_lock(monkeypatch, Item, keep_to_oneself)
    address = f"{shared_address(ann)}/n"
    response = client.put(address, json={"text": "Bob's"}, headers=bob.headers)
    assert "secret" not in str(assert_error(response, 409))
    assert client.get(f"{NOTES}/n", headers=ann.headers).json["text"] == "secret"


def test_change_under_way_makes_no_collection_that_was_deleted(
    client: FlaskClient, ann: Account, bob: Account, monkeypatch: Any
) -> None:
    other = client.application.test_client()

    def take_away() -> None:
        other.delete(f"{NOTES}/settings", headers=ann.headers)

    for method, status in ((client.put, 404), (client.delete, 200)):
        make_note(client, ann, id="n")
        share(client, ann, "shared")
        before_lock(monkeypatch, Item, take_away)
        response = method(f"{shared_address(ann)}/n", json={}, headers=bob.headers)
        assert response.status_code == status
        assert client.get(COLLECTIONS, headers=ann.headers).json == []


def test_settings_of_what_is_not_there_match_nothing(client: FlaskClient, ann: Account) -> None:
    match = {**ann.headers, "If-Match": "*"}
    assert_error(client.put(f"{NOTES}/settings", json={}, headers=match), 412)
    make_note(client, ann, n=1)
    match["If-Match"] = '"another"'
    assert_error(client.delete(f"{NOTES}/settings", headers=match), 412)
    assert len(client.get(NOTES, headers=ann.headers).json) == 1


def test_socket_watches_so_many_tables(client: FlaskClient, server: Server, ann: Account) -> None:
    peer = server.connect("/ws", ann)
    for number in range(100):
        subscribe(peer, f"n{number}")
    peer.send("subscribe", payload={"table": "one-more"})
    assert peer.expect("error")["code"] == "too_many"


def test_writers_at_once_count_right(
    app: Flask, client: FlaskClient, ann: Account, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Collection, "MOST", 3)
    other = app.test_client(use_cookies=False)

    def write(number: int) -> int:
        if number % 5 == 4:
            other.delete(f"{NOTES}/settings", headers=ann.headers)
        elif number % 5 == 3:
            other.post(f"{COLLECTIONS}/c{number}", json={}, headers=ann.headers)
        key = {"id": f"n{number % 2}", "text": "x" * number}
        return other.post(NOTES, json=key, headers=ann.headers).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = set(pool.map(write, range(60)))
    assert statuses <= {201, 409, 503}, statuses
    with app.app_context():
        collections = db.session.query(Collection).all()
        assert len(collections) <= 3
        for collection in collections:
            items = db.session.query(Item).filter_by(collection_id=collection.id).all()
            sizes = sum(item.size() for item in items)
            assert (collection.count, collection.characters) == (len(items), sizes)


def test_an_id_that_no_item_can_have_is_not_there(client: FlaskClient, ann: Account) -> None:
    client.post(NOTES, json={"id": "a"}, headers=ann.headers)
    for item_id in ("a%00", "a%20b", "x" * 101):
        assert_error(client.get(f"{NOTES}/{item_id}", headers=ann.headers), 404)
        assert client.delete(f"{NOTES}/{item_id}", headers=ann.headers).status_code == 204
    body = {"ids": ["a\0", "", "b"]}
    assert client.delete(f"{NOTES}/batch", json=body, headers=ann.headers).status_code == 200
    assert len(client.get(NOTES, headers=ann.headers).json) == 1
