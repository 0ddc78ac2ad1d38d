"""What users and admins change of accounts, by PUT, PATCH and POST: docs/accounts.md."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.accounts import ANN, LOGIN, ME, path_of
from tests.accounts import stored_users as stored
from tests.conftest import Account, assert_error

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
    app: Flask, client: FlaskClient, ann: Account, method: str
) -> None:
    before = stored(app)
    body = {"id": 99, "password_hash": "x", "role": "admin", "is_active": False, "isAdmin": True}
    body |= {"password": "a better horse", "createdAt": "2000-01-01", "created_at": "2000-01-01"}
    body |= {"roles": ["admin"], "permissions": [], "deleted_at": "2000-01-01", "status": "x"}
    response = client.open(path_of(ann), method=method, json=body, headers=ann.headers)
    assert (response.status_code, response.json) == (200, ann.user)
    assert stored(app) == before


def test_form_sends_a_whole_user_back(client: FlaskClient, ann: Account) -> None:
    whole = client.get(path_of(ann), headers=ann.headers).json
    response = client.put(path_of(ann), json={**whole, "name": "Anna"}, headers=ann.headers)
    assert response.json == {**ann.user, "name": "Anna", "display_name": "Anna"}


# Role


@pytest.mark.parametrize("role", ["admin", "root", "Admin"])
def test_user_gives_no_role(app: Flask, client: FlaskClient, ann: Account, role: str) -> None:
    body = {"id": ann.user["id"], "name": "Eve", "role": role}
    changed = {**ann.user, "name": "Eve", "display_name": "Eve"}
    assert client.put(path_of(ann), json=body, headers=ann.headers).json == changed
    assert client.post("/users", json=body, headers=ann.headers).json == changed
    assert client.get(ME, headers=ann.headers).json == changed


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
        return client.get(path_of(bob), headers=ann.headers).json["email"] is not None

    assert not sees_email()
    reply = client.patch(path_of(ann), json={"role": "admin"}, headers=admin.headers).json
    assert (reply["role"], reply["roles"]) == ("admin", ["admin"])
    assert [one["id"] for one in reply["permissions"]] == ["*:*"]
    assert sees_email()
    assert client.put(path_of(bob), json={"name": "B"}, headers=ann.headers).status_code == 200
    client.patch(path_of(ann), json={"role": "user"}, headers=admin.headers)
    assert not sees_email()
    assert_error(client.put(path_of(bob), json={"name": "C"}, headers=ann.headers), 403)


# Of what one read


def test_account_that_has_changed_is_not_changed(client: FlaskClient, ann: Account) -> None:
    path = path_of(ann)
    match = {**ann.headers, "If-Match": client.get(path, headers=ann.headers).headers["ETag"]}
    changed = client.patch(path, json={"name": "Anna"}, headers=match)
    assert changed.status_code == 200
    assert_error(client.patch(path, json={"name": "Annie"}, headers=match), 412)
    assert_error(client.delete(path, headers=match), 412)
    assert client.get(path, headers=ann.headers).json["name"] == "Anna"
    match["If-Match"] = changed.headers["ETag"]
    assert client.delete(path, headers=match).status_code == 204
