"""The cookie of the session: when it is set and taken away, and whose pages may use it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import auth
from auth import COOKIE
from models import db, now
from tests.accounts import ANN, CHECK, LOGIN, LOGOUT, ME, REFRESH, REGISTER, bearer
from tests.conftest import Account, assert_error

SESSIONS = "/api/auth/sessions"

# Its life


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cookie_is_out_of_reach_and_secure_only_on_https(client: FlaskClient, scheme: str) -> None:
    response = client.post(REGISTER, json=ANN, base_url=f"{scheme}://localhost")
    words = response.headers["Set-Cookie"].split("; ")
    assert words[0].startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(words)
    assert ("Secure" in words) == (scheme == "https")


def test_wrong_password_leaves_the_live_cookie(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert_error(client.post(LOGIN, json={**ANN, "password": "wrong horse"}), 401)
    assert client.get(ME).status_code == 200


def test_check_takes_only_a_dead_cookie_away(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert client.get(CHECK, headers=bearer("nonsense")).json["authenticated"] is False
    assert client.get_cookie(COOKIE)
    client.set_cookie(COOKIE, "nonsense")
    assert client.get(CHECK).json["authenticated"] is False
    assert client.get_cookie(COOKIE) is None


def test_dead_cookie_is_401_and_taken_away(client: FlaskClient, ann: Account) -> None:
    for value in ("nonsense", ann.token, ann.refresh_token):
        client.set_cookie(COOKIE, value)
        assert_error(client.get("/api/todos"), 401)
        assert client.get_cookie(COOKIE) is None
        assert client.get("/api/todos").status_code == 200


@pytest.mark.parametrize("minutes", [0, 6], ids=["fresh", "about to slide"])
def test_ending_its_own_session_takes_the_cookie_away(
    client: FlaskClient, ann: Account, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    other, own = (client.post(LOGIN, json=ANN).json["sessionId"] for _ in range(2))
    later = now() + timedelta(minutes=minutes)
    monkeypatch.setattr(auth, "now", lambda: later)
    for path in (f"{SESSIONS}/{other}", SESSIONS):
        assert client.delete(path).json == {"ok": True, "ended": 1}
        assert client.get_cookie(COOKIE)  # others have ended, not this one
    assert client.delete(f"{SESSIONS}/{own}").json == {"ok": True, "ended": 1}
    assert client.get_cookie(COOKIE) is None
    assert_error(client.get(ME), 401, "unauthorized")


# Who may use it


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


def test_a_page_that_came_in_the_clear_is_another_site(client: FlaskClient) -> None:
    base = "https://wharf.test"
    client.post(REGISTER, json=ANN, base_url=base)
    for origin, status in (("http://wharf.test", 403), ("https://wharf.test", 201)):
        request = {"json": {"title": "x"}, "base_url": base, "headers": {"Origin": origin}}
        assert client.post("/api/todos", **request).status_code == status


def test_other_sites_cannot_sign_a_browser_out(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    assert_error(client.post(LOGOUT, headers={"Origin": "https://evil.test"}), 403)
    assert client.get(ME).status_code == 200


@pytest.mark.parametrize(
    ("origin", "taken"), [("https://evil.test", False), ("http://localhost", True)]
)
@pytest.mark.parametrize("headers", [{}, bearer("nonsense")], ids=["no token", "bad token"])
def test_logout_without_a_session_takes_a_cookie_only_from_our_own_pages(
    app: Flask, headers: dict[str, str], origin: str, taken: bool
) -> None:
    client = app.test_client(use_cookies=False)  # as SameSite has it: no cookie comes along
    response = client.post(LOGOUT, headers={**headers, "Origin": origin})
    assert (response.status_code, response.json) == (200, {"ok": True})
    cookies = [text.partition(";")[0] for text in response.headers.getlist("Set-Cookie")]
    assert cookies == ([f"{COOKIE}="] if taken else [])


def test_logout_by_cookie_takes_it_away(client: FlaskClient, ann: Account) -> None:
    token = client.post(LOGIN, json=ANN).json["token"]
    assert client.post(LOGOUT).json == {"ok": True}
    assert client.get_cookie(COOKIE) is None
    assert_error(client.get(ME, headers=bearer(token)), 401, "unauthorized")


def test_other_sites_cannot_sign_a_browser_in(client: FlaskClient, ann: Account) -> None:
    form = {"data": json.dumps(ANN), "content_type": "text/plain"}
    response = client.post(LOGIN, headers={"Origin": "https://evil.test"}, **form)
    assert response.json["token"]
    assert client.get_cookie(COOKIE) is None
