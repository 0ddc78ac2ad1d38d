"""Reverse proxies: how many are believed, about what; headers that go with every answer."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, redirect
from flask.testing import FlaskClient
from sqlalchemy import select

import rate_limits
from app import SECURITY_HEADERS
from models import Session, db
from tests.accounts import ANN, LOGIN, ME, REFRESH, REGISTER
from tests.conftest import Account, assert_error
from tests.uploads import UPLOAD, form, read

SOCKET = "10.0.0.9"  # who is connected to us: the last proxy
BY_SOCKET = {"environ_overrides": {"REMOTE_ADDR": SOCKET}}

# Whom we believe

CHAINS = [
    pytest.param(0, "6.6.6.6, 192.0.2.1, 10.0.0.1", SOCKET, id="none"),
    pytest.param(0, "192.0.2.1", SOCKET, id="none, one entry"),
    pytest.param(1, "192.0.2.1", "192.0.2.1", id="one"),
    pytest.param(1, "6.6.6.6, 192.0.2.1", "192.0.2.1", id="one, spoofed"),
    pytest.param(1, "2001:db8::1", "2001:db8::1", id="one, IPv6"),
    pytest.param(2, "192.0.2.1, 10.0.0.1", "192.0.2.1", id="two"),
    pytest.param(2, "6.6.6.6, 7.7.7.7, 192.0.2.1, 10.0.0.1", "192.0.2.1", id="two, spoofed"),
    pytest.param(2, "192.0.2.1", SOCKET, id="two, one entry"),
    pytest.param(1, "", SOCKET, id="one, no entry"),
]


@pytest.mark.parametrize(("proxies", "forwarded", "address"), CHAINS)
def test_session_keeps_the_right_address(
    make_app: Callable[..., Flask], proxies: int, forwarded: str, address: str
) -> None:
    app = make_app(PROXIES=proxies)
    headers = {"X-Forwarded-For": forwarded}
    response = app.test_client().post(REGISTER, json=ANN, headers=headers, **BY_SOCKET)
    assert response.status_code == 201
    with app.app_context():
        assert db.session.scalars(select(Session.address)).all() == [address]


@pytest.mark.parametrize(
    ("proxies", "chains", "statuses"),
    [
        (0, ["192.0.2.1", "192.0.2.2"], [200, 429]),
        (1, ["192.0.2.1", "192.0.2.2"], [200, 200]),
        (1, ["6.6.6.6, 192.0.2.1", "7.7.7.7, 192.0.2.1"], [200, 429]),
        (2, ["192.0.2.1, 10.0.0.1", "192.0.2.2, 10.0.0.1"], [200, 200]),
        (2, ["192.0.2.1, 10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2"], [200, 429]),
    ],
)
def test_limits_count_the_right_address(
    make_app: Callable[..., Flask], proxies: int, chains: list[str], statuses: list[int]
) -> None:
    client = make_app(PROXIES=proxies, API_LIMIT="1 per day").test_client()
    answers = [
        client.get("/api/todos", headers={"X-Forwarded-For": c}, **BY_SOCKET) for c in chains
    ]
    assert [answer.status_code for answer in answers] == statuses


@pytest.mark.parametrize(
    ("proxies", "forwarded", "secure"),
    [
        (0, "https", False),
        (1, "https", True),
        (1, "http", False),
        (1, "https, http", False),
        (1, "http, https", True),
        (2, "https, http", True),
        (2, "https, http, http", False),
        (2, "https", False),
    ],
)
def test_scheme_is_what_the_right_proxy_says(
    make_app: Callable[..., Flask], proxies: int, forwarded: str, secure: bool
) -> None:
    client = make_app(PROXIES=proxies).test_client()
    headers = {"X-Forwarded-Proto": forwarded}
    response = client.post(REGISTER, json=ANN, headers=headers, **BY_SOCKET)
    assert ("Secure" in response.headers["Set-Cookie"].split("; ")) == secure
    strict = "max-age=31536000" if secure else None
    assert response.headers.get("Strict-Transport-Security") == strict
    nothing = client.get("/nothing", headers=headers)
    assert nothing.headers.get("Strict-Transport-Security") == strict


@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_forwarded_host_is_never_believed(make_app: Callable[..., Flask], proxies: int) -> None:
    client = make_app(PROXIES=proxies).test_client()
    base = {"base_url": "http://wharf.test"}
    client.post(REGISTER, json=ANN, **base)
    evil = {
        "X-Forwarded-Host": "evil.test, evil.test",
        "X-Forwarded-Port": "81, 81",
        "X-Forwarded-Prefix": "/evil, /evil",
        "Forwarded": "host=evil.test",
    }
    for origin in ("http://evil.test", "http://wharf.test:81"):
        headers = {**evil, "Origin": origin}
        assert_error(client.post("/api/todos", json={"title": "x"}, headers=headers, **base), 403)
    headers = {**evil, "Origin": "http://wharf.test"}
    todo = client.post("/api/todos", json={"title": "x"}, headers=headers, **base)
    assert todo.status_code == 201


# Headers of every answer


def hardening(response: Any) -> dict[str, str | None]:
    """The security headers of an answer, which is read to its end."""
    response.get_data()
    response.close()
    return {name: response.headers.get(name) for name in SECURITY_HEADERS}


def test_policy_lets_in_only_what_is_ours() -> None:
    words = dict(
        part.split(" ", 1) for part in SECURITY_HEADERS["Content-Security-Policy"].split("; ")
    )
    assert words["default-src"] == "'self'"
    assert words["object-src"] == words["base-uri"] == words["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(words)
    assert "script-src" not in words
    others = {name: SECURITY_HEADERS[name] for name in SECURITY_HEADERS if "Policy" not in name}
    assert others == {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "private, no-cache",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/todos", 200),
        ("HEAD", "/api/todos", 200),
        ("GET", "/api/config", 200),
        ("POST", "/api/auth/login", 400),
        ("GET", "/api/auth/me", 401),
        ("GET", "/nothing", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/uploads/nothing.png", 404),
        ("BREW", "/api/todos", 405),
        ("GET", "/sync", 426),
        ("GET", "/broken", 500),
        ("POST", "/api/auth/password-reset", 503),
        ("OPTIONS", "/api/todos", 200),
        ("GET", "/folder", 308),
        ("GET", "/leave", 302),
        ("DELETE", "/api/todos/1", 204),
    ],
)
def test_every_kind_of_answer_is_hardened(app: Flask, method: str, path: str, status: int) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    app.add_url_rule("/broken", view_func=fail)
    app.add_url_rule("/folder/", "folder", lambda: "")
    app.add_url_rule("/leave", "leave", lambda: redirect("/"))
    response = app.test_client().open(path, method=method)
    assert response.status_code == status
    assert hardening(response) == SECURITY_HEADERS


def test_refusals_by_rate_limit_are_hardened(make_app: Callable[..., Flask]) -> None:
    client = make_app(API_LIMIT="1 per day").test_client()
    client.get("/api/todos")
    response = client.get("/api/todos")
    assert response.status_code == 429
    assert hardening(response) == SECURITY_HEADERS


@pytest.mark.parametrize("path", ["/", "/static/index.html"])
def test_static_files_are_hardened_and_asked_for_again(client: FlaskClient, path: str) -> None:
    response = client.get(path, buffered=True)
    assert hardening(response) == {**SECURITY_HEADERS, "Cache-Control": "no-cache"}
    again = client.get(path, headers={"If-None-Match": response.headers["ETag"]}, buffered=True)
    assert again.status_code == 304
    assert hardening(again) == {**SECURITY_HEADERS, "Cache-Control": "no-cache"}


def test_unchanged_json_is_hardened(client: FlaskClient) -> None:
    tag = client.get("/api/todos").headers["ETag"]
    response = client.get("/api/todos", headers={"If-None-Match": tag})
    assert response.status_code == 304
    assert hardening(response) == SECURITY_HEADERS


def test_uploads_are_locked_in(client: FlaskClient, ann: Account) -> None:
    file = client.post(UPLOAD, headers=ann.headers, **form()).json
    sandbox = "default-src 'none'; sandbox"
    shown = hardening(read(client, file["url"]))
    lasting = shown.pop("Cache-Control")
    assert set(str(lasting).split(", ")) == {"public", "max-age=3600"}
    expected = {**SECURITY_HEADERS, "Content-Security-Policy": sandbox}
    assert shown == {name: expected[name] for name in shown}
    path = f"/api/files/{file['id']}/download"
    kept = hardening(read(client, path, **ann.headers))["Cache-Control"]
    assert set(str(kept).split(", ")) == {"private", "no-cache"}


@pytest.mark.parametrize(
    "path", [REGISTER, LOGIN, REFRESH, "/api/auth/ticket", "/api/session/init"]
)
def test_no_shared_cache_stores_tokens(client: FlaskClient, path: str) -> None:
    if path != REGISTER:
        client.post(REGISTER, json=ANN)
    response = client.post(path, json=ANN)
    assert response.status_code in (200, 201)
    assert re.search(r"token|ticket", response.get_data(as_text=True))
    cached = set(response.headers["Cache-Control"].split(", "))
    assert cached & {"private", "no-store"}
    assert "public" not in cached


def test_personal_answers_are_private(client: FlaskClient, ann: Account) -> None:
    for path in (ME, "/api/auth/sessions", "/api/files", "/api/auth/check"):
        response = client.get(path, headers=ann.headers)
        assert response.status_code == 200
        assert hardening(response) == SECURITY_HEADERS


@pytest.mark.parametrize(
    ("forwarded", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3::4]:4711", "2001:db8:1:2::/64"),
        ("64:ff9b::192.0.2.1", "64:ff9b::/64"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("1.2.3.4:port", "unknown"),
    ],
)
def test_one_customer_is_one_address(app: Flask, forwarded: str, key: str) -> None:
    with app.test_request_context(environ_base={"REMOTE_ADDR": forwarded}):
        assert rate_limits.caller_address() == key
