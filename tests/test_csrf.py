"""No other site's page makes a browser act for its user: the CSRF token, and who needs none."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from auth import COOKIE
from tests.accounts import ANN, CHECK, LOGIN, LOGOUT, ME, REFRESH, REGISTER, bearer
from tests.conftest import Account, Server, assert_error
from tests.uploads import UPLOAD, form

INIT = "/api/session/init"
HEADER = "X-CSRFToken"
EVIL = {"Origin": "https://evil.test"}
TODO = {"title": "Milk"}


@pytest.fixture
def browser(client: FlaskClient) -> FlaskClient:
    """A browser in which ann is signed in by cookie."""
    assert client.post(REGISTER, json=ANN).status_code == 201
    return client


def add_todo(client: FlaskClient, **headers: str) -> Any:
    """What a page of another site sends with the cookie of ours."""
    return client.post("/api/todos", json=TODO, headers={**EVIL, **headers})


def token_of(client: FlaskClient) -> str:
    return client.post(INIT).json["csrf_token"]


# Where it comes from


@pytest.mark.parametrize("body", [{}, {"data": b"", "content_type": "application/json"}])
def test_init_gives_a_token_to_nobody(client: FlaskClient, body: dict[str, Any]) -> None:
    first, second = (client.post(INIT, **body) for _ in "ab")
    assert first.status_code == 200
    assert set(first.json) == {"session_id", "csrf_token"}
    assert first.json["csrf_token"]
    assert first.json["session_id"] != second.json["session_id"]
    assert client.get_cookie(COOKIE) is None


def test_init_gives_a_token_to_somebody(browser: FlaskClient) -> None:
    session = browser.post(REFRESH).json["sessionId"]
    reply = browser.post(INIT).json
    assert set(reply) == {"session_id", "csrf_token"}
    assert reply["session_id"] == session
    assert add_todo(browser, **{HEADER: reply["csrf_token"]}).status_code == 201


def test_init_gives_a_token_to_a_bearer(app: Flask, browser: FlaskClient) -> None:
    reply = browser.post(REFRESH).json
    other = app.test_client()
    answer = other.post(INIT, headers=bearer(reply["token"])).json
    assert answer["session_id"] == reply["sessionId"]
    assert add_todo(browser, **{HEADER: answer["csrf_token"]}).status_code == 201


@pytest.mark.parametrize("headers", [EVIL, bearer("nonsense")], ids=["other site", "bad token"])
def test_init_gives_no_token_of_the_session_to_others(
    browser: FlaskClient, headers: dict[str, str]
) -> None:
    session = browser.post(REFRESH).json["sessionId"]
    reply = browser.post(INIT, headers=headers)
    assert reply.status_code == 200
    assert reply.json["session_id"] != session
    assert_error(add_todo(browser, **{HEADER: reply.json["csrf_token"]}), 403)


@pytest.mark.parametrize("path", [REGISTER, LOGIN, REFRESH, "/api/auth?action=login"])
def test_reply_with_tokens_carries_one(browser: FlaskClient, path: str) -> None:
    body = {**ANN, "email": "new@example.com"} if path == REGISTER else ANN
    response = browser.post(path, json=body)
    assert add_todo(browser, **{HEADER: response.headers[HEADER]}).status_code == 201


@pytest.mark.parametrize("path", [CHECK, "/api/auth?action=csrf", "/api/auth?action=check"])
def test_check_carries_one(browser: FlaskClient, path: str) -> None:
    assert add_todo(browser, **{HEADER: browser.get(path).json["csrf_token"]}).status_code == 201


# What it opens


@pytest.mark.parametrize("header", ["X-CSRFToken", "X-CSRF-Token", "x-csrftoken"])
@pytest.mark.parametrize("origin", ["https://evil.test", "null", ""])
def test_token_of_the_session_opens_it(browser: FlaskClient, header: str, origin: str) -> None:
    assert_error(add_todo(browser, Origin=origin), 403, "forbidden")
    token = token_of(browser)
    assert add_todo(browser, Origin=origin, **{header: token}).status_code == 201
    assert add_todo(browser, Origin=origin, **{header: token}).status_code == 201


def test_token_opens_every_unsafe_method(browser: FlaskClient) -> None:
    path = f"/api/todos/{browser.post('/api/todos', json=TODO).json['id']}"
    good = {**EVIL, HEADER: token_of(browser)}
    for method, status in (("PUT", 200), ("PATCH", 200), ("DELETE", 200)):
        assert_error(browser.open(path, method=method, json=TODO, headers=EVIL), 403)
        assert browser.open(path, method=method, json=TODO, headers=good).status_code == status
    assert_error(browser.post(UPLOAD, headers=EVIL, **form()), 403)
    assert browser.post(UPLOAD, headers=good, **form()).status_code == 200
    assert_error(browser.post(REFRESH, headers=EVIL), 403)
    assert browser.post(REFRESH, headers=good).status_code == 200
    assert_error(browser.post(LOGOUT, headers=EVIL), 403)
    assert browser.post(LOGOUT, headers=good).status_code == 200
    assert_error(browser.get(ME), 401)


def test_token_of_another_session_opens_nothing(app: Flask, browser: FlaskClient) -> None:
    other = app.test_client()
    other.post(REGISTER, json={**ANN, "email": "bob@example.com"})
    same_user = app.test_client()
    same_user.post(LOGIN, json=ANN)
    nobody = app.test_client()
    for stranger in (other, same_user, nobody):
        assert_error(add_todo(browser, **{HEADER: token_of(stranger)}), 403, "forbidden")
    assert browser.get("/api/todos").json == []


@pytest.mark.parametrize(
    "token",
    [
        "",
        "undefined",
        "x",
        ".",
        "..",
        "a.b.c",
        "ä",
        "€uro",
        "\x7f",
        "x" * 3_000,
        "IiI.YQ.YQ",
        "%00",
    ],
)
def test_garbage_opens_nothing(browser: FlaskClient, token: str) -> None:
    raw = token.encode().decode("latin-1")  # as WSGI servers hand it on
    request = {"json": TODO, "headers": EVIL, "environ_overrides": {"HTTP_X_CSRFTOKEN": raw}}
    assert_error(browser.post("/api/todos", **request), 403, "forbidden")


def test_changed_token_opens_nothing(browser: FlaskClient) -> None:
    token = token_of(browser)
    payload, moment, signature = token.split(".")
    for forged in (token[:-2], f"x{token}", f"{payload}.x{moment}.{signature}"):
        assert_error(add_todo(browser, **{HEADER: forged}), 403, "forbidden")


def test_tokens_of_sign_in_are_no_csrf_tokens(browser: FlaskClient) -> None:
    reply = browser.post(REFRESH).json
    for word in (reply["token"], reply["sessionId"]):
        assert_error(add_todo(browser, **{HEADER: word}), 403, "forbidden")
    assert_error(browser.get(ME, headers=bearer(token_of(browser))), 401)


def test_token_lasts_a_day(browser: FlaskClient, monkeypatch: Any) -> None:
    token = token_of(browser)
    start = time.time()
    for seconds, status in ((86_390, 201), (86_410, 403)):
        monkeypatch.setattr(time, "time", lambda late=seconds: start + late)
        assert add_todo(browser, **{HEADER: token}).status_code == status


def test_token_of_another_secret_opens_nothing(
    make_app: Callable[..., Flask], browser: FlaskClient
) -> None:
    stranger = make_app(SECRET_KEY="other" * 8).test_client()
    stranger.post(LOGIN, json=ANN)
    assert_error(add_todo(browser, **{HEADER: token_of(stranger)}), 403)


# What needs none, and what does whatever its form


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
def test_every_content_type_is_treated_alike(browser: FlaskClient, content_type: str) -> None:
    body = {"data": json.dumps(TODO), "content_type": content_type}
    assert_error(browser.post("/api/todos", headers=EVIL, **body), 403, "forbidden")
    headers = {**EVIL, HEADER: token_of(browser)}
    assert browser.post("/api/todos", headers=headers, **body).status_code == 201
    assert len(browser.get("/api/todos").json) == 1


@pytest.mark.parametrize("field", ["csrf_token", "X-CSRFToken"])
def test_token_in_the_body_or_address_is_not_read(browser: FlaskClient, field: str) -> None:
    token = token_of(browser)
    response = browser.post(
        "/api/todos", json={**TODO, field: token}, query_string={field: token}, headers=EVIL
    )
    assert_error(response, 403, "forbidden")


def test_bearer_needs_no_token(app: Flask, browser: FlaskClient) -> None:
    token = browser.post(REFRESH).json["token"]
    for client in (app.test_client(), browser):  # also where the cookie goes along
        assert add_todo(client, **bearer(token)).status_code == 201
        assert_error(add_todo(client, **bearer("nonsense")), 401)


def test_nobody_needs_no_token(client: FlaskClient) -> None:
    assert add_todo(client).status_code == 201


def test_safe_methods_need_no_token(browser: FlaskClient) -> None:
    for method in ("GET", "HEAD"):
        assert browser.open(ME, method=method, headers=EVIL).status_code == 200


# Sockets


@pytest.mark.parametrize("path", ["/ws", "/sync?channel=a", "/?channel=a"])
@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1.evil.test"])
def test_socket_by_cookie_needs_a_trusted_origin(
    server: Server, browser: FlaskClient, path: str, origin: str
) -> None:
    cookie = f"{COOKIE}={browser.get_cookie(COOKIE).value}"
    refused = server.refusal(path, Cookie=cookie, Origin=origin)
    assert_error(refused, 403, "forbidden")


@pytest.mark.parametrize("origin", ["", "http://localhost:5173"], ids=["ours", "localhost"])
def test_socket_by_cookie_opens_for_our_pages(
    server: Server, browser: FlaskClient, origin: str
) -> None:
    cookie = f"{COOKIE}={browser.get_cookie(COOKIE).value}"
    peer = server.connect("/ws", Cookie=cookie, Origin=origin or server.url)
    assert peer.expect("connected")


def test_socket_by_token_opens_for_every_page(server: Server, ann: Account) -> None:
    assert server.connect("/ws", ann, **EVIL).expect("connected")


# Signing out


@pytest.mark.parametrize("path", [LOGOUT, "/auth/logout", "/api/logout", "/api/auth?action=logout"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(EVIL, id="origin"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="fetch metadata"),
        pytest.param({**EVIL, **bearer("nonsense")}, id="bad token"),
        pytest.param({**EVIL, HEADER: "x"}, id="bad csrf token"),
    ],
)
def test_other_sites_sign_nobody_out(
    browser: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    assert_error(browser.post(path, headers=headers), 403, "forbidden")
    assert browser.get(ME).status_code == 200


@pytest.mark.parametrize("path", [LOGOUT, "/api/auth?action=logout"])
def test_other_sites_cannot_take_the_cookie_away(app: Flask, path: str) -> None:
    """Browsers keep a SameSite=Lax cookie back from a form of another site, but heed Set-Cookie."""
    response = app.test_client().post(path, headers={**EVIL, "Sec-Fetch-Site": "cross-site"})
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("action", ["logout", "login", "refresh", "LOGOUT", "", "nonsense"])
def test_link_to_an_action_does_nothing(browser: FlaskClient, action: str) -> None:
    response = browser.get(f"/api/auth?action={action}")
    assert_error(response, 400, "bad_request")
    assert response.json["error"] == "Invalid action"
    assert "Set-Cookie" not in response.headers
    assert browser.get(ME).status_code == 200


def test_links_do_not_sign_out(browser: FlaskClient) -> None:
    for path in (LOGOUT, "/auth/logout", "/api/logout"):
        assert_error(browser.get(path), 405)
    assert browser.get(ME).status_code == 200
