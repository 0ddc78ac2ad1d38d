"""A new password by a link from a mail: who gets one, what it opens, and for how long."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import mail
import models
from models import OneTimeToken, db, fingerprint
from tests.accounts import ANN, LOGIN, ME, REFRESH, REGISTER, bearer
from tests.conftest import PASSWORD, Account, assert_error

ASK = "/api/auth/password-reset"
CONFIRM = f"{ASK}/confirm"
NEW = "a better horse"
ANSWER = {"ok": True, "message": "If this account exists, a link is on its way by mail"}
LINK = re.compile(r"https?://\S+")
SETTINGS = {"SMTP_URL": "smtp://mail.test", "PUBLIC_URL": "https://wharf.test/base/"}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An app that sends mail."""
    return make_app(**SETTINGS)


@pytest.fixture
def mails(monkeypatch: Any) -> Callable[[], list[EmailMessage]]:
    """What was mailed since the last call."""
    box: list[EmailMessage] = []
    monkeypatch.setattr(mail, "deliver", lambda url, message: box.append(message))

    def read() -> list[EmailMessage]:
        for thread in threading.enumerate():
            if thread.name == "mail":
                thread.join(5)
        found = box[:]
        box.clear()
        return found

    return read


@pytest.fixture
def ask(client: FlaskClient, mails: Any) -> Callable[..., str]:
    """Asks for a link and returns its token."""

    def make(login: str = ANN["email"]) -> str:
        assert client.post(ASK, json={"email": login}).json == ANSWER
        (message,) = mails()
        return message.get_content().partition("#reset=")[2].split()[0]

    return make


def confirm(client: FlaskClient, token: Any, password: Any = NEW) -> Any:
    return client.post(CONFIRM, json={"token": token, "password": password})


def login(app: Flask, password: str) -> int:
    return app.test_client().post(LOGIN, json={**ANN, "password": password}).status_code


# Ask


def test_without_a_mail_server_it_is_503_in_clear_words(make_app: Any, register: Any) -> None:
    register("ann")
    client = make_app().test_client()
    for login in (ANN["email"], "nobody@example.com"):
        body = assert_error(client.post(ASK, json={"email": login}), 503, "unavailable")
        assert body["error"] == "This server sends no mail: ask its administrator for a link"


@pytest.mark.parametrize(
    "body",
    [
        {"email": "ann@example.com"},
        {"email": " ANN@Example.com "},
        {"email": "Annie"},
        {"username": "annie"},
        {"username": "ann@example.com"},
    ],
)
def test_one_mail_with_one_link_to_the_public_address(
    client: FlaskClient, register: Any, mails: Any, body: dict[str, str]
) -> None:
    register("ann", username="annie")
    headers = {"Host": "evil.test", "Origin": "https://evil.test"}
    headers |= {"X-Forwarded-Host": "evil.test", "Referer": "https://evil.test/"}
    response = client.post(ASK, json=body, headers=headers)
    assert (response.status_code, response.json) == (200, ANSWER)
    (message,) = mails()
    assert message["To"] == "ann@example.com"
    text = message.get_content()
    site, link = LINK.findall(text)
    assert site == "https://wharf.test/base/."
    assert re.fullmatch(r"https://wharf\.test/base/#reset=[\w-]{43}", link)
    assert "evil" not in message.as_string()
    assert confirm(client, link.partition("=")[2]).json == {"ok": True}


def test_unknown_account_gets_the_same_answer_and_no_mail(
    client: FlaskClient, ann: Account, mails: Any
) -> None:
    known = client.post(ASK, json={"email": ann.email})
    assert len(mails()) == 1
    for login in ("nobody@example.com", "nobody", "not an@email", "ann@example.com.evil.test"):
        unknown = client.post(ASK, json={"email": login})
        assert (unknown.status_code, unknown.data) == (known.status_code, known.data)
        assert set(unknown.headers.keys()) == set(known.headers.keys())
    assert mails() == []


def test_account_without_email_gets_no_mail_but_a_link_from_the_administrator(
    app: Flask, client: FlaskClient, mails: Any
) -> None:
    client.post(REGISTER, json={"username": "annie", "password": PASSWORD})
    response = client.post(ASK, json={"username": "annie"})
    assert (response.status_code, response.json, mails()) == (200, ANSWER, [])
    result = app.test_cli_runner().invoke(args=["user", "reset-password", "annie"])
    assert confirm(client, result.output.strip().partition("=")[2]).json == {"ok": True}
    body = {"username": "annie", "password": NEW}
    assert client.post(LOGIN, json=body).status_code == 200


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_resets_are_limited_for_each_account(make_app: Any, mails: Any, name: str) -> None:
    client = make_app(**SETTINGS, RESET_LIMIT="2 per hour").test_client()
    client.post(REGISTER, json=ANN)
    statuses = []
    for number in range(3):
        address = {"REMOTE_ADDR": f"192.0.2.{number}"}
        body = {"email": f"{name}@example.com"}
        statuses.append(client.post(ASK, json=body, environ_overrides=address).status_code)
    assert statuses == [200, 200, 429]
    assert len(mails()) == (2 if name == "ann" else 0)


def test_resets_are_limited_for_each_address(make_app: Any, mails: Any) -> None:
    client = make_app(**SETTINGS, RESET_LIMIT="2 per hour").test_client()
    bodies = [{"email": f"{name}@example.com"} for name in "abc"]
    assert [client.post(ASK, json=body).status_code for body in bodies] == [200, 200, 429]


@pytest.mark.parametrize(
    "body",
    ["{}", "[]", "", "nonsense", '{"email": null}', '{"email": 1}', '{"email": ["a"]}']
    + ['{"email": {}}', '{"email": ""}', '{"email": " "}', '{"email": "a\\u0000@b.cd"}']
    + ['{"email": "\\ud800@b.cd"}', f'{{"email": "{"x" * 1_000_000}@b.cd"}}'],
    ids=lambda body: body[:20] or "empty",
)
def test_request_of_worst_form_is_400(client: FlaskClient, mails: Any, body: str) -> None:
    assert_error(client.post(ASK, data=body), 400)
    assert mails() == []


# Confirm


def test_link_sets_a_password_once_and_signs_nobody_in(
    app: Flask, client: FlaskClient, ann: Account, ask: Any
) -> None:
    token = ask()
    response = confirm(client, token)
    assert (response.status_code, response.json) == (200, {"ok": True})
    assert "Set-Cookie" not in response.headers
    assert_error(client.get(ME), 401)
    assert (login(app, PASSWORD), login(app, NEW)) == (401, 200)
    body = assert_error(confirm(client, token, "another horse"), 400, "invalid_token")
    assert list(body["errors"]) == ["token"]
    assert (login(app, "another horse"), login(app, NEW)) == (401, 200)


def test_reset_ends_all_sessions_of_this_user_alone(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, ask: Any
) -> None:
    browser = app.test_client()
    browser.post(LOGIN, json=ANN)
    assert confirm(client, ask()).status_code == 200
    assert_error(browser.get(ME), 401)
    assert_error(client.get(ME, headers=ann.headers), 401)
    assert_error(client.post(REFRESH, headers=bearer(ann.refresh_token)), 401)
    assert client.get(ME, headers=bob.headers).status_code == 200


def test_use_of_one_link_ends_the_others(client: FlaskClient, ann: Account, ask: Any) -> None:
    tokens = [ask() for _ in range(3)]
    assert confirm(client, tokens[1]).status_code == 200
    for token in tokens:
        assert_error(confirm(client, token, "another horse"), 400, "invalid_token")


@pytest.mark.parametrize(("minutes", "status"), [(59, 200), (60, 400), (100_000, 400)])
def test_link_works_for_an_hour(
    client: FlaskClient, ann: Account, ask: Any, monkeypatch: Any, minutes: int, status: int
) -> None:
    token = ask()
    now = models.now
    monkeypatch.setattr(models, "now", lambda: now() + timedelta(minutes=minutes))
    assert confirm(client, token).status_code == status


@pytest.mark.parametrize(
    "password", ["seven77", "password1", "x" * 73, "horse\0horse", None, 12345678]
)
def test_refused_password_leaves_the_link_usable(
    app: Flask, client: FlaskClient, ann: Account, ask: Any, password: Any
) -> None:
    token = ask()
    body = assert_error(confirm(client, token, password), 400, "invalid_input")
    assert list(body["errors"]) == ["password"]
    assert client.get(ME, headers=ann.headers).status_code == 200
    assert login(app, PASSWORD) == 200
    assert confirm(client, token).json == {"ok": True}


@pytest.mark.parametrize("key", ["password", "newPassword", "new_password"])
def test_new_password_comes_in_all_spellings(
    app: Flask, client: FlaskClient, ann: Account, ask: Any, key: str
) -> None:
    assert client.post(CONFIRM, json={"token": ask(), key: NEW}).json == {"ok": True}
    assert login(app, NEW) == 200


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param("null", "invalid_input", id="null"),
        pytest.param("12", "invalid_input", id="number"),
        pytest.param("true", "invalid_input", id="true"),
        pytest.param("[]", "invalid_input", id="list"),
        pytest.param('{"$ne": ""}', "invalid_input", id="object"),
        pytest.param('""', "invalid_input", id="empty"),
        pytest.param('" "', "invalid_input", id="blank"),
        pytest.param('"a\\u0000b"', "invalid_input", id="NUL"),
        pytest.param(f'"{"x" * 1_000_000}"', "invalid_input", id="1 MB"),
        pytest.param('"\\ud800"', "invalid_json", id="lone surrogate"),
        pytest.param('"%"', "invalid_token", id="wildcard"),
        pytest.param('"null"', "invalid_token", id="word null"),
        pytest.param('"' + "A" * 43 + '"', "invalid_token", id="made up"),
    ],
)
def test_token_of_worst_form_is_400(
    app: Flask, client: FlaskClient, ann: Account, ask: Any, token: str, code: str
) -> None:
    ask()
    body = f'{{"password": "{NEW}", "token": {token}}}'
    assert_error(client.post(CONFIRM, data=body), 400, code)
    assert login(app, PASSWORD) == 200


def test_other_secrets_are_no_reset_token(client: FlaskClient, ann: Account, ask: Any) -> None:
    ticket = client.post("/api/auth/ticket", headers=ann.headers).json["ticket"]
    token = ask()
    for secret in (ticket, fingerprint(token.encode()), token.lower(), ann.token):
        response = confirm(client, secret)
        assert_error(response, 400)
    assert confirm(client, token).status_code == 200


def test_reset_token_is_no_ticket(app: Flask, client: FlaskClient, ann: Any, ask: Any) -> None:
    token = ask()
    with app.app_context():
        assert OneTimeToken.redeem("ticket", token) is None
        db.session.commit()
    assert confirm(client, token).status_code == 200


def test_of_confirmations_at_the_same_time_one_alone_wins(make_app: Any, mails: Any) -> None:
    app = make_app(**SETTINGS, BCRYPT_ROUNDS=8)  # slow enough to overlap
    client = app.test_client()
    client.post(REGISTER, json=ANN)
    client.post(ASK, json={"email": ANN["email"]})
    (message,) = mails()
    token = message.get_content().partition("#reset=")[2].split()[0]
    passwords = [f"horse no {number}" for number in range(4)]
    start = threading.Barrier(len(passwords))

    def race(password: str) -> int:
        start.wait(5)
        return confirm(app.test_client(), token, password).status_code

    with ThreadPoolExecutor(len(passwords)) as pool:
        statuses = list(pool.map(race, passwords))
    assert sorted(statuses) == [200, 400, 400, 400]
    opened = [login(app, password) for password in passwords]
    assert opened == [200 if status == 200 else 401 for status in statuses]


def test_a_reset_lets_in_who_was_locked_out(make_app: Any, register: Any, mails: Any) -> None:
    app = make_app(**SETTINGS, LOGIN_LIMIT="2 per hour")
    client = app.test_client()
    register("ann")
    for status in (401, 401, 429):
        assert login(app, "wrong horse") == status
    client.post(ASK, json={"email": ANN["email"]})
    (message,) = mails()
    token = message.get_content().partition("#reset=")[2].split()[0]
    assert confirm(client, token).json == {"ok": True}
    assert login(app, NEW) == 200


def test_resets_are_limited_however_the_account_is_called(
    make_app: Any, register: Any, mails: Any
) -> None:
    client = make_app(**SETTINGS, RESET_LIMIT="2 per hour").test_client()
    register("ann", username="annie")
    answers = [
        client.post(ASK, json={"email": name}, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"})
        for number, name in enumerate((ANN["email"], "annie", ANN["email"], "annie"))
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert len(mails()) == 2
