"""Users as others see them, what each may change, and roles: docs/frontends/larc.md."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from models import User, db
from tests.accounts import ANN, CHECK, LOGIN, ME, REFRESH, REGISTER
from tests.conftest import Account, assert_error

PUBLIC = {"id", "username", "name", "role", "createdAt"}
PROFILE, VERIFY = "/api/auth/profile", "/api/auth/verify"
USER_ROLE = {
    "id": "user",
    "name": "user",
    "description": "Works on what is their own",
    "hierarchy": 1,
    "permissions": [
        {"id": f"{noun}:*", "resource": noun, "action": "*", "description": f"all on {noun}"}
        for noun in ("todos", "rooms", "files", "channels")
    ]
    + [{"id": "users:read", "resource": "users", "action": "read", "description": "read on users"}],
}
ADMIN_ROLE = {
    "id": "admin",
    "name": "admin",
    "description": "May do everything",
    "hierarchy": 100,
    "permissions": [
        {"id": "*:*", "resource": "*", "action": "*", "description": "all on everything"}
    ],
}


def path_of(account: Account) -> str:
    return f"/api/users/{account.user['id']}"


def set_role(app: Flask, account: Account, role: str) -> None:
    with app.app_context():
        mine = User.id == account.user["id"]
        db.session.execute(update(User).where(mine).values(role=role))
        db.session.commit()


def stored(app: Flask) -> list[tuple[Any, ...]]:
    columns = (User.id, User.email, User.username, User.name, User.role, User.password_hash)
    with app.app_context():
        return [tuple(row) for row in db.session.execute(select(*columns).order_by(User.id))]


@pytest.fixture
def admin(app: Flask, register: Callable[..., Account]) -> Account:
    """A signed-in admin."""
    account = register("root")
    set_role(app, account, "admin")
    return account


# Read


def test_user_reads_all_of_themselves(client: FlaskClient, ann: Account) -> None:
    response = client.get(path_of(ann), headers=ann.headers)
    assert (response.status_code, response.json) == (200, ann.user)
    assert response.json["permissions"] == USER_ROLE["permissions"]
    tag = {"If-None-Match": response.headers["ETag"], **ann.headers}
    assert client.get(path_of(ann), headers=tag).status_code == 304


def test_user_reads_only_public_fields_of_others(
    client: FlaskClient, ann: Account, register: Any
) -> None:
    bob = register("bob", username="bobby")
    response = client.get(path_of(bob), headers=ann.headers)
    assert response.json == {key: bob.user[key] for key in PUBLIC}
    assert "example.com" not in response.text


def test_admin_reads_all_of_everybody(client: FlaskClient, ann: Account, admin: Account) -> None:
    assert client.get(path_of(ann), headers=admin.headers).json == ann.user


def test_nobody_reads_and_writes_without_signing_in(client: FlaskClient, ann: Account) -> None:
    for method in ("GET", "PUT", "PATCH"):
        response = client.open(path_of(ann), method=method, json={"name": "Eve"})
        assert assert_error(response, 401)["error"] == "No token provided"


@pytest.mark.parametrize(
    "user_id",
    [
        "0",
        "-1",
        "1.0",
        "1e0",
        "abc",
        "null",
        "undefined",
        "me",
        "²",
        "١",
        "2147483647",
        "2147483648",
    ]
    + ["99999999999999999999", "%00", "1%00", "%27%20OR%201=1", "0x1", "+1", "%20"],
)
def test_id_that_is_none_is_404(client: FlaskClient, admin: Account, user_id: str) -> None:
    for method in ("GET", "PUT", "PATCH"):
        response = client.open(
            f"/api/users/{user_id}", method=method, json={"name": "Eve"}, headers=admin.headers
        )
        assert_error(response, 404, "user_not_found")


# Name


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("who", ["ann", "admin"])
def test_name_is_changed_by_self_and_admin(
    client: FlaskClient, ann: Account, admin: Account, method: str, who: str
) -> None:
    headers = ann.headers if who == "ann" else admin.headers
    response = client.open(path_of(ann), method=method, json={"name": " Ännchen "}, headers=headers)
    changed = {**ann.user, "name": "Ännchen", "display_name": "Ännchen"}
    assert (response.status_code, response.json) == (200, changed)
    assert client.get(ME, headers=ann.headers).json == changed
    assert client.post(LOGIN, json=ANN).json["user"] == changed


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("body", ["{}", '{"name": "Eve"}', '{"role": "admin"}', "nonsense", "[]"])
def test_others_change_nothing(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, method: str, body: str
) -> None:
    before = stored(app)
    response = client.open(path_of(ann), method=method, data=body, headers=bob.headers)
    assert_error(response, 403, "forbidden")
    assert stored(app) == before


@pytest.mark.parametrize("field", ["name", "role"])
@pytest.mark.parametrize(
    "value",
    ["null", "1", "true", "[]", '["admin"]', '{"a": 1}', '"a\\u0000b"', '"\\ud800"']
    + [f'"{"x" * 1_000_000}"', '" "'],
    ids=lambda value: value[:10],
)
def test_field_of_worst_form_is_400(
    app: Flask, client: FlaskClient, admin: Account, field: str, value: str
) -> None:
    before = stored(app)
    body = assert_error(
        client.put(path_of(admin), data=f'{{"{field}": {value}}}', headers=admin.headers), 400
    )
    assert list(body.get("errors", {})) == ([] if body["code"] == "invalid_json" else [field])
    assert stored(app) == before


def test_empty_name_is_400(client: FlaskClient, ann: Account) -> None:
    body = assert_error(client.put(path_of(ann), json={"name": ""}, headers=ann.headers), 400)
    assert body["errors"] == {"name": ["Name is required"]}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_read_only_fields_are_ignored(
    app: Flask, client: FlaskClient, ann: Account, admin: Account, method: str
) -> None:
    before = stored(app)
    body = {"id": 99, "email": "eve@evil.test", "username": "eve", "password_hash": "x"}
    body |= {"password": "a better horse", "createdAt": "2000-01-01", "created_at": "2000-01-01"}
    body |= {"roles": ["admin"], "permissions": [], "is_active": False, "isAdmin": True}
    for headers in (ann.headers, admin.headers):
        response = client.open(path_of(ann), method=method, json=body, headers=headers)
        assert (response.status_code, response.json) == (200, ann.user)
    assert stored(app) == before


def test_form_sends_a_whole_user_back(client: FlaskClient, ann: Account) -> None:
    whole = client.get(path_of(ann), headers=ann.headers).json
    response = client.put(path_of(ann), json={**whole, "name": "Anna"}, headers=ann.headers)
    assert response.json == {**ann.user, "name": "Anna", "display_name": "Anna"}


# Role


def test_user_gives_no_role(app: Flask, client: FlaskClient, ann: Account, register: Any) -> None:
    before = stored(app)
    for role in ("admin", "root", "Admin", "user "):
        body = {"name": "Eve", "role": role}
        response = client.put(path_of(ann), json=body, headers=ann.headers)
        assert assert_error(response, 403)["error"] == "Only an admin gives roles"
        assert stored(app) == before
    assert client.get(ME, headers=ann.headers).json == ann.user


@pytest.mark.parametrize("role", ["root", "Admin", "admin ", "user,admin", "__class__"])
def test_unknown_role_is_400(
    app: Flask, client: FlaskClient, ann: Account, admin: Account, role: str
) -> None:
    before = stored(app)
    body = {"name": "Eve", "role": role}
    body = assert_error(client.put(path_of(ann), json=body, headers=admin.headers), 400)
    assert body["errors"] == {"role": ["Role must be one of user, admin"]}
    assert stored(app) == before


def test_role_takes_effect_at_once(
    client: FlaskClient, ann: Account, bob: Account, admin: Account
) -> None:
    def sees_email() -> bool:
        return "email" in client.get(path_of(bob), headers=ann.headers).json

    assert not sees_email()
    reply = client.patch(path_of(ann), json={"role": "admin"}, headers=admin.headers).json
    assert (reply["role"], reply["roles"]) == ("admin", ["admin"])
    assert reply["permissions"] == ADMIN_ROLE["permissions"]
    assert sees_email()
    assert client.put(path_of(bob), json={"name": "B"}, headers=ann.headers).status_code == 200
    client.patch(path_of(ann), json={"role": "user"}, headers=admin.headers)
    assert not sees_email()
    assert_error(client.put(path_of(bob), json={"name": "C"}, headers=ann.headers), 403)


# What replies say of the role


@pytest.mark.parametrize(("role", "known"), [("user", USER_ROLE), ("admin", ADMIN_ROLE)])
def test_replies_hold_permissions_and_on_demand_role_objects(
    app: Flask, client: FlaskClient, ann: Account, role: str, known: dict[str, Any]
) -> None:
    set_role(app, ann, role)
    refresh = {"refreshToken": ann.refresh_token}
    for query, roles in (("", [role]), ("?roles=objects", [known]), ("?roles=x", [role])):
        users = [
            client.post(f"{LOGIN}{query}", json=ANN).json["user"],
            client.post(f"{REFRESH}{query}", json=refresh).json["user"],
            client.get(f"{ME}{query}", headers=ann.headers).json,
            client.get(f"{PROFILE}{query}", headers=ann.headers).json,
            client.get(f"{CHECK}{query}", headers=ann.headers).json["user"],
            client.get(f"{VERIFY}{query}", headers=ann.headers).json["user"],
        ]
        expected = {**ann.user, "role": role, "roles": roles, "permissions": known["permissions"]}
        assert users == [expected] * len(users)


def test_registration_answers_role_objects_too(client: FlaskClient) -> None:
    user = client.post(f"{REGISTER}?roles=objects", json=ANN).json["user"]
    assert user["roles"] == [USER_ROLE]


# Registration


@pytest.mark.parametrize(
    "extra",
    [
        {"role": "admin"},
        {"roles": ["admin"], "permissions": [{"resource": "*", "action": "*"}]},
        {"id": 4242, "created_at": "2000-01-01T00:00:00Z", "createdAt": "2000-01-01T00:00:00Z"},
        {"password_hash": "x", "passwordHash": "x", "is_active": False, "mfa_enabled": True},
        {"user": {"role": "admin"}, "__class__": "x", "metadata": {"a": 1}},
    ],
)
def test_registration_takes_nothing_but_names_and_password(
    client: FlaskClient, extra: dict[str, Any]
) -> None:
    user = client.post(REGISTER, json={**ANN, **extra}).json["user"]
    id, created = user.pop("id"), user.pop("createdAt")
    assert id != 4242
    assert created > "2026"
    assert user == {
        "email": "ann@example.com",
        "username": None,
        "name": "ann",
        "display_name": "ann",
        "role": "user",
        "roles": ["user"],
        "permissions": USER_ROLE["permissions"],
        "is_active": True,
        "mfa_enabled": False,
    }
    assert client.post(LOGIN, json=ANN).status_code == 200
