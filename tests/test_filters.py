"""The operators of `where` and `filters`, and `orderBy`, on any list (routes/filters.py)."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert

from models import Job, Todo, User, db
from tests.conftest import Account, assert_error

TODOS, JOBS = "/api/todos", "/api/jobs"


@pytest.fixture(autouse=True)
def rows(app: Flask) -> None:
    """Four todos on the public list; the last one is done."""
    with app.app_context():
        titles = ("apple", "banana", "cherry %", "date_")
        rows = [{"title": title, "completed": title == "date_"} for title in titles]
        db.session.execute(insert(Todo), rows)
        db.session.commit()


def ask(client: FlaskClient, where: Any, word: str = "where", **query: Any) -> Any:
    text = where if isinstance(where, str) else json.dumps(where)
    return client.get(TODOS, query_string={word: text, **query})


def initials(response: Any) -> str:
    """The first letters of the titles found, in order."""
    assert response.status_code == 200, response.json
    items = response.json if isinstance(response.json, list) else response.json["items"]
    return "".join(sorted(item["title"][0] for item in items))


TITLES = [
    ("apple", "a"),
    ({"equals": "apple"}, "a"),
    ({"equals": "Apple"}, ""),
    ({"not": "apple"}, "bcd"),
    ({"in": ["apple", "date_", "x"]}, "ad"),
    ({"in": []}, ""),
    ({"notIn": ["apple", "date_"]}, "bc"),
    ({"notIn": []}, "abcd"),
    ({"contains": "AN"}, "b"),
    ({"contains": "%"}, "c"),
    ({"contains": "_"}, "d"),
    ({"startsWith": "b"}, "b"),
    ({"endsWith": "E"}, "a"),
    ({"not": {"contains": "a"}}, "c"),
    ({"not": {"contains": "a", "startsWith": "b"}}, "acd"),
    ({"gt": "apple", "lt": "d"}, "bc"),
    ({"gte": "apple", "lte": "apple"}, "a"),
    ({}, "abcd"),
    (None, ""),
    ({"equals": None}, ""),
    ({"not": None}, "abcd"),
]


@pytest.mark.parametrize(("asked", "found"), TITLES, ids=[str(case[0]) for case in TITLES])
def test_operators_on_texts(client: FlaskClient, asked: Any, found: str) -> None:
    assert initials(ask(client, {"title": asked})) == found
    assert initials(ask(client, {"title": asked}, "filters")) == found


TREES = [
    ({}, "abcd"),
    ({"completed": True}, "d"),
    ({"completed": {"not": True}}, "abc"),
    ({"completed": "false", "title": {"contains": "an"}}, "b"),
    ({"OR": [{"title": "apple"}, {"completed": True}]}, "ad"),
    ({"OR": []}, ""),
    ({"AND": []}, "abcd"),
    ({"AND": [{"title": {"contains": "a"}}, {"completed": False}]}, "ab"),
    ({"AND": {"title": "apple"}}, "a"),
    ({"AND": [{"OR": [{"title": "apple"}, {"title": "date_"}]}, {"completed": True}]}, "d"),
    ({"title": {"contains": "a"}, "OR": [{"completed": True}]}, "d"),
    ({"createdAt": {"gt": "2020-01-01"}}, "abcd"),
    ({"created_at": {"lte": "2020-01-01T00:00:00Z"}}, ""),
    ({"id": {"gt": 0, "lt": 99999999999}}, "abcd"),
    ({"id": {"in": ["0", 0]}}, ""),
]


@pytest.mark.parametrize(("tree", "found"), TREES, ids=[str(case[0]) for case in TREES])
def test_conditions_are_joined(client: FlaskClient, tree: Any, found: str) -> None:
    assert initials(ask(client, tree)) == found


def test_conditions_go_with_all_other_words(client: FlaskClient) -> None:
    where = {"title": {"contains": "a"}}
    assert initials(ask(client, where, completed="false")) == "ab"
    assert initials(ask(client, where, filters='{"title": "apple"}')) == "a"
    assert initials(ask(client, where, q="ba")) == "b"
    page = ask(client, where, completed="false", limit=1).json
    assert (page["total"], page["hasMore"], len(page["items"])) == (2, True, 1)


@pytest.mark.parametrize("text", ["", "null", "undefined", "[object Object]"])
def test_no_condition_lets_all_through(client: FlaskClient, text: str) -> None:
    assert initials(ask(client, text)) == initials(ask(client, text, "filters")) == "abcd"


def test_a_time_is_the_millisecond_that_answers_show(client: FlaskClient) -> None:
    todo = client.post(TODOS, json={"title": "new"}).json
    shown = {"createdAt": todo["createdAt"]}
    for word, found in (("equals", True), ("gte", True), ("lte", True), ("gt", False)):
        items = ask(client, {"createdAt": {word: todo["createdAt"]}, "id": todo["id"]}).json
        assert (items == [todo]) is found, word
    assert todo in ask(client, shown).json
    assert todo not in ask(client, {"createdAt": {"not": todo["createdAt"]}}).json
    assert client.get(TODOS, query_string=shown).json == ask(client, shown).json


def test_not_finds_what_has_no_value(app: Flask, client: FlaskClient, ann: Account) -> None:
    for error in (None, "no", "off"):
        job = client.post(JOBS, json={}, headers=ann.headers).json
        client.patch(f"{JOBS}/{job['id']}", json={"error": error}, headers=ann.headers)
    Job.LISTED.add("error")
    try:
        for where, count in (
            ({"not": "no"}, 2),
            ({"notIn": ["no"]}, 2),
            (None, 1),
            ({"not": None}, 2),
        ):
            query = {"where": json.dumps({"error": where})}
            assert len(client.get(JOBS, query_string=query, headers=ann.headers).json) == count
    finally:
        Job.LISTED.remove("error")


# What is refused


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"title": "apple"}
    for _ in range(depth):
        tree = {"AND": [tree]}
    return tree


BAD = [
    ("{", "where"),
    ("[]", "where"),
    ("5", "where"),
    ('"title"', "where"),
    ('{"title": NaN}', "where"),
    ("[" * 3000, "where"),
    ({"title": "x" * 4000}, "where"),
    (nested(6), "where"),
    ({"OR": [5]}, "where"),
    ({"OR": "x"}, "where"),
    ({"AND": None}, "where"),
    ({"user_id": 1}, "user_id"),
    ({"userId": {"equals": 1}}, "userId"),
    ({"colour": "red"}, "colour"),
    ({"x" * 500: "red"}, "x" * 40),
    ({"": 1}, ""),
    ({"title": {"like": "a"}}, "title"),
    ({"title": {"__class__": "a"}}, "title"),
    ({"title": {"contains": None}}, "title"),
    ({"title": {"contains": ["a"]}}, "title"),
    ({"title": {"in": "apple"}}, "title"),
    ({"title": {"in": [None]}}, "title"),
    ({"title": {"in": [{}]}}, "title"),
    ({"title": {"equals": {"equals": "a"}}}, "title"),
    ({"title": {"not": {"not": {"not": "a"}}}}, "title"),
    ({"title": ["apple"]}, "title"),
    ({"id": {"contains": "1"}}, "id"),
    ({"id": "x"}, "id"),
    ({"id": True}, "id"),
    ({"id": 1.5}, "id"),
    ({"id": {"gt": None}}, "id"),
    ({"completed": "maybe"}, "completed"),
    ({"completed": {"gt": False}}, "completed"),
    ({"createdAt": "yesterday"}, "createdAt"),
    ({"createdAt": {"in": ["2020-01-01"] * 101}}, "createdAt"),
    ({"createdAt": {"gt": "0001-01-01T00:00:00+23:00"}}, "createdAt"),
    ({"OR": [{"title": {"contains": str(n)}} for n in range(51)]}, "where"),
]


@pytest.mark.parametrize(("where", "field"), BAD, ids=[str(case[0])[:40] for case in BAD])
def test_a_bad_condition_is_400_with_its_name(client: FlaskClient, where: Any, field: str) -> None:
    body = assert_error(ask(client, where), 400, "invalid_input")
    assert list(body["errors"]) == [field]


def test_a_search_is_bounded(client: FlaskClient) -> None:
    assert client.get(TODOS, query_string={"q": "_" * 10_000}).json == []
    body = assert_error(client.get(TODOS, query_string={"q": "_" * 10_001}), 400, "invalid_input")
    assert list(body["errors"]) == ["q"]


def test_the_longest_condition_is_no_trouble(client: FlaskClient) -> None:
    most = {"OR": [{"id": {"in": list(range(900))}}, *({"id": n} for n in range(49))]}
    text = json.dumps(most, separators=(",", ":"))
    assert 3500 < len(text) <= 4000
    assert initials(ask(client, text)) is not None
    assert initials(ask(client, nested(5))) == "a"


# Order


ORDERS = [
    ("title", "abcd"),
    ("-title", "dcba"),
    ("title:desc", "dcba"),
    ('{"title":"desc"}', "dcba"),
    ('{"title":"asc"}', "abcd"),
    ('[{"completed":"desc"},{"title":"asc"}]', "dabc"),
    ('{"completed":"asc","title":"desc"}', "cbad"),
    ("", "dcba"),
    ("undefined", "dcba"),
    ("[object Object]", "dcba"),
    ("{}", "dcba"),
]


@pytest.mark.parametrize(("by", "found"), ORDERS)
def test_order_by_takes_words_and_json(client: FlaskClient, by: str, found: str) -> None:
    items = client.get(TODOS, query_string={"orderBy": by}).json
    assert "".join(item["title"][0] for item in items) == found


@pytest.mark.parametrize(
    "by",
    [
        '[{"title":"asc"},5]',
        '[{"title":"asc"},null]',
        '{"colour":"asc"}',
        '{"title":"up"}',
        '{"title":{"sort":"asc"}}',
        "{",
        '{"user_id":1}',
    ],
)
def test_bad_order_is_400(client: FlaskClient, by: str) -> None:
    assert_error(client.get(TODOS, query_string={"orderBy": by}), 400, "invalid_input")


def test_a_column_of_a_secret_is_no_condition(client: FlaskClient, ann: Account) -> None:
    assert "password_hash" in User.__table__.columns
    for name in ("password_hash", "passwordHash", "email"):
        query = {"where": json.dumps({name: {"startsWith": "$"}})}
        answer = client.get("/users", query_string=query, headers=ann.headers)
        assert list(assert_error(answer, 400)["errors"]) == [name]
