"""One record behind three doors: HTTP, live tables, and the sync channel of its user."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import channels
from held import HeldChannel
from models import Collection, CrdtChange, CrdtChannel, db
from synced import adopt
from tests.conftest import Account, Server, assert_error
from tests.replicas import Talker, rows_of

TODOS = "/api/todos"
NOTES = "/api/collections/notes"


@pytest.fixture
def phone(server: Server, ann: Account) -> Talker:
    return Talker(server, ann, "phone")


def todos_of(client: FlaskClient, account: Account) -> list[tuple[str, bool]]:
    rows = client.get(f"{TODOS}?sort=id", headers=account.headers).json
    return [(row["title"], row["completed"]) for row in rows]


def notes_of(client: FlaskClient, account: Account) -> dict[str, dict[str, Any]]:
    house = {"id", "created_at", "updated_at", "createdAt", "updatedAt"}
    rows = client.get(NOTES, headers=account.headers).json
    return {row["id"]: {k: v for k, v in row.items() if k not in house} for row in rows}


def sync_notes(client: FlaskClient, account: Account, **more: Any) -> Any:
    body = {"synced": True, **more}
    return client.put(f"{NOTES}/settings", json=body, headers=account.headers)


def fresh_rows(server: Server, account: Account, table: str = "todos") -> dict[str, Any]:
    """The rows that a new replica gets."""
    return rows_of(Talker(server, account, "fresh").pull(), table)


# From replicas to the noun


def test_a_row_of_a_replica_is_a_todo(client: FlaskClient, ann: Account, phone: Talker) -> None:
    phone.write("todos", "a", "title", "Buy milk")
    assert todos_of(client, ann) == [("Buy milk", False)]
    phone.write("todos", "a", "completed", True)
    phone.write("todos", "a", "title", "Buy oat milk", 2)
    assert todos_of(client, ann) == [("Buy oat milk", True)]
    phone.delete("todos", "a")
    assert todos_of(client, ann) == []
    phone.write("todos", "a", "title", "Buy rice", 1)
    assert todos_of(client, ann) == [("Buy rice", False)]


def test_what_replicas_write_is_told_to_live_tables(
    server: Server, ann: Account, phone: Talker
) -> None:
    live = server.chat(ann)
    live.ask("subscribe", "system", payload={"table": "todos"})
    phone.write("todos", "a", "title", "Milk")
    phone.write("todos", "a", "completed", 1)
    phone.delete("todos", "a")
    told = [live.expect("database_change") for _ in range(3)]
    assert [one["event"] for one in told] == ["INSERT", "UPDATE", "DELETE"]
    assert told[1]["old"]["completed"] is False
    assert told[1]["new"]["completed"] is True


@pytest.mark.parametrize("title", ["", "   ", None, 5, True, "x" * 501], ids=repr)
def test_a_value_that_is_no_title_is_corrected_for_all(
    client: FlaskClient, server: Server, ann: Account, phone: Talker, title: Any
) -> None:
    phone.pull()
    phone.write("todos", "a", "title", title)
    [[_, _, _, val, col_version, *_]] = phone.next()
    assert (val, col_version) == ("Untitled", 2)
    assert todos_of(client, ann) == [("Untitled", False)]
    phone.write("todos", "a", "title", "Good", 3)
    phone.write("todos", "a", "title", title, 4)
    assert phone.next()[0][3] == "Good"
    assert todos_of(client, ann) == [("Good", False)]
    assert fresh_rows(server, ann) == {"a": {"title": "Good"}}


def test_spaces_around_a_title_go_everywhere(
    client: FlaskClient, ann: Account, phone: Talker
) -> None:
    phone.pull()
    phone.write("todos", "a", "title", "  Milk ")
    assert phone.next()[0][3] == "Milk"
    assert todos_of(client, ann) == [("Milk", False)]


@pytest.mark.parametrize("done", [True, 1, "1", "true"], ids=repr)
def test_what_means_true_is_true_and_left_as_it_was_written(
    client: FlaskClient, server: Server, ann: Account, phone: Talker, done: Any
) -> None:
    phone.write("todos", "a", "completed", done)
    assert todos_of(client, ann) == [("Untitled", True)]
    assert fresh_rows(server, ann) == {"a": {"completed": done}}


def test_columns_that_todos_do_not_have_live_in_the_channel_alone(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    phone.write("todos", "a", "content", "as other apps call it")
    assert todos_of(client, ann) == [("Untitled", False)]
    row = client.get(TODOS, headers=ann.headers).json[0]
    assert "content" not in row
    assert fresh_rows(server, ann) == {"a": {"content": "as other apps call it"}}


def test_an_edit_that_crosses_a_delete_brings_the_row_back_here_too(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    phone.write("todos", "a", "title", "Milk")
    phone.write("todos", "a", "completed", True)
    tablet = Talker(server, ann, "tablet")
    tablet.delete("todos", "a")
    phone.write("todos", "a", "title", "Oat milk", 2)
    assert todos_of(client, ann) == [("Oat milk", False)]
    assert fresh_rows(server, ann) == {"a": {"title": "Oat milk"}}


def test_a_long_push_makes_all_its_todos(client: FlaskClient, ann: Account, phone: Talker) -> None:
    changes = [["todos", str(n), "title", f"No {n}", 1, n, "phone", 1, 0] for n in range(1, 1501)]
    assert phone.push(*changes)["version"] == 1500
    answer = client.get(f"{TODOS}?limit=1", headers=ann.headers)
    assert answer.json["total"] == 1500
    assert phone.push(*changes)["version"] == 1500
    assert client.get(f"{TODOS}?limit=1", headers=ann.headers).json["total"] == 1500


def test_other_channels_and_other_tables_are_no_todos(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    Talker(server, ann, "desk", "list").write("todos", "a", "title", "Elsewhere")
    phone.write("notes", "a", "title", "No collection")
    assert todos_of(client, ann) == []
    assert client.get("/api/collections", headers=ann.headers).json == []


# From HTTP to replicas


def test_what_is_written_by_http_reaches_replicas(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    phone.pull()
    todo = client.post(TODOS, json={"title": "Milk"}, headers=ann.headers).json
    assert phone.next() == [
        ["todos", str(todo["id"]), "title", "Milk", 1, -1, phone.greeting["siteId"], 1, 0]
    ]
    client.patch(f"{TODOS}/{todo['id']}", json={"completed": True}, headers=ann.headers)
    assert [one[2:5] for one in phone.next()] == [["completed", True, 1]]
    client.delete(f"{TODOS}/{todo['id']}", headers=ann.headers)
    assert [one[1:5] for one in phone.next()] == [[str(todo["id"]), "-1", None, 2]]
    assert fresh_rows(server, ann) == {}


def test_a_replica_edits_what_was_made_by_http(
    client: FlaskClient, ann: Account, phone: Talker
) -> None:
    todo = client.post(TODOS, json={"title": "Milk"}, headers=ann.headers).json
    phone.write("todos", str(todo["id"]), "title", "Oat milk", 2)
    shown = client.get(f"{TODOS}/{todo['id']}", headers=ann.headers).json
    assert shown["title"] == "Oat milk"
    assert len(todos_of(client, ann)) == 1


def test_a_write_by_http_wins_over_all_that_came_before(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    phone.write("todos", "a", "title", "Milk", 7)
    row = client.get(TODOS, headers=ann.headers).json[0]
    client.patch(f"{TODOS}/{row['id']}", json={"title": "Rice"}, headers=ann.headers)
    [cell] = Talker(server, ann, "fresh").pull()
    assert cell[1:5] == ["a", "title", "Rice", 8]


def test_what_did_not_change_is_not_written(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    phone.write("todos", "a", "completed", "1")
    row = client.get(TODOS, headers=ann.headers).json[0]
    client.patch(f"{TODOS}/{row['id']}", json={"completed": True}, headers=ann.headers)
    assert Talker(server, ann, "fresh").pull() == [
        ["todos", "a", "completed", "1", 1, 1, "phone", 1, 0]
    ]


def test_a_key_that_a_replica_took_is_not_taken_again(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    first = client.post(TODOS, json={"title": "One"}, headers=ann.headers).json["id"]
    phone.write("todos", str(first + 1), "content", "Mine", 1)
    client.delete(f"{TODOS}/{first + 1}", headers=ann.headers)
    phone.write("todos", str(first + 2), "content", "Mine too", 1)
    client.post(TODOS, json={"title": "Two"}, headers=ann.headers)
    rows = fresh_rows(server, ann)
    assert sorted(row.get("title", row.get("content")) for row in rows.values()) == [
        "Mine too", "One", "Two"]  # fmt: skip
    assert len(todos_of(client, ann)) == 3


def test_todos_from_before_the_first_replica_are_there(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    for title in ("One", "Two"):
        client.post(TODOS, json={"title": title}, headers=ann.headers)
    assert [row["title"] for row in fresh_rows(server, ann).values()] == ["One", "Two"]


def test_a_channel_from_before_becomes_the_todos_of_its_user(
    app: Flask, client: FlaskClient, server: Server, ann: Account
) -> None:
    with app.app_context():
        name = CrdtChannel.own_name(ann.user["id"])
        db.session.add(CrdtChannel(name=name, owner_id=ann.user["id"], crdt_db_version=3))
        db.session.flush()
        fields = {"channel": name, "table": "todos", "cl": 1, "site_id": "old", "reissued": False}
        for number, (pk, cid, val) in enumerate(
            [("a", "title", '"Synced"'), ("b", "title", "5"), ("b", "completed", "1")], 1
        ):
            cell = {"pk": pk, "cid": cid, "val": val, "col_version": 1, "db_version": number}
            db.session.add(CrdtChange(**fields, **cell, version=number))
        db.session.commit()
    client.post(TODOS, json={"title": "By HTTP"}, headers=ann.headers)
    rows = fresh_rows(server, ann)
    shown = [("By HTTP", False), ("Synced", False), ("Untitled", True)]
    assert todos_of(client, ann) == shown
    assert sorted((row["title"], bool(row.get("completed"))) for row in rows.values()) == shown


def test_batches_by_http_reach_replicas(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    body = {"items": [{"title": f"No {n}"} for n in range(30)]}
    made = client.post(f"{TODOS}/batch", json=body, headers=ann.headers).json["items"]
    assert len(fresh_rows(server, ann)) == 30
    ids = [one["id"] for one in made[:20]]
    client.delete(f"{TODOS}/batch", json={"ids": ids}, headers=ann.headers)
    changes = phone.pull()
    while len(rows_of(changes)) != 10:  # what was made may come before what was deleted
        changes += phone.next()


def test_writers_at_every_door_end_with_the_same_rows(
    client: FlaskClient, app: Flask, server: Server, ann: Account
) -> None:
    replicas = [Talker(server, ann, f"site{n}") for n in range(3)]

    def push(replica: Talker) -> None:
        for n in range(1, 16):
            replica.write("todos", f"row{n % 4}", "title", f"{replica.site} {n}", n)

    def post(_: int) -> None:
        mine = app.test_client()
        for n in range(8):
            row = mine.post(TODOS, json={"title": f"http {n}"}, headers=ann.headers).json
            mine.patch(f"{TODOS}/{row['id']}", json={"completed": True}, headers=ann.headers)

    with ThreadPoolExecutor() as pool:
        done = [*pool.map(push, replicas), *pool.map(post, range(2))]
    assert len(done) == 5
    rows = fresh_rows(server, ann).values()
    shown = [(row["title"], bool(row.get("completed"))) for row in rows]
    assert sorted(shown) == sorted(todos_of(client, ann))
    assert len(shown) == 20


def test_a_todo_that_goes_while_its_channel_is_made_goes_there_too(
    app: Flask,
    client: FlaskClient,
    server: Server,
    ann: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    todo = client.post(TODOS, json={"title": "Milk"}, headers=ann.headers).json

    def remove() -> int:
        path = f"{TODOS}/{todo['id']}"
        return app.test_client().delete(path, headers=ann.headers).status_code

    with ThreadPoolExecutor() as pool:
        removed: list[Future[int]] = []

        def adopt_slowly(held: HeldChannel) -> None:
            adopt(held)
            removed.append(pool.submit(remove))
            wait(removed, 0.5)

        monkeypatch.setattr(channels, "adopt", adopt_slowly)
        Talker(server, ann, "phone")
        assert removed[0].result() == 204
    assert todos_of(client, ann) == []
    assert fresh_rows(server, ann) == {}


# Collections


def test_a_synced_collection_is_a_table_of_the_channel(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    client.post(NOTES, json={"id": "first", "text": "Hi", "tags": ["a"]}, headers=ann.headers)
    assert sync_notes(client, ann).json["synced"] is True
    phone.write("notes", "second", "text", "Yes")
    phone.write("notes", "first", "text", "Hello", 2)
    assert notes_of(client, ann) == {
        "first": {"text": "Hello", "tags": ["a"]},
        "second": {"text": "Yes"},
    }
    client.patch(f"{NOTES}/second", json={"stars": 5}, headers=ann.headers)
    phone.delete("notes", "first")
    assert fresh_rows(server, ann, "notes") == {"second": {"text": "Yes", "stars": 5}}
    assert list(notes_of(client, ann)) == ["second"]


def test_rows_from_before_a_collection_was_synced_become_items(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    phone.write("notes", "row", "text", "Synced first")
    phone.write("notes", "an id with spaces", "text", "Too")
    sync_notes(client, ann)
    notes = notes_of(client, ann)
    assert notes["row"] == {"text": "Synced first"}
    assert len(notes) == 2
    sync_notes(client, ann, synced=False)
    phone.write("notes", "row", "text", "By itself", 2)
    assert notes_of(client, ann)["row"] == {"text": "Synced first"}


def test_a_collection_that_is_synced_again_has_its_items_once(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    sync_notes(client, ann)
    for pk in ("both", "row", "gone"):
        phone.write("notes", pk, "text", "at first")
    phone.delete("notes", "row")
    phone.write("notes", "row", "text", "at first")
    sync_notes(client, ann, synced=False)
    for pk in ("both", "row"):
        phone.write("notes", pk, "text", "by a replica", 5)
        phone.write("notes", pk, "stars", 5)
    phone.delete("notes", "gone")
    change = {"text": "by HTTP", "tags": ["a"], "done": True}
    client.patch(f"{NOTES}/both", json=change, headers=ann.headers)
    client.post(NOTES, json={"id": "new", "text": "by HTTP"}, headers=ann.headers)
    assert sync_notes(client, ann).status_code == 200
    notes = notes_of(client, ann)
    assert notes == {
        "both": {"text": "by HTTP", "tags": ["a"], "done": True, "stars": 5},
        "row": {"text": "at first", "stars": 5},
        "gone": {"text": "at first"},
        "new": {"text": "by HTTP"},
    }
    del notes["both"]["tags"]
    rows = fresh_rows(server, ann, "notes")
    assert {pk.partition("-")[0]: row for pk, row in rows.items()} == notes
    phone.write("notes", "both", "text", "both again", 9)
    assert notes_of(client, ann)["both"]["text"] == "both again"


def test_what_a_schema_does_not_take_is_corrected(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    schema = {"properties": {"stars": {"type": "integer", "maximum": 5}}}
    sync_notes(client, ann, schema=schema)
    phone.pull()
    phone.write("notes", "a", "stars", 3)
    phone.write("notes", "a", "stars", 9, 2)
    assert phone.next()[0][3] == 3
    phone.write("notes", "b", "stars", "many")
    assert phone.next()[0][3] is None
    assert notes_of(client, ann)["a"] == {"stars": 3}


def test_what_a_schema_asks_of_whole_items_is_not_asked_of_cells(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    schema = {"properties": {"stars": {"type": "integer"}}, "required": ["text", "stars"]}
    sync_notes(client, ann, schema=schema)
    client.post(NOTES, json={"id": "a", "text": "x", "stars": 1}, headers=ann.headers)
    phone.write("notes", "a", "text", "edited", 2)
    phone.write("notes", "half", "text", "no stars")
    version = phone.version
    phone.push(
        ["notes", "b", "text", "y", 1, version + 1, "phone", 1, 0],
        ["notes", "b", "stars", 2, 1, version + 2, "phone", 1, 0],
    )
    rows = {"a": {"text": "edited", "stars": 1}, "b": {"text": "y", "stars": 2}}
    assert notes_of(client, ann) == rows
    assert fresh_rows(server, ann, "notes") == rows


def test_more_than_a_collection_may_have_is_taken_back(
    client: FlaskClient, server: Server, ann: Account, phone: Talker, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Collection, "MOST_ITEMS", 2)
    sync_notes(client, ann)
    for pk in ("a", "b", "c"):
        phone.write("notes", pk, "text", pk)
    assert set(notes_of(client, ann)) == {"a", "b"}
    assert set(fresh_rows(server, ann, "notes")) == {"a", "b"}
    monkeypatch.setattr(Collection, "MOST_CHARACTERS", 50)
    phone.write("notes", "a", "text", "x" * 100, 2)
    assert notes_of(client, ann)["a"] == {"text": "a"}
    assert fresh_rows(server, ann, "notes")["a"] == {"text": "a"}


def test_what_others_write_to_a_shared_collection_reaches_its_owner_s_replicas(
    client: FlaskClient, server: Server, ann: Account, bob: Account, phone: Talker
) -> None:
    sync_notes(client, ann, access="shared")
    phone.pull()
    address = f"/api/collections/{ann.user['id']}:notes"
    client.post(address, json={"id": "x", "text": "From Bob"}, headers=bob.headers)
    assert [one[:4] for one in phone.next()] == [["notes", "x", "text", "From Bob"]]


def test_nul_in_a_synced_text_is_corrected(
    client: FlaskClient, ann: Account, phone: Talker
) -> None:
    sync_notes(client, ann)
    phone.write("notes", "a", "text", "a\0b")
    phone.write("todos", "a", "title", "a\0b")
    assert notes_of(client, ann) == {"a": {"text": None}}
    assert todos_of(client, ann) == [("Untitled", False)]


def test_a_deleted_collection_leaves_no_rows_behind(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    sync_notes(client, ann)
    phone.write("notes", "a", "text", "old")
    phone.write("notes", "b", "text", "old")
    assert client.delete(f"{NOTES}/settings", headers=ann.headers).status_code == 204
    assert fresh_rows(server, ann, "notes") == {}
    sync_notes(client, ann)
    client.post(NOTES, json={"id": "c", "text": "new"}, headers=ann.headers)
    phone.write("notes", "a", "text", "again")
    rows = {"a": {"text": "again"}, "c": {"text": "new"}}
    assert notes_of(client, ann) == rows
    assert fresh_rows(server, ann, "notes") == rows


def test_fields_whose_names_are_too_long_for_cells_are_kept_in_items(
    client: FlaskClient, server: Server, ann: Account, phone: Talker
) -> None:
    sync_notes(client, ann)
    name = "\U0001f600" * 1000
    body = {"id": "a", "text": "x", name: "y", "-1": "z", "": "w"}
    assert client.post(NOTES, json=body, headers=ann.headers).status_code == 201
    assert notes_of(client, ann)["a"][name] == "y"
    assert fresh_rows(server, ann, "notes") == {"a": {"text": "x"}}


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "\U0001f600" * 80_000], ids=type)
def test_a_field_that_no_cell_can_hold_any_longer_is_null_for_replicas(
    client: FlaskClient, server: Server, ann: Account, phone: Talker, value: Any
) -> None:
    sync_notes(client, ann)
    phone.write("notes", "a", "text", "short")
    client.patch(f"{NOTES}/a", json={"text": value, "tags": ["a"]}, headers=ann.headers)
    assert fresh_rows(server, ann, "notes") == {"a": {"text": None}}
    phone.write("notes", "a", "stars", 5)
    item = notes_of(client, ann)["a"]
    assert item == {"text": value, "tags": ["a"], "stars": 5}
    phone.write("notes", "a", "text", "short again", 9)
    assert notes_of(client, ann)["a"] == {**item, "text": "short again"}


def test_settings_of_another_s_collection_are_not_there(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    sync_notes(client, ann, access="shared")
    address = f"/api/collections/{ann.user['id']}:notes/settings"
    assert_error(client.put(address, json={"synced": False}, headers=bob.headers), 404)


@pytest.mark.parametrize("pk", ["x", "settings", "batch"])
def test_a_row_whose_key_no_item_may_have_is_an_item_all_the_same(
    client: FlaskClient, server: Server, ann: Account, phone: Talker, pk: str
) -> None:
    sync_notes(client, ann)
    phone.write("notes", pk, "text", "old")
    phone.delete("notes", pk)
    client.post(NOTES, json={"id": "x", "text": "by HTTP"}, headers=ann.headers)
    phone.write("notes", pk, "text", "again")
    notes = notes_of(client, ann)
    assert pk not in notes or notes[pk] == {"text": "by HTTP"}
    assert sorted(note["text"] for note in notes.values()) == ["again", "by HTTP"]
    assert fresh_rows(server, ann, "notes")[pk] == {"text": "again"}
