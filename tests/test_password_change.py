"""Changing a password: who may, what it ends, what it refuses."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.accounts import ANN, LOGIN, ME, REFRESH, bearer, status_of_login
from tests.conftest import PASSWORD, Account, assert_error

CHANGE = "/api/auth/password"
CONFIRM = "/api/auth/password-reset/confirm"
NEW = "a better horse"
OLD_KEYS = ("currentPassword", "current_password", "oldPassword", "old_password")
NEW_KEYS = ("newPassword", "new_password", "password")
COMMON = "This password is one of the most common, choose another"


def change(client: FlaskClient, ann: Account, old: Any = PASSWORD, new: Any = NEW) -> Any:
    body = {"currentPassword": old, "newPassword": new}
    return client.post(CHANGE, json=body, headers=ann.headers)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_password_is_changed_in_all_spellings(
    app: Flask, client: FlaskClient, ann: Account, method: str
) -> None:
    password = PASSWORD
    for number, (old, new) in enumerate((o, n) for o in OLD_KEYS for n in NEW_KEYS):
        body = {old: password, new: f"horse no {number}"}
        assert client.open(CHANGE, method=method, json=body, headers=ann.headers).json == {
            "ok": True
        }
        assert status_of_login(app, password) == 401
        password = f"horse no {number}"
        assert status_of_login(app, password) == 200


def test_change_ends_all_other_sessions(app: Flask, client: FlaskClient, ann: Account) -> None:
    others = [app.test_client() for _ in range(2)]
    replies = [other.post(LOGIN, json=ANN).json for other in others]
    assert change(client, ann).status_code == 200
    assert client.get(ME, headers=ann.headers).status_code == 200
    assert client.post(REFRESH, headers=bearer(ann.refresh_token)).status_code == 200
    for other, reply in zip(others, replies, strict=True):
        assert_error(other.get(ME), 401)
        assert_error(client.get(ME, headers=bearer(reply["token"])), 401)
        assert_error(client.post(REFRESH, json={"refreshToken": reply["refreshToken"]}), 401)


def test_change_by_cookie_is_for_our_own_pages(app: Flask, client: FlaskClient, ann: Any) -> None:
    client.post(LOGIN, json=ANN)
    request = {"json": {"currentPassword": PASSWORD, "newPassword": NEW}}
    assert_error(client.put(CHANGE, headers={"Origin": "https://evil.test"}, **request), 403)
    assert status_of_login(app, PASSWORD) == 200
    assert client.put(CHANGE, **request).status_code == 200
    assert client.get(ME).status_code == 200
    assert_error(client.get(ME, headers=ann.headers), 401)


def test_change_ends_open_reset_links(app: Flask, client: FlaskClient, ann: Account) -> None:
    ask = ["user", "reset-password", ann.email]
    links = [app.test_cli_runner().invoke(args=ask).output.strip() for _ in range(2)]
    assert change(client, ann).status_code == 200
    for link in links:
        body = {"token": link.partition("#reset=")[2], "password": "thief's horse"}
        assert_error(client.post(CONFIRM, json=body), 400, "invalid_token")
    assert status_of_login(app, NEW) == 200


def test_wrong_old_password_is_400_and_changes_nothing(
    app: Flask, client: FlaskClient, ann: Account
) -> None:
    other = client.post(LOGIN, json=ANN).json["token"]
    text = "The current password is wrong"
    body = assert_error(change(client, ann, old="wrong horse"), 400, "invalid_input")
    assert (body["error"], body["errors"]) == (text, {"currentPassword": [text]})
    assert client.get(ME, headers=bearer(other)).status_code == 200
    assert status_of_login(app, PASSWORD) == 200


def test_wrong_old_passwords_count_as_failed_sign_ins(make_app: Any, register: Any) -> None:
    client = make_app(LOGIN_LIMIT="3 per hour").test_client(use_cookies=False)
    ann = register("ann")
    for _ in range(2):  # the right one wipes the slate
        for _ in range(2):
            assert_error(change(client, ann, old="wrong horse"), 400)
        assert change(client, ann, new=PASSWORD).status_code == 200
    for _ in range(3):
        assert_error(change(client, ann, old="wrong horse"), 400)
    assert int(change(client, ann).headers["Retry-After"]) > 0
    assert_error(change(client, ann), 429, "too_many_requests")
    assert client.post(LOGIN, json={**ANN, "password": PASSWORD}).status_code == 200


def test_only_who_is_signed_in_changes_a_password(client: FlaskClient, ann: Account) -> None:
    body = {"currentPassword": PASSWORD, "newPassword": NEW, "email": ann.email}
    for headers in ({}, bearer("nonsense"), bearer(ann.refresh_token)):
        assert_error(client.post(CHANGE, json=body, headers=headers), 401)
    assert client.post(LOGIN, json=ANN).status_code == 200


WORST = {
    "missing": None,
    "null": "null",
    "number": "12345678",
    "list": '["correct horse"]',
    "object": '{"a": "correct horse"}',
    "1 MB": f'"{"x" * 1_000_000}"',
    "NUL": '"correct horse\\u0000"',
    "empty": '""',
}


@pytest.mark.parametrize("field", ["currentPassword", "newPassword"])
def test_field_of_worst_form_is_400(
    app: Flask, client: FlaskClient, ann: Account, field: str
) -> None:
    good = {"currentPassword": json.dumps(PASSWORD), "newPassword": json.dumps(NEW)}
    for name, value in WORST.items():
        fields = {**good, field: value}
        pairs = [f'"{key}": {text}' for key, text in fields.items() if text is not None]
        response = client.post(CHANGE, data=f"{{{', '.join(pairs)}}}", headers=ann.headers)
        assert list(assert_error(response, 400, "invalid_input")["errors"]) == [field], name
    body = json.dumps({**dict.fromkeys(good, PASSWORD), field: "\ud800 horses"})
    assert_error(client.post(CHANGE, data=body, headers=ann.headers), 400, "invalid_json")
    assert status_of_login(app, PASSWORD) == 200
