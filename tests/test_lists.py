"""The one list rule: arrays, pages, sorting, filters, search, ETag (routes/rest.py)."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert

import routes.lists
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
    assert page.pop("next")
    assert page == {
        "total": 5,
        "page": 2,
        "size": 2,
        "limit": 2,
        "pages": 3,
        "hasMore": True,
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


def test_link_leads_on_from_a_page(client: FlaskClient, fill: Any) -> None:
    fill(*"abcde")
    response = client.get(f"{TODOS}?page=2&limit=2")
    address = response.headers["Link"].partition(">")[0].removeprefix("<")
    assert "page=" not in address
    assert titles(client.get(address)) == "a"


# Cursors


def walk(client: FlaskClient, path: str, **words: Any) -> list[Any]:
    """The items of all pages, as `next` leads through them."""
    found: list[Any] = []
    following = ""
    while following is not None:
        page = client.get(path, query_string={"limit": 2, **words, "next": following}).json
        assert page["page"] == len(found) // 2 + 1
        found += page["items"]
        following = page["next"]
    return found


@pytest.mark.parametrize("sort", ["title", "-title", "completed", "-completed", "id", "updated_at"])
def test_cursor_leads_through_every_order(client: FlaskClient, fill: Any, sort: str) -> None:
    fill(*"bacba")
    fill(*"abc", completed=True)
    whole = client.get(TODOS, query_string={"sort": sort}).json
    assert walk(client, TODOS, sort=sort) == whole


@pytest.mark.parametrize("words", [{}, {"sort": "title"}, {"sort": "-completed"}])
def test_cursor_leads_through_what_a_search_found(
    client: FlaskClient, fill: Any, words: dict[str, str]
) -> None:
    fill(*(f"word {letter}" for letter in "bacd"), "other")
    fill("word e", completed=True)
    whole = client.get(TODOS, query_string={"q": "word", **words}).json
    assert len(whole) == 5
    assert walk(client, TODOS, q="word", **words) == whole


def test_search_finds_only_in_the_list_at_hand(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    for headers, title in ((ann.headers, "word"), (bob.headers, "wording"), ({}, "words")):
        client.post(TODOS, json={"title": title}, headers=headers)
    for headers, title in ((ann.headers, "word"), (bob.headers, "wording"), ({}, "words")):
        found = client.get(f"{TODOS}?q=word", headers=headers).json
        assert [todo["title"] for todo in found] == [title]
        for number in (0, ann.user["id"], bob.user["id"]):  # an owner is no word
            assert client.get(f"{TODOS}?q={number}", headers=headers).json == []
            assert client.get(f"{TODOS}?q=owner={number}", headers=headers).json == []


def test_cursor_leads_through_an_order_by_several_columns(client: FlaskClient, fill: Any) -> None:
    fill(*"bab")
    fill(*"aba", completed=True)
    by = '[{"completed": "desc"}, {"title": "asc"}, {"completed": "asc"}]'
    found = walk(client, TODOS, orderBy=by)
    assert [(one["title"], one["completed"]) for one in found] == [
        *[("a", True)] * 2,
        ("b", True),
        ("a", False),
        *[("b", False)] * 2,
    ]


@pytest.mark.parametrize("sort", ["username", "-username"])
def test_cursor_passes_rows_without_a_value(
    client: FlaskClient, register: Any, ann: Account, sort: str
) -> None:
    for name in ("bob", "cleo", "dora"):
        register(name)
    for name in ("eve", "fay"):
        register(name, username=name)
    words = {"sort": sort, "limit": 2}
    names: list[Any] = []
    following: Any = ""
    while following is not None:
        page = client.get(
            "/api/users", query_string={**words, "next": following}, headers=ann.headers
        ).json
        names += [item["username"] for item in page["items"]]
        following = page["next"]
    given = sorted(filter(None, names), reverse=sort[0] == "-")
    assert names == [*given, *[None] * 4]
    assert len(given) == 2


def test_cursor_shows_no_row_twice_when_others_come_and_go(client: FlaskClient, fill: Any) -> None:
    fill(*"abcdef")
    first = client.get(f"{TODOS}?limit=3").json
    fill("g")
    client.delete(f"{TODOS}/{first['items'][-1]['id']}")  # the very row the cursor names
    rest = client.get(TODOS, query_string={"next": first["next"]}).json
    assert "".join(item["title"] for item in rest["items"]) == "cba"


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0],
        [-1, 5],
        [2**53, 5],
        [0.5, 5],
        ["x", 5],
        [0, None],
        [0, "x"],
        [0, [5]],
        [0, {}],
        [0, 5, 5],
        {"0": 5},
        "W",
        5,
    ],
)
def test_cursor_that_none_wrote_is_400(client: FlaskClient, fill: Any, values: Any) -> None:
    fill("a")
    text = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    for name in ("next", "cursor"):
        body = assert_error(client.get(f"{TODOS}?{name}={text}"), 400, "invalid_input")
        assert list(body["errors"]) == [name]


@pytest.mark.parametrize("text", ["W", "WzAsNV", "Wz\u00e9", "W" * 5000, "Wwww", "W{}", "W%00"])
def test_cursor_that_is_no_base64_is_400(client: FlaskClient, text: str) -> None:
    assert_error(client.get(TODOS, query_string={"next": text}), 400, "invalid_input")


def test_cursor_of_another_order_is_400(client: FlaskClient, fill: Any) -> None:
    fill(*"abc")
    following = client.get(f"{TODOS}?limit=1&sort=title").json["next"]
    for sort in ("", "created_at"):
        words = {"next": following, "sort": sort}
        body = assert_error(client.get(TODOS, query_string=words), 400, "invalid_input")
        assert list(body["errors"]) == ["next"]


def test_only_a_cursor_leads_beyond_the_rows_that_are_counted(
    client: FlaskClient, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.lists, "COUNTED", 4)
    fill(*"abcdefg")
    last = client.get(f"{TODOS}?page=2&limit=2").json
    assert (last["total"], last["pages"], last["hasMore"]) == (4, 2, True)
    for words in ("page=3&limit=2", "page=1000000000", "next=4"):
        body = assert_error(client.get(f"{TODOS}?{words}"), 400, "invalid_input")
        assert list(body["errors"]) == [words.partition("=")[0]]
    assert "".join(item["title"] for item in walk(client, TODOS)) == "gfedcba"


INDEXED = ["", "limit=2", "q=a", "id=1", "sort=id", "sort=-id", "colour=red", "where=null"]
SCANS = [
    *(
        "sort=title",
        "sort=created_at",
        "orderBy=title",
        'orderBy={"title":"asc"}',
        "title=a",
        "completed=1",
    ),
    *('where={"title":"a"}', 'filters={"id":{"gt":1}}', "q=a&title=b", "createdAt=2026-01-01"),
]


def test_long_list_is_not_looked_through_row_by_row(
    client: FlaskClient, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.lists, "SCANNED", 3)
    fill(*"abc")
    for query in INDEXED + SCANS:
        assert client.get(f"{TODOS}?{query}").status_code == 200, query
    fill("d")
    for query in INDEXED:
        assert client.get(f"{TODOS}?{query}").status_code == 200, query
    for query in SCANS:
        assert_error(client.get(f"{TODOS}?{query}"), 400, "too_long")


def test_long_list_without_index_of_words_is_not_searched(
    client: FlaskClient, ann: Account, bob: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.lists, "SCANNED", 1)
    assert client.get("/api/users", headers=ann.headers).status_code == 200
    assert_error(client.get("/api/users?q=a", headers=ann.headers), 400, "too_long")


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
    ("mi bu", ["Buy milk"]),
    ("ilk", []),
    ("100", ["100%"]),
    ("case snake", ["snake_case"]),
    ("it s", ["it's"]),
    ("IT'S", ["it's"]),
    ('"quoted', ['"quoted"']),
    ("back\\sl", ["back\\slash"]),
    ("a/b", ["a/b"]),
    ("b", ["a/b"]),  # no other word is that; else those that begin so
    ("ba", ["back\\slash"]),
    ("grüß", ["Grüße, Ænne"]),
    ("ÆNNE", ["Grüße, Ænne"]),
    ("grusse", []),
    ("東京", ["東京 2026"]),
    ("हिन्दी", ["हिन्दी भाषा"]),
    ("e\u0301clair", ["éclair"]),
    ("\0milk", ["Buy milk"]),
    ("milk OR snake", []),
    ("NOT milk", []),
    ("title : milk", []),
    ("milk*", ["Buy milk"]),
    ("milk:*", ["Buy milk"]),
    ("'milk' & !snake", []),
    ("%", []),
    ("_", []),
    ("'", []),
    ('"', []),
    ("((", []),
    ("nothing like it", []),
    ("x" * 10_000, []),
    ("milk " * 2_000, ["Buy milk"]),
]


def test_search_finds_words_and_takes_no_syntax(client: FlaskClient, fill: Any) -> None:
    fill("Buy milk", "100%", "snake_case", "it's", '"quoted"', "back\\slash", "a/b")
    fill("Grüße, Ænne", "東京 2026", "हिन्दी भाषा", "éclair")
    for q, expected in SEARCHES:
        response = client.get(TODOS, query_string={"q": q})
        assert [todo["title"] for todo in response.json] == expected, q
        assert response.headers["X-Total-Count"] == str(len(expected))


def test_search_for_nothing_finds_all(client: FlaskClient, fill: Any) -> None:
    fill(*"ab")
    for q in ("", "[object Object]", "\0"):
        assert titles(client.get(TODOS, query_string={"q": q})) == "ba"


def test_link_keeps_filters_and_search(client: FlaskClient, fill: Any) -> None:
    fill("a&b=c", "a&b=c")
    response = client.get(TODOS, query_string={"q": "&b=", "completed": ["0", "1"], "limit": 1})
    address = response.headers["Link"].partition(">")[0].removeprefix("<")
    words = parse_qs(urlsplit(address).query)
    assert words.pop("next")
    assert words == {"q": ["&b="], "completed": ["0", "1"], "limit": ["1"]}


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


def test_page_size_and_start_are_other_words(client: FlaskClient) -> None:
    for number in range(5):
        client.post("/api/todos", json={"title": str(number)})
    page = client.get("/api/todos?page_size=2&start=2").json
    assert [todo["title"] for todo in page["items"]] == ["2", "1"]
    assert (page["size"], page["total"], page["hasMore"]) == (2, 5, True)
    assert client.get("/api/todos?start=x").status_code == 400
