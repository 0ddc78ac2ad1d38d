"""A request with an Idempotency-Key is done once, however often it is sent."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

import models
from models import Category, Message, Receipt, StoredEvent, Todo, db
from tests.conftest import Account, assert_error

TODO = ("/api/todos", {"title": "x"}, Todo)
MESSAGE = ("/api/rooms/lobby/messages", {"content": "x"}, Message)
KEY = {"Idempotency-Key": "k"}
each_noun = pytest.mark.parametrize(
    ("path", "body", "model"),
    [pytest.param(*TODO, id="todo"), pytest.param(*MESSAGE, id="message")],
)


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(model))


@each_noun
def test_retry_gets_the_first_answer_and_is_stored_once(
    app: Flask, client: FlaskClient, ann: Account, path: str, body: Any, model: Any
) -> None:
    answers = [client.post(path, json=body, headers={**ann.headers, **KEY}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.data for answer in answers}) == 1
    assert count(app, model) == count(app, StoredEvent) == 1


@each_noun
def test_key_used_for_another_body_is_409(
    app: Flask, client: FlaskClient, ann: Account, path: str, body: Any, model: Any
) -> None:
    headers = {**ann.headers, **KEY}
    client.post(path, json=body, headers=headers)
    other = dict.fromkeys(body, "y")
    assert_error(client.post(path, json=other, headers=headers), 409, "id_reused")
    assert count(app, model) == 1


@each_noun
def test_without_a_key_every_request_counts(
    app: Flask, client: FlaskClient, ann: Account, path: str, body: Any, model: Any
) -> None:
    for key in ({}, {}, {"Idempotency-Key": ""}, {"Idempotency-Key": "a"}):
        client.post(path, json=body, headers={**ann.headers, **key})
    assert count(app, model) == 4


@each_noun
def test_users_do_not_share_keys(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, path: str, body: Any, model: Any
) -> None:
    replies = [client.post(path, json=body, headers={**a.headers, **KEY}).json for a in (ann, bob)]
    assert replies[0]["id"] != replies[1]["id"]
    assert count(app, model) == 2


def test_addresses_do_not_share_keys(app: Flask, client: FlaskClient, ann: Account) -> None:
    for room in ("a", "b"):
        path = f"/api/rooms/{room}/messages"
        client.post(path, json={"content": "x"}, headers={**ann.headers, **KEY})
    assert count(app, Message) == 2


def test_nobody_has_no_receipts(app: Flask, client: FlaskClient) -> None:
    for _ in range(2):
        assert client.post("/api/todos", json={"title": "x"}, headers=KEY).status_code == 201
    assert count(app, Todo) == 2
    assert count(app, Receipt) == 0


def test_failed_request_leaves_its_key_free(client: FlaskClient, ann: Account) -> None:
    headers = {**ann.headers, **KEY}
    assert_error(client.post("/api/todos", json={"title": ""}, headers=headers), 400)
    assert client.post("/api/todos", json={"title": "x"}, headers=headers).status_code == 201


def test_receipt_is_forgotten_after_a_day(
    app: Flask, client: FlaskClient, ann: Account, monkeypatch: Any
) -> None:
    def post() -> int:
        headers = {**ann.headers, **KEY}
        return client.post("/api/todos", json={"title": "x"}, headers=headers).json["id"]

    first, clock = post(), models.now
    monkeypatch.setattr(models, "now", lambda: clock() + timedelta(hours=23, minutes=59))
    assert post() == first
    monkeypatch.setattr(models, "now", lambda: clock() + timedelta(days=1, seconds=1))
    assert post() != first
    assert count(app, Todo) == 2


@pytest.mark.parametrize("key", ["k" * 3_000, "ä ö", "'; --", "%00"])
def test_key_may_be_any_text(app: Flask, client: FlaskClient, ann: Account, key: str) -> None:
    for _ in range(2):
        headers = {**ann.headers, "Idempotency-Key": key}
        assert client.post("/api/todos", json={"title": "x"}, headers=headers).status_code == 201
    assert count(app, Todo) == 1


def test_long_keys_are_told_apart(app: Flask, client: FlaskClient, ann: Account) -> None:
    for end in "ab":
        headers = {**ann.headers, "Idempotency-Key": "k" * 3_000 + end}
        client.post("/api/todos", json={"title": "x"}, headers=headers)
    assert count(app, Todo) == 2


@each_noun
def test_concurrent_twins_are_stored_once(
    app: Flask, ann: Account, path: str, body: Any, model: Any
) -> None:
    answers: list[Any] = []
    start = threading.Barrier(4)

    def post() -> None:
        client = app.test_client()
        start.wait(5)
        answers.append(client.post(path, json=body, headers={**ann.headers, **KEY}))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.data for answer in answers}) == 1
    assert count(app, model) == count(app, StoredEvent) == count(app, Receipt) == 1


def test_twins_that_clash_get_the_first_answer(app: Flask, admin: Account) -> None:
    """Each makes a category of the same slug: the clash is found before the retry is known."""
    headers, body = {**admin.headers, **KEY}, {"name": "News"}

    def post() -> tuple[int, Any]:
        response = app.test_client().post("/api/categories", json=body, headers=headers)
        return response.status_code, response.json

    with ThreadPoolExecutor(4) as pool:
        answers = [one.result(30) for one in [pool.submit(post) for _ in range(4)]]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 201
    assert count(app, Category) == 1
