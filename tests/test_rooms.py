"""Rooms over HTTP: history and posting (docs/frontends/larc.md)."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from models import Message, Room, StoredEvent, db
from tests.conftest import Account, assert_error

LOBBY = "/api/rooms/lobby/messages"


def counts(app: Flask) -> list[int]:
    """How many rooms, messages and events are stored."""
    with app.app_context():
        tables = (Room, Message, StoredEvent)
        return [db.session.scalar(select(func.count()).select_from(table)) for table in tables]


def texts(client: FlaskClient, path: str, account: Account) -> list[str]:
    answer = client.get(path, headers=account.headers)
    assert answer.status_code == 200, answer.json
    items = answer.json if isinstance(answer.json, list) else answer.json["items"]
    return [message["content"] for message in items]


def test_message_is_posted_with_201_in_both_spellings(client: FlaskClient, ann: Account) -> None:
    response = client.post(LOBBY, json={"content": "hello"}, headers=ann.headers)
    assert response.status_code == 201
    message = response.json
    assert message["roomId"] == message["room_id"] == "lobby"
    assert message["userId"] == message["user_id"] == ann.user["id"]
    assert message["createdAt"] == message["created_at"]
    assert message["createdAt"].endswith("Z")
    assert (message["userName"], message["content"]) == ("Ann", "hello")
    assert client.get(LOBBY, headers=ann.headers).json == [message]


def test_message_is_told_once_as_the_room_reads_it(
    app: Flask, client: FlaskClient, ann: Account
) -> None:
    message = client.post(LOBBY, json={"content": "hello"}, headers=ann.headers).json
    with app.app_context():
        event = db.session.scalars(select(StoredEvent)).one()
        assert (event.topic, event.seq, event.type) == ("room:lobby", 1, "chat-message")
        assert json.loads(event.data) == {"roomId": "lobby", "message": message}


def test_history_is_oldest_first(client: FlaskClient, ann: Account, bob: Account) -> None:
    for account, text in [(ann, "a"), (bob, "b"), (ann, "c")]:
        client.post(LOBBY, json={"content": text}, headers=account.headers)
    assert texts(client, LOBBY, bob) == ["a", "b", "c"]
    names = [message["userName"] for message in client.get(LOBBY, headers=ann.headers).json]
    assert names == ["Ann", "Bob", "Ann"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=2", ["b", "c"]),
        ("limit=2&page=2", ["a"]),
        ("sort=id", ["a", "b", "c"]),
        ("sort=-id", ["c", "b", "a"]),
        ("sort=user_id&limit=1", ["c"]),
        ("sort=", ["a", "b", "c"]),
        ("q=B", ["b"]),
        ("user_id=999999999999", []),
    ],
)
def test_page_of_history_is_the_latest_unless_sorted(
    client: FlaskClient, ann: Account, query: str, expected: list[str]
) -> None:
    for text in "abc":
        client.post(LOBBY, json={"content": text}, headers=ann.headers)
    assert texts(client, f"{LOBBY}?{query}", ann) == expected


def test_rooms_do_not_mix(client: FlaskClient, ann: Account) -> None:
    client.post(LOBBY, json={"content": "here"}, headers=ann.headers)
    client.post("/api/rooms/Lobby/messages", json={"content": "there"}, headers=ann.headers)
    assert texts(client, LOBBY, ann) == ["here"]


def test_reading_a_new_room_stores_nothing(app: Flask, client: FlaskClient, ann: Account) -> None:
    assert client.get(LOBBY, headers=ann.headers).json == []
    assert counts(app) == [0, 0, 0]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_room_needs_sign_in(app: Flask, client: FlaskClient, method: str) -> None:
    response = client.open(LOBBY, method=method, json={"content": "x"})
    assert assert_error(response, 401)["error"] == "No token provided"
    assert counts(app) == [0, 0, 0]


@pytest.mark.parametrize(
    "name",
    [
        "räume 日本 🎉",
        "..",
        "a b",
        "100%",
        "a?b#c",
        "'; DROP TABLE rooms; --",
        "<script>",
        "x" * 200,
        "undefined",
    ],
)
def test_room_name_may_be_any_printable_text(client: FlaskClient, ann: Account, name: str) -> None:
    path = f"/api/rooms/{quote(name, safe='')}/messages"
    for text in "ab":
        response = client.post(path, json={"content": text}, headers=ann.headers)
        assert (response.status_code, response.json["roomId"]) == (201, name)
    page = client.get(f"{path}?limit=1", headers=ann.headers)
    assert page.headers["Link"].isascii()
    following = page.headers["Link"].partition(">")[0].removeprefix("<")
    assert texts(client, following, ann) == ["a"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        pytest.param("%00", 400, id="NUL"),
        pytest.param("a%00b", 400, id="NUL within"),
        pytest.param("a%0D%0ASet-Cookie:x", 400, id="line break"),
        pytest.param("%E2%80%AE", 400, id="right to left"),
        pytest.param("x" * 201, 400, id="201 characters"),
        pytest.param("x" * 9_000, 400, id="9 kB"),
        pytest.param("..%2Fx", 404, id="encoded slash"),
        pytest.param("../x", 404, id="slash"),
    ],
)
def test_bad_room_name_is_refused(
    app: Flask, client: FlaskClient, ann: Account, name: str, status: int
) -> None:
    path = f"/api/rooms/{name}/messages"
    headers = {**ann.headers, "Idempotency-Key": "k"}
    assert_error(client.get(path, headers=headers), status)
    assert_error(client.post(path, headers=headers, json={"content": "x"}), status)
    assert counts(app) == [0, 0, 0]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="no body"),
        pytest.param('{"content": ""}', id="empty"),
        pytest.param('{"content": null}', id="null"),
        pytest.param('{"content": 1}', id="number"),
        pytest.param('{"content": ["x"]}', id="list"),
        pytest.param('{"content": "\\u0000"}', id="NUL"),
        pytest.param('{"content": "\\udfff"}', id="lone surrogate"),
        pytest.param(f'{{"content": "{"x" * 100_001}"}}', id="too long"),
        pytest.param("hello", id="no JSON"),
    ],
)
def test_content_of_worst_form_is_400(
    app: Flask, client: FlaskClient, ann: Account, body: Any
) -> None:
    assert_error(client.post(LOBBY, data=body, headers=ann.headers), 400)
    assert counts(app) == [0, 0, 0]


@pytest.mark.parametrize("content", [" spaces ", "<b>", "🎉\n日本\t", "x" * 100_000])
def test_content_is_kept_as_it_is(client: FlaskClient, ann: Account, content: str) -> None:
    client.post(LOBBY, json={"content": content}, headers=ann.headers)
    assert texts(client, LOBBY, ann) == [content]
