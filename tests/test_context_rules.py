"""Context rules: admins write, everybody reads, widgets hear of them (routes/context_rules.py)."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.accounts import make_admin
from tests.conftest import Account, Server, assert_error

RULES = "/api/context-rules"
RULE = {
    "name": "Greeting",
    "content": "Say hello",
    "isActive": False,
    "priority": 5,
    "description": "First",
    "context_type": "chat",
    "keywords": ["hello", "hi"],
    "excluded_topics": ["prices"],
    "prompt_template": "{{name}}",
    "response_filters": {"max": 100},
}


def test_rule_has_all_it_was_given(client: FlaskClient, admin: Account) -> None:
    rule = client.post(RULES, json=RULE, headers=admin.headers).json
    assert {**rule, **RULE} == rule
    assert (rule["is_active"], rule["version"]) == (False, 1)
    assert client.get(f"{RULES}/{rule['id']}").json == rule
    changes = {"is_active": True, "keywords": []}
    changed = client.put(f"{RULES}/{rule['id']}", json=changes, headers=admin.headers).json
    assert (changed["isActive"], changed["keywords"], changed["version"]) == (True, [], 2)
    assert changed["content"] == "Say hello"


def test_rules_come_by_priority_as_a_bare_array(client: FlaskClient, admin: Account) -> None:
    for name, priority in (("a", 1), ("b", 9), ("c", -3), ("d", 9)):
        body = {"name": name, "content": "x", "priority": priority}
        client.post(RULES, json=body, headers=admin.headers)
    assert [rule["name"] for rule in client.get(RULES).json] == ["d", "b", "a", "c"]
    page = client.get(f"{RULES}?limit=2").json
    rest = client.get(f"{RULES}?limit=2&next={page['next']}").json
    assert [rule["name"] for rule in page["items"] + rest["items"]] == ["d", "b", "a", "c"]
    assert [rule["name"] for rule in client.get(f"{RULES}?sort=name").json] == ["a", "b", "c", "d"]
    assert [rule["name"] for rule in client.get(f"{RULES}?priority=-3").json] == ["c"]


def test_pages_lead_through_negative_priorities(client: FlaskClient, admin: Account) -> None:
    for priority in (-1, -2, -3, 2**31 - 1, -(2**31)):
        body = {"name": str(priority), "content": "x", "priority": priority}
        assert client.post(RULES, json=body, headers=admin.headers).status_code == 201
    found, following = [], ""
    while following is not None:
        page = client.get(f"{RULES}?limit=1&next={following}").json
        found += [rule["priority"] for rule in page["items"]]
        following = page["next"]
    assert found == [2**31 - 1, -1, -2, -3, -(2**31)]


def test_rule_that_is_not_there_has_a_code_of_one_word(client: FlaskClient) -> None:
    assert_error(client.get(f"{RULES}/999"), 404, "context_rule_not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_admins_write(client: FlaskClient, ann: Account, admin: Account, method: str) -> None:
    rule = client.post(RULES, json=RULE, headers=admin.headers).json
    path = RULES if method == "POST" else f"{RULES}/{rule['id']}"
    assert_error(client.open(path, method=method, json=RULE, headers=ann.headers), 403)
    assert_error(client.open(path, method=method, json=RULE), 401)
    assert client.get(RULES).json == [rule]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("content", None),
        ("priority", "high"),
        ("priority", 2**31),
        ("isActive", "maybe"),
        ("keywords", "hello"),
        ("keywords", ["x"] * 101),
        ("response_filters", "none"),
    ],
)
def test_wrong_field_is_400_and_named(
    client: FlaskClient, admin: Account, field: str, value: Any
) -> None:
    body = {**RULE, field: value}
    fields = assert_error(client.post(RULES, json=body, headers=admin.headers), 400)["errors"]
    assert [name.split(".")[0] for name in fields][0] == field
    assert client.get(RULES).json == []


def test_widget_of_a_visitor_hears_of_a_rule_without_asking(
    make_app: Any, serve: Callable[[Flask], Server], register: Any, app: Flask
) -> None:
    server = serve(make_app(ANONYMOUS_CHAT=True))
    admin = make_admin(app, register("root"))
    widget = server.connect("/")
    widget.expect("connected")
    http = server.app.test_client()
    rule = http.post(RULES, json=RULE, headers=admin.headers).json
    change = widget.expect("database_change")
    assert (change["table"], change["event"], change["data"]) == ("context_rules", "INSERT", rule)
    assert change["eventType"] == "INSERT"
