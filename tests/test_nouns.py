"""What every noun's routes do alike: batches, conditions, races, and telling (routes/nouns.py)."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

import models
from models import Authored, Category, Comment, ContextRule, Post, StoredEvent, Todo, db
from tests.conftest import Account, assert_error
from tests.races import before_lock

KEY = {"Idempotency-Key": "k"}


@pytest.fixture
def bodies(client: FlaskClient, admin: Account) -> dict[str, tuple[Any, dict[str, Any]]]:
    """By address of each noun: its model, and a body to create one."""
    body = {"title": "on", "published": True}
    post = client.post("/api/posts", json=body, headers=admin.headers).json
    return {
        "/api/todos": (Todo, {"title": "a"}),
        "/api/posts": (Post, {"title": "a", "published": True}),
        "/api/comments": (Comment, {"content": "a", "post_id": post["id"]}),
        "/api/categories": (Category, {"name": "a"}),
        "/api/context-rules": (ContextRule, {"name": "a", "content": "b"}),
    }


each_noun = pytest.mark.parametrize(
    "path",
    ["/api/todos", "/api/posts", "/api/comments", "/api/categories", "/api/context-rules"],
)


def told(app: Flask, table: str) -> list[tuple[str, Any, Any]]:
    """What was stored to be told of a table: (kind, old, new)."""
    with app.app_context():
        rows = db.session.scalars(select(StoredEvent.data).order_by(StoredEvent.id))
        all_data = [json.loads(row) for row in rows if row != "{}"]
    return [(d["event"], d["old"], d["new"]) for d in all_data if d["table"] == table]


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return int(db.session.scalar(select(func.count()).select_from(model)))


# One row


@each_noun
def test_row_lives_through_all_routes_and_each_change_is_told(
    app: Flask, client: FlaskClient, admin: Account, bodies: Any, path: str
) -> None:
    model, body = bodies[path]
    before = told(app, model.__tablename__)
    response = client.post(path, json=body, headers=admin.headers)
    assert response.status_code == 201
    row = response.json
    one = f"{path}/{row['id']}"
    assert client.get(one, headers=admin.headers).json == row
    assert row in client.get(path, headers=admin.headers).json
    name = "content" if model is Comment else "name" if "name" in body else "title"
    changed = client.patch(one, json={name: "c"}, headers=admin.headers).json
    assert changed[name] == "c"
    assert client.put(one, json=changed, headers=admin.headers).json[name] == "c"
    again = client.get(one, headers=admin.headers).json
    changes = [("UPDATE", row, changed), ("UPDATE", changed, again)]
    assert told(app, model.__tablename__)[len(before) :] == [("INSERT", None, row), *changes]
    assert client.delete(one, headers=admin.headers).status_code == 204
    assert client.delete(one, headers=admin.headers).status_code == 204
    assert_error(client.get(one, headers=admin.headers), 404)
    assert_error(client.put(one, json={name: "d"}, headers=admin.headers), 404)
    now_told = told(app, model.__tablename__)[len(before) :]
    if issubclass(model, Authored):  # who comes later learns no more than that it is gone
        assert [(kind, old["id"], new) for kind, old, new in now_told] == [
            ("DELETE", row["id"], None)
        ]
        assert not [value for value in now_told[0][1].values() if isinstance(value, str)]
    else:
        assert now_told == [("INSERT", None, row), *changes, ("DELETE", again, None)]


@each_noun
def test_retry_of_a_post_answers_again(
    app: Flask, client: FlaskClient, admin: Account, bodies: Any, path: str
) -> None:
    model, body = bodies[path]
    before = count(app, model)
    headers = {**admin.headers, **KEY}
    answers = [client.post(path, json=body, headers=headers) for _ in range(3)]
    assert len({(answer.status_code, answer.data) for answer in answers}) == 1
    assert count(app, model) == before + 1


@each_noun
@pytest.mark.parametrize("row_id", ["undefined", "0", "-1", "1e3", "%00", "9" * 30, "1'%20OR%201"])
def test_id_that_is_none_is_not_found(
    client: FlaskClient, admin: Account, path: str, row_id: str
) -> None:
    one = f"{path}/{row_id}"
    assert_error(client.get(one, headers=admin.headers), 404)
    assert_error(client.put(one, json={}, headers=admin.headers), 404)
    assert client.delete(one, headers=admin.headers).status_code == 204


# Conditions


def test_change_of_what_one_read_is_let_through(client: FlaskClient) -> None:
    todo = client.post("/api/todos", json={"title": "a"})
    path = f"/api/todos/{todo.json['id']}"
    tag = client.get(path).headers["ETag"]
    assert todo.headers["ETag"] == tag
    response = client.put(path, json={"title": "b"}, headers={"If-Match": tag})
    assert (response.status_code, response.json["title"]) == (200, "b")
    newer = response.headers["ETag"]
    assert newer == client.get(path).headers["ETag"] != tag
    anything = client.put(path, json={"title": "c"}, headers={"If-Match": "*"})
    assert anything.json["title"] == "c"
    several = {"If-Match": f'"x", {anything.headers["ETag"]}'}
    assert client.delete(path, headers=several).status_code == 204


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("tag", ['"stale"', "W/{tag}", "garbage", '""', ",", '"', ""])
def test_change_of_another_state_is_412_and_does_nothing(
    app: Flask, client: FlaskClient, method: str, tag: str
) -> None:
    path = f"/api/todos/{client.post('/api/todos', json={'title': 'a'}).json['id']}"
    before = client.get(path)
    headers = {"If-Match": tag.format(tag=before.headers["ETag"])}
    response = client.open(path, method=method, json={"title": "b"}, headers=headers)
    assert_error(response, 412, "precondition_failed")
    assert client.get(path).json == before.json
    assert len(told(app, "todos")) == 1


@pytest.mark.parametrize("tag", ["*", '"x"'])
def test_deletion_of_what_is_not_there_is_412_under_a_condition(
    client: FlaskClient, tag: str
) -> None:
    assert_error(client.delete("/api/todos/77", headers={"If-Match": tag}), 412)


def test_of_two_writers_who_read_the_same_one_wins(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/todos/{client.post('/api/todos', json={'title': 'a'}).json['id']}"
    headers = {"If-Match": client.get(path).headers["ETag"]}
    other, body = client.application.test_client(), {"title": "b"}
    before_lock(monkeypatch, Todo, lambda: other.put(path, json=body, headers=headers))
    assert_error(client.put(path, json={"title": "c"}, headers=headers), 412)
    assert client.get(path).json["title"] == "b"


def test_what_is_told_is_what_is_stored_whoever_writes_at_the_same_time(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/todos/{client.post('/api/todos', json={'title': 'a'}).json['id']}"
    other = client.application.test_client()
    before_lock(monkeypatch, Todo, lambda: other.patch(path, json={"completed": True}))
    client.patch(path, json={"title": "b"})
    stored = client.get(path).json
    assert (stored["title"], stored["completed"]) == ("b", True)
    assert told(app, "todos")[-1][2] == stored


def test_deletion_tells_the_row_as_it_was_at_the_end(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/todos/{client.post('/api/todos', json={'title': 'a'}).json['id']}"
    other = client.application.test_client()
    before_lock(monkeypatch, Todo, lambda: other.patch(path, json={"title": "b"}))
    assert client.delete(path).status_code == 204
    assert told(app, "todos")[-1][1]["title"] == "b"


def test_lock_changes_nothing(app: Flask, client: FlaskClient, monkeypatch: Any) -> None:
    path = f"/api/todos/{client.post('/api/todos', json={'title': 'a'}).json['id']}"
    before = client.get(path).json
    monkeypatch.setattr(models, "now", lambda: 1 / 0)  # nothing is dated anew
    with app.app_context():
        assert db.session.get(Todo, before["id"]).lock()
        db.session.commit()
    assert client.get(path).json == before


# Batches


@each_noun
def test_batch_is_created_and_deleted_as_a_whole(
    app: Flask, client: FlaskClient, admin: Account, bodies: Any, path: str
) -> None:
    model, body = bodies[path]
    name = "name" if "name" in body else "title" if "title" in body else "content"
    items = [{**body, name: word} for word in ("one", "two", "three")]
    headers = {**admin.headers, **KEY}
    answers = [client.post(f"{path}/batch", json={"items": items}, headers=headers) for _ in "12"]
    assert {answer.status_code for answer in answers} == {201}
    assert answers[0].json == answers[1].json
    rows = answers[0].json["items"]
    assert [new for _, _, new in told(app, model.__tablename__)[-3:]] == rows
    assert [row[name] for row in rows] == ["one", "two", "three"]
    ids = [rows[2]["id"], str(rows[0]["id"]), 10**12, "undefined", rows[0]["id"]]
    gone = client.delete(f"{path}/batch", json={"ids": ids}, headers=admin.headers)
    assert gone.json == {"ok": True, "ids": [rows[2]["id"], rows[0]["id"]]}
    left = [row["id"] for row in client.get(path, headers=admin.headers).json]
    assert (rows[1]["id"] in left, rows[0]["id"] in left) == (True, False)
    assert [kind for kind, *_ in told(app, model.__tablename__)][-2:] == ["DELETE", "DELETE"]


def test_batch_with_one_bad_item_creates_none(app: Flask, client: FlaskClient) -> None:
    body = {"items": [{"title": "a"}, {"title": ""}, {"title": "c", "completed": "maybe"}]}
    response = client.post("/api/todos/batch", json=body)
    assert list(assert_error(response, 400, "invalid_input")["errors"]) == [
        "items.1.title",
        "items.2.completed",
    ]
    assert (count(app, Todo), told(app, "todos")) == (0, [])


@pytest.mark.parametrize(
    "items", [None, [], {}, "x", [1], [None], [[]], [{"title": "x"}] * 101], ids=repr
)
def test_batch_of_another_shape_is_400(app: Flask, client: FlaskClient, items: Any) -> None:
    assert_error(client.post("/api/todos/batch", json={"items": items}), 400, "invalid_input")
    assert count(app, Todo) == 0


@pytest.mark.parametrize("ids", [None, "x", {}, [None], [[]], ["1"] * 101], ids=repr)
def test_batch_of_ids_of_another_shape_is_400(client: FlaskClient, ids: Any) -> None:
    response = client.delete("/api/todos/batch", json={"ids": ids})
    assert_error(response, 400, "invalid_input")


def test_batch_that_may_not_delete_all_deletes_none(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    ids = []
    for account in (ann, bob):
        body = {"title": "x", "published": True}
        ids.append(client.post("/api/posts", json=body, headers=account.headers).json["id"])
    before = told(app, "posts")
    response = client.delete("/api/posts/batch", json={"ids": ids}, headers=ann.headers)
    assert_error(response, 403, "forbidden")
    assert (count(app, Post), told(app, "posts")) == (2, before)


def test_batch_touches_only_what_the_caller_sees(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    todo = client.post("/api/todos", json={"title": "x"}, headers=bob.headers).json
    body = {"ids": [todo["id"]]}
    gone = client.delete("/api/todos/batch", json=body, headers=ann.headers)
    assert gone.json == {"ok": True, "ids": []}
    assert client.get("/api/todos", headers=bob.headers).json == [todo]


def test_batches_with_the_same_new_tags_do_not_wait_for_each_other(
    app: Flask, ann: Account, bob: Account
) -> None:
    items = [{"title": "x", "tags": [f"tag{n}"]} for n in range(40)]

    def post(account: Account, rows: Any) -> int:
        path, body = "/api/posts/batch", {"items": rows}
        return app.test_client().post(path, json=body, headers=account.headers).status_code

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(post, ann, items), pool.submit(post, bob, items[::-1])
        assert one.result(30) == other.result(30) == 201


# Lists


@pytest.mark.parametrize("path", ["/api/posts", "/api/comments", "/api/search", "/api/tags"])
def test_a_list_takes_as_many_statements_for_many_rows_as_for_few(
    app: Flask, client: FlaskClient, register: Any, statements: Any, path: str
) -> None:
    counts = []
    for name in ("ann", "bob", "cleo"):
        account = register(name)
        body = {"title": name, "published": True, "tags": [name, f"{name}2"]}
        post = client.post("/api/posts", json=body, headers=account.headers).json
        body = {"post_id": post["id"], "content": "x"}
        client.post("/api/comments", json=body, headers=account.headers)
        with statements() as seen:
            assert client.get(path).status_code == 200
        counts.append(len(seen))
    assert counts[0] == counts[1] == counts[2]
