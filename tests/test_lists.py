"""The one list rule: arrays, pages, sorting, filters, search, ETag (routes/rest.py)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert

from models import Todo, db
from tests.conftest import Account, assert_error

TODOS = "/api/todos"


@pytest.fixture
def fill(app: Flask) -> Callable[..., None]:
    """Puts todos on the public list."""

    def make(*titles: str, completed: bool = False) -> None:
        with app.app_context():
            rows = [{"title": title, "completed": completed} for title in titles]
            db.session.execute(insert(Todo), rows)
            db.session.commit()

    return make


def titles(response: Any) -> str:
    """The titles of a list or page, in order."""
    assert response.status_code == 200, response.json
    items = response.json if isinstance(response.json, list) else response.json["items"]
    return "".join(item["title"] for item in items)


# Arrays and pages


def test_list_without_paging_words_is_a_bare_array(client: FlaskClient, fill: Any) -> None:
    fill(*"abc")
    response = client.get(TODOS)
    assert titles(response) == "cba"
    assert response.headers["X-Total-Count"] == "3"
    assert "Link" not in response.headers


def test_bare_array_is_capped_with_a_link_to_the_rest(client: FlaskClient, fill: Any) -> None:
    fill(*["x"] * 1001)
    response = client.get(TODOS)
    assert len(response.json) == 1000
    assert response.headers["X-Total-Count"] == "1001"
    address, rel = response.headers["Link"].split("; ")
    assert rel == 'rel="next"'
    assert len(client.get(address.strip("<>")).json["items"]) == 1


def test_page_has_all_the_names_frontends_read(client: FlaskClient, fill: Any) -> None:
    fill(*"abcde")
    page = client.get(f"{TODOS}?page=2&limit=2").json
    assert "".join(item["title"] for item in page.pop("items")) == "cb"
    assert page == {
        "total": 5,
        "page": 2,
        "size": 2,
        "limit": 2,
        "pages": 3,
        "hasMore": True,
        "next": 4,
    }
    last = client.get(f"{TODOS}?page=3&size=2").json
    assert (last["hasMore"], last["next"], len(last["items"])) == (False, None, 1)


PAGES = [
    ("page=1", "edcba"),
    ("page=", "edcba"),
    ("page=null", "edcba"),
    ("page=undefined", "edcba"),
    ("page=[object Object]", "edcba"),
    ("limit=2", "ed"),
    ("size=2", "ed"),
    ("limit=2&size=3", "ed"),
    ("limit=99999", "edcba"),
    ("cursor=3", "ba"),
    ("next=3&limit=1", "b"),
    ("next=3&page=1", "ba"),
    ("page=6&limit=1", ""),
    ("page=99999999", ""),
    ("page=999999999999999", ""),
    ("page=999999999999999&limit=1000", ""),
    ("next=999999999999999", ""),
]


def test_paging_words_choose_the_items(client: FlaskClient, fill: Any) -> None:
    fill(*"abcde")
    for query, expected in PAGES:
        response = client.get(f"{TODOS}?{query}")
        assert titles(response) == expected, query
        assert response.json["total"] == 5
        assert response.headers["X-Total-Count"] == "5"


def test_page_of_an_empty_list_is_whole(client: FlaskClient) -> None:
    page = client.get(f"{TODOS}?page=1").json
    assert (page["items"], page["total"], page["pages"], page["hasMore"]) == ([], 0, 0, False)


def test_page_is_20_long_and_1000_at_most(client: FlaskClient, fill: Any) -> None:
    fill(*["x"] * 1001)
    assert len(client.get(f"{TODOS}?page=1").json["items"]) == 20
    page = client.get(f"{TODOS}?limit=5000").json
    assert (len(page["items"]), page["limit"], page["hasMore"]) == (1000, 1000, True)


@pytest.mark.parametrize("name", ["page", "limit", "size", "next", "cursor"])
def test_paging_word_that_is_no_number_is_400(client: FlaskClient, name: str) -> None:
    bad = ["-1", "x", "1.5", "1e3", "²", "%D9%A1", "1%00", "%20", "+1", "9" * 16, "1" + "0" * 400]
    if name in ("page", "limit", "size"):
        bad.append("0")
    for value in bad:
        body = assert_error(client.get(f"{TODOS}?{name}={value}"), 400, "invalid_input")
        assert list(body["errors"]) == [name]


@pytest.mark.parametrize("query", ["limit=2", "completed=0&completed=1&sort=title&size=2&q="])
def test_links_lead_through_the_whole_list(client: FlaskClient, fill: Any, query: str) -> None:
    fill(*"abc")
    fill(*"de", completed=True)
    address, seen = f"{TODOS}?{query}", ""
    for _ in range(3):
        response = client.get(address)
        seen += titles(response)
        address = response.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert address == ""
    assert seen == ("abcde" if "sort" in query else "edcba")


# Order


SORTS = [
    ("title", "abc"),
    ("-title", "cba"),
    ("title:asc", "abc"),
    ("title:desc", "cba"),
    ("title-asc", "abc"),
    ("title-desc", "cba"),
    ("id", "bca"),
    ("-id", "acb"),
    ("created_at", "acb"),  # all of one moment: newest first
    ("createdAt:desc", "acb"),
    ("completed", "acb"),
    ("", "acb"),
    ("null", "acb"),
    ("[object Object]", "acb"),
]


def test_sort_is_read_in_every_spelling(app: Flask, client: FlaskClient, fill: Any) -> None:
    fill(*"bca")
    with app.app_context():
        db.session.execute(db.text("UPDATE todos SET created_at = '2001-01-01 00:00:00'"))
        db.session.commit()
    for sort, expected in SORTS:
        assert titles(client.get(TODOS, query_string={"sort": sort})) == expected, sort


def test_unknown_sort_is_400(client: FlaskClient) -> None:
    for sort in ("nonsense", "user_id", "userId", "password_hash", "title;--", "-", ":desc", "%00"):
        body = assert_error(client.get(f"{TODOS}?sort={sort}"), 400, "invalid_input")
        assert list(body["errors"]) == ["sort"]


# Filters and search


FILTERS = [
    ("title=a", "a"),
    ("title=A", ""),
    ("title=a&title=c", "ca"),
    ("title=a&title=[object Object]", "a"),
    ("title=[object Object]", "cba"),
    ("completed=true", "c"),
    ("completed=1", "c"),
    ("completed=FALSE", "ba"),
    ("completed=false&title=a", "a"),
    ("completed=0&completed=1", "cba"),
    ("title=%00a", "a"),
    ("title=' OR 1=1 --", ""),
    ("id=99999999999", ""),
    ("id=99999999999999999999999", ""),
    ("id=2147483648&id=0", ""),
    ("user_id=1", "cba"),
    ("colour=red&_=1700000000", "cba"),
    ("title__like=a", "cba"),
]


def test_filters_match_exactly_and_unknown_ones_are_ignored(client: FlaskClient, fill: Any) -> None:
    fill(*"ab")
    fill("c", completed=True)
    for query, expected in FILTERS:
        assert titles(client.get(f"{TODOS}?{query}")) == expected, query


def test_filter_of_another_type_is_400(client: FlaskClient) -> None:
    for query in ("completed=maybe", "id=x", "id=-1", "id=", "id=1.5", "id=²"):
        body = assert_error(client.get(f"{TODOS}?{query}"), 400, "invalid_input")
        assert list(body["errors"]) == [query.partition("=")[0]]


SEARCHES: list[tuple[str, list[str]]] = [
    ("MILK", ["Buy milk"]),
    ("%", ["100%"]),
    ("_", ["snake_case"]),
    ("'", ["it's"]),
    ('"', ['"quoted"']),
    ("\\", ["back\\slash"]),
    ("/", ["a/b"]),
    ("\0milk", ["Buy milk"]),
    ("nothing like it", []),
    ("x" * 10_000, []),
]


def test_search_takes_every_character_literally(client: FlaskClient, fill: Any) -> None:
    fill("Buy milk", "100%", "snake_case", "it's", '"quoted"', "back\\slash", "a/b")
    for q, expected in SEARCHES:
        response = client.get(TODOS, query_string={"q": q})
        assert [todo["title"] for todo in response.json] == expected
        assert response.headers["X-Total-Count"] == str(len(expected))


def test_search_for_nothing_finds_all(client: FlaskClient, fill: Any) -> None:
    fill(*"ab")
    for q in ("", "[object Object]", "\0"):
        assert titles(client.get(TODOS, query_string={"q": q})) == "ba"


def test_link_keeps_filters_and_search(client: FlaskClient, fill: Any) -> None:
    fill("a&b=c", "a&b=c")
    response = client.get(TODOS, query_string={"q": "&b=", "completed": ["0", "1"], "limit": 1})
    address = response.headers["Link"].partition(">")[0].removeprefix("<")
    assert parse_qs(urlsplit(address).query) == {
        "q": ["&b="],
        "completed": ["0", "1"],
        "limit": ["1"],
        "next": ["1"],
    }


# ETag


@pytest.mark.parametrize("one", [True, False])
def test_unchanged_answer_is_304(client: FlaskClient, one: bool) -> None:
    todo = client.post(TODOS, json={"title": "x"}).json
    path = f"{TODOS}/{todo['id']}" if one else TODOS
    tag = client.get(path).headers["ETag"]
    again = client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    client.put(f"{TODOS}/{todo['id']}", json={"title": "y"})
    changed = client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_etag_of_one_user_is_not_that_of_another(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    client.post(TODOS, json={"title": "x"}, headers=ann.headers)
    tag = client.get(TODOS, headers=ann.headers).headers["ETag"]
    response = client.get(TODOS, headers={**bob.headers, "If-None-Match": tag})
    assert (response.status_code, response.json) == (200, [])
