"""Where an account is signed in: the list, ending one or all others, and when each was used."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

import auth
import models
from auth import COOKIE
from models import Session, db, iso
from tests.accounts import ANN, LOGIN, LOGOUT, ME, REFRESH, bearer
from tests.conftest import PASSWORD, Account, Server, assert_error

SESSIONS, TICKET, CHANGE = "/api/auth/sessions", "/api/auth/ticket", "/api/auth/password"
PHONE = {"User-Agent": "Phone"}
Move = Callable[..., None]


@pytest.fixture
def move_time(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Moves the one clock on: `move_time(minutes=5)`; tokens keep the real time."""
    real, moved = models.now, [timedelta()]

    def move(**by: float) -> None:
        moved[0] += timedelta(**by)

    for module in (models, auth):
        monkeypatch.setattr(module, "now", lambda: real() + moved[0])
    return move


def sign_in(app: Flask, **login: Any) -> Account:
    """Ann on one more device."""
    client = app.test_client(use_cookies=False)
    response = client.post(LOGIN, json={**ANN, **login}, headers=PHONE)
    assert response.status_code == 200, response.json
    return Account(response.json, response.json["user"]["email"])


def session_id(app: Flask, account: Account) -> str:
    with app.app_context():
        return str(auth.claims_of(account.token)["sid"])


def load(app: Flask, account: Account) -> Session:
    """The session of this sign-in as it is stored."""
    sid = session_id(app, account)
    with app.app_context():
        return db.session.scalars(select(Session).where(Session.id == sid)).one()


def cookie_of(app: Flask, account: Account) -> dict[str, str]:
    """What the browser of this session sends."""
    with app.app_context():
        session = auth.session_of(account.token, "access")
        return {"Cookie": f"{COOKIE}={auth.make_token(session, 'cookie')}"}


def listed(client: FlaskClient, account: Account) -> list[str]:
    """The ids of the sessions listed to `account`."""
    return [one["id"] for one in client.get(SESSIONS, headers=account.headers).json]


def is_live(app: Flask, account: Account) -> bool:
    client = app.test_client(use_cookies=False)
    return client.get(ME, headers=account.headers).status_code == 200


# The list


def test_list_tells_all_of_each_session(app: Flask, client: FlaskClient, ann: Account) -> None:
    elsewhere = {"headers": PHONE, "environ_overrides": {"REMOTE_ADDR": "203.0.113.9"}}
    phone = Account(client.post(LOGIN, json=ANN, **elsewhere).json, ann.email)
    rows = {account: load(app, account) for account in (phone, ann)}
    expected = [
        {
            "id": row.id,
            "device": device,
            "address": address,
            "location": address,
            "createdAt": iso(row.created_at),
            "lastActive": iso(row.seen_at),
            "isCurrent": current,
        }
        for row, device, address, current in [
            (rows[phone], "Phone", "203.0.113.9", False),
            (rows[ann], rows[ann].device, "127.0.0.1", True),
        ]
    ]
    assert rows[ann].device
    assert client.get(SESSIONS, headers=ann.headers).json == expected
    for one in expected:
        one["isCurrent"] = not one["isCurrent"]
    assert client.get(SESSIONS, headers=phone.headers).json == expected


def test_the_one_used_last_comes_first(app: Flask, ann: Account, move_time: Move) -> None:
    accounts = [ann, sign_in(app), sign_in(app)]
    ids = [session_id(app, account) for account in accounts]
    client = app.test_client()
    assert listed(client, ann) == [ids[2], ids[1], ids[0]]
    for position in (1, 0, 2):
        move_time(minutes=6)
        assert listed(client, accounts[position])[0] == ids[position]
    assert listed(client, ann) == [ids[0], ids[2], ids[1]]


def test_others_and_ended_ones_are_not_listed(app: Flask, ann: Account, bob: Account) -> None:
    client = app.test_client()
    gone = sign_in(app)
    client.post(LOGOUT, headers=gone.headers)
    assert listed(client, ann) == [session_id(app, ann)]
    assert listed(client, bob) == [session_id(app, bob)]


def test_one_unused_for_the_life_of_its_tokens_is_not_listed(
    make_app: Any, ann: Account, move_time: Move
) -> None:
    app = make_app(REFRESH_TOKEN_DAYS=2)
    unused = sign_in(app)
    client = app.test_client()
    ids = [session_id(app, ann), session_id(app, unused)]
    move_time(days=1, hours=23, minutes=59)
    assert listed(client, ann) == ids
    move_time(minutes=2)
    assert listed(client, ann) == ids[:1]


# Ending


def test_ending_another_device(app: Flask, client: FlaskClient, ann: Account) -> None:
    phone, tablet = sign_in(app), sign_in(app)
    path = f"{SESSIONS}/{session_id(app, phone)}"
    assert client.delete(path, headers=ann.headers).json == {"ok": True, "ended": 1}
    assert not is_live(app, phone)
    assert is_live(app, ann)
    assert is_live(app, tablet)
    assert_error(client.delete(path, headers=ann.headers), 404, "session_not_found")


def test_ending_the_current_one(app: Flask, client: FlaskClient, ann: Account) -> None:
    phone = sign_in(app)
    path = f"{SESSIONS}/{session_id(app, ann)}"
    assert client.delete(path, headers=ann.headers).json == {"ok": True, "ended": 1}
    assert_error(client.delete(path, headers=ann.headers), 401)
    assert is_live(app, phone)


def test_no_one_ends_the_session_of_another_user(
    app: Flask, client: FlaskClient, ann: Account, bob: Account
) -> None:
    path = f"{SESSIONS}/{session_id(app, ann)}"
    assert_error(client.delete(path, headers=bob.headers), 404, "session_not_found")
    assert is_live(app, ann)


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param("nonsense", id="unknown"),
        pytest.param("%00", id="NUL"),
        pytest.param("a%00b", id="NUL within"),
        pytest.param("%ff", id="not UTF-8"),
        pytest.param("%ed%a0%80", id="lone surrogate"),
        pytest.param("é🙂", id="not ASCII"),
        pytest.param("%25", id="wildcard"),
        pytest.param("null", id="null"),
        pytest.param("x" * 100_000, id="100 kB"),
    ],
)
def test_ending_what_is_no_session_is_404(
    app: Flask, client: FlaskClient, ann: Account, unknown: str
) -> None:
    response = client.delete(f"{SESSIONS}/{unknown}", headers=ann.headers)
    assert_error(response, 404, "session_not_found")
    assert is_live(app, ann)


def test_a_nul_within_an_id_does_not_hide(app: Flask, client: FlaskClient, ann: Account) -> None:
    path = f"{SESSIONS}/{session_id(app, ann)}%00"
    assert_error(client.delete(path, headers=ann.headers), 404, "session_not_found")
    assert is_live(app, ann)


def test_ending_all_others_keeps_the_current_one(app: Flask, ann: Account, bob: Account) -> None:
    others, client = [sign_in(app), sign_in(app)], app.test_client()
    assert client.delete(SESSIONS, headers=ann.headers).json == {"ok": True, "ended": 2}
    assert [is_live(app, one) for one in (ann, bob, *others)] == [True, True, False, False]
    assert client.delete(SESSIONS, headers=ann.headers).json == {"ok": True, "ended": 0}


def end_one(client: FlaskClient, sid: str, device: Account, other: Account) -> Any:
    return client.delete(f"{SESSIONS}/{sid}", headers=other.headers)


def end_itself(client: FlaskClient, sid: str, device: Account, other: Account) -> Any:
    return client.delete(f"{SESSIONS}/{sid}", headers=device.headers)


def end_others(client: FlaskClient, sid: str, device: Account, other: Account) -> Any:
    return client.delete(SESSIONS, headers=other.headers)


def sign_out(client: FlaskClient, sid: str, device: Account, other: Account) -> Any:
    return client.post(LOGOUT, headers=device.headers)


def change_password(client: FlaskClient, sid: str, device: Account, other: Account) -> Any:
    body = {"currentPassword": PASSWORD, "newPassword": "another horse"}
    return client.post(CHANGE, json=body, headers=other.headers)


ENDS = [end_one, end_itself, end_others, sign_out, change_password]


@pytest.mark.parametrize("end", ENDS)
def test_every_token_of_an_ended_session_is_refused_at_once(
    app: Flask, server: Server, ann: Account, end: Any
) -> None:
    phone = sign_in(app)
    client = app.test_client(use_cookies=False)
    more = client.post(REFRESH, headers=bearer(phone.refresh_token)).json
    ticket = client.post(TICKET, headers=phone.headers).json["ticket"]
    cookie = cookie_of(app, phone)
    assert client.get(ME, headers=cookie).json == phone.user
    assert end(client, session_id(app, phone), phone, ann).status_code == 200
    for access in (phone.token, more["accessToken"]):
        assert_error(client.get(ME, headers=bearer(access)), 401, "unauthorized")
    for refresh in (phone.refresh_token, more["refreshToken"]):
        for request in (
            {"json": {"refreshToken": refresh}},
            {"json": {"refresh_token": refresh}},
            {"headers": bearer(refresh)},
        ):
            assert_error(client.post(REFRESH, **request), 401, "unauthorized")
    assert_error(client.post(REFRESH, headers=cookie), 401, "unauthorized")
    assert_error(client.get(ME, headers=cookie), 401, "unauthorized")
    refusal = server.refusal(f"/sync?channel=default&ticket={ticket}")
    assert_error(refusal, 401, "unauthorized")
    assert is_live(app, ann)


# When it was used


def test_use_is_kept_every_five_minutes(app: Flask, ann: Account, move_time: Move) -> None:
    client = app.test_client(use_cookies=False)
    first = load(app, ann)
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    move_time(minutes=4, seconds=30)
    client.get(ME, headers=ann.headers, environ_overrides=elsewhere)
    unchanged = load(app, ann)
    assert (unchanged.seen_at, unchanged.address) == (first.seen_at, first.address)
    move_time(seconds=31)
    client.get(ME, headers=ann.headers, environ_overrides=elsewhere)
    seen = load(app, ann)
    gone = seen.seen_at - first.seen_at
    assert timedelta(minutes=5) <= gone < timedelta(minutes=5, seconds=30)
    assert seen.address == "203.0.113.9"
    assert seen.created_at == first.created_at


def test_the_cookie_slides_with_its_use(app: Flask, ann: Account, move_time: Move) -> None:
    client, cookie = app.test_client(use_cookies=False), cookie_of(app, ann)
    assert "Set-Cookie" not in client.get(ME, headers=cookie).headers
    move_time(minutes=5, seconds=1)
    response = client.get(ME, headers=cookie)
    words = response.headers["Set-Cookie"].split("; ")
    name, _, token = words[0].partition("=")
    assert name == COOKIE
    assert words[0] != cookie["Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"} <= set(words)
    assert "Set-Cookie" not in client.get(ME, headers=cookie).headers
    with app.app_context():
        assert auth.session_of(token, "cookie").id == auth.claims_of(ann.token)["sid"]
    assert client.get(ME, headers={"Cookie": words[0]}).json == ann.user


def test_no_cookie_slides_for_a_bearer_caller(
    app: Flask, ann: Account, bob: Account, move_time: Move
) -> None:
    client = app.test_client(use_cookies=False)
    before = load(app, bob)
    for cookie in ({}, cookie_of(app, ann), cookie_of(app, bob)):
        move_time(minutes=6)
        seen = load(app, ann).seen_at
        response = client.get(ME, headers={**ann.headers, **cookie})
        assert response.json == ann.user
        assert "Set-Cookie" not in response.headers
        assert load(app, ann).seen_at > seen
    assert load(app, bob).seen_at == before.seen_at


def test_use_that_cannot_be_kept_does_not_fail_the_request(
    app: Flask, ann: Account, move_time: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, cookie = app.test_client(use_cookies=False), cookie_of(app, ann)
    move_time(minutes=6)

    def fail() -> None:
        raise OperationalError("COMMIT", {}, Exception("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(db.session, "commit", fail)
        for headers in (ann.headers, cookie):
            response = client.get(ME, headers=headers)
            assert (response.status_code, response.json) == (200, ann.user)
    seen = load(app, ann).seen_at
    client.get(ME, headers=ann.headers)
    assert load(app, ann).seen_at - seen > timedelta(minutes=5)
