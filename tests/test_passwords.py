"""Passwords: what is accepted as one, and what its check costs."""

import json
import os
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path
from statistics import median
from typing import Any

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

import passwords
from models import User, db
from tests.accounts import ANN, LOGIN, REGISTER, status_of_login
from tests.conftest import PASSWORD, SETTINGS, Account, assert_error

CHANGE = "/api/auth/password"
CONFIRM = "/api/auth/password-reset/confirm"
NEW = "a better horse"
OLD_KEYS = ("currentPassword", "current_password", "oldPassword", "old_password")
NEW_KEYS = ("newPassword", "new_password", "password")
COMMON = "This password is one of the most common, choose another"


def stored_hash(app: Flask) -> str:
    with app.app_context():
        return db.session.scalar(select(User.password_hash).where(User.email == ANN["email"]))


def change(client: FlaskClient, ann: Account, old: Any = PASSWORD, new: Any = NEW) -> Any:
    body = {"currentPassword": old, "newPassword": new}
    return client.post(CHANGE, json=body, headers=ann.headers)


# What is accepted


@pytest.mark.parametrize("made", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_accents_sign_in_however_they_are_typed(app: Flask, made: Any, typed: Any) -> None:
    password = "Ångström ändert"
    body = {**ANN, "password": unicodedata.normalize(made, password)}
    assert app.test_client().post(REGISTER, json=body).status_code == 201
    assert status_of_login(app, unicodedata.normalize(typed, password)) == 200
    assert status_of_login(app, "Angstrom andert") == 401


REFUSED = [
    pytest.param("", "Password must be 8 to 72 bytes long", id="empty"),
    pytest.param("seven77", "Password must be 8 to 72 bytes long", id="7 bytes"),
    pytest.param("a\u0308" * 4 + "x" * 65, "Password must be 8 to 72 bytes long", id="73 bytes"),
    pytest.param("🐎" * 19, "Password must be 8 to 72 bytes long", id="19 emoji"),
    pytest.param("correct\0horse", "Password must not contain NUL", id="NUL"),
    pytest.param("password", COMMON, id="common"),
    pytest.param("PassWord1", COMMON, id="common in another case"),
    pytest.param("QWERTYUIOP", COMMON, id="common in capitals"),
]


@pytest.mark.parametrize(("password", "text"), REFUSED)
def test_refused_password_is_told_why(
    app: Flask, client: FlaskClient, ann: Account, password: str, text: str
) -> None:
    before = stored_hash(app)
    body = assert_error(change(client, ann, new=password), 400, "invalid_input")
    assert (body["error"], body["errors"]) == (text, {"newPassword": [text]})
    assert stored_hash(app) == before
    body = {"email": "new@example.com", "password": password}
    body = assert_error(client.post(REGISTER, json=body), 400, "invalid_input")
    assert (body["error"], body["errors"]) == (text, {"password": [text]})


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("eight 8s", id="8 bytes"),
        pytest.param("🐎" * 18, id="72 bytes"),
        pytest.param("a\u0308" * 36, id="108 bytes typed, 72 composed"),
        pytest.param("        ", id="blanks"),
        pytest.param(" correct horse ", id="blanks around it"),
        pytest.param("passwordpassword horse", id="holds a common one"),
    ],
)
def test_accepted_password_signs_in(
    app: Flask, client: FlaskClient, ann: Account, password: str
) -> None:
    assert change(client, ann, new=password).json == {"ok": True}
    assert status_of_login(app, password) == 200
    assert status_of_login(app, password + "x") == 401
    assert status_of_login(app, password[:-1]) == 401


# What a check costs


@pytest.fixture
def calls(monkeypatch: Any) -> list[tuple[str, bytes]]:
    """Every use of bcrypt, with the cost it had."""
    found: list[tuple[str, bytes]] = []
    for name in ("checkpw", "hashpw"):
        monkeypatch.setattr(bcrypt, name, counted(getattr(bcrypt, name), found))
    return found


def counted(function: Any, found: list[tuple[str, bytes]]) -> Any:
    def call(secret: bytes, salt: bytes) -> Any:
        found.append((function.__name__, salt[:7]))
        return function(secret, salt)

    return call


@pytest.mark.parametrize("email", [ANN["email"], "nobody@example.com", "no name at all"])
@pytest.mark.parametrize("password", ["wrong horse", "", "x" * 100_000, "\0" * 9])
def test_failed_sign_in_costs_one_check(
    make_app: Any, calls: list[Any], email: str, password: str
) -> None:
    app = make_app(BCRYPT_ROUNDS=5)
    assert app.test_client().post(REGISTER, json=ANN).status_code == 201
    calls.clear()
    body = {"email": email, "password": password}
    assert_error(make_app(BCRYPT_ROUNDS=5).test_client().post(LOGIN, json=body), 401)
    assert calls == [("checkpw", b"$2b$05$")]


FIRST_REQUEST = """
import json
import bcrypt

calls = []
for name in ("checkpw", "hashpw"):
    def count(secret, salt, name=name, use=getattr(bcrypt, name)):
        calls.append([name, salt[:7].decode()])
        return use(secret, salt)
    setattr(bcrypt, name, count)

from app import create_app

body = {"email": "nobody@example.com", "password": "wrong horse"}
status = create_app().test_client().post("/api/auth/login", json=body).status_code
print(json.dumps([status, calls]))
"""


def test_first_request_of_a_process_costs_one_check_too(app: Flask, tmp_path: Path) -> None:
    settings = {name: str(value) for name, value in SETTINGS.items()}
    settings |= {"DATABASE_URL": app.config["DATABASE_URL"], "STORAGE_URL": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", FIRST_REQUEST],
        env={**os.environ, **settings},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(process.stdout or process.stderr) == [401, [["checkpw", "$2b$04$"]]]


def test_unknown_name_takes_as_long_as_a_wrong_password(make_app: Any) -> None:
    often = "1000 per minute"
    app = make_app(BCRYPT_ROUNDS=8, LOGIN_LIMIT=often, LOGIN_ADDRESS_LIMIT=often)
    client = app.test_client(use_cookies=False)
    client.post(REGISTER, json=ANN)

    def cost(email: str) -> float:
        start = time.process_time()
        assert_error(client.post(LOGIN, json={"email": email, "password": "wrong horse"}), 401)
        return time.process_time() - start

    names = ("warm-up@example.com", ANN["email"], "nobody@example.com")
    tries = [[cost(name) for name in names] for _ in range(7)]
    _, wrong, unknown = (median(times) for times in zip(*tries, strict=True))
    assert 0.5 < unknown / wrong < 2


@pytest.mark.parametrize(
    "salt",
    [bcrypt.gensalt(4), bcrypt.gensalt(6), bcrypt.gensalt(5, b"2a")],
    ids=["less", "more", "old kind"],
)
def test_hash_of_another_cost_signs_in_and_is_replaced(make_app: Any, salt: bytes) -> None:
    app = make_app(BCRYPT_ROUNDS=5)
    app.test_client().post(REGISTER, json=ANN)
    old = bcrypt.hashpw(PASSWORD.encode(), salt).decode()
    with app.app_context():
        db.session.execute(update(User).values(password_hash=old))
        db.session.commit()
    assert status_of_login(app, "wrong horse") == 401
    assert stored_hash(app) == old
    assert status_of_login(app, PASSWORD) == 200
    new = stored_hash(app)
    assert new.startswith("$2b$05$")
    assert status_of_login(app, PASSWORD) == 200
    assert stored_hash(app) == new


def test_a_password_of_a_million_marks_costs_no_more(client: FlaskClient) -> None:
    """To normalise them all would take hours, and hold everybody else up."""
    marks = "a" + "\u0301\u0316" * 500_000
    start = time.process_time()
    assert_error(client.post(LOGIN, json={**ANN, "password": marks}), 401)
    assert_error(client.post(REGISTER, json={**ANN, "password": marks}), 400)
    assert time.process_time() - start < 5


def test_no_more_passwords_are_hashed_at_once_than_there_are_cores(
    app: Flask, ann: Account, monkeypatch: Any
) -> None:
    monkeypatch.setattr(passwords, "turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "SECONDS", 0.01)
    with passwords.turn_to_hash():
        refused = app.test_client().post(LOGIN, json=ANN)
    assert_error(refused, 503, "unavailable")
    assert refused.headers["Retry-After"] == "5"
    assert app.test_client().post(LOGIN, json=ANN).status_code == 200
