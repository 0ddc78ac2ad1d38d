"""Access and refresh tokens: the contracts of docs/frontends/larc.md and brolostack.md."""

from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_jwt_extended import create_access_token, decode_token
from sqlalchemy import delete

from auth import COOKIE
from models import Session, User, db
from tests.accounts import ANN, CHECK, LOGIN, ME, REFRESH, bearer
from tests.conftest import SETTINGS, Account, assert_error

# Bearer


def test_access_token_is_hs256_with_the_claims_pages_read(app: Flask, ann: Account) -> None:
    assert jwt.get_unverified_header(ann.token)["alg"] == "HS256"
    with app.app_context():
        claims = decode_token(ann.token)
    assert claims["exp"] - claims["iat"] == 900
    who = {"sub": str(ann.user["id"]), "id": ann.user["id"], "userId": ann.user["id"]}
    who |= {"email": ann.email, "username": ann.user["username"], "name": "Ann"}
    who |= {"role": "user", "roles": ["user"], "type": "access"}
    assert {key: claims[key] for key in who} == who


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


# Bad tokens


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


@pytest.mark.parametrize("word", ["token", "access_token"])
@pytest.mark.parametrize("headers", [{}, {"Upgrade": "websocket"}], ids=["plain", "Upgrade"])
def test_token_in_the_address_is_for_sockets_only(
    client: FlaskClient, ann: Account, word: str, headers: dict[str, str]
) -> None:
    query = f"?{word}={ann.token}"
    assert_error(client.get(ME + query, headers=headers), 401, "unauthorized")
    assert_error(client.post(f"/api/auth/ticket{query}", headers=headers), 401, "unauthorized")
    assert client.get(CHECK + query, headers=headers).json["authenticated"] is False


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
    assert not {"refreshToken", "refresh_token"} & set(response.json)


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
