"""Every failure has one shape, on every route; headers that go with every answer."""

import logging
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError

from errors import error_body
from models import User, db
from tests.conftest import Account, assert_error
from tests.streams import is_endless

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
GARBAGE = [
    ("", b""),
    ("application/json", b""),
    ("application/json", b"\xff\xfe{"),
    ("application/json", b"[" * 50_000),
    ("text/plain", b"null"),
    ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b"),
    ("application/x-www-form-urlencoded", b"%ff=%00&a"),
    ("a/b; charset=nonsense", b'{"a": 1}'),
]
WORDS = ("undefined", "%00", "%FF", "-1", "9" * 30, "x" * 3_000)


def paths(app: Flask, word: str) -> list[tuple[str, set[str]]]:
    """Each HTTP address of the app with `word` in place of its variables, and its methods."""
    rules = [rule for rule in app.url_map.iter_rules() if not is_endless(rule)]
    assert len(rules) > 25
    return [(re.sub("<[^>]*>", word, rule.rule), set(rule.methods or ())) for rule in rules]


def assert_sane(response: Any) -> None:
    """An answer is a success, or a failure in the one shape; never a bug."""
    response.get_data()
    response.close()
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    if response.status_code >= 400:
        assert response.status_code != 500
        assert response.mimetype == "application/json"
        if response.request.method != "HEAD":
            assert_error(response, response.status_code)


@pytest.mark.parametrize("signed_in", [False, True], ids=["nobody", "a user"])
def test_no_route_fails_on_garbage(app: Flask, ann: Account, signed_in: bool) -> None:
    client = app.test_client()
    for n, word in enumerate(WORDS):
        for path, methods in paths(app, word):
            for method in methods - {"OPTIONS"}:
                content_type, body = GARBAGE[n % len(GARBAGE)]
                headers = {"Idempotency-Key": "k", "Content-Type": content_type}
                headers |= ann.headers if signed_in and "logout" not in path else {}
                assert_sane(client.open(path, method=method, data=body, headers=headers))


def test_no_body_breaks_a_posting_route(app: Flask, ann: Account) -> None:
    client = app.test_client()
    for path, methods in paths(app, "1"):
        for content_type, body in GARBAGE if "POST" in methods else ():
            headers = {**ann.headers, "Content-Type": content_type}
            response = client.post(path, data=body, headers={} if "logout" in path else headers)
            assert_sane(response)


def test_wrong_method_is_405_and_says_which_are_right(app: Flask, client: FlaskClient) -> None:
    doors = app.url_map.bind("localhost")
    for path, _methods in paths(app, "1"):
        methods = set(doors.allowed_methods(path))
        for method in ("PUT", "DELETE", "BREW"):
            if method not in methods:
                response = client.open(path, method=method)
                assert_error(response, 405, "method_not_allowed")
                assert set(response.headers["Allow"].split(", ")) == methods


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/static/nothing.js", "/api/todos/"])
def test_unknown_route_is_404(client: FlaskClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = client.open(path, method=method)
        if response.status_code != 405:
            assert_error(response, 404)
            assert response.json["code"].endswith("not_found")


@pytest.mark.parametrize("host", ["[", "[::1", "a b", "a@b", "x" * 3_000, ""])
def test_bad_host_is_no_bug(client: FlaskClient, host: str) -> None:
    client.set_cookie("wharf_session", "x")
    headers = {"Origin": "http://localhost:1"}
    response = client.post("/api/todos", headers=headers, environ_overrides={"HTTP_HOST": host})
    assert 400 <= response.status_code < 500
    assert_error(response, response.status_code)


# Bugs and broken services


@pytest.fixture
def break_health(app: Flask) -> Any:
    """Lets a route fail with an exception of choice."""

    def fail_with(error: Exception) -> None:
        def fail() -> None:
            raise error

        app.view_functions["health.show_health"] = fail

    return fail_with


def test_bug_is_logged_and_not_shown(client: FlaskClient, break_health: Any, caplog: Any) -> None:
    break_health(RuntimeError("the secret of the database"))
    response = client.get("/api/health")
    body = assert_error(response, 500, "internal_error")
    assert body["error"] == "Internal server error"
    assert b"secret" not in response.data
    record = caplog.records[-1]
    assert (record.levelno, record.name) == (logging.ERROR, "errors")
    assert "the secret of the database" in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (IntegrityError("INSERT secret", {}, Exception("secret")), 409),
        (OperationalError("SELECT secret", {}, Exception("secret")), 503),
        (InternalError("COMMIT", {}, Exception("idle"), connection_invalidated=True), 503),
    ],
)
def test_words_of_the_driver_are_not_shown(
    client: FlaskClient, break_health: Any, error: Exception, status: int
) -> None:
    break_health(error)
    response = client.get("/api/health")
    assert_error(response, status)
    assert b"secret" not in response.data
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)


def test_the_driver_tells_no_values_to_the_log(app: Flask, ann: Account) -> None:
    with app.app_context(), pytest.raises(IntegrityError) as failed:
        db.session.add(User(email=ann.email, name="Ann", password_hash="a hash"))
        db.session.flush()
    assert "a hash" not in str(failed.value)


def test_health_is_503_without_a_database(client: FlaskClient, monkeypatch: Any) -> None:
    assert client.get("/health").json["databaseConnected"] is True

    def fail(*args: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("no route"))

    monkeypatch.setattr(db.session, "execute", fail)
    answer = client.get("/health")
    assert (answer.status_code, answer.json["status"]) == (503, "down")
    assert (answer.json["code"], answer.json["databaseConnected"]) == ("unavailable", False)


def test_shape_has_the_fields_only_when_there_are_some() -> None:
    body = error_body(404, "Todo not found", "todo_not_found")
    assert body == {
        "error": "Todo not found",
        "message": "Todo not found",
        "detail": "Todo not found",
        "code": "todo_not_found",
        "status": 404,
    }
    assert error_body(400, "x", fields={"a": ["x"]})["errors"] == {"a": ["x"]}
    assert error_body(418, "x")["code"] == "bad_request"
    assert error_body(502, "x")["code"] == "internal_error"


# Headers


@pytest.mark.parametrize("path", ["/", "/api/todos", "/api/auth/me", "/nothing", "/api/config"])
def test_every_answer_is_hardened(client: FlaskClient, path: str) -> None:
    headers = client.get(path, buffered=True).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
