"""Accounts as ReactiveModel pages publish them: POST with and without an id, and sign-in names."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.accounts import ANN, LOGIN, ME, REFRESH, path_of
from tests.accounts import stored_users as stored
from tests.conftest import PASSWORD, Account, Server, assert_error

CLEO = {"name": "Cleo", "email": "cleo@example.com"}
each_list = pytest.mark.parametrize("path", ["/users", "/api/users"])


# POST


@each_list
@pytest.mark.parametrize("kind", [int, str])
def test_post_with_an_id_changes_that_user(
    client: FlaskClient, ann: Account, path: str, kind: Any
) -> None:
    whole = {**ann.user, "id": kind(ann.user["id"]), "name": "Anna"}
    response = client.post(path, json=whole, headers=ann.headers)
    expected = {**ann.user, "name": "Anna", "display_name": "Anna"}
    assert (response.status_code, response.json) == (201, expected)
    assert client.get(ME, headers=ann.headers).json == expected


@each_list
def test_put_with_an_id_in_the_body_changes_that_user(
    client: FlaskClient, ann: Account, path: str
) -> None:
    body = {"id": ann.user["id"], "name": "Anna"}
    response = client.put(path, json=body, headers=ann.headers)
    assert (response.status_code, response.json["name"]) == (200, "Anna")
    body = assert_error(client.put(path, json={"name": "x"}, headers=ann.headers), 400)
    assert body["errors"] == {"id": ["Id is required"]}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_others_publish_nothing(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, method: str
) -> None:
    before = stored(app)
    body = {"id": ann.user["id"], "name": "Eve"}
    assert_error(client.open("/users", method=method, json=body, headers=bob.headers), 403)
    assert_error(client.post("/users", json=CLEO, headers=bob.headers), 403, "forbidden")
    for other in ("undefined", 0, "a-b-c", 10**12):
        body = {"id": other, "name": "Eve"}
        response = client.open("/users", method=method, json=body, headers=bob.headers)
        assert_error(response, 404, "user_not_found")
    assert stored(app) == before


@each_list
@pytest.mark.parametrize("extra", [{}, {"id": None}, {"id": ""}, {"role": "user"}])
def test_admin_makes_an_account_without_an_id(
    app: Flask, client: FlaskClient, admin: Account, path: str, extra: dict[str, Any]
) -> None:
    response = client.post(path, json={**CLEO, **extra}, headers=admin.headers)
    assert response.status_code == 201
    assert response.json["email"] == CLEO["email"]
    assert response.json["role"] == "user"
    assert client.get(f"{path}/{response.json['id']}", headers=admin.headers).json == response.json


def test_an_account_without_a_password_lets_nobody_in(
    app: Flask, client: FlaskClient, admin: Account
) -> None:
    client.post("/users", json=CLEO, headers=admin.headers)
    for password in ("", PASSWORD, "." * 53):
        login = {"email": CLEO["email"], "password": password}
        assert_error(app.test_client().post(LOGIN, json=login), 401)


def test_an_account_with_a_password_lets_its_user_in(
    app: Flask, client: FlaskClient, admin: Account
) -> None:
    body = {**CLEO, "password": PASSWORD, "role": "admin"}
    assert client.post("/users", json=body, headers=admin.headers).status_code == 201
    login = {"email": CLEO["email"], "password": PASSWORD}
    assert app.test_client().post(LOGIN, json=login).json["user"]["role"] == "admin"


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"email": "cleo"}, {"email"}),
        ({"email": ""}, {"email"}),
        ({"name": " "}, {"name"}),
        ({"name": 5, "email": 5}, {"name", "email"}),
        ({"role": "root"}, {"role"}),
        ({"password": "short"}, {"password"}),
        ({"username": "a b"}, {"username"}),
        ({"id": True}, {"id"}),
        ({"id": {"a": 1}}, {"id"}),
        ({"is_active": "perhaps"}, {"is_active"}),
    ],
)
def test_a_wrong_field_of_a_new_account_is_400(
    app: Flask, client: FlaskClient, admin: Account, wrong: dict[str, Any], fields: set[str]
) -> None:
    before = stored(app)
    body = assert_error(client.post("/users", json={**CLEO, **wrong}, headers=admin.headers), 400)
    assert set(body["errors"]) == fields
    assert stored(app) == before


def test_retried_publish_makes_one_account(app: Flask, client: FlaskClient, admin: Account) -> None:
    headers = {**admin.headers, "Idempotency-Key": "k"}
    answers = [client.post("/users", json=CLEO, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert len(stored(app)) == 2


# Names one signs in by


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_name_that_is_taken_is_409(
    app: Flask, client: FlaskClient, ann: Account, register: Any, admin: Account, method: str
) -> None:
    register("bob", username="bobby")
    before = stored(app)
    for taken in ({"email": "BOB@example.com"}, {"username": "Bobby"}):
        body = {"id": ann.user["id"], "currentPassword": PASSWORD, **taken}
        for who in (ann, admin):
            response = client.open("/users", method=method, json=body, headers=who.headers)
            assert_error(response, 409, "name_taken")
        assert_error(client.post("/users", json=taken, headers=admin.headers), 409, "name_taken")
    assert stored(app) == before


def test_user_changes_sign_in_names_with_the_password(
    app: Flask, client: FlaskClient, ann: Account
) -> None:
    body = {"email": "Anna@Example.com", "username": "Anna", "currentPassword": PASSWORD}
    response = client.put(path_of(ann), json=body, headers=ann.headers)
    assert (response.json["email"], response.json["username"]) == ("anna@example.com", "anna")
    for login in ({"email": "anna@example.com"}, {"username": "anna"}):
        response = app.test_client().post(LOGIN, json={**login, "password": PASSWORD})
        assert response.json["user"]["id"] == ann.user["id"]
    assert_error(app.test_client().post(LOGIN, json=ANN), 401)


@pytest.mark.parametrize("password", [{}, {"currentPassword": "wrong horse"}])
@pytest.mark.parametrize("name", [{"email": "eve@example.com"}, {"username": "eve"}])
def test_a_stolen_session_changes_no_sign_in_name(
    app: Flask, client: FlaskClient, ann: Account, name: dict[str, str], password: dict[str, str]
) -> None:
    before = stored(app)
    body = {"name": "Eve", **name, **password}
    answer = client.put(path_of(ann), json=body, headers=ann.headers)
    assert list(assert_error(answer, 400)["errors"]) == ["currentPassword"]
    assert stored(app) == before


def test_passwords_of_sign_in_names_are_guessed_a_few_times_only(
    make_app: Any, register: Any, ann: Account
) -> None:
    client = make_app(LOGIN_LIMIT="2 per hour").test_client()
    body = {"email": "eve@example.com", "currentPassword": "wrong horse"}
    answers = [client.put(path_of(ann), json=body, headers=ann.headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 429]


def test_admin_changes_sign_in_names_of_others(
    app: Flask, client: FlaskClient, ann: Account, admin: Account
) -> None:
    body = {"email": "anna@example.com"}
    response = client.patch(path_of(ann), json=body, headers=admin.headers)
    assert response.json == {**ann.user, "email": "anna@example.com"}


# Accounts that are not active


def test_a_deactivated_account_is_signed_out_and_kept_out(
    app: Flask, client: FlaskClient, server: Server, ann: Account, admin: Account
) -> None:
    peer = server.chat(ann)
    response = client.patch(path_of(ann), json={"isActive": False}, headers=admin.headers)
    assert response.json == {**ann.user, "is_active": False}
    assert peer.close_code() == 4001
    assert_error(client.get(ME, headers=ann.headers), 401)
    refresh = {"refreshToken": ann.refresh_token}
    assert_error(app.test_client().post(REFRESH, json=refresh), 401)
    body = assert_error(app.test_client().post(LOGIN, json=ANN), 401)
    assert body["error"] == "Invalid credentials"
    found = client.get("/users?status=inactive", headers=admin.headers).json["items"]
    assert [user["id"] for user in found] == [ann.user["id"]]
    client.patch(path_of(ann), json={"is_active": True}, headers=admin.headers)
    assert app.test_client().post(LOGIN, json=ANN).status_code == 200


def test_nobody_deactivates_themselves(client: FlaskClient, admin: Account) -> None:
    response = client.patch(path_of(admin), json={"is_active": False}, headers=admin.headers)
    assert_error(response, 403)
    assert client.get(ME, headers=admin.headers).status_code == 200
