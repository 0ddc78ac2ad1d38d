"""What replies say of the role of an account, and what a registration takes: docs/accounts.md."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.accounts import ANN, CHECK, LOGIN, ME, REFRESH, REGISTER, make_admin
from tests.conftest import Account

PROFILE, VERIFY = "/api/auth/profile", "/api/auth/verify"
USER_ROLE = {
    "id": "user",
    "name": "user",
    "description": "Works on what is their own",
    "hierarchy": 1,
    "permissions": [
        {"id": f"{noun}:{action}", "resource": noun, "action": action, "description": text}
        for noun, action, text in (
            ("todos", "*", "all on todos"),
            ("posts", "create", "create on posts"),
            ("comments", "create", "create on comments"),
            ("rooms", "*", "all on rooms"),
            ("files", "*", "all on files"),
            ("channels", "*", "all on channels"),
            ("users", "read", "read on users"),
        )
    ],
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


# What replies say of the role


@pytest.mark.parametrize(("role", "known"), [("user", USER_ROLE), ("admin", ADMIN_ROLE)])
def test_replies_hold_permissions_and_on_demand_role_objects(
    app: Flask, client: FlaskClient, ann: Account, role: str, known: dict[str, Any]
) -> None:
    if role == "admin":
        make_admin(app, ann)
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
