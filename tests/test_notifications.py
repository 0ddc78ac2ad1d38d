"""Notifications: stored, listed, marked, told to every socket of their user."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import notifications
from models import Notification, StoredEvent, db
from tests.conftest import Account, Server, assert_error

URL = "/api/notifications"
Tell = Callable[..., int]


@pytest.fixture
def tell(app: Flask) -> Tell:
    """Notifies an account, returns the id: `tell(ann, "title")`."""

    def make(account: Account, title: str = "Hello", **fields: Any) -> int:
        with app.app_context():
            row = notifications.notify(account.user["id"], title, **fields)
            db.session.commit()
            return row.id

    return make


def titles(client: FlaskClient, account: Account, query: str = "") -> str:
    response = client.get(f"{URL}?{query}", headers=account.headers)
    assert response.status_code == 200, response.json
    items = response.json if isinstance(response.json, list) else response.json["items"]
    return "".join(item["title"] for item in items)


def unread(client: FlaskClient, account: Account) -> int:
    answer = client.get(f"{URL}/unread-count", headers=account.headers)
    header = client.get(URL, headers=account.headers).headers["X-Unread-Count"]
    assert answer.json == {"unread": int(header)}
    return int(header)


# Reading


def test_notification_has_all_that_was_said(client: FlaskClient, ann: Account, tell: Tell) -> None:
    id = tell(ann, "Full", message="No room left", category="error", link="/files")
    [item] = client.get(URL, headers=ann.headers).json
    assert client.get(f"{URL}/{id}", headers=ann.headers).json == item
    created = datetime.fromisoformat(item.pop("createdAt"))
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    assert item == {
        "id": id,
        "category": "error",
        "title": "Full",
        "message": "No room left",
        "link": "/files",
        "read": False,
        "readAt": None,
    }


def test_unknown_category_is_a_mistake_of_the_caller(app: Flask, ann: Account) -> None:
    with app.app_context(), pytest.raises(ValueError, match="info, warning, error"):
        notifications.notify(ann.user["id"], "x", category="fatal")


def test_list_keeps_the_list_rule(client: FlaskClient, ann: Account, tell: Tell) -> None:
    for title, category in [("a", "info"), ("b", "warning"), ("c", "info")]:
        tell(ann, title, category=category)
    assert titles(client, ann) == "cba"
    assert titles(client, ann, "limit=2") == "cb"
    assert titles(client, ann, "category=info&sort=id") == "ac"
    assert titles(client, ann, "q=B") == "b"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("true", "ca"), ("1", "ca"), ("false", "b"), ("0", "b"), ("", "cba"), ("null", "cba")],
)
def test_unread_chooses(
    client: FlaskClient, ann: Account, tell: Tell, word: str, expected: str
) -> None:
    ids = [tell(ann, title) for title in "abc"]
    client.post(f"{URL}/{ids[1]}/read", headers=ann.headers)
    assert titles(client, ann, f"unread={word}") == expected
    assert unread(client, ann) == 2


def test_polling_gets_what_came_after_the_newest_it_knows(
    app: Flask, client: FlaskClient, ann: Account, tell: Tell
) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_900)
    for title in ("old", "new"):
        id = tell(ann, title)
        with app.app_context():
            db.session.get(Notification, id).created_at = moment
            db.session.commit()
        moment += timedelta(milliseconds=1)
    old = client.get(URL, headers=ann.headers).json[1]
    stamp = int(datetime.fromisoformat(old["createdAt"]).timestamp() * 1000)
    marks = [old["createdAt"], stamp, "2026-01-02T03:04:05.678", "2026-01-02T04:04:05.678+01:00"]
    for since in marks:
        assert titles(client, ann, f"since={since}") == "new", since
    assert titles(client, ann, "since=2026-01-02") == "newold"
    assert titles(client, ann, f"since={stamp - 1}") == "newold"
    assert titles(client, ann, f"since={stamp + 1}") == ""


@pytest.mark.parametrize(
    "query",
    [
        "since=x",
        "since=-1",
        "since=1e3",
        "since=²",
        "since=9999-12-31T23:59:59.999",
        f"since={'9' * 30}",
        f"since={'9' * 5000}",
        "since=2026-13-01",
        "unread=maybe",
    ],
)
def test_query_that_means_nothing_is_400(client: FlaskClient, ann: Account, query: str) -> None:
    body = assert_error(client.get(f"{URL}?{query}", headers=ann.headers), 400, "invalid_input")
    assert list(body["errors"]) == [query.partition("=")[0]]


# Marking and deleting


def test_notification_is_marked_as_read_and_unread(
    client: FlaskClient, ann: Account, tell: Tell
) -> None:
    id = tell(ann)
    steps: list[tuple[str, str, Any, bool]] = [
        ("POST", f"{URL}/{id}/read", None, True),
        ("POST", f"{URL}/{id}/read", None, True),
        ("POST", f"{URL}/{id}/unread", None, False),
        ("PATCH", f"{URL}/{id}", {"read": True}, True),
        ("PATCH", f"{URL}/{id}", {"title": "other"}, True),
        ("PUT", f"{URL}/{id}", {"read": False}, False),
    ]
    for method, path, body, read in steps:
        item = client.open(path, method=method, json=body, headers=ann.headers).json
        assert (item["read"], item["readAt"] is not None) == (read, read), path
        assert (item["title"], unread(client, ann)) == ("Hello", 0 if read else 1)


def test_reading_again_keeps_when_it_was_read(
    client: FlaskClient, ann: Account, tell: Tell
) -> None:
    path = f"{URL}/{tell(ann)}/read"
    first, second = (client.post(path, headers=ann.headers).json for _ in range(2))
    assert first == second


def test_all_are_read_then_deleted(
    client: FlaskClient, ann: Account, bob: Account, tell: Tell
) -> None:
    ids = [tell(ann), tell(ann)]
    tell(bob)
    answer = client.post(f"{URL}/read-all", headers=ann.headers)
    assert answer.json == {"ok": True, "ids": ids, "unread": 0}
    third = tell(ann, "later")
    answer = client.delete(f"{URL}/read", headers=ann.headers)
    assert answer.json == {"ok": True, "ids": ids, "unread": 1}
    assert [item["id"] for item in client.get(URL, headers=ann.headers).json] == [third]
    assert unread(client, bob) == 1


def test_notification_is_deleted(client: FlaskClient, ann: Account, tell: Tell) -> None:
    id, other = tell(ann), tell(ann, "other")
    assert client.delete(f"{URL}/{id}", headers=ann.headers).status_code == 204
    assert_error(client.delete(f"{URL}/{id}", headers=ann.headers), 404, "notification_not_found")
    answer = client.delete(f"{URL}/{other}", headers=ann.headers, json={})
    assert answer.json == {"ok": True, "id": other}


CALLS = [
    ("GET", "/{id}"),
    ("PATCH", "/{id}"),
    ("POST", "/{id}/read"),
    ("POST", "/{id}/unread"),
    ("DELETE", "/{id}"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_what_others_were_told_is_404(
    client: FlaskClient, ann: Account, bob: Account, tell: Tell, method: str, path: str
) -> None:
    before = [tell(ann)]
    for id in [*before, 999, 0, -1, "x", "9" * 30, "%00"]:
        address = URL + path.format(id=id)
        response = client.open(address, method=method, json={"read": True}, headers=bob.headers)
        assert_error(response, 404, "notification_not_found")
    assert unread(client, ann) == 1
    assert titles(client, bob) == ""


@pytest.mark.parametrize(
    ("method", "path"),
    [*CALLS, ("GET", ""), ("GET", "/unread-count"), ("POST", "/read-all"), ("DELETE", "/read")],
)
def test_notifications_need_sign_in(client: FlaskClient, method: str, path: str) -> None:
    assert_error(client.open(URL + path.format(id=1), method=method), 401)


@pytest.mark.parametrize("body", ['{"read": "perhaps"}', '{"read": []}', "x", "[]"])
def test_bad_change_is_400(client: FlaskClient, ann: Account, tell: Tell, body: str) -> None:
    path = f"{URL}/{tell(ann)}"
    assert_error(client.patch(path, data=body, headers=ann.headers), 400)
    assert unread(client, ann) == 1


# Live


def test_every_socket_of_the_user_hears_it_and_nobody_else(
    server: Server, ann: Account, bob: Account, tell: Tell
) -> None:
    here, there, other = server.chat(ann), server.chat(ann), server.chat(bob)
    id = tell(ann, "Full", message="No room left", category="warning", link="/files")
    for peer in (here, there):
        frame = peer.expect("notification")
        assert (frame.pop("createdAt").endswith("Z"), frame.pop("seq") > 0) == (True, True)
        assert frame == {
            "type": "notification",
            "id": id,
            "category": "warning",
            "title": "Full",
            "message": "No room left",
            "link": "/files",
            "read": False,
            "readAt": None,
            "unread": 1,
            "payload": {"id": id, "type": "warning", "title": "Full", "message": "No room left"},
        }
    assert other.until_pong() == []


def test_other_devices_hear_what_was_read_unread_and_deleted(
    server: Server, client: FlaskClient, ann: Account, tell: Tell
) -> None:
    one, two = tell(ann), tell(ann)
    peer = server.chat(ann)
    steps: list[tuple[str, str, str, list[int], int]] = [
        ("POST", f"/{one}/read", "notification-read", [one], 1),
        ("POST", f"/{one}/unread", "notification-unread", [one], 2),
        ("POST", "/read-all", "notification-read", [one, two], 0),
        ("DELETE", f"/{one}", "notification-deleted", [one], 0),
        ("DELETE", "/read", "notification-deleted", [two], 0),
    ]
    for method, path, type, ids, left in steps:
        assert client.open(URL + path, method=method, headers=ann.headers).status_code < 300
        frame = peer.receive()
        assert (frame["type"], frame["ids"], frame["unread"]) == (type, ids, left)


def test_what_changes_nothing_is_not_told(
    server: Server, client: FlaskClient, ann: Account, tell: Tell
) -> None:
    id = tell(ann)
    peer = server.chat(ann)
    client.post(f"{URL}/{id}/unread", headers=ann.headers)
    client.delete(f"{URL}/read", headers=ann.headers)
    assert peer.until_pong() == []


def test_rollback_stores_and_tells_nothing(
    app: Flask, client: FlaskClient, server: Server, ann: Account
) -> None:
    peer = server.chat(ann)
    with app.app_context():
        notifications.notify(ann.user["id"], "never")
        db.session.rollback()
        db.session.commit()
    assert peer.until_pong() == []
    assert titles(client, ann) == ""


def test_unread_counts_all_of_one_commit(app: Flask, ann: Account, bob: Account) -> None:
    with app.app_context():
        for account in (ann, bob, ann):
            notifications.notify(account.user["id"], "x")
        db.session.commit()
        stored = db.session.scalars(select(StoredEvent).order_by(StoredEvent.id)).all()
        counts = [(one.topic, json.loads(one.data)["unread"]) for one in stored]
    mine, other = f"user:{ann.user['id']}", f"user:{bob.user['id']}"
    assert counts == [(mine, 2), (other, 1), (mine, 2)]


def test_last_of_many_at_the_same_time_tells_the_right_count(
    app: Flask, ann: Account, bob: Account
) -> None:
    accounts, ready = (ann, bob), threading.Barrier(4)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            ready.wait(5)
            for turn in range(5):
                with app.app_context():
                    # Each tells both, in another order: nobody may wait for the other.
                    for account in accounts if (number + turn) % 2 else accounts[::-1]:
                        notifications.notify(account.user["id"], "x")
                    db.session.commit()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    with app.app_context():
        for account in accounts:
            topic = StoredEvent.topic == f"user:{account.user['id']}"
            rows = db.session.scalars(select(StoredEvent.data).where(topic).order_by("seq")).all()
            assert [json.loads(row)["unread"] for row in rows] == list(range(1, 21))
