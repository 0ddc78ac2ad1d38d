"""Rate limits: rules that cannot be read, and counting in Redis, with it or without."""

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from pydantic import ValidationError

from app import create_app
from tests.accounts import ANN, REGISTER
from tests.conftest import assert_error
from tests.rates import RULE, TODOS, Clock, log_in, statuses

RULES = [
    "LOGIN_LIMIT",
    "LOGIN_ADDRESS_LIMIT",
    "REGISTER_LIMIT",
    "RESET_LIMIT",
    "UPLOAD_LIMIT",
    "API_LIMIT",
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: Any) -> None:
    """No window in memory ends by itself; Redis has its own clock."""
    monkeypatch.setattr(time, "time", Clock().time)


# The rules


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("text", ["often", "10", "-1 per minute", "ten per minute"])
def test_unreadable_rule_stops_the_start(monkeypatch: Any, rule: str, text: str) -> None:
    monkeypatch.setenv(rule, text)
    with pytest.raises(ValidationError) as caught:
        create_app()
    assert [error["loc"] for error in caught.value.errors()] == [(rule,)]
    assert rule in str(caught.value)
    assert "must be one rule such as `10 per 15 minutes`" in str(caught.value)


# Redis


@pytest.mark.parametrize("same_secret", [True, False], ids=["one secret", "two secrets"])
def test_processes_count_together_in_redis(
    make_app: Callable[..., Flask], redis_url: str, same_secret: bool
) -> None:
    keys = [secrets.token_hex(32)] * 2 if same_secret else [secrets.token_hex(32) for _ in "ab"]
    one, two = (
        make_app(REDIS_URL=redis_url, SECRET_KEY=key, API_LIMIT=RULE).test_client() for key in keys
    )
    assert [client.get(TODOS).status_code for client in (one, two, one)] == [200] * 3
    for client in (one, two) if same_secret else ():
        response = client.get(TODOS)
        assert_error(response, 429, "too_many_requests")
        assert 1 <= int(response.headers["Retry-After"]) <= 900
    assert two.get(TODOS).status_code == (429 if same_secret else 200)


def test_guesses_are_counted_and_cleared_in_redis(
    make_app: Callable[..., Flask], redis_url: str
) -> None:
    settings = {"REDIS_URL": redis_url, "SECRET_KEY": secrets.token_hex(32), "LOGIN_LIMIT": RULE}
    one, two = (make_app(**settings).test_client() for _ in "ab")
    one.post(REGISTER, json=ANN)
    for _ in range(2):
        assert [log_in(client, "wrong horse").status_code for client in (one, two)] == [401] * 2
        assert log_in(two).status_code == 200
    guesses = [log_in(client, "wrong horse").status_code for client in (one, two, one, two)]
    assert guesses == [401] * 3 + [429]
    assert_error(log_in(one), 429)


@pytest.fixture(params=["refuses", "is silent"])
def dead_redis(request: Any) -> Iterator[str]:
    """A Redis that refuses connections, or takes them and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "is silent":
            listener.listen(50)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_without_redis_each_process_counts_by_itself(
    make_app: Callable[..., Flask], dead_redis: str, caplog: Any
) -> None:
    app = make_app(REDIS_URL=dead_redis, API_LIMIT=RULE)
    client = app.test_client()

    def complaints() -> list[tuple[int, str]]:
        found = [record for record in caplog.records if record.name == "rate_limits"]
        return [(record.levelno, record.getMessage()) for record in found]

    complaint = (logging.WARNING, "rate limits: Redis does not answer, counting here")
    start = time.monotonic()
    assert statuses(lambda: client.get(TODOS), 3) == [200] * 3
    assert_error(client.get(TODOS), 429, "too_many_requests")
    assert time.monotonic() - start < 3
    assert complaints() == [complaint]
    counter = app.extensions["rate_limits"]
    assert 0 < counter.away_until - time.monotonic() <= 5
    counter.away_until = time.monotonic()  # five seconds later it is asked again
    assert_error(client.get(TODOS), 429)
    assert complaints() == [complaint] * 2


def test_redis_that_is_back_counts_again(
    make_app: Callable[..., Flask], redis_url: str, monkeypatch: Any
) -> None:
    settings = {"REDIS_URL": redis_url, "SECRET_KEY": secrets.token_hex(32), "API_LIMIT": RULE}
    one, two = (make_app(**settings) for _ in "ab")
    counter = one.extensions["rate_limits"]
    counter.away_until = time.monotonic() + 60
    assert statuses(lambda: one.test_client().get(TODOS), 4) == [200] * 3 + [429]
    assert statuses(lambda: two.test_client().get(TODOS), 1) == [200]
    counter.away_until = time.monotonic()
    assert statuses(lambda: one.test_client().get(TODOS), 3) == [200] * 2 + [429]
