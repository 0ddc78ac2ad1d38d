"""Web Push: what browsers subscribe with, and what is sent to them."""

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from flask import Flask
from flask.testing import FlaskClient
from py_vapid import Vapid
from pydantic import ValidationError

import notifications
import push
from config import Settings
from models import db
from tests.conftest import Account, assert_error
from tests.pushes import (
    SECRET,
    SETTINGS,
    SUBSCRIPTIONS,
    Browser,
    endpoints,
    notify,
    subscribe,
    wait,
)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An app that pushes."""
    return make_app(**SETTINGS)


class Service:
    """Push services: they remember what is posted, and answer with `status` or raise it."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes, dict[str, str]]] = []
        self.status: dict[str, int | Exception] = {}

    def post(self, url: str, data: bytes, headers: Any, timeout: Any) -> push.Answer:
        self.posts.append((url, data, headers))
        answer = self.status.get(url, 201)
        if isinstance(answer, Exception):
            raise answer
        return push.Answer(answer, "")


@pytest.fixture
def service(monkeypatch: Any) -> Service:
    """In place of everything beyond our own server."""
    fake = Service()
    monkeypatch.setattr(push, "GuardedSession", lambda: fake)
    return fake


# Settings and keys


def test_public_key_is_that_of_the_private_one(client: FlaskClient) -> None:
    key = client.get("/api/push/key").json["publicKey"]
    vapid = Vapid.from_string(SECRET)
    point = vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert push.decode(key) == point
    assert "=" not in key


@pytest.mark.parametrize("missing", list(SETTINGS))
def test_without_both_settings_nothing_is_pushed(
    make_app: Callable[..., Flask], service: Service, missing: str
) -> None:
    app = make_app(**{**SETTINGS, missing: ""})
    client = app.test_client()
    body = {"email": "ann@example.com", "password": "correct horse"}
    reply = client.post("/api/auth/register", json=body).json
    account = Account(reply, body["email"])
    assert_error(client.get("/api/push/key"), 503, "push_off")
    answer = client.post(SUBSCRIPTIONS, json=Browser().json, headers=account.headers)
    assert_error(answer, 503, "push_off")
    with app.app_context():
        notifications.notify(account.user["id"], "x")
        db.session.commit()
    assert "pusher" not in app.extensions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VAPID_PRIVATE_KEY", "x" * 42),
        ("VAPID_PRIVATE_KEY", "x" * 44),
        ("VAPID_PRIVATE_KEY", "/" * 43),
        ("VAPID_SUBJECT", "admin@example.com"),
        ("VAPID_SUBJECT", "mailto:admin"),
        ("VAPID_SUBJECT", "http://example.com"),
    ],
)
def test_bad_setting_is_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


# Subscriptions


def test_subscription_is_kept_once(app: Flask, client: FlaskClient, ann: Account) -> None:
    browser = Browser()
    first, again = (
        client.post(SUBSCRIPTIONS, json=browser.json, headers=ann.headers) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json["id"] == again.json["id"]
    assert first.json["endpoint"] == browser.json["endpoint"]
    assert endpoints(app, ann) == [browser.json["endpoint"]]


def test_browser_goes_over_to_who_signs_in_there(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, service: Service
) -> None:
    browser = subscribe(client, ann)
    subscribe(client, bob, browser)
    assert endpoints(app, ann) == []
    notify(app, ann)
    assert service.posts == []
    notify(app, bob)
    assert len(service.posts) == 1


def test_new_keys_of_a_browser_replace_the_old(
    app: Flask, client: FlaskClient, ann: Account, service: Service
) -> None:
    subscribe(client, ann)
    browser = subscribe(client, ann)
    notify(app, ann, "for the new keys")
    assert browser.read(service.posts[0][1])["title"] == "for the new keys"


def test_of_more_than_20_the_oldest_go(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    subscribe(client, bob, Browser("https://push.test/bob"))
    for number in range(22):
        subscribe(client, ann, Browser(f"https://push.test/{number}"))
        if number == 19:
            subscribe(client, ann, Browser("https://push.test/0"))  # used anew: not the oldest
    kept = {f"https://push.test/{number}" for number in (0, *range(3, 22))}
    assert set(endpoints(app, ann)) == kept
    assert len(endpoints(app, bob)) == 1


def test_only_its_user_ends_a_subscription(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    endpoint = subscribe(client, ann).json["endpoint"]
    for account, left in [(bob, [endpoint]), (ann, []), (ann, [])]:
        answer = client.delete(SUBSCRIPTIONS, json={"endpoint": endpoint}, headers=account.headers)
        assert answer.json == {"ok": True, "id": endpoint}
        assert endpoints(app, ann) == left
    assert_error(client.delete(SUBSCRIPTIONS, headers=ann.headers), 400)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_subscriptions_need_sign_in(client: FlaskClient, method: str) -> None:
    assert_error(client.open(SUBSCRIPTIONS, method=method, json=Browser().json), 401)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "x",
        "http://push.test/1",
        "ftp://push.test/1",
        "//push.test/1",
        "https://push.test",
        "https://localhost/1",
        "https://router/1",
        "https://127.0.0.1/1",
        "https://2130706433/1",
        "https://0x7f.0.0.1/1",
        "https://0x7f000001/1",
        "https://127.1/1",
        "https://[::1]/1",
        "https://[::ffff:10.0.0.1]/1",
        "https://push.test:22/1",
        "https://push.test:443/1",
        "https://ann@push.test/1",
        "https://push.test\\@10.0.0.1/1",
        "https://push.test/1 HTTP/1.1",
        "https://push.test/\r\nHost: x",
        "https://push.test/1#x",
        "https://püsh.test/1",
        "https://push.test/ü",
        "https://push.test./1",
        "https://push..test/1",
        "https://push.test\n/1",
        "https://push.test/1\n",
        "https://push.test/" + "x" * 2000,
        None,
        1,
        ["https://push.test/1"],
    ],
)
def test_endpoint_must_be_https_at_a_public_name(
    app: Flask, client: FlaskClient, ann: Account, endpoint: Any
) -> None:
    body = {**Browser().json, "endpoint": endpoint}
    answer = assert_error(client.post(SUBSCRIPTIONS, json=body, headers=ann.headers), 400)
    assert list(answer["errors"]) == ["endpoint"]
    assert endpoints(app, ann) == []


KEY = ec.derive_private_key(7, ec.SECP256R1()).public_key()  # the same in each run, as names are
POINT = KEY.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("p256dh", ""),
        ("p256dh", "x"),
        ("p256dh", "ä" * 87),
        ("p256dh", push.encode(POINT[:-1])),
        ("p256dh", push.encode(POINT[:-1] + bytes([POINT[-1] ^ 1]))),
        ("p256dh", push.encode(b"\x04" + bytes(64))),
        ("p256dh", push.encode(b"\0")),
        ("p256dh", push.encode(KEY.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))),
        ("p256dh", None),
        ("auth", ""),
        ("auth", push.encode(bytes(15))),
        ("auth", push.encode(bytes(17))),
        ("auth", "*" * 22),
        ("auth", 1),
    ],
)
def test_keys_are_checked(
    app: Flask, client: FlaskClient, ann: Account, field: str, value: Any
) -> None:
    browser = Browser()
    body = {**browser.json, "keys": {**browser.keys, field: value}}
    answer = assert_error(client.post(SUBSCRIPTIONS, json=body, headers=ann.headers), 400)
    assert list(answer["errors"]) == [f"keys.{field}"]
    assert endpoints(app, ann) == []


def test_keys_may_be_padded(
    app: Flask, client: FlaskClient, ann: Account, service: Service
) -> None:
    browser = Browser()
    browser.json["keys"] = {
        name: base64.urlsafe_b64encode(push.decode(value)).decode()
        for name, value in browser.keys.items()
    }
    subscribe(client, ann, browser)
    notify(app, ann)
    assert browser.read(service.posts[0][1])["title"] == "Hello"


# What is sent


def test_browser_reads_the_notification_and_the_service_who_sent_it(
    app: Flask, client: FlaskClient, ann: Account, service: Service
) -> None:
    browser = subscribe(client, ann)
    notify(app, ann, "Full", message="No room left", category="error", link="/files")
    [(url, body, headers)] = service.posts
    assert url == browser.json["endpoint"]
    item = client.get("/api/notifications", headers=ann.headers).json[0]
    shown = ("id", "category", "title", "message", "link", "createdAt")
    assert browser.read(body) == {name: item[name] for name in shown}
    assert (headers["content-encoding"], headers["ttl"]) == ("aes128gcm", "86400")
    assert b"No room left" not in body
    assert Vapid.verify(headers["authorization"])
    token = headers["authorization"].removeprefix("vapid t=").split(",")[0]
    claims = json.loads(push.decode(token.split(".")[1]))
    assert (claims["sub"], claims["aud"]) == ("mailto:admin@example.com", "https://push.test")
    assert claims["exp"] > time.time()


@pytest.mark.parametrize("letter", ["x", "ä", "🎉", '"', "\n", "\x01"])
def test_long_texts_are_cut_to_what_services_take(
    app: Flask, client: FlaskClient, ann: Account, service: Service, letter: str
) -> None:
    browser = subscribe(client, ann)
    notify(app, ann, letter * 500, message=letter * 5000, link="/" + "x" * 3000)
    body = service.posts[0][1]
    assert len(body) <= 4096
    facts = browser.read(body)
    assert set(facts["message"]) == set(facts["title"]) == {letter}
    assert facts["link"] == ""


def test_all_browsers_of_the_user_get_it_and_no_other(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, service: Service
) -> None:
    for account, number in [(ann, 1), (ann, 2), (bob, 3)]:
        subscribe(client, account, Browser(f"https://push.test/{number}"))
    notify(app, ann)
    assert {post[0] for post in service.posts} == {"https://push.test/1", "https://push.test/2"}


@pytest.mark.parametrize(
    ("status", "stays"),
    [
        (404, False),
        (410, False),
        (push.NotPublic(), False),
        (200, True),
        (201, True),
        (301, True),
        (400, True),
        (403, True),
        (429, True),
        (500, True),
        (OSError("no way"), True),
        (TimeoutError(), True),
    ],
)
def test_subscription_that_is_gone_is_forgotten_and_others_are_served(
    app: Flask, client: FlaskClient, ann: Account, service: Service, status: Any, stays: bool
) -> None:
    bad, good = "https://push.test/bad", "https://push.test/good"
    for endpoint in (bad, good):
        subscribe(client, ann, Browser(endpoint))
    service.status[bad] = status
    notify(app, ann)
    assert [post[0] for post in service.posts] == [bad, good]
    assert endpoints(app, ann) == ([bad, good] if stays else [good])


def test_bug_ends_no_thread(
    app: Flask, client: FlaskClient, ann: Account, service: Service
) -> None:
    subscribe(client, ann)
    service.status["https://push.test/send/1"] = RuntimeError("bug")
    for _ in range(push.THREADS + 1):
        notify(app, ann)
    service.status.clear()
    service.posts.clear()
    notify(app, ann)
    assert len(service.posts) == 1


def test_rollback_pushes_nothing(
    app: Flask, client: FlaskClient, ann: Account, service: Service
) -> None:
    browser = subscribe(client, ann)
    with app.app_context():
        notifications.notify(ann.user["id"], "never")
        db.session.rollback()
        db.session.commit()
    notify(app, ann, "this")
    assert [browser.read(post[1])["title"] for post in service.posts] == ["this"]


def test_nobody_waits_for_a_push_service(
    app: Flask, client: FlaskClient, ann: Account, service: Service, monkeypatch: Any
) -> None:
    subscribe(client, ann)
    monkeypatch.setattr(push, "MAX_WAITING", 2)
    let_go, post = threading.Event(), service.post

    def hang(*args: Any, **kwargs: Any) -> push.Answer:
        assert let_go.wait(10)
        return post(*args, **kwargs)

    service.post = hang  # type: ignore[method-assign]
    with app.app_context():
        for _ in range(push.THREADS + 20):
            notifications.notify(ann.user["id"], "x")
            db.session.commit()
    assert service.posts == []
    let_go.set()
    wait(app)
    assert 2 <= len(service.posts) <= push.THREADS + 2
