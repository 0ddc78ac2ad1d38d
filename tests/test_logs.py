"""LOG_FORMAT=json, request ids, and what no log may hold."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from logs import JsonFormatter
from tests.conftest import PASSWORD, Account, Server

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged, line by line; the handlers of others keep their form."""
    root = logging.getLogger()
    forms = [(handler, handler.formatter) for handler in root.handlers]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    for other, form in forms:
        other.setFormatter(form)


@pytest.fixture
def app(lines: Lines, make_app: Callable[..., Flask]) -> Flask:
    """An app that logs JSON at INFO."""
    return make_app(LOG_FORMAT="json", LOG_LEVEL="INFO")


def requests_in(lines: Lines) -> list[dict[str, Any]]:
    return [line for line in lines() if line["logger"] == "request"]


def test_each_request_is_one_line(client: FlaskClient, lines: Lines, ann: Account) -> None:
    response = client.get("/api/todos/7?token=secret", headers=ann.headers)
    line = requests_in(lines)[-1]
    assert line.pop("time").endswith("+00:00")
    assert line.pop("ms") > 0
    assert line == {
        "level": "INFO",
        "logger": "request",
        "message": "GET /api/todos/7 404",
        "request_id": response.headers["X-Request-Id"],
        "user_id": str(ann.user["id"]),
        "route": "/api/todos/<row_id>",
        "method": "GET",
        "path": "/api/todos/7",
        "status": 404,
    }


def test_text_logs_have_no_line_per_request(make_app: Callable[..., Flask], caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        response = make_app().test_client().get("/health")
    assert not [record for record in caplog.records if record.name == "request"]
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize("sent", ["abc", "Root=1-5759e988-bd862e3fe1be46a994272793", "a" * 100])
def test_a_sane_request_id_is_kept(client: FlaskClient, lines: Lines, sent: str) -> None:
    response = client.get("/health", headers={"X-Request-Id": sent})
    assert response.headers["X-Request-Id"] == sent
    assert requests_in(lines)[-1]["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 101, "a b", '"}', "é", "<script>", "a\tb"])
def test_any_other_is_replaced(client: FlaskClient, sent: str) -> None:
    headers = {"X-Request-Id": sent}
    ids = [client.get("/health", headers=headers).headers["X-Request-Id"] for _ in range(2)]
    assert sent not in ids
    assert len({*ids}) == 2


@pytest.mark.parametrize("path", ["/nowhere", "/api/auth/me", "/api/todos/1"])
def test_failures_have_an_id_too(client: FlaskClient, path: str) -> None:
    assert client.get(path).headers["X-Request-Id"]


def test_a_refused_call_has_an_id_and_a_line(make_app: Callable[..., Flask], lines: Lines) -> None:
    client = make_app(LOG_FORMAT="json", API_LIMIT="1 per hour").test_client()
    answers = [client.get("/api/todos") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [line["status"] for line in requests_in(lines)] == [200, 429]
    assert requests_in(lines)[-1]["request_id"] == answers[1].headers["X-Request-Id"]


def test_a_bug_is_one_line_with_its_traceback(
    app: Flask, client: FlaskClient, lines: Lines
) -> None:
    def fail() -> None:
        raise RuntimeError("first\nsecond /ws?token=secret")

    app.view_functions["health.show_health"] = fail
    response = client.get("/health", headers={"X-Request-Id": "mine"})
    assert response.status_code == 500
    bug, request = lines()[-2:]
    assert (bug["level"], bug["logger"], bug["request_id"]) == ("ERROR", "errors", "mine")
    assert "RuntimeError: first\nsecond" in bug["exception"]
    assert request["status"] == 500


def test_no_log_holds_what_is_secret(
    client: FlaskClient, lines: Lines, ann: Account, caplog: Any
) -> None:
    body = {"email": ann.email, "password": PASSWORD}
    client.post("/api/auth/login?next=private", json=body)
    client.get("/api/auth/me", headers=ann.headers)
    client.get("/api/todos", headers={"Authorization": "Bearer made-up-token"})
    text = json.dumps(lines())
    for secret in (PASSWORD, ann.token, ann.refresh_token, "made-up-token", "private", ann.email):
        assert secret not in text
    assert len(requests_in(lines)) >= 3


@pytest.mark.parametrize(
    "message",
    [
        "Error handling request /ws?token=secret",
        "/ws?a=1&ticket=secret&b",
        "'/ws?access_token=secret'",
        "refresh_token=secret",
        "/?TOKEN=secret",
    ],
)
def test_secrets_that_others_quote_are_left_out(message: str) -> None:
    record = logging.LogRecord("gunicorn.error", logging.ERROR, "", 0, message, (), None)
    assert "secret" not in JsonFormatter().format(record)


def test_links_are_logged_without_their_token(client: FlaskClient, lines: Lines) -> None:
    client.get("/links/secret.signature")
    client.get("/api/files/5/links/7")
    assert "secret" not in json.dumps(lines())
    assert [line["path"] for line in requests_in(lines)] == ["/links/...", "/api/files/5/links/7"]


@pytest.mark.parametrize("path", ["/a%0Ab", "/%22%7D", "/%F0%9F%9A%80", "/%ff%fe"])
def test_no_path_breaks_a_line(client: FlaskClient, lines: Lines, path: str) -> None:
    before = len(lines())
    client.get(path)
    assert len(requests_in(lines)) == 1
    assert len(lines()) == before + 1


def test_a_socket_is_one_line_when_it_ends(server: Server, ann: Account, lines: Lines) -> None:
    peer = server.chat(ann)
    (connection,) = server.app.extensions["realtime"].hub.connections
    peer.close()
    server.stop()
    server.peers.clear()
    (line,) = [line for line in requests_in(lines) if line["route"] == "/ws"]
    assert (line["status"], line["path"]) == (101, "/ws")
    assert (line["connection_id"], line["user_id"]) == (connection, str(ann.user["id"]))
    assert ann.token not in json.dumps(lines())
