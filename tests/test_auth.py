"""Accounts, sign-in and sign-out: the contracts of docs/frontends/larc.md and brolostack.md."""

from typing import Any

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from auth import COOKIE
from models import User, db
from tests.accounts import ANN, CHECK, LOGIN, LOGOUT, ME, REFRESH, REGISTER, bearer
from tests.conftest import PASSWORD, Account, assert_error


def users() -> int:
    return db.session.scalar(select(func.count()).select_from(User))


# Register


def test_register_answers_what_every_frontend_reads(client: FlaskClient) -> None:
    response = client.post(REGISTER, json={**ANN, "username": "Annie", "name": "Ann"})
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    reply = response.json
    assert reply["ok"] is reply["success"] is True
    assert reply["accessToken"] == reply["access_token"] == reply["token"]
    assert reply["token"] == reply["session"]["token"]
    assert reply["refreshToken"] == reply["refresh_token"] != reply["token"]
    assert reply["expiresIn"] == reply["expires_in"] == 900
    assert reply["token_type"] == "bearer"
    assert reply["sessionId"] == reply["session"]["id"]
    assert reply["createdAt"].endswith("Z")
    assert reply["createdAt"] < reply["expiresAt"]
    user = reply["user"]
    assert reply["userId"] == user["id"]
    assert user["email"] == "ann@example.com"
    assert user["username"] == "annie"
    assert user["name"] == user["display_name"] == "Ann"
    assert (user["role"], user["roles"], user["mfa_enabled"]) == ("user", ["user"], False)
    assert not any("password" in key for key in user)


def test_password_is_stored_as_bcrypt_hash(app: Flask, ann: Account) -> None:
    with app.app_context():
        stored = db.session.scalar(select(User.password_hash))
    assert stored.startswith("$2b$04$")
    assert bcrypt.checkpw(PASSWORD.encode(), stored.encode())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"email": "ANN@example.com"}, id="email in another case"),
        pytest.param({"username": "ANNIE"}, id="username in another case"),
    ],
)
def test_taken_name_is_409(app: Flask, client: FlaskClient, register: Any, body: Any) -> None:
    register("ann", username="annie")
    assert_error(client.post(REGISTER, json={**body, "password": PASSWORD}), 409, "name_taken")
    with app.app_context():
        assert users() == 1


@pytest.mark.parametrize(
    ("password", "status"),
    [
        pytest.param("seven77", 400, id="7 bytes"),
        pytest.param("eight 88", 201, id="8 bytes"),
        pytest.param("ä" * 36, 201, id="72 bytes"),
        pytest.param("ä" * 36 + "a", 400, id="73 bytes"),
        pytest.param("x" * 1_000_000, 400, id="1 MB"),
    ],
)
def test_password_has_8_to_72_bytes(client: FlaskClient, password: str, status: int) -> None:
    response = client.post(REGISTER, json={**ANN, "password": password})
    assert response.status_code == status
    if status == 400:
        assert list(assert_error(response, 400, "invalid_input")["errors"]) == ["password"]


WORST = [
    pytest.param("null", id="null"),
    pytest.param("12", id="number"),
    pytest.param('["a"]', id="list"),
    pytest.param('{"a": 1}', id="object"),
    pytest.param('"a\\u0000@b.cd"', id="NUL"),
    pytest.param('"\\ud800@b.cd"', id="lone surrogate"),
    pytest.param(f'"{"x" * 1_000_000}@b.cd"', id="1 MB"),
    pytest.param("[" * 100_000, id="deep nesting"),
    pytest.param("NaN", id="NaN"),
]


@pytest.mark.parametrize("value", WORST)
def test_email_of_worst_form_is_400(app: Flask, client: FlaskClient, value: str) -> None:
    body = f'{{"password": "{PASSWORD}", "email": {value}}}'
    for path in (REGISTER, LOGIN):
        assert_error(client.post(path, data=body), 400)
    with app.app_context():
        assert users() == 0


@pytest.mark.parametrize("value", WORST[1:])
def test_other_field_of_worst_form_is_400(app: Flask, client: FlaskClient, value: str) -> None:
    for field in ("username", "name"):
        body = f'{{"password": "{PASSWORD}", "email": "a@b.cd", "{field}": {value}}}'
        assert_error(client.post(REGISTER, data=body), 400)
    with app.app_context():
        assert users() == 0


@pytest.mark.parametrize("value", WORST)
def test_password_of_worst_form_lets_nobody_in(client: FlaskClient, value: str) -> None:
    body = f'{{"email": "ann@example.com", "password": {value}}}'
    response = client.post(LOGIN, data=body)
    assert_error(response, 401 if response.status_code == 401 else 400)


BODIES = {
    "empty": b"",
    "blank": b"  ",
    "no field": b"{}",
    "array": b"[]",
    "null": b"null",
    "form": b"email=a&password=b",
    "not UTF-8": b'{"email": "a@b.cd", "password": "\xff"}',
    "cut off": b'{"email": "a@b.cd"',
    "no name": b'{"password": "correct horse"}',
    "blank name": b'{"email": " ", "password": "correct horse"}',
    "no password": b'{"email": "a@b.cd"}',
}


@pytest.mark.parametrize("path", [REGISTER, LOGIN])
def test_body_of_worst_form_is_400(client: FlaskClient, path: str) -> None:
    for body in BODIES.values():
        assert_error(client.post(path, data=body, content_type="application/json"), 400)


def test_missing_fields_are_named_in_words_for_a_person(client: FlaskClient) -> None:
    body = assert_error(client.post(LOGIN, json={"password": "x"}), 400, "invalid_input")
    assert body["error"] == "Email and password are required"
    body = assert_error(client.post(LOGIN, json={"email": "a@b.cd"}), 400, "invalid_input")
    assert body["errors"] == {"password": ["Password is required"]}


def test_email_that_is_none_is_400(client: FlaskClient) -> None:
    for email in ("ann", "a@b", "a b@c.de", "@b.cd", "a@b@c.de"):
        body = assert_error(client.post(REGISTER, json={**ANN, "email": email}), 400)
        assert list(body["errors"]) == ["email"]


def test_username_cannot_pose_as_an_email(client: FlaskClient) -> None:
    body = {"username": "bob@example.com", "password": PASSWORD}
    assert list(assert_error(client.post(REGISTER, json=body), 400)["errors"]) == ["username"]


def test_role_cannot_be_chosen(client: FlaskClient) -> None:
    reply = client.post(REGISTER, json={**ANN, "role": "admin", "id": 99, "password_hash": "x"})
    assert reply.json["user"]["role"] == "user"
    assert reply.json["user"]["id"] != 99


# Sign in


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"email": "ann@example.com"}, id="email"),
        pytest.param({"email": " ANN@Example.com "}, id="email in another case"),
        pytest.param({"username": "annie"}, id="username"),
        pytest.param({"username": "Annie"}, id="username in another case"),
        pytest.param({"username": "ann@example.com"}, id="email as username"),
        pytest.param({"email": "annie"}, id="username as email"),
        pytest.param({"email": None, "username": "annie"}, id="null beside it"),
    ],
)
def test_login_by_either_name_in_any_case(client: FlaskClient, register: Any, body: Any) -> None:
    ann = register("ann", username="Annie")
    response = client.post(LOGIN, json={**body, "password": PASSWORD})
    assert response.status_code == 200
    assert response.json["user"] == ann.user
    assert response.json["userId"] == ann.user["id"]
    assert response.headers["Cache-Control"] == "no-store"
    assert client.get(ME, headers=bearer(response.json["token"])).json["id"] == ann.user["id"]


def test_wrong_name_and_wrong_password_get_equal_answers_at_equal_cost(
    client: FlaskClient, ann: Account, monkeypatch: Any
) -> None:
    checks: list[bytes] = []
    check = bcrypt.checkpw

    def count(password: bytes, stored: bytes) -> bool:
        checks.append(stored[:7])
        return check(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", count)
    wrong = client.post(LOGIN, json={**ANN, "password": "wrong horse"})
    unknown = client.post(LOGIN, json={**ANN, "email": "nobody@example.com"})
    assert assert_error(wrong, 401, "unauthorized")["error"] == "Invalid credentials"
    assert wrong.data == unknown.data
    assert checks == [b"$2b$04$", b"$2b$04$"]


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        pytest.param(PASSWORD, PASSWORD.upper(), id="another case"),
        pytest.param("x" * 72, "x" * 73, id="longer than bcrypt reads"),
        pytest.param("x" * 72, "x" * 1_000_000, id="1 MB"),
        pytest.param("nobody has this password"[:20], "nobody has this password", id="dummy"),
        pytest.param(PASSWORD, PASSWORD + "\0", id="NUL"),
    ],
)
def test_other_password_is_401(client: FlaskClient, register: Any, stored: str, given: str) -> None:
    register("ann", password=stored)
    assert_error(client.post(LOGIN, json={**ANN, "password": given}), 401)


def test_password_of_the_dummy_hash_opens_nothing(client: FlaskClient) -> None:
    body = {"email": "nobody@example.com", "password": "nobody has this password"}
    assert_error(client.post(LOGIN, json=body), 401)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/auth/register", 201),
        ("/api/auth/signup", 201),
        ("/api/register", 201),
        ("/auth/login", 401),
        ("/api/login", 401),
        ("/auth/refresh", 401),
        ("/api/refresh-token", 401),
        ("/auth/logout", 200),
        ("/api/logout", 200),
    ],
)
def test_aliases_share_the_handlers(client: FlaskClient, path: str, status: int) -> None:
    assert client.post(path, json=ANN).status_code == status


# Sign out


def test_logout_ends_access_refresh_and_cookie_at_once(client: FlaskClient, ann: Account) -> None:
    reply = client.post(LOGIN, json=ANN).json
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    response = client.post(LOGOUT, headers=bearer(reply["token"]))
    assert response.json == {"ok": True}
    assert client.get_cookie(COOKIE) is None
    assert_error(client.get(ME, headers=bearer(reply["token"])), 401)
    assert_error(client.post(REFRESH, json={"refreshToken": reply["refreshToken"]}), 401)
    client.set_cookie(COOKIE, cookie.value)
    assert_error(client.get(ME), 401)


def test_logout_leaves_other_devices_signed_in(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert client.post(LOGOUT).status_code == 200
    assert client.get(ME, headers=ann.headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, bearer("null"), bearer("nonsense")])
def test_logout_without_a_session_is_fine(client: FlaskClient, headers: dict[str, str]) -> None:
    for _ in range(2):
        response = client.post(LOGOUT, headers=headers, content_type="application/json")
        assert response.json == {"ok": True}


# Am I signed in?


def check(client: FlaskClient, **request: Any) -> Any:
    """What the page learns, without the CSRF token that every answer brings."""
    response = client.get(CHECK, **request)
    assert response.status_code == 200
    facts = response.json
    assert facts.pop("csrf_token")
    return facts


def test_check_is_always_200(client: FlaskClient, ann: Account) -> None:
    nobody = {"ok": True, "authenticated": False, "user": None}
    assert check(client) == nobody
    assert check(client, headers=bearer("nonsense")) == nobody
    somebody = {"ok": True, "authenticated": True, "user": ann.user}
    assert check(client, headers=ann.headers) == somebody
    client.post(LOGIN, json=ANN)
    assert check(client) == somebody
