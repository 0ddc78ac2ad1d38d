"""What the tests of Web Push share: a browser, its subscription, and waiting for what is sent."""

import json
import os
import threading
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import notifications
import push
from models import PushSubscription, db
from tests.conftest import Account

SUBSCRIPTIONS = "/api/push/subscriptions"
SECRET = push.encode(bytes(range(1, 33)))
SETTINGS = {"VAPID_PRIVATE_KEY": SECRET, "VAPID_SUBJECT": "mailto:admin@example.com"}


class Browser:
    """What a browser keeps of its subscription, and how it reads what it gets."""

    def __init__(self, endpoint: str = "https://push.test/send/1") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = os.urandom(16)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.keys = {"p256dh": push.encode(point), "auth": push.encode(self.secret)}
        self.json = {"endpoint": endpoint, "expirationTime": None, "keys": self.keys}

    def read(self, body: bytes) -> dict[str, Any]:
        """Decrypt what a push service delivers."""
        text = http_ece.decrypt(
            body, private_key=self.key, auth_secret=self.secret, version="aes128gcm"
        )
        return json.loads(text)


def subscribe(client: FlaskClient, account: Account, browser: Browser | None = None) -> Browser:
    browser = browser or Browser()
    answer = client.post(SUBSCRIPTIONS, json=browser.json, headers=account.headers)
    assert answer.status_code == 201, answer.json
    return browser


def notify(app: Flask, account: Account, title: str = "Hello", **fields: Any) -> None:
    """Notify, and wait until it is pushed."""
    with app.app_context():
        notifications.notify(account.user["id"], title, **fields)
        db.session.commit()
    wait(app)


def wait(app: Flask) -> None:
    """Wait until nothing is left to push."""
    done = threading.Thread(target=app.extensions["pusher"].waiting.join, daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()


def endpoints(app: Flask, account: Account) -> list[str]:
    with app.app_context():
        mine = PushSubscription.user_id == account.user["id"]
        query = select(PushSubscription.endpoint).where(mine).order_by(PushSubscription.id)
        return list(db.session.scalars(query))
