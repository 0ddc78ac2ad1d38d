"""Refresh tokens by REFRESH_ROTATION: lenient ones last, strict ones work once; cookies last."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import auth
import models
from auth import COOKIE
from models import Activity, db
from tests.accounts import ANN, LOGIN, ME, REFRESH, bearer, cookie_of
from tests.conftest import Account, assert_error

PATHS = [REFRESH, "/auth/refresh", "/api/refresh-token", "/api/auth?action=refresh"]


def in_body(token: str) -> dict[str, Any]:
    return {"json": {"refreshToken": token}}


def in_snake_body(token: str) -> dict[str, Any]:
    return {"json": {"refresh_token": token}}


def as_bearer(token: str) -> dict[str, Any]:
    return {"headers": bearer(token)}


def as_cookie(token: str) -> dict[str, Any]:
    return {"headers": {"Cookie": f"{COOKIE}={token}"}}


def as_cookie_with_empty_json(token: str) -> dict[str, Any]:
    return {**as_cookie(token), "content_type": "application/json", "data": b""}


def as_cookie_with_no_fields(token: str) -> dict[str, Any]:
    return {**as_cookie(token), "json": {}}


WAYS = [in_body, in_snake_body, as_bearer]
COOKIE_WAYS = [as_cookie, as_cookie_with_empty_json, as_cookie_with_no_fields]


def caller(app: Flask) -> FlaskClient:
    """Sends what it is told, and no cookie of its own."""
    return app.test_client(use_cookies=False)


def refresh(app: Flask, request: dict[str, Any], path: str = REFRESH) -> Account:
    """The tokens that come for those in `request`."""
    response = caller(app).post(path, **request)
    assert response.status_code == 200, response.json
    assert response.json["refresh_token"] == response.json["refreshToken"]
    assert_cookie_lasts(app, response)
    return Account(response.json, response.json["user"]["email"])


def assert_cookie_lasts(app: Flask, response: Any) -> str:
    """The cookie of an answer with tokens, which no cache keeps: it is of a kind of its own."""
    assert response.headers["Cache-Control"] == "no-store"
    name, _, cookie = response.headers["Set-Cookie"].partition(";")[0].partition("=")
    with app.app_context():
        assert (name, auth.claims_of(cookie)["use"]) == (COOKIE, "cookie")
        for word in ("refreshToken", "refresh_token"):
            if word in response.json:
                assert auth.claims_of(response.json[word])["use"] == "refresh"
    assert caller(app).get(ME, **as_cookie(cookie)).json == response.json["user"]
    return str(cookie)


def assert_refused(app: Flask, token: str) -> None:
    assert_error(caller(app).post(REFRESH, **in_body(token)), 401, "unauthorized")


def assert_signed_in(app: Flask, account: Account) -> None:
    for headers in (account.headers, as_cookie(cookie_of(app, account))["headers"]):
        assert caller(app).get(ME, headers=headers).json == account.user


def assert_signed_out(app: Flask, account: Account) -> None:
    for headers in (account.headers, as_cookie(cookie_of(app, account))["headers"]):
        assert_error(caller(app).get(ME, headers=headers), 401, "unauthorized")
    assert_refused(app, account.refresh_token)


def trail(app: Flask, account: Account) -> list[tuple[str, str]]:
    """What happened to the account, type and detail, in order."""
    with app.app_context():
        mine = select(Activity.type, Activity.detail).where(Activity.user_id == account.user["id"])
        return [(row.type, row.detail) for row in db.session.execute(mine.order_by(Activity.id))]


@pytest.fixture
def strict(make_app: Any) -> Flask:
    """An app whose refresh tokens work once."""
    return make_app(REFRESH_ROTATION="strict")


# Lenient


@pytest.mark.parametrize("way", WAYS)
def test_lenient_tokens_keep_working(app: Flask, ann: Account, way: Any) -> None:
    newer = [refresh(app, way(ann.refresh_token), path) for path in PATHS]
    all_of_them = [ann, *newer]
    assert len({account.refresh_token for account in all_of_them}) == len(PATHS) + 1
    assert len({account.token for account in all_of_them}) == len(PATHS) + 1
    for account in all_of_them:
        assert_signed_in(app, account)
        assert refresh(app, way(account.refresh_token)).user == ann.user
    assert trail(app, ann) == [("registered", "")]


# Strict


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", PATHS)
def test_a_strict_token_works_once(strict: Flask, ann: Account, way: Any, path: str) -> None:
    second = refresh(strict, way(ann.refresh_token), path)
    third = refresh(strict, way(second.refresh_token), path)
    assert_signed_in(strict, third)
    assert_error(caller(strict).post(path, **way(ann.refresh_token)), 401, "unauthorized")
    assert trail(strict, ann) == [
        ("registered", ""),
        ("refresh-reused", ""),
        ("session-ended", "a refresh token was used twice"),
    ]
    for account in (ann, second, third):
        assert_signed_out(strict, account)
    assert len(trail(strict, ann)) == 3


def test_reuse_leaves_other_sessions_alone(strict: Flask, ann: Account, bob: Account) -> None:
    phone = Account(caller(strict).post(LOGIN, json=ANN).json, ann.email)
    newer = refresh(strict, in_body(ann.refresh_token))
    assert_refused(strict, ann.refresh_token)
    assert_signed_out(strict, newer)
    for account in (phone, bob):
        assert_signed_in(strict, account)
        refresh(strict, in_body(account.refresh_token))


def test_of_refreshes_at_the_same_time_one_succeeds(strict: Flask, register: Any) -> None:
    for round in range(5):
        account = register(f"user{round}")
        start, statuses = threading.Barrier(2), []

        def rush(account: Account = account, start: Any = start, statuses: Any = statuses) -> None:
            start.wait()
            response = caller(strict).post(REFRESH, **in_body(account.refresh_token))
            statuses.append(response.status_code)

        threads = [threading.Thread(target=rush) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 401]
        assert_signed_out(strict, account)


def test_the_cookie_authenticates_whatever_was_refreshed_meanwhile(
    strict: Flask, ann: Account
) -> None:
    cookie = as_cookie(cookie_of(strict, ann))["headers"]
    newest = ann
    for _ in range(3):
        newest = refresh(strict, in_body(newest.refresh_token))
        for _ in range(2):
            assert caller(strict).get(ME, headers=cookie).json == ann.user
            assert caller(strict).post("/api/auth/ticket", headers=cookie).status_code == 200


def test_what_is_no_refresh_token_ends_no_session(strict: Flask, ann: Account) -> None:
    newer = refresh(strict, in_body(ann.refresh_token))
    forged = ann.refresh_token[:-4] + "AAAA"
    for token in (ann.token, newer.token, forged, "nonsense"):
        assert_refused(strict, token)
    assert_signed_in(strict, newer)


def test_tokens_of_lenient_times_work_once(app: Flask, strict: Flask, ann: Account) -> None:
    newer = refresh(app, in_body(ann.refresh_token))
    last = refresh(strict, in_body(newer.refresh_token))
    assert_refused(strict, ann.refresh_token)
    assert_signed_out(strict, last)


# By cookie


@pytest.fixture(params=["lenient", "strict"])
def either(request: Any, make_app: Any) -> Flask:
    """An app of each rotation."""
    return make_app(REFRESH_ROTATION=request.param)


@pytest.mark.parametrize("way", COOKIE_WAYS)
@pytest.mark.parametrize("path", PATHS)
def test_a_cookie_refreshes_again_and_again_and_hands_out_no_refresh_token(
    either: Flask, ann: Account, way: Any, path: str
) -> None:
    signed_in = set(caller(either).post(LOGIN, json=ANN).json)
    cookie = first = cookie_of(either, ann)
    for _ in range(3):
        for token in {first, cookie}:
            response = caller(either).post(path, **way(token))
            assert response.status_code == 200, response.json
            assert set(response.json) == signed_in - {"refreshToken", "refresh_token"}
            headers = bearer(response.json["token"])
            assert caller(either).get(ME, headers=headers).json == ann.user
        cookie = assert_cookie_lasts(either, response)
        assert cookie != first
    assert_signed_in(either, refresh(either, in_body(ann.refresh_token)))  # nobody has used it
    assert trail(either, ann) == [("registered", ""), ("signed-in", "")]


def test_a_cookie_that_slid_refreshes_too(
    strict: Flask, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = models.now
    newer = refresh(strict, in_body(ann.refresh_token))
    for module in (models, auth):
        monkeypatch.setattr(module, "now", lambda: real() + timedelta(minutes=6))
    response = caller(strict).get(ME, **as_cookie(cookie_of(strict, newer)))
    cookie = response.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    for _ in range(2):
        answer = caller(strict).post(REFRESH, **as_cookie(cookie))
        assert (answer.status_code, answer.json["user"]) == (200, ann.user)
    assert_signed_in(strict, refresh(strict, in_body(newer.refresh_token)))


@pytest.mark.parametrize("way", COOKIE_WAYS)
def test_another_site_cannot_refresh_by_cookie(either: Flask, ann: Account, way: Any) -> None:
    request = way(cookie_of(either, ann))
    evil = {**request, "headers": {**request["headers"], "Origin": "https://evil.test"}}
    response = caller(either).post(REFRESH, **evil)
    assert_error(response, 403, "forbidden")
    assert "Set-Cookie" not in response.headers
    assert caller(either).post(REFRESH, **request).status_code == 200


# Each kind in its place


@pytest.mark.parametrize("way", COOKIE_WAYS)
@pytest.mark.parametrize("path", PATHS)
def test_a_refresh_token_is_no_cookie(either: Flask, ann: Account, way: Any, path: str) -> None:
    for method, address in (("POST", path), ("GET", ME)):
        response = caller(either).open(address, method=method, **way(ann.refresh_token))
        assert_error(response, 401, "unauthorized")
        assert response.headers["Set-Cookie"].startswith(f"{COOKIE}=;")
    assert_signed_in(either, refresh(either, in_body(ann.refresh_token)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", PATHS)
def test_a_cookie_is_no_refresh_token(either: Flask, ann: Account, way: Any, path: str) -> None:
    cookie = cookie_of(either, ann)
    response = caller(either).post(path, **way(cookie))
    assert_error(response, 401, "unauthorized")
    assert "Set-Cookie" not in response.headers
    assert_error(caller(either).get(ME, headers=bearer(cookie)), 401, "unauthorized")
    assert_signed_in(either, refresh(either, in_body(ann.refresh_token)))


@pytest.mark.parametrize("way", COOKIE_WAYS)
def test_a_used_up_token_does_not_come_back_to_life_as_a_cookie(
    strict: Flask, ann: Account, way: Any
) -> None:
    newer = refresh(strict, in_body(ann.refresh_token))
    assert_error(caller(strict).post(REFRESH, **way(ann.refresh_token)), 401, "unauthorized")
    assert_error(caller(strict).get(ME, **as_cookie(ann.refresh_token)), 401, "unauthorized")
    assert_signed_in(strict, newer)
    assert_refused(strict, ann.refresh_token)
    assert_signed_out(strict, newer)
