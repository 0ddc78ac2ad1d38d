"""Users as others see them, one and all: docs/accounts.md."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.accounts import make_admin, path_of
from tests.conftest import Account, assert_error

PUBLIC = {"id", "email", "username", "name", "role", "is_active", "createdAt"}
LISTS = ("/users", "/api/users")
each_list = pytest.mark.parametrize("path", LISTS)


def names(response: Any) -> list[str]:
    """The names on a list or page, in order."""
    assert response.status_code == 200, response.json
    items = response.json if isinstance(response.json, list) else response.json["items"]
    return [item["name"] for item in items]


# One


def test_user_reads_all_of_themselves(client: FlaskClient, ann: Account) -> None:
    response = client.get(path_of(ann), headers=ann.headers)
    assert (response.status_code, response.json) == (200, ann.user)
    tag = {"If-None-Match": response.headers["ETag"], **ann.headers}
    assert client.get(path_of(ann), headers=tag).status_code == 304


def test_user_reads_only_public_fields_of_others(
    client: FlaskClient, ann: Account, register: Any
) -> None:
    bob = register("bob", username="bobby")
    response = client.get(path_of(bob), headers=ann.headers)
    assert response.json == {**{key: bob.user[key] for key in PUBLIC}, "email": None}
    assert "example.com" not in response.text


def test_one_user_is_at_both_addresses(client: FlaskClient, ann: Account) -> None:
    path = path_of(ann).removeprefix("/api")
    assert client.get(path, headers=ann.headers).json == ann.user


def test_admin_reads_all_of_everybody(client: FlaskClient, ann: Account, admin: Account) -> None:
    assert client.get(path_of(ann), headers=admin.headers).json == ann.user


def test_nobody_reads_and_writes_without_signing_in(client: FlaskClient, ann: Account) -> None:
    for path in (*LISTS, path_of(ann), path_of(ann).removeprefix("/api"), "/users/batch"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            response = client.open(path, method=method, json={"name": "Eve", "ids": [1]})
            if response.status_code != 405:
                assert assert_error(response, 401)["error"] == "No token provided"


@pytest.mark.parametrize(
    "user_id",
    [
        "0",
        "-1",
        "1.0",
        "1e0",
        "abc",
        "null",
        "undefined",
        "me",
        "²",
        "١",
        "2147483647",
        "2147483648",
    ]
    + ["99999999999999999999", "%00", "1%00", "%27%20OR%201=1", "0x1", "+1", "%20"],
)
def test_id_that_is_none_is_404(client: FlaskClient, admin: Account, user_id: str) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        for path in LISTS:
            response = client.open(
                f"{path}/{user_id}", method=method, json={"name": "Eve"}, headers=admin.headers
            )
            assert_error(response, 404, "user_not_found")


# All


def test_users_is_always_a_page(client: FlaskClient, ann: Account, bob: Account) -> None:
    page = client.get("/users", headers=ann.headers).json
    assert [item["id"] for item in page["items"]] == [bob.user["id"], ann.user["id"]]
    assert (page["total"], page["next"], page["limit"]) == (2, None, 20)


def test_api_users_is_an_array_without_paging_words(client: FlaskClient, ann: Account) -> None:
    response = client.get("/api/users", headers=ann.headers)
    assert response.json == [ann.user]
    assert response.headers["X-Total-Count"] == "1"


@pytest.mark.parametrize(
    "query", ["limit=5", "next=0", "cursor=", "status=active", "where={}", "filters={}", "page=1"]
)
def test_api_users_is_a_page_with_one(client: FlaskClient, ann: Account, query: str) -> None:
    page = client.get(f"/api/users?{query}", headers=ann.headers).json
    assert (page["items"], page["total"], page["next"]) == ([ann.user], 1, None)


@each_list
def test_next_leads_through_all_pages(
    client: FlaskClient, register: Any, ann: Account, path: str
) -> None:
    for name in ("bob", "cleo", "dora", "eve"):
        register(name)
    seen, following = [], "null"
    for _ in range(3):
        query = {"limit": 2, "next": following}
        response = client.get(path, query_string=query, headers=ann.headers)
        seen += names(response)
        assert response.json["total"] == 5
        following = response.json["next"]
    assert seen == ["Eve", "Dora", "Cleo", "Bob", "Ann"]
    assert following is None


@each_list
def test_others_are_listed_without_email_or_hash(
    client: FlaskClient, ann: Account, bob: Account, path: str
) -> None:
    response = client.get(path, query_string={"limit": 9}, headers=ann.headers)
    other, own = response.json["items"]
    assert own == ann.user
    assert other == {**{key: bob.user[key] for key in PUBLIC}, "email": None}
    assert "$2b$" not in response.text


def test_admin_lists_all_of_everybody(client: FlaskClient, ann: Account, admin: Account) -> None:
    response = client.get("/users", headers=admin.headers)
    assert response.json["items"][1] == ann.user
    assert "$2b$" not in response.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=Bob", ["Bob"]),
        ("role=admin", ["Root"]),
        ("status=active", ["Root", "Bob", "Ann"]),
        ("status=inactive", []),
        ("status=", ["Root", "Bob", "Ann"]),
        ("is_active=true&role=user", ["Bob", "Ann"]),
        ("username=bobby", ["Bob"]),
        ("q=BOB", ["Bob"]),
        ("sort=name", ["Ann", "Bob", "Root"]),
    ],
)
def test_list_is_filtered_and_sorted(
    client: FlaskClient, ann: Account, register: Any, query: str, found: list[str], app: Flask
) -> None:
    register("bob", username="bobby")
    make_admin(app, register("root"))
    assert names(client.get(f"/users?{query}", headers=ann.headers)) == found


@pytest.mark.parametrize("word", ["email", "password_hash", "passwordHash", "deleted_at"])
def test_what_is_hidden_is_no_way_to_choose(
    client: FlaskClient, ann: Account, bob: Account, word: str
) -> None:
    def ask(**query: str) -> Any:
        return client.get("/users", query_string=query, headers=ann.headers)

    assert names(ask(**{word: "bob@example.com"})) == ["Bob", "Ann"]  # ignored as any other word
    assert_error(ask(sort=word), 400)
    assert_error(ask(where=f'{{"{word}": {{"startsWith": "b"}}}}'), 400)
    assert names(ask(q="example.com")) == []


def test_admin_looks_for_emails(client: FlaskClient, bob: Account, admin: Account) -> None:
    for query in ("email=bob@example.com", "q=bob@", 'where={"email":{"startsWith":"b"}}'):
        assert names(client.get(f"/users?{query}", headers=admin.headers)) == ["Bob"]
    by_hash = 'where={"passwordHash":{"startsWith":"$"}}'
    assert_error(client.get(f"/users?{by_hash}", headers=admin.headers), 400)


def test_calls_at_both_addresses_are_counted(make_app: Any, ann: Account) -> None:
    client = make_app(API_LIMIT="2 per hour").test_client()
    answers = [client.get(path, headers=ann.headers) for path in (*LISTS, *LISTS)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
