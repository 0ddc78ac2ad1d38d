"""The table API of PHP-style pages, as its data browser walks through it (routes/tables.py)."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import routes.lists
import routes.tables
from models import StoredEvent, db
from tests.conftest import Account, assert_error

API = "/api.php"
Call = Callable[..., Any]


@pytest.fixture
def get(client: FlaskClient, ann: Account) -> Call:
    """Asks as Ann: `get(x="get", rsc="posts")`."""

    def ask(**words: Any) -> Any:
        response = client.get(API, query_string=words, headers=ann.headers)
        assert response.status_code == 200, response.json
        return response.json

    return ask


@pytest.fixture
def post(client: FlaskClient, ann: Account) -> Call:
    """Writes as Ann, by a form."""

    def send(**words: Any) -> Any:
        response = client.post(API, data=words, headers=ann.headers)
        assert response.status_code == 200, response.json
        return response.json

    return send


@pytest.fixture
def posts(client: FlaskClient, ann: Account) -> list[int]:
    """The ids of 45 posts, the newest first."""
    items = [{"title": f"Post {n}", "published": True} for n in range(45)]
    body = {"items": items}
    rows = client.post("/api/posts/batch", json=body, headers=ann.headers).json["items"]
    return [row["id"] for row in reversed(rows)]


def test_browser_walks_from_tables_to_rows(get: Call, posts: list[int]) -> None:
    names = get(x="list_resources")["Resources"]
    assert names == ["users", "posts", "comments", "categories", "todos"]
    assert get(x="list_resources", filter="OM")["Resources"] == ["comments"]
    about = get(x="list_fields", rsc="posts")
    assert (about["Resource"], about["PrimaryKey"]) == ("posts", "id")
    fields = {field["Field"]: field for field in about["Fields"]}
    assert set(fields) == {
        *("id", "title", "content", "published", "author_id", "category_id"),
        *("created_at", "updated_at"),
    }
    assert (fields["id"]["Key"], fields["category_id"]["Null"]) == ("PRI", "YES")
    seen: list[int] = []
    while True:
        page = get(x="get", rsc="posts", start=len(seen), fields=",".join(fields))
        assert (page["total"], page["pages"], page["start"]) == (45, 3, len(seen))
        assert page["page"] == len(seen) // 20 + 1
        assert page["count"] == len(page["results"])
        if not page["results"]:
            break
        assert set(page["results"][0]) == set(fields)
        seen += [row["id"] for row in page["results"]]
    assert seen == posts


def test_page_is_a_hundred_rows_at_most(get: Call, posts: list[int], monkeypatch: Any) -> None:
    monkeypatch.setattr(routes.tables, "MAX_PAGE_SIZE", 9)
    assert len(get(x="get", rsc="posts", page_size=1000)["results"]) == 9
    monkeypatch.undo()
    assert len(get(x="get", rsc="posts", page_size=1000)["results"]) == 45
    assert get(x="get", rsc="posts", page_size=1000)["pages"] == 1
    assert len(get(x="get", rsc="posts", page_size=7)["results"]) == 7


def test_id_gives_a_bare_array(get: Call, posts: list[int]) -> None:
    [row] = get(x="get", rsc="posts", id=posts[3], fields="id,title,secret,password_hash")
    assert row == {"id": posts[3], "title": "Post 41"}
    for nothing in ("0", "undefined", "99999", "1 OR 1=1"):
        assert get(x="get", rsc="posts", id=nothing) == []


@pytest.mark.parametrize(
    ("filters", "total"),
    [
        ('[{"key":"title","value":"post 4"}]', 6),
        ('[{"key":"title","value":"4"},{"key":"title","value":"2"}]', 2),
        ('[{"key":"title","value":"%"}]', 0),
        ('[{"key":"nonsense","value":"x"}]', 45),
        ('[{"key":"password_hash","value":"x"}]', 45),
        ('[{"key":5,"value":"x"},{"key":["a"]},7,null]', 45),
        ('[{"key":"title","value":null}]', 45),
        ('[{"key":"title","value":""}]', 45),
        ('[{"key":"title","value":{"a":1}}]', 0),
        ("[{", 45),
        ('{"key":"title","value":"x"}', 45),
        ("5", 45),
        ("null", 45),
        ("[" * 5000, 45),
        ('[{"key":"published","value":"true"}]', 45),
        ('[{"key":"published","value":"0"}]', 0),
    ],
)
def test_filters_look_for_parts_and_nonsense_is_ignored(
    get: Call, posts: list[int], filters: str, total: int
) -> None:
    assert get(x="get", rsc="posts", filters=filters)["total"] == total


def test_long_table_is_not_looked_through(
    get: Call, posts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.lists, "SCANNED", 40)
    assert get(x="get", rsc="posts")["total"] == 45
    filters = '[{"key":"title","value":"4"}]'
    assert get(x="get", rsc="posts", filters=filters)["status"] == "error"


def test_users_are_shown_without_email_and_hash(get: Call, ann: Account, bob: Account) -> None:
    rows = get(x="get", rsc="users")["results"]
    assert [row["name"] for row in rows] == ["Bob", "Ann"]
    assert set(rows[0]) == {"id", "username", "name", "role", "is_active", "created_at"}


def test_rows_of_others_that_are_not_public_are_not_there(
    client: FlaskClient, get: Call, bob: Account
) -> None:
    client.post("/api/todos", json={"title": "secret"}, headers=bob.headers)
    client.post("/api/posts", json={"title": "draft"}, headers=bob.headers)
    for table in ("todos", "posts"):
        assert get(x="get", rsc=table)["results"] == []


def test_rows_of_others_are_found_by_no_id(
    client: FlaskClient, get: Call, post: Call, bob: Account
) -> None:
    body = {"title": "secret"}
    for table in ("todos", "posts"):
        row = client.post(f"/api/{table}", json=body, headers=bob.headers).json
        assert get(x="get", rsc=table, id=row["id"]) == []
        for x in ("save", "delete"):
            told = post(x=x, rsc=table, id=row["id"], data='{"title": "mine"}')
            assert told["status"] == "error"
        assert client.get(f"/api/{table}/{row['id']}", headers=bob.headers).json == row


def test_time_that_was_shown_is_found(get: Call, posts: list[int]) -> None:
    [row] = get(x="get", rsc="posts", id=posts[0])
    filters = json.dumps([{"key": "created_at", "value": row["created_at"]}])
    assert row["id"] in [one["id"] for one in get(x="get", rsc="posts", filters=filters)["results"]]


def test_conflict_is_told_as_200(app: Flask, client: FlaskClient, admin: Account) -> None:
    words = {"x": "save", "rsc": "categories", "data": '{"name": "News"}'}
    first, again = (client.post(API, data=words, headers=admin.headers) for _ in "12")
    assert first.json["status"] == "success"
    assert (again.status_code, again.json["status"]) == (200, "error")


def test_rows_are_saved_deleted_and_told(app: Flask, get: Call, post: Call) -> None:
    saved = post(x="save", rsc="todos", data='{"title": "milk"}')
    assert saved["status"] == "success"
    changed = post(x="save", rsc="todos", id=saved["id"], data='{"completed": "1"}')
    assert changed == saved
    [row] = get(x="get", rsc="todos")["results"]
    assert (row["title"], row["completed"]) == ("milk", True)
    assert post(x="delete", rsc="todos", id=saved["id"])["status"] == "success"
    assert get(x="get", rsc="todos")["results"] == []
    with app.app_context():
        data = db.session.scalars(select(StoredEvent.data).order_by(StoredEvent.id))
        told = [json.loads(one)["event"] for one in data]
    assert told == ["INSERT", "UPDATE", "DELETE"]


REFUSED = [
    {},
    {"x": "drop"},
    {"x": "get"},
    {"x": "get", "rsc": "sessions"},
    {"x": "get", "rsc": "posts;--"},
    {"x": "get", "rsc": "posts", "page_size": "0"},
    {"x": "get", "rsc": "posts", "start": "-1"},
    {"x": "list_fields", "rsc": "password"},
    {"x": "save", "rsc": "todos"},
    {"x": "save", "rsc": "todos", "data": "{"},
    {"x": "save", "rsc": "todos", "data": "[]"},
    {"x": "save", "rsc": "todos", "data": '{"title": ""}'},
    {"x": "save", "rsc": "todos", "id": "77", "data": '{"title": "x"}'},
    {"x": "save", "rsc": "users", "data": '{"name": "x"}'},
    {"x": "save", "rsc": "categories", "id": "1", "data": '{"name": "x"}'},
    {"x": "delete", "rsc": "todos"},
    {"x": "delete", "rsc": "todos", "id": "77"},
    {"x": "delete", "rsc": "users", "id": "1"},
]


@pytest.mark.parametrize("words", REFUSED, ids=repr)
def test_what_is_wrong_is_told_as_200_with_status_error(
    client: FlaskClient, ann: Account, words: Any
) -> None:
    reply = client.post(API, query_string=words, headers=ann.headers)
    assert (reply.status_code, reply.json["status"]) == (200, "error")
    assert reply.json["msg"] == reply.json["error"] != ""


@pytest.mark.parametrize("x", ["save", "delete"])
def test_a_link_writes_nothing(client: FlaskClient, ann: Account, get: Call, x: str) -> None:
    words = {"x": x, "rsc": "todos", "data": '{"title": "x"}', "id": ""}
    reply = client.get(API, query_string=words, headers=ann.headers)
    assert (reply.status_code, reply.json["msg"]) == (200, "Invalid action")
    assert get(x="get", rsc="todos")["total"] == 0


def test_refusals_of_the_caller_have_their_status(
    client: FlaskClient, bob: Account, posts: list[int]
) -> None:
    assert_error(client.get(f"{API}?x=list_resources"), 401)
    for x in ("save", "delete"):
        words = {"x": x, "rsc": "posts", "id": posts[0], "data": '{"title": "x"}'}
        assert_error(client.post(API, data=words, headers=bob.headers), 403)
    words = {"x": "save", "rsc": "categories", "data": '{"name": "x"}'}
    assert_error(client.post(API, data=words, headers=bob.headers), 403)
