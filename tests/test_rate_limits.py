"""Rate limits: who is counted together, what a refusal says, and when it ends."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient

import mail
import passwords
from tests.accounts import ANN, CHECK, ME, REGISTER, bearer
from tests.conftest import PASSWORD, assert_error
from tests.rates import RULE, TODOS, Clock, at, log_in, statuses
from tests.uploads import UPLOAD, form


@pytest.fixture(autouse=True)
def clock(monkeypatch: Any) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    return clock


@pytest.fixture
def limited(make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    """A client without cookies of an app with these rules, in which ann and bob have accounts."""

    def make(**rules: Any) -> FlaskClient:
        app = make_app(**rules)
        client = app.test_client(use_cookies=False)
        for name, place in (("ann", "198.51.100.1"), ("bob", "198.51.100.2")):
            body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
            assert client.post(REGISTER, json=body, **at(place)).status_code == 201
        return client

    return make


# What a refusal says


@pytest.mark.parametrize(("late", "seconds"), [(0, "800"), (600.5, "200"), (799.75, "1")])
def test_refusal_says_when_to_come_again(
    limited: Callable[..., FlaskClient], clock: Clock, late: float, seconds: str
) -> None:
    client = limited(API_LIMIT=RULE)
    start = clock.now
    clock.now += late
    assert statuses(lambda: client.get(TODOS), 3) == [200] * 3
    response = client.get(TODOS)
    body = assert_error(response, 429, "too_many_requests")
    assert body["error"] == f"Too many requests, try again in {seconds} seconds"
    expected = {
        "Retry-After": seconds,
        "X-RateLimit-Limit": "3",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(start) + 800),
    }
    assert {name: response.headers.get(name) for name in expected} == expected


def test_limit_is_gone_after_the_window(limited: Callable[..., FlaskClient], clock: Clock) -> None:
    client = limited(LOGIN_LIMIT=RULE)
    assert statuses(lambda: log_in(client, "wrong horse"), 4) == [401] * 3 + [429]
    clock.now += int(log_in(client).headers["Retry-After"]) + 1
    assert log_in(client).status_code == 200
    clock.now += 2 * 900
    assert statuses(lambda: log_in(client, "wrong horse"), 4) == [401] * 3 + [429]


# Sign-in


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([{"email": "ann@example.com"}], id="email"),
        pytest.param([{"email": "ann@example.com"}, {"username": "ann"}], id="both names"),
        pytest.param([{"email": "ann@example.com"}, {"email": " ANN@example.COM"}], id="case"),
    ],
)
def test_guesses_of_one_account_are_limited(
    limited: Callable[..., FlaskClient], names: list[dict[str, str]]
) -> None:
    client = limited(LOGIN_LIMIT=RULE)
    for n in range(3):
        name = names[n % len(names)]
        assert_error(log_in(client, "wrong horse", f"192.0.2.{n}", **name), 401)
    for name in names:
        assert_error(log_in(client, "wrong horse", **name), 429, "too_many_requests")
        assert_error(log_in(client, PASSWORD, **name), 429, "too_many_requests")
    assert log_in(client, email="bob@example.com").status_code == 200


def test_unknown_name_is_limited_like_a_known_one(limited: Callable[..., FlaskClient]) -> None:
    client = limited(LOGIN_LIMIT=RULE)
    for name in ({"email": "nobody@example.com"}, {"username": "Nobody"}):
        answers = [log_in(client, "wrong horse", **name) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401] * 3 + [429]
        known = [log_in(client, "wrong horse") for _ in range(4)]
        assert answers[3].json == known[3].json
    assert log_in(client, "wrong horse", username="somebody").status_code == 401


def test_success_clears_the_count_of_the_account(limited: Callable[..., FlaskClient]) -> None:
    client = limited(LOGIN_LIMIT=RULE)
    for _ in range(3):
        assert statuses(lambda: log_in(client, "wrong horse"), 2) == [401] * 2
        assert log_in(client, username="ann").status_code == 200
    assert statuses(lambda: log_in(client, "wrong horse"), 4) == [401] * 3 + [429]


def test_wrong_current_password_counts_as_a_guess(limited: Callable[..., FlaskClient]) -> None:
    client = limited(LOGIN_LIMIT=RULE)
    headers = bearer(log_in(client).json["token"])
    body = {"currentPassword": "wrong horse", "newPassword": "another horse"}
    change = "/api/auth/password"
    assert log_in(client).status_code == 200
    assert statuses(lambda: client.put(change, json=body, headers=headers), 3) == [400] * 3
    assert_error(
        client.put(change, json={**body, "currentPassword": PASSWORD}, headers=headers), 429
    )
    assert log_in(client).status_code == 200  # another session, which guessed nothing


def test_only_failures_count_for_an_address(limited: Callable[..., FlaskClient]) -> None:
    client = limited(LOGIN_ADDRESS_LIMIT=RULE)
    assert statuses(lambda: log_in(client), 6) == [200] * 6
    for n in range(3):
        assert_error(log_in(client, "wrong horse", username=f"name{n}"), 401)
    assert_error(log_in(client, "wrong horse", username="name4"), 429, "too_many_requests")
    assert_error(log_in(client), 429)
    assert log_in(client, address="192.0.2.2").status_code == 200


def test_guesses_at_the_same_time_get_no_more_checks(
    limited: Callable[..., FlaskClient], monkeypatch: Any
) -> None:
    app = limited(LOGIN_LIMIT="10 per 15 minutes").application
    checked: list[bytes] = []
    decided: list[None] = []  # one for each guess that is refused, or is about to be checked
    all_decided = threading.Event()
    checkpw = bcrypt.checkpw

    def decide() -> None:
        decided.append(None)
        if len(decided) == 50:
            all_decided.set()

    def check(password: bytes, hashed: bytes) -> bool:
        checked.append(password)
        decide()
        all_decided.wait(5)
        return checkpw(password, hashed)

    def guess(n: int) -> int:
        answer = log_in(app.test_client(use_cookies=False), f"wrong horse {n}")
        if answer.status_code == 429:
            decide()
        return answer.status_code

    monkeypatch.setattr(bcrypt, "checkpw", check)
    monkeypatch.setattr(passwords, "turns", threading.BoundedSemaphore(50))
    with ThreadPoolExecutor(50) as threads:
        answers = sorted(threads.map(guess, range(50)))
    assert answers == [401] * 10 + [429] * 40
    assert len(checked) == 10


# Accounts, uploads, resets


def test_registrations_of_one_address_are_limited(make_app: Callable[..., Flask]) -> None:
    client = make_app(REGISTER_LIMIT="2 per hour").test_client(use_cookies=False)

    def sign_up(name: str, address: str = "192.0.2.1") -> Any:
        return client.post(REGISTER, json={**ANN, "email": f"{name}@example.com"}, **at(address))

    assert [sign_up(name).status_code for name in "ab"] == [201] * 2
    assert_error(sign_up("c"), 429, "too_many_requests")
    assert_error(sign_up("a"), 429)  # says not even which names are taken
    assert sign_up("c", "192.0.2.2").status_code == 201


def test_uploads_of_one_user_are_limited(limited: Callable[..., FlaskClient]) -> None:
    client = limited(UPLOAD_LIMIT="2 per minute")
    ann, bob = (bearer(log_in(client, username=name).json["token"]) for name in ("ann", "bob"))
    for n, status in enumerate([200, 200, 429]):
        more = at(f"192.0.2.{n}")
        assert client.post(UPLOAD, headers=ann, **form(), **more).status_code == status
    assert_error(client.post(UPLOAD, headers=ann, **form()), 429, "too_many_requests")
    assert client.post(UPLOAD, headers=bob, **form()).status_code == 200


@pytest.fixture
def mails(monkeypatch: Any) -> list[str]:
    """Whom mails were sent to."""
    sent: list[str] = []
    monkeypatch.setattr(mail, "send", lambda to, subject, text: sent.append(to))
    return sent


def test_resets_of_one_account_are_limited(
    limited: Callable[..., FlaskClient], mails: list[str]
) -> None:
    client = limited(RESET_LIMIT="2 per hour", SMTP_URL="smtp://127.0.0.1:1")

    def ask(email: str, address: str) -> Any:
        return client.post("/api/auth/password-reset", json={"email": email}, **at(address))

    for net, name in enumerate(("ann@example.com", "nobody@example.com")):
        answers = [ask(name, f"192.0.{net}.{n}").status_code for n in range(3)]
        assert answers == [200, 200, 429]
        assert_error(ask(name.upper(), f"192.0.{net}.3"), 429, "too_many_requests")
    assert mails == ["ann@example.com"] * 2


def test_resets_from_one_address_are_limited(
    limited: Callable[..., FlaskClient], mails: list[str]
) -> None:
    client = limited(RESET_LIMIT="2 per hour", SMTP_URL="smtp://127.0.0.1:1")

    def ask(name: str, address: str = "192.0.2.1") -> Any:
        body = {"email": f"{name}@example.com"}
        return client.post("/api/auth/password-reset", json=body, **at(address))

    assert [ask(name).status_code for name in ("a", "b")] == [200] * 2
    assert_error(ask("bob"), 429, "too_many_requests")
    assert mails == []
    assert ask("bob", "192.0.2.2").status_code == 200
    assert mails == ["bob@example.com"]


# Calls


def test_calls_of_one_user_are_counted_wherever_from(limited: Callable[..., FlaskClient]) -> None:
    client = limited(API_LIMIT=RULE)
    browser = client.application.test_client()
    token = log_in(browser, address="192.0.2.50").json["token"]
    for n in range(3):
        more = {"headers": bearer(token)} if n % 2 else {}
        place = client if n % 2 else browser
        assert place.get(ME, **more, **at(f"192.0.2.{n + 1}")).status_code == 200
    assert_error(client.get(ME, headers=bearer(token)), 429, "too_many_requests")
    assert_error(browser.get(ME), 429, "too_many_requests")
    assert client.get(TODOS, **at("192.0.2.1")).status_code == 200
    bob = log_in(client, email="bob@example.com", address="192.0.2.60").json["token"]
    assert client.get(ME, headers=bearer(bob)).status_code == 200


@pytest.mark.parametrize("token", ["", "null", "nonsense", "e30.e30.e30"])
def test_calls_of_nobody_are_counted_by_address(
    limited: Callable[..., FlaskClient], token: str
) -> None:
    client = limited(API_LIMIT=RULE)
    for n in range(4):
        headers = bearer(f"{token}{n}" if token.startswith("non") else token)
        response = client.get(TODOS, headers=headers, **at("192.0.2.1"))
        assert (response.status_code == 429) == (n == 3)
    assert client.get(TODOS, **at("192.0.2.2")).status_code == 200


def test_every_address_of_the_api_is_counted(limited: Callable[..., FlaskClient]) -> None:
    client = limited(API_LIMIT=RULE)
    for path in ("/api/nothing", "/auth/me", "/api/config"):
        assert client.get(path).status_code != 429
    assert_error(client.get("/auth/me"), 429)
    assert_error(client.get("/api/nothing"), 429)
    assert_error(client.delete("/api/config"), 429)


def test_what_pages_ask_over_and_over_is_not_counted(limited: Callable[..., FlaskClient]) -> None:
    client = limited(API_LIMIT=RULE)

    def free() -> list[int]:
        paths = (CHECK, "/auth/check", "/api/health", "/health", "/", "/static/index.html")
        answers = [client.get(path, buffered=True).status_code for path in paths]
        asked = {"Origin": "http://a.test", "Access-Control-Request-Method": "PUT"}
        return [*answers, client.options(TODOS, headers=asked).status_code]

    for _ in range(4):
        assert free() == [200] * 7
    assert statuses(lambda: client.get(TODOS), 4) == [200] * 3 + [429]
    assert free() == [200] * 7


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        pytest.param("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True, id="one IPv6 network"),
        pytest.param("2001:db8:1:2::1", "2001:db8:1:3::1", False, id="two IPv6 networks"),
        pytest.param("::ffff:1.2.3.4", "::ffff:1.2.3.4", True, id="IPv4 within IPv6"),
        pytest.param("::ffff:1.2.3.4", "::ffff:1.2.3.5", False, id="two IPv4 within IPv6"),
        pytest.param("192.0.2.1", "192.0.2.2", False, id="IPv4"),
        pytest.param("fe80::1%eth0", "fe80::2%eth0", True, id="with a zone"),
        pytest.param("", "", True, id="Unix socket"),
    ],
)
def test_addresses_of_one_customer_count_together(
    limited: Callable[..., FlaskClient], first: str, second: str, together: bool
) -> None:
    client = limited(API_LIMIT="1 per minute")
    assert client.get(TODOS, **at(first)).status_code == 200
    assert client.get(TODOS, **at(second)).status_code == (429 if together else 200)
