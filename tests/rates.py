"""What tests of rate limits send, and the time they live in."""

import time
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from tests.accounts import LOGIN
from tests.conftest import PASSWORD

RULE = "3 per 15 minutes"
TODOS = "/api/todos"


class Clock:
    """A time that stands still until it is moved, early in a window: none ends by itself.

    Only the counting reads it; tokens and rows have clocks of their own.
    """

    def __init__(self) -> None:
        self.now = time.time() // 86_400 * 86_400 + 100

    def time(self) -> float:
        return self.now


def at(address: str) -> dict[str, Any]:
    """The request comes from there."""
    return {"environ_overrides": {"REMOTE_ADDR": address}}


def log_in(client: FlaskClient, password: str = PASSWORD, address: str = "", **name: str) -> Any:
    body = {**(name or {"email": "ann@example.com"}), "password": password}
    return client.post(LOGIN, json=body, **at(address or "192.0.2.1"))


def statuses(call: Callable[[], Any], times: int) -> list[int]:
    return [call().status_code for _ in range(times)]
