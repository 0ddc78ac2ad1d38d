"""What an administrator types: `flask user create|promote|reset-password|list`."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from models import Activity, User, db
from tests.accounts import ANN, LOGIN, ME
from tests.conftest import PASSWORD, Account, assert_error

CONFIRM = "/api/auth/password-reset/confirm"
Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask) -> Run:
    """Runs `flask user ...`."""

    def type_in(*words: str, keys: str | None = None) -> Result:
        return app.test_cli_runner().invoke(args=["user", *words], input=keys)

    return type_in


def users(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(User))


def trail(app: Flask) -> list[tuple[str, str, str]]:
    with app.app_context():
        rows = db.session.scalars(select(Activity).order_by(Activity.id)).all()
        return [(row.type, row.detail, row.device) for row in rows]


def assert_refused(result: Result, text: str) -> None:
    """The command says why, without a traceback."""
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert text in result.output
    assert "Traceback" not in result.output


# create


@pytest.mark.parametrize(
    ("login", "options", "known"),
    [
        ("ann@example.com", [], ("ann@example.com", None, "ann", "user")),
        ("ANN@Example.com", [], ("ann@example.com", None, "ANN", "user")),
        ("Annie", [], (None, "annie", "Annie", "user")),
        ("annie", ["--name", "Ann B."], (None, "annie", "Ann B.", "user")),
        ("annie", ["--role", "admin"], (None, "annie", "annie", "admin")),
    ],
)
def test_created_account_signs_in(
    app: Flask, client: FlaskClient, run: Run, login: str, options: Any, known: Any
) -> None:
    result = run("create", login, *options, "--password", PASSWORD)
    assert (result.exit_code, result.output) == (0, f"{login} can sign in now.\n")
    response = client.post(LOGIN, json={"email": login, "password": PASSWORD})
    user = response.json["user"]
    assert tuple(user[key] for key in ("email", "username", "name", "role")) == known
    assert trail(app)[0] == ("registered", "", "command line")


def test_password_is_asked_for_twice_and_not_shown(client: FlaskClient, run: Run) -> None:
    result = run("create", ANN["email"], keys=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert client.post(LOGIN, json=ANN).status_code == 200


@pytest.mark.parametrize("login", ["ann@example.com", "ANN@Example.com", "annie", "Annie"])
def test_taken_name_is_refused(app: Flask, register: Any, run: Run, login: str) -> None:
    register("ann", username="annie")
    text = f"{login} is already registered"
    assert_refused(run("create", login, "--password", PASSWORD), text)
    assert users(app) == 1


@pytest.mark.parametrize(
    ("login", "password", "text"),
    [
        ("ann@example.com", "short", "Password must be 8 to 72 bytes long"),
        ("ann@example.com", "x" * 73, "Password must be 8 to 72 bytes long"),
        ("ann@example.com", "Password1", "one of the most common"),
        ("ann@", PASSWORD, "Email: is not an email address"),
        ("ann@b", PASSWORD, "Email: is not an email address"),
        ("ann b", PASSWORD, "Username: must be 1 to 100 letters"),
        ("änn", PASSWORD, "Username: must be 1 to 100 letters"),
        ("x" * 101, PASSWORD, "Username: must be 1 to 100 letters"),
        ("", PASSWORD, "Username is required"),
    ],
)
def test_bad_name_or_password_is_refused(
    app: Flask, run: Run, login: str, password: str, text: str
) -> None:
    assert_refused(run("create", login, "--password", password), text)
    assert users(app) == 0
    assert trail(app) == []


def test_unknown_role_is_refused(app: Flask, register: Any, run: Run) -> None:
    register("ann")
    for words in (("create", "eve", "--password", PASSWORD), ("promote", "ann@example.com")):
        assert_refused(run(*words, "--role", "root"), "'root' is not one of 'user', 'admin'")
    assert users(app) == 1


# promote


@pytest.mark.parametrize("login", ["ann@example.com", "ANN@Example.com", "annie", "Annie"])
def test_promotion_takes_effect_at_once(
    app: Flask, client: FlaskClient, register: Any, run: Run, login: str
) -> None:
    ann, bob = register("ann", username="annie"), register("bob")
    path = f"/api/users/{bob.user['id']}"
    assert client.get(path, headers=ann.headers).json["email"] is None
    assert run("promote", login).output == f"{login} is admin now.\n"
    assert client.get(ME, headers=ann.headers).json["role"] == "admin"
    assert client.get(path, headers=ann.headers).json["email"] == bob.email
    assert run("promote", login, "--role", "user").output == f"{login} is user now.\n"
    assert client.get(path, headers=ann.headers).json["email"] is None
    changes = [("role-changed", "user to admin"), ("role-changed", "admin to user")]
    assert trail(app)[2:] == [(*change, "command line") for change in changes]


@pytest.mark.parametrize("command", ["promote", "reset-password"])
@pytest.mark.parametrize("login", ["nobody@example.com", "nobody", "no name", "a@b@c", ""])
def test_unknown_account_is_told(
    app: Flask, ann: Account, run: Run, command: str, login: str
) -> None:
    assert_refused(run(command, login), f"There is no account {login}")
    assert trail(app) == [("registered", "", trail(app)[0][2])]


# reset-password


@pytest.mark.parametrize("login", ["ann@example.com", "Annie"])
def test_printed_link_sets_a_password_once(
    make_app: Any, client: FlaskClient, register: Any, login: str
) -> None:
    ann = register("ann", username="annie")
    runner = make_app(PUBLIC_URL="https://wharf.test/").test_cli_runner()
    result = runner.invoke(args=["user", "reset-password", login])
    site, _, token = result.output.strip().partition("#reset=")
    assert (result.exit_code, site) == (0, "https://wharf.test/")
    body = {"token": token, "password": "a better horse"}
    assert client.post(CONFIRM, json=body).json == {"ok": True}
    assert_error(client.post(CONFIRM, json=body), 400, "invalid_token")
    assert_error(client.get(ME, headers=ann.headers), 401)
    assert_error(client.post(LOGIN, json=ANN), 401)
    assert client.post(LOGIN, json={**ANN, "password": body["password"]}).status_code == 200


# list


def test_list_prints_all_accounts_and_no_secret(app: Flask, register: Any, run: Run) -> None:
    ann = register("ann")
    words = ["--name", "Bob B.", "--role", "admin", "--password", PASSWORD]
    assert run("create", "bob", *words).exit_code == 0
    lines = [line.split(maxsplit=4) for line in run("list").output.splitlines()]
    since = ann.user["createdAt"][:10]
    first, second = ann.user["id"], ann.user["id"] + 1
    assert lines == [
        [str(first), "user", since, "ann@example.com", "Ann"],
        [str(second), "admin", since, "bob", "Bob B."],
    ]


def test_list_of_nobody_is_empty(run: Run) -> None:
    assert (run("list").exit_code, run("list").output) == (0, "")
