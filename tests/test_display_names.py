"""The name that others see: kept as text, and never such that it fools them."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.accounts import ME, REGISTER
from tests.conftest import PASSWORD, assert_error

RLM, RLO = "\u200f", "\u202e"


def sign_up(client: FlaskClient, **fields: Any) -> Any:
    return client.post(REGISTER, json={"password": PASSWORD, **fields})


NAMES = [
    pytest.param("<img src=x onerror=alert(1)>", id="markup"),
    pytest.param("</script><script>alert(1)</script>", id="script"),
    pytest.param("&lt;b&gt; {{7*7}} ${x} %s {0}", id="escapes and templates"),
    pytest.param(f"אנה{RLM} Ann", id="right to left"),
    pytest.param("👩\u200d💻 Ann", id="joined emoji"),
    pytest.param("e\u0301 é", id="NFD beside NFC"),
    pytest.param("admin", id="admin"),
    pytest.param("ann@example.com", id="somebody's email"),
    pytest.param("x" * 100, id="100 letters"),
    pytest.param("😀" * 100, id="100 emoji"),
]
UNSEEN = [
    pytest.param("Ann\nNewline", id="newline"),
    pytest.param("Ann\u2028Newline", id="line separator"),
    pytest.param("\x1b[31mAnn\x07\x7f", id="control characters"),
    pytest.param("An\x85n", id="C1"),
    pytest.param(f"{RLO}nnA", id="text direction"),
    pytest.param("Ann\u2066", id="isolate"),
    pytest.param("x" * 101, id="101 letters"),
]


@pytest.mark.parametrize("name", UNSEEN)
def test_name_that_could_fool_others_is_400(client: FlaskClient, register: Any, name: str) -> None:
    refused = sign_up(client, email="ann@example.com", name=name)
    assert list(assert_error(refused, 400, "invalid_input")["errors"]) == ["name"]
    bob = register("bob")
    changed = client.put(f"/api/users/{bob.user['id']}", json={"name": name}, headers=bob.headers)
    assert list(assert_error(changed, 400, "invalid_input")["errors"]) == ["name"]


def test_longest_name_makes_a_token_that_servers_take(client: FlaskClient) -> None:
    reply = sign_up(client, email="ann@example.com", name="😀" * 100).json
    assert len(reply["token"]) < 3000  # gunicorn takes addresses of 4,094 bytes


@pytest.mark.parametrize("name", NAMES)
def test_name_to_show_is_kept_as_text(client: FlaskClient, register: Any, name: str) -> None:
    user = sign_up(client, email="ann@example.com", name=name).json["user"]
    assert (user["name"], user["display_name"], user["role"]) == (name, name, "user")
    seen = client.get(ME)
    assert (seen.mimetype, seen.json["name"]) == ("application/json", name)
    assert seen.headers["X-Content-Type-Options"] == "nosniff"
    bob = register("bob")
    path = f"/api/users/{bob.user['id']}"
    assert client.put(path, json={"name": name}, headers=bob.headers).json["name"] == name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("Ann\0", id="NUL"),
        pytest.param("x" * 501, id="501 letters"),
        pytest.param(["Ann"], id="list"),
        pytest.param(12, id="number"),
    ],
)
def test_name_to_show_that_is_none_is_400(client: FlaskClient, register: Any, name: Any) -> None:
    ann = register("ann")
    refused = sign_up(client, email="bob@example.com", name=name)
    assert list(assert_error(refused, 400, "invalid_input")["errors"]) == ["name"]
    path = f"/api/users/{ann.user['id']}"
    refused = client.put(path, json={"name": name}, headers=ann.headers)
    assert list(assert_error(refused, 400, "invalid_input")["errors"]) == ["name"]
    assert client.get(path, headers=ann.headers).json == ann.user


@pytest.mark.parametrize("name", ["", "  ", None])
def test_name_to_show_falls_back_to_the_login(client: FlaskClient, name: Any) -> None:
    assert sign_up(client, email="Ann@münchen.de", name=name).json["user"]["name"] == "ann"
    assert sign_up(client, username="Annie", name=name).json["user"]["name"] == "annie"


def test_surrogate_pair_is_one_character(client: FlaskClient) -> None:
    body = json.dumps({"username": "annie", "name": "😀", "password": PASSWORD})
    assert "\\ud83d" in body
    assert client.post(REGISTER, data=body).json["user"]["name"] == "😀"
