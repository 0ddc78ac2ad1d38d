"""Todos: the guide's contract (docs/frontends/larc.md), whose list it is, and what is told."""

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, select

from models import StoredEvent, Todo, db
from tests.conftest import Account, assert_error

TODOS = "/api/todos"
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NO_IDS = [
    "undefined",
    "null",
    "-1",
    "0",
    "1.0",
    "1e3",
    "²",
    "%D9%A1",  # an Arabic digit
    "2147483648",
    "9223372036854775808",
    "9" * 17,
    "1" + "0" * 30,
    "%00",
    "1%00",
    "..%2Fx",
    "%20",
    "1'%20OR%201=1",
    "x" * 5_000,
]


@pytest.fixture
def todo(client: FlaskClient) -> dict[str, Any]:
    """A todo of the public list."""
    response = client.post(TODOS, json={"title": "Buy milk"})
    assert response.status_code == 201
    return response.json


def events(app: Flask) -> list[tuple[str, int, str]]:
    """What was stored to be told: (topic, seq, kind of change)."""
    with app.app_context():
        query = select(StoredEvent.topic, StoredEvent.seq, StoredEvent.data)
        rows = db.session.execute(query.order_by(StoredEvent.id)).all()
    return [(row.topic, row.seq, json.loads(row.data)["event"]) for row in rows]


# The contract


def test_todo_is_created_with_201(client: FlaskClient, todo: dict[str, Any]) -> None:
    assert todo["title"] == todo["text"] == "Buy milk"
    assert todo["completed"] is False
    assert todo["created_at"] == todo["createdAt"]
    assert todo["updated_at"] == todo["updatedAt"]
    assert ISO.fullmatch(todo["created_at"])
    assert ISO.fullmatch(todo["updated_at"])
    assert client.get(f"{TODOS}/{todo['id']}").json == todo
    assert client.get(TODOS).json == [todo]


@pytest.mark.parametrize(
    ("body", "completed"),
    [
        pytest.param({"title": " x "}, False, id="spaces around"),
        pytest.param({"text": "x"}, False, id="text"),
        pytest.param({"title": "x", "text": "y"}, False, id="both names"),
        pytest.param({"title": "x", "completed": True}, True, id="completed"),
        pytest.param({"title": "x", "completed": "true"}, True, id="completed as text"),
        pytest.param({"title": "x", "completed": 1}, True, id="completed as number"),
        pytest.param({"title": "x", "completed": "false"}, False, id="not completed, as text"),
        pytest.param({"title": "x", "id": 77, "user_id": 1, "created_at": 0}, False, id="more"),
    ],
)
def test_create_reads_what_forms_send(client: FlaskClient, body: Any, completed: bool) -> None:
    todo = client.post(TODOS, json=body).json
    assert (todo["title"], todo["completed"]) == ("x", completed)
    assert todo["id"] != 77


@pytest.mark.parametrize("content_type", ["", "text/plain;charset=UTF-8", "application/json"])
def test_body_is_json_whatever_its_content_type(client: FlaskClient, content_type: str) -> None:
    response = client.post(TODOS, data='{"title": "x"}', content_type=content_type)
    assert response.status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="no body"),
        pytest.param("{}", id="no title"),
        pytest.param('{"title": ""}', id="empty"),
        pytest.param('{"title": null}', id="null"),
        pytest.param('{"title": " \\t\\n"}', id="blank"),
    ],
)
def test_missing_title_is_400(app: Flask, client: FlaskClient, body: str) -> None:
    response = client.post(TODOS, data=body, content_type="application/json")
    assert assert_error(response, 400, "invalid_input")["error"] == "Title is required"
    assert client.get(TODOS).json == []
    assert events(app) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param('{"title": 1}', "invalid_input", id="number"),
        pytest.param('{"title": ["x"]}', "invalid_input", id="list"),
        pytest.param('{"title": {"a": "b"}}', "invalid_input", id="object"),
        pytest.param('{"title": "a\\u0000b"}', "invalid_input", id="NUL"),
        pytest.param('{"title": "\\ud800"}', "invalid_json", id="lone surrogate"),
        pytest.param(f'{{"title": "{"x" * 501}"}}', "invalid_input", id="501 characters"),
        pytest.param(f'{{"title": "{"x" * 1_000_000}"}}', "invalid_input", id="1 MB"),
        pytest.param(f'{{"title": "x", "a": {"[" * 9_999}', "invalid_json", id="deep, open"),
        pytest.param(
            f'{{"title": "x", "a": {"[" * 9_999}{"]" * 9_999}}}', "invalid_json", id="deep"
        ),
        pytest.param('{"title": "x", "completed": "maybe"}', "invalid_input", id="completed"),
        pytest.param('{"title": "x", "completed": null}', "invalid_input", id="completed null"),
        pytest.param('{"title": "x", "completed": []}', "invalid_input", id="completed list"),
        pytest.param('{"title": "x", "completed": 2}', "invalid_input", id="completed 2"),
        pytest.param('{"title": "x", "a": Infinity}', "invalid_json", id="Infinity"),
        pytest.param('["title"]', "invalid_json", id="array"),
        pytest.param('"title"', "invalid_json", id="string"),
        pytest.param("title=x", "invalid_json", id="form"),
        pytest.param('{"title": "x"} x', "invalid_json", id="more behind"),
    ],
)
def test_input_of_worst_form_is_400(
    app: Flask, client: FlaskClient, todo: dict[str, Any], body: str, code: str
) -> None:
    assert_error(client.post(TODOS, data=body), 400, code)
    assert_error(client.put(f"{TODOS}/{todo['id']}", data=body), 400, code)
    assert client.get(TODOS).json == [todo]
    assert len(events(app)) == 1


def test_body_above_the_limit_is_413(make_app: Any) -> None:
    client = make_app(MAX_BODY_BYTES=1000).test_client()
    assert client.post(TODOS, json={"title": "x", "a": "b" * 900}).status_code == 201
    assert_error(client.post(TODOS, json={"title": "x", "a": "b" * 1000}), 413, "too_large")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_update_changes_only_what_is_given(
    client: FlaskClient, todo: dict[str, Any], method: str
) -> None:
    path = f"{TODOS}/{todo['id']}"
    changed = client.open(path, method=method, json={"completed": True})
    assert changed.status_code == 200
    assert changed.json["completed"] is True
    assert changed.json["title"] == "Buy milk"
    assert changed.json["created_at"] == todo["created_at"]
    assert changed.json["updated_at"] >= todo["updated_at"]
    changed = client.open(path, method=method, json={"title": "Buy bread"})
    assert (changed.json["title"], changed.json["completed"]) == ("Buy bread", True)
    assert client.get(path).json == changed.json


def test_update_moves_updated_at(client: FlaskClient, todo: dict[str, Any]) -> None:
    with client.application.app_context():
        db.session.execute(db.text("UPDATE todos SET updated_at = '2001-01-01 00:00:00'"))
        db.session.commit()
    changed = client.put(f"{TODOS}/{todo['id']}", json={"completed": True}).json
    assert changed["updated_at"] >= todo["updated_at"]


def test_update_ignores_read_only_and_unknown_fields(
    client: FlaskClient, todo: dict[str, Any]
) -> None:
    body = {**todo, "id": 99, "created_at": "x", "user_id": 1, "completed": "true", "author": {}}
    changed = client.put(f"{TODOS}/{todo['id']}", json=body).json
    assert changed["id"] == todo["id"]
    assert changed["created_at"] == todo["created_at"]
    assert changed["completed"] is True


def test_empty_update_changes_nothing(client: FlaskClient, todo: dict[str, Any]) -> None:
    assert client.put(f"{TODOS}/{todo['id']}", json={}).json == todo


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
def test_unknown_todo_is_404(app: Flask, client: FlaskClient, method: str) -> None:
    for todo_id in NO_IDS:
        response = client.open(f"{TODOS}/{todo_id}", method=method, data='{"title": "x"}')
        assert_error(response, 404)
    body = assert_error(client.open(f"{TODOS}/5", method=method, json={}), 404, "todo_not_found")
    assert body["error"] == "Todo not found"
    assert events(app) == []


def test_delete_answers_204(app: Flask, client: FlaskClient, todo: dict[str, Any]) -> None:
    for _ in range(2):
        response = client.delete(f"{TODOS}/{todo['id']}")
        assert (response.status_code, response.data) == (204, b"")
    assert client.get(TODOS).json == []
    assert [event for _, _, event in events(app)] == ["INSERT", "DELETE"]


def test_delete_that_declares_json_answers_json(client: FlaskClient, todo: dict[str, Any]) -> None:
    for content_type in ("application/json", "application/json; charset=utf-8"):
        response = client.delete(f"{TODOS}/{todo['id']}", content_type=content_type)
        assert (response.status_code, response.json["ok"]) == (200, True)
        assert str(response.json["id"]) == str(todo["id"])


def test_delete_of_what_cannot_be_is_204(app: Flask, client: FlaskClient) -> None:
    for todo_id in NO_IDS:
        if "%2F" not in todo_id:
            assert client.delete(f"{TODOS}/{todo_id}").status_code == 204
    assert events(app) == []


def test_list_is_newest_first(client: FlaskClient) -> None:
    for title in "abc":
        client.post(TODOS, json={"title": title})
    assert [todo["title"] for todo in client.get(TODOS).json] == ["c", "b", "a"]


def test_update_of_a_todo_deleted_meanwhile_is_no_bug(
    app: Flask, client: FlaskClient, todo: dict[str, Any], monkeypatch: Any
) -> None:
    lock = Todo.lock

    def lose(row: Todo) -> bool:
        with db.engine.begin() as other:
            other.execute(delete(Todo))
        return lock(row)

    monkeypatch.setattr(Todo, "lock", lose)
    path = f"{TODOS}/{todo['id']}"
    assert_error(client.put(path, json={"title": "x"}), 404, "todo_not_found")
    assert client.delete(path).status_code == 204
    assert len(events(app)) == 1


# Whose list


def test_each_user_has_a_list_of_their_own(
    client: FlaskClient, todo: dict[str, Any], ann: Account, bob: Account
) -> None:
    own = client.post(TODOS, json={"title": "secret"}, headers=ann.headers).json
    assert client.get(TODOS, headers=ann.headers).json == [own]
    assert client.get(TODOS, headers=bob.headers).json == []
    assert client.get(TODOS).json == [todo]


@pytest.mark.parametrize("caller", ["bob", "nobody"])
def test_todo_of_another_is_not_there(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, caller: str
) -> None:
    own = client.post(TODOS, json={"title": "secret"}, headers=ann.headers).json
    path, headers = f"{TODOS}/{own['id']}", bob.headers if caller == "bob" else {}
    assert_error(client.get(path, headers=headers), 404, "todo_not_found")
    assert_error(client.put(path, headers=headers, json={"title": "x"}), 404, "todo_not_found")
    assert client.delete(path, headers=headers).status_code == 204
    assert client.get(path, headers=ann.headers).json == own
    assert len(events(app)) == 1


def test_public_todo_is_not_on_a_users_list(
    client: FlaskClient, todo: dict[str, Any], ann: Account
) -> None:
    assert_error(client.get(f"{TODOS}/{todo['id']}", headers=ann.headers), 404)


def test_public_list_can_be_closed(make_app: Any) -> None:
    client = make_app(PUBLIC_TODOS=False).test_client()
    for method, path in [("GET", ""), ("POST", ""), ("GET", "/1"), ("PUT", "/1"), ("DELETE", "/1")]:
        response = client.open(f"{TODOS}{path}", method=method, json={"title": "x"})
        assert assert_error(response, 401)["error"] == "No token provided"


# What is told


def test_each_write_stores_one_event_in_a_row(app: Flask, client: FlaskClient) -> None:
    first = client.post(TODOS, json={"title": "a"}).json
    client.post(TODOS, json={"title": "b"})
    client.put(f"{TODOS}/{first['id']}", json={"completed": True})
    assert_error(client.put(f"{TODOS}/{first['id']}", json={"title": ""}), 400)
    client.delete(f"{TODOS}/{first['id']}")
    client.post(TODOS, json={"title": "c"})
    kinds = ["INSERT", "INSERT", "UPDATE", "DELETE", "INSERT"]
    assert events(app) == [("todos:public", n, kind) for n, kind in enumerate(kinds, start=1)]


def test_event_has_the_row_before_and_after(app: Flask, client: FlaskClient) -> None:
    old = client.post(TODOS, json={"title": "a"}).json
    new = client.put(f"{TODOS}/{old['id']}", json={"completed": True}).json
    client.delete(f"{TODOS}/{old['id']}")
    with app.app_context():
        query = select(StoredEvent.data).order_by(StoredEvent.seq)
        told = [json.loads(data) for data in db.session.scalars(query)]
    assert [event["table"] for event in told] == ["todos"] * 3
    assert [event["old"] for event in told] == [None, old, new]
    assert [event["new"] for event in told] == [old, new, None]


def test_change_is_told_on_the_list_of_its_owner(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    for account in (ann, bob, ann):
        client.post(TODOS, json={"title": "x"}, headers=account.headers)
    assert [(topic, seq) for topic, seq, _ in events(app)] == [
        (f"todos:{ann.user['id']}", 1),
        (f"todos:{bob.user['id']}", 1),
        (f"todos:{ann.user['id']}", 2),
    ]
