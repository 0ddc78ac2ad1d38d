"""Accounts, tokens and the cookie: the contracts of docs/frontends/larc.md and brolostack.md."""

import json
from datetime import timedelta
from typing import Any

import bcrypt
import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_jwt_extended import create_access_token, decode_token
from sqlalchemy import delete, func, select

from auth import COOKIE
from models import Session, User, db
from tests.conftest import PASSWORD, SETTINGS, Account, assert_error

REGISTER, LOGIN, ME = "/api/auth/register", "/api/auth/login", "/api/auth/me"
REFRESH, LOGOUT, CHECK = "/api/auth/refresh", "/api/auth/logout", "/api/auth/check"
ANN = {"email": "ann@example.com", "password": PASSWORD}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def users() -> int:
    return db.session.scalar(select(func.count()).select_from(User))


# Register


def test_register_answers_what_every_frontend_reads(client: FlaskClient) -> None:
    response = client.post(REGISTER, json={**ANN, "username": "Annie", "name": "Ann"})
    assert response.status_code == 201
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
    assert user["email"] == "ann@example.com"
    assert user["username"] == "annie"
    assert user["name"] == user["display_name"] == "Ann"
    assert (user["role"], user["roles"], user["mfa_enabled"]) == ("user", ["user"], False)
    assert not any("password" in key for key in user)


def test_access_token_is_hs256_with_the_claims_pages_read(app: Flask, ann: Account) -> None:
    assert jwt.get_unverified_header(ann.token)["alg"] == "HS256"
    with app.app_context():
        claims = decode_token(ann.token)
    assert (claims["id"], claims["email"], claims["role"]) == (ann.user["id"], ann.email, "user")
    assert claims["exp"] - claims["iat"] == 900


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cookie_is_out_of_reach_and_secure_only_on_https(client: FlaskClient, scheme: str) -> None:
    response = client.post(REGISTER, json=ANN, base_url=f"{scheme}://localhost")
    words = response.headers["Set-Cookie"].split("; ")
    assert words[0].startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(words)
    assert ("Secure" in words) == (scheme == "https")


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
        pytest.param("eight888", 201, id="8 bytes"),
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


def test_wrong_password_leaves_the_live_cookie(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert_error(client.post(LOGIN, json={**ANN, "password": "wrong horse"}), 401)
    assert client.get(ME).status_code == 200


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


# Tokens


def test_bearer_works_in_any_case(client: FlaskClient, ann: Account) -> None:
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        for path in (ME, "/api/auth/profile"):
            headers = {"Authorization": f"{scheme} {ann.token}"}
            assert client.get(path, headers=headers).json == ann.user


def test_no_token_is_nobody(client: FlaskClient) -> None:
    for header in ("Bearer null", "Bearer undefined", "Bearer", "Bearer ", "Basic YTpi", ""):
        headers = {"Authorization": header}
        body = assert_error(client.get(ME, headers=headers), 401, "unauthorized")
        assert body["error"] == "No token provided"
        assert client.get("/api/todos", headers=headers).status_code == 200


def test_bearer_null_leaves_room_for_the_cookie(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert client.get(ME, headers=bearer("null")).status_code == 200


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def expired(ann: Account) -> str:
    more = {"sid": claims_of(ann.token)["sid"]}
    past = timedelta(seconds=-1)
    return create_access_token(str(ann.user["id"]), expires_delta=past, additional_claims=more)


def without_session(ann: Account) -> str:
    return create_access_token(str(ann.user["id"]))


def of_another_user(ann: Account) -> str:
    return create_access_token("999", additional_claims={"sid": claims_of(ann.token)["sid"]})


BAD_TOKENS = [
    pytest.param(expired, id="expired"),
    pytest.param(without_session, id="without a session"),
    pytest.param(of_another_user, id="session of another user"),
    pytest.param(lambda ann: ann.refresh_token, id="refresh token"),
    pytest.param(lambda ann: jwt.encode(claims_of(ann.token), None, "none"), id="alg none"),
    pytest.param(lambda ann: jwt.encode(claims_of(ann.token), "x" * 32), id="another key"),
    pytest.param(lambda ann: jwt.encode({"a": 1}, SETTINGS["SECRET_KEY"]), id="other claims"),
    pytest.param(
        lambda ann: jwt.encode(claims_of(ann.token), str(SETTINGS["SECRET_KEY"]) * 2, "HS512"),
        id="another algorithm",
    ),
    pytest.param(lambda ann: ann.token[:-4] + "AAAA", id="another signature"),
    pytest.param(lambda ann: ann.token.rpartition(".")[0] + ".", id="no signature"),
    pytest.param(lambda ann: f"{ann.token} {ann.token}", id="two tokens"),
    pytest.param(lambda ann: "nonsense", id="nonsense"),
    pytest.param(lambda ann: "a.b.c", id="three words"),
    pytest.param(lambda ann: "é.ü.ö", id="not ASCII"),
    pytest.param(lambda ann: "x" * 20_000, id="20 kB"),
]


@pytest.mark.parametrize("make", BAD_TOKENS)
def test_bad_token_is_401(app: Flask, client: FlaskClient, ann: Account, make: Any) -> None:
    with app.app_context():
        headers = bearer(make(ann))
    for path in (ME, "/api/todos"):
        body = assert_error(client.get(path, headers=headers), 401, "unauthorized")
        assert body["error"] == "Invalid token"


def test_token_in_the_address_is_for_sockets_only(client: FlaskClient, ann: Account) -> None:
    assert_error(client.get(f"{ME}?token={ann.token}"), 401)


def test_token_of_a_deleted_user_is_401(app: Flask, client: FlaskClient, ann: Account) -> None:
    with app.app_context():
        db.session.execute(delete(Session))
        db.session.execute(delete(User))
        db.session.commit()
    assert_error(client.get(ME, headers=ann.headers), 401)
    assert_error(client.post(REFRESH, headers=bearer(ann.refresh_token)), 401)


# Refresh


@pytest.mark.parametrize("way", ["refreshToken", "refresh_token", "Bearer", "bearer, JSON", "both"])
def test_refresh_takes_the_same_token_again_and_again(
    client: FlaskClient, ann: Account, way: str
) -> None:
    request: dict[str, Any] = {"headers": bearer(ann.refresh_token)}
    if way.startswith("refresh"):
        request = {"json": {way: ann.refresh_token}}
    elif way == "bearer, JSON":
        request["content_type"] = "application/json"
    elif way == "both":
        request["json"] = {"refreshToken": ann.refresh_token}
    for _ in range(3):
        response = client.post(REFRESH, **request)
        assert response.status_code == 200
        client.delete_cookie(COOKIE)
        assert client.get(ME, headers=bearer(response.json["token"])).json == ann.user
        assert response.json["refresh_token"]


@pytest.mark.parametrize("token", [None, "null", "access"])
def test_refresh_falls_back_to_the_cookie(client: FlaskClient, ann: Account, token: str) -> None:
    client.post(LOGIN, json=ANN)
    headers = bearer(ann.token if token == "access" else token) if token else {}
    response = client.post(REFRESH, headers=headers, content_type="application/json")
    assert response.status_code == 200, response.json
    assert COOKIE in response.headers["Set-Cookie"]
    assert response.json["user"] == ann.user


def test_access_token_cannot_refresh(client: FlaskClient, ann: Account) -> None:
    assert_error(client.post(REFRESH, headers=ann.headers), 401)
    assert_error(client.post(REFRESH, json={"refreshToken": ann.token}), 401)


REFRESHES = {
    b"": 401,
    b"{}": 401,
    b'{"refreshToken": null}': 401,
    b'{"refreshToken": "nonsense"}': 401,
    b'{"refreshToken": 12}': 400,
    b'{"refreshToken": ["a"]}': 400,
    b'{"refreshToken": "a\\u0000"}': 401,
    b'{"refreshToken": "\\ud800"}': 400,
}


def test_refresh_without_a_good_token_fails(client: FlaskClient) -> None:
    for body, status in REFRESHES.items():
        assert_error(client.post(REFRESH, data=body, content_type="application/json"), status)


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


def test_check_is_always_200(client: FlaskClient, ann: Account) -> None:
    nobody = {"ok": True, "authenticated": False, "user": None}
    assert client.get(CHECK).json == nobody
    assert client.get(CHECK, headers=bearer("nonsense")).json == nobody
    somebody = {"ok": True, "authenticated": True, "user": ann.user}
    assert client.get(CHECK, headers=ann.headers).json == somebody
    client.post(LOGIN, json=ANN)
    assert client.get(CHECK).json == somebody


def test_check_takes_only_a_dead_cookie_away(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert client.get(CHECK, headers=bearer("nonsense")).json["authenticated"] is False
    assert client.get_cookie(COOKIE)
    client.set_cookie(COOKIE, "nonsense")
    assert client.get(CHECK).json["authenticated"] is False
    assert client.get_cookie(COOKIE) is None


# The cookie


def test_dead_cookie_is_401_and_taken_away(client: FlaskClient, ann: Account) -> None:
    for value in ("nonsense", ann.token):
        client.set_cookie(COOKIE, value)
        assert_error(client.get("/api/todos"), 401)
        assert client.get_cookie(COOKIE) is None
        assert client.get("/api/todos").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 201, id="no page"),
        pytest.param({"Origin": "http://wharf.test"}, 201, id="same origin"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 201, id="same site without Origin"),
        pytest.param({"Origin": "https://front.test"}, 201, id="listed origin"),
        pytest.param({"Origin": "https://evil.test"}, 403, id="other origin"),
        pytest.param({"Origin": "http://wharf.test:81"}, 403, id="other port"),
        pytest.param({"Origin": "http://wharf.test.evil.test"}, 403, id="name within a name"),
        pytest.param({"Origin": "http://wharf.test@evil.test"}, 403, id="name as a user"),
        pytest.param({"Origin": "http://localhost"}, 403, id="localhost"),
        pytest.param({"Origin": "https://front.test.evil.test"}, 403, id="listed as a part"),
        pytest.param({"Origin": "null"}, 403, id="null"),
        pytest.param({"Origin": ""}, 403, id="empty"),
        pytest.param({"Origin": "http://["}, 403, id="not a URL"),
        pytest.param({"Origin": "http://[::1]evil"}, 403, id="bad address"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, 403, id="sibling domain"),
    ],
)
def test_cookie_works_only_from_our_own_pages(
    make_app: Any, headers: dict[str, str], status: int
) -> None:
    app = make_app(CORS_ORIGINS="https://front.test")
    client = app.test_client()
    base = "http://wharf.test"
    token = client.post(REGISTER, json=ANN, base_url=base).json["token"]
    request = {"json": {"title": "x"}, "base_url": base}
    response = client.post("/api/todos", headers=headers, **request)
    if status == 403:
        assert_error(response, 403, "forbidden")
        with app.app_context():
            assert not db.session.execute(db.text("SELECT id FROM todos")).all()
    assert response.status_code == status
    refreshed = client.post(REFRESH, headers=headers, base_url=base)
    assert refreshed.status_code == (200 if status == 201 else 403)
    assert client.get(ME, headers=headers, base_url=base).status_code == 200
    anyone = app.test_client().post("/api/todos", headers={**headers, **bearer(token)}, **request)
    assert anyone.status_code == 201


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_other_ports_of_localhost_may_use_the_cookie(app: Flask, host: str) -> None:
    client = app.test_client()
    base = f"http://{host}"
    client.post(REGISTER, json=ANN, base_url=base)
    for origin in ("http://localhost:5173", "http://127.0.0.1:3000", base):
        request = {"json": {"title": "x"}, "base_url": base, "headers": {"Origin": origin}}
        assert client.post("/api/todos", **request).status_code == 201
    request["headers"] = {"Origin": "http://localhost.evil.test"}
    assert_error(client.post("/api/todos", **request), 403)


def test_other_sites_cannot_sign_a_browser_out(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert_error(client.post(LOGOUT, headers={"Origin": "https://evil.test"}), 403)
    assert client.get(ME).status_code == 200


def test_other_sites_cannot_sign_a_browser_in(client: FlaskClient, ann: Account) -> None:
    form = {"data": json.dumps(ANN), "content_type": "text/plain"}
    response = client.post(LOGIN, headers={"Origin": "https://evil.test"}, **form)
    assert response.json["token"]
    assert client.get_cookie(COOKIE) is None
