"""The audit trail: what it tells, to whom, and what it never holds."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

import mail
from models import Activity, User, db
from tests.accounts import ANN, LOGIN, LOGOUT, REFRESH, REGISTER
from tests.conftest import PASSWORD, Account, assert_error

ACTIVITY, SESSIONS = "/api/auth/activity", "/api/auth/sessions"
CHANGE, ASK = "/api/auth/password", "/api/auth/password-reset"
CONFIRM = f"{ASK}/confirm"
NEW = "a better horse"


def trail(client: FlaskClient, account: Account, query: str = "") -> list[dict[str, Any]]:
    response = client.get(f"{ACTIVITY}{query}", headers=account.headers)
    assert response.status_code == 200, response.json
    return response.json


def facts(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["type"], entry["detail"]) for entry in entries]


def make_admin(app: Flask, account: Account) -> Account:
    with app.app_context():
        mine = User.id == account.user["id"]
        db.session.execute(update(User).where(mine).values(role="admin"))
        db.session.commit()
    return account


# What is told


def test_entry_tells_what_where_and_when(client: FlaskClient, ann: Account) -> None:
    headers = {"User-Agent": "Firefox on Linux"}
    address = {"REMOTE_ADDR": "192.0.2.7"}
    client.post(LOGIN, json=ANN, headers=headers, environ_overrides=address)
    client.delete_cookie("wharf_session")
    newest, oldest = trail(client, ann)
    assert newest.pop("id") > oldest["id"]
    assert newest.pop("createdAt") >= oldest["createdAt"] >= ann.user["createdAt"][:10]
    assert newest == {
        "userId": ann.user["id"],
        "type": "signed-in",
        "detail": "",
        "address": "192.0.2.7",
        "device": "Firefox on Linux",
    }
    assert (oldest["type"], oldest["address"]) == ("registered", "127.0.0.1")
    assert oldest["device"].startswith("Werkzeug/")


@pytest.mark.parametrize(
    ("agent", "device"),
    [("", ""), ("x" * 10_000, "x" * 200), ("é\xff", "é\xff"), ("<script>", "<script>")],
    ids=["none", "long", "not ASCII", "markup"],
)
def test_device_of_worst_form_is_kept_short(
    client: FlaskClient, ann: Account, agent: str, device: str
) -> None:
    client.post(LOGIN, json=ANN, environ_overrides={"HTTP_USER_AGENT": agent})
    assert trail(client, ann)[0]["device"] == device


def test_signing_in_and_out_is_told(client: FlaskClient, ann: Account) -> None:
    token = client.post(LOGIN, json=ANN).json["token"]
    client.post(LOGIN, json={**ANN, "password": "wrong horse"})
    client.post(LOGOUT, headers={"Authorization": f"Bearer {token}"})
    other = client.post(LOGIN, json=ANN).json["sessionId"]
    client.delete(f"{SESSIONS}/{other}", headers=ann.headers)
    client.post(LOGIN, json=ANN)
    client.delete(SESSIONS, headers=ann.headers)
    assert facts(trail(client, ann)) == [
        ("session-ended", "ended by its user"),
        ("signed-in", ""),
        ("session-ended", "ended by its user"),
        ("signed-in", ""),
        ("session-ended", "signed out"),
        ("sign-in-failed", ""),
        ("signed-in", ""),
        ("registered", ""),
    ]


def test_password_change_is_told(client: FlaskClient, ann: Account) -> None:
    client.post(LOGIN, json=ANN)
    for old, new in (("wrong horse", NEW), (PASSWORD, "short"), (PASSWORD, NEW)):
        body = {"currentPassword": old, "newPassword": new}
        client.put(CHANGE, json=body, headers=ann.headers)
    entries = trail(client, ann)
    assert facts(entries) == [
        ("session-ended", "the password was changed"),
        ("password-changed", ""),
        ("password-change-failed", ""),
        ("signed-in", ""),
        ("registered", ""),
    ]


def test_password_reset_is_told(make_app: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(mail, "deliver", lambda *_: None)
    app = make_app(SMTP_URL="smtp://mail.test")
    client = app.test_client(use_cookies=False)
    client.post(REGISTER, json=ANN)
    client.post(ASK, json={"email": ANN["email"]})
    link = app.test_cli_runner().invoke(args=["user", "reset-password", ANN["email"]]).output
    client.post(CONFIRM, json={"token": link.strip().partition("=")[2], "password": NEW})
    ann = Account(client.post(LOGIN, json={**ANN, "password": NEW}).json, ANN["email"])
    entries = trail(client, ann)
    assert facts(entries) == [
        ("signed-in", ""),
        ("session-ended", "the password was changed"),
        ("password-changed", ""),
        ("password-reset-asked", ""),
        ("password-reset-asked", ""),
        ("registered", ""),
    ]
    devices = [entry["device"] for entry in entries if entry["type"] == "password-reset-asked"]
    assert (devices[0], devices[1][:9]) == ("command line", "Werkzeug/")


def test_reuse_of_a_refresh_token_is_told(make_app: Any) -> None:
    client = make_app(REFRESH_ROTATION="strict").test_client(use_cookies=False)
    reply = client.post(REGISTER, json=ANN).json
    body = {"refreshToken": reply["refreshToken"]}
    assert [client.post(REFRESH, json=body).status_code for _ in range(2)] == [200, 401]
    ann = Account(client.post(LOGIN, json=ANN).json, ANN["email"])
    assert facts(trail(client, ann)) == [
        ("signed-in", ""),
        ("session-ended", "a refresh token was used twice"),
        ("refresh-reused", ""),
        ("registered", ""),
    ]


def test_change_of_a_role_is_told_with_who_did_it(
    client: FlaskClient, ann: Account, admin: Account
) -> None:
    path = f"/api/users/{ann.user['id']}"
    for body in ({"role": "admin"}, {"role": "admin", "name": "Ann"}, {"role": "user"}):
        assert client.put(path, json=body, headers=admin.headers).status_code == 200
    client.put(path, json={"role": "admin"}, headers=ann.headers)  # not hers to change
    by = f"by Root ({admin.user['id']})"
    assert facts(trail(client, ann)) == [
        ("role-changed", f"admin to user {by}"),
        ("role-changed", f"user to admin {by}"),
        ("registered", ""),
    ]


# To whom


def test_user_sees_only_their_own(client: FlaskClient, ann: Account, bob: Account) -> None:
    client.post(LOGIN, json={**ANN, "password": "wrong horse"})
    for query in ("", f"?user_id={ann.user['id']}", f"?userId={ann.user['id']}", "?q=sign-in"):
        assert {entry["userId"] for entry in trail(client, bob, query)} <= {bob.user["id"]}
    assert facts(trail(client, bob)) == [("registered", "")]
    assert trail(client, bob, f"?user_id={ann.user['id']}") == []


def test_admin_sees_everybody_s_and_filters_by_user(
    client: FlaskClient, ann: Account, bob: Account, admin: Account
) -> None:
    client.post(LOGIN, json={**ANN, "email": "nobody@example.com"})
    ids = [entry["userId"] for entry in trail(client, admin)]
    assert ids == [None, admin.user["id"], bob.user["id"], ann.user["id"]]
    for key in ("user_id", "userId"):
        for account in (ann, bob):
            entries = trail(client, admin, f"?{key}={account.user['id']}")
            assert [entry["userId"] for entry in entries] == [account.user["id"]]


def test_trail_is_for_who_is_signed_in_and_read_only(client: FlaskClient, ann: Account) -> None:
    assert_error(client.get(ACTIVITY), 401)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert_error(client.open(ACTIVITY, method=method, headers=ann.headers), 405)


# The list rule


def test_trail_comes_in_pages(client: FlaskClient, ann: Account) -> None:
    for _ in range(4):
        client.post(LOGIN, json=ANN)
    whole = trail(client, ann)
    ids = [entry["id"] for entry in whole]
    assert (len(ids), ids) == (5, sorted(ids, reverse=True))
    page: Any = trail(client, ann, "?page=2&limit=2")
    assert page.pop("next")
    assert page == {
        "items": whole[2:4],
        "total": 5,
        "page": 2,
        "size": 2,
        "limit": 2,
        "pages": 3,
        "hasMore": True,
    }
    assert trail(client, ann, "?sort=id") == whole[::-1]


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("?type=sign-in-failed", ["sign-in-failed"]),
        ("?type=signed-in&type=registered", ["signed-in", "registered"]),
        ("?type=nonsense", []),
        ("?type=sign-in-failed%00", ["sign-in-failed"]),
        ("?q=SIGN-IN", ["sign-in-failed"]),
        ("?q=firefox", ["signed-in"]),
        ("?q=%25", []),
        ("?address=192.0.2.7", ["signed-in"]),
        ("?device=Firefox", ["signed-in", "sign-in-failed", "registered"]),
    ],
)
def test_trail_is_filtered_and_searched(
    client: FlaskClient, ann: Account, query: str, types: list[str]
) -> None:
    client.post(LOGIN, json={**ANN, "password": "wrong horse"})
    where = {"REMOTE_ADDR": "192.0.2.7", "HTTP_USER_AGENT": "Firefox"}
    client.post(LOGIN, json=ANN, environ_overrides=where)
    assert [entry["type"] for entry in trail(client, ann, query)] == types


@pytest.mark.parametrize(
    "query", ["?user_id=abc", "?id=-1", "?created_at=today", "?page=0", "?limit=x", "?sort=device"]
)
def test_query_of_worst_form_is_400(client: FlaskClient, ann: Account, query: str) -> None:
    assert_error(client.get(f"{ACTIVITY}{query}", headers=ann.headers), 400, "invalid_input")


# What it never holds


@pytest.mark.parametrize("name", ["nobody@example.com", "my secret password"])
def test_failed_sign_in_of_an_unknown_name_keeps_no_name(
    client: FlaskClient, admin: Account, name: str
) -> None:
    client.post(LOGIN, json={"email": name, "password": PASSWORD})
    entry = trail(client, admin)[0]
    assert (entry["userId"], entry["type"], entry["detail"]) == (None, "sign-in-failed", "")
    assert name not in json.dumps(trail(client, admin))


def test_no_secret_is_in_any_entry(make_app: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(mail, "deliver", lambda *_: None)
    app = make_app(SMTP_URL="smtp://mail.test", REFRESH_ROTATION="strict")
    client = app.test_client(use_cookies=False)
    replies = [client.post(REGISTER, json=ANN).json, client.post(LOGIN, json=ANN).json]
    client.post(LOGIN, json={**ANN, "password": "wrong horse"})
    for reply in replies[1:] * 2:
        client.post(REFRESH, json={"refreshToken": reply["refreshToken"]})
    headers = {"Authorization": f"Bearer {replies[0]['token']}"}
    ticket = client.post("/api/auth/ticket", headers=headers).json["ticket"]
    for old in ("wrong horse", PASSWORD):
        body = {"currentPassword": old, "newPassword": NEW}
        client.post(CHANGE, json=body, headers=headers)
    client.post(ASK, json={"email": ANN["email"]})
    link = app.test_cli_runner().invoke(args=["user", "reset-password", ANN["email"]]).output
    token = link.strip().partition("=")[2]
    client.post(CONFIRM, json={"token": token, "password": "another horse"})
    with app.app_context():
        rows = [list(vars(row).values()) for row in db.session.scalars(select(Activity))]
        hashed = db.session.scalar(select(User.password_hash))
    text = repr(rows)
    assert len(rows) == 11
    secrets = [PASSWORD, NEW, "wrong horse", "another horse", ticket, token, hashed, ANN["email"]]
    for reply in replies:
        secrets += [reply["token"], reply["refreshToken"], reply["sessionId"]]
    assert [secret for secret in secrets if secret in text] == []
