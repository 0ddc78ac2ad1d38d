"""The names people sign in by: whatever is typed, one person has one account and nobody gets one
that passes for another's."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from models import User, db
from tests.accounts import LOGIN, REGISTER
from tests.conftest import PASSWORD, assert_error

RLM, LRM, RLO, ZWSP, SHY = "\u200f", "\u200e", "\u202e", "\u200b", "\xad"
CYRILLIC_A, CYRILLIC_E = "\u0430", "\u0435"
MANY = {f"{rule}_LIMIT": "100000 per minute" for rule in ("LOGIN", "LOGIN_ADDRESS", "REGISTER")}


@pytest.fixture
def app(make_app: Any) -> Flask:
    """An app that lets itself be asked often."""
    return make_app(**MANY)


def stored() -> list[tuple[str | None, str | None]]:
    """Email and username of each account, oldest first."""
    rows = db.session.execute(select(User.email, User.username).order_by(User.id))
    return [tuple(row) for row in rows]


def sign_up(client: FlaskClient, **fields: Any) -> Any:
    return client.post(REGISTER, json={"password": PASSWORD, **fields})


def sign_in(client: FlaskClient, **fields: Any) -> Any:
    return client.post(LOGIN, json={"password": PASSWORD, **fields})


# One person, one account

ANN, MUNICH = "ann@example.com", "ann@xn--mnchen-3ya.de"
EMAILS = [  # as registered, as stored, as typed by the same person another day
    pytest.param(ANN, ANN, "ANN@EXAMPLE.COM", id="case"),
    pytest.param("AnN@eXample.com", ANN, ANN, id="mixed case"),
    pytest.param(ANN, ANN, " \tann@example.com\n", id="spaces"),
    pytest.param(ANN, ANN, "\u3000ann@example.com\xa0", id="wide space"),
    pytest.param(ANN, ANN, "ann@ｅｘａｍｐｌｅ．ｃｏｍ", id="wide domain"),
    pytest.param(ANN, ANN, "ann@example\u3002com", id="wide dot"),
    pytest.param(ANN, ANN, "ann@𝐞xample.com", id="bold"),
    pytest.param("ann@münchen.de", MUNICH, "ann@mu\u0308nchen.de", id="NFD"),
    pytest.param("ann@MÜNCHEN.de", MUNICH, "ann@münchen.de", id="case of ü"),
    pytest.param("ann@münchen.de", MUNICH, "ann@XN--MNCHEN-3YA.DE", id="ASCII"),
    pytest.param(MUNICH, MUNICH, "ann@münchen.de", id="from ASCII"),
    pytest.param("ann@STRAẞE.de", "ann@xn--strae-oqa.de", "ann@straße.de", id="capital sharp s"),
    pytest.param("Ann+Tag@example.com", "ann+tag@example.com", "ann+tag@example.com", id="plus"),
    pytest.param("O'Neil@example.com", "o'neil@example.com", "o'neil@example.com", id="apostrophe"),
    pytest.param("%_@example.com", "%_@example.com", "%_@example.com", id="wildcards"),
]


@pytest.mark.parametrize(("first", "kept", "again"), EMAILS)
def test_email_is_one_however_it_is_typed(
    app: Flask, client: FlaskClient, first: str, kept: str, again: str
) -> None:
    assert sign_up(client, email=first).json["user"]["email"] == kept
    for key in ("email", "username"):
        for typed in (first, kept, again):
            assert sign_in(client, **{key: typed}).json["user"]["email"] == kept
    assert_error(sign_up(client, email=again), 409, "name_taken")
    with app.app_context():
        assert stored() == [(kept, None)]


USERNAMES = [
    pytest.param("annie", "ANNIE", id="case"),
    pytest.param("annie", " annie\n", id="spaces"),
    pytest.param("annie", "ａｎｎｉｅ", id="full width"),
    pytest.param("annie", "ＡＮＮＩＥ", id="full width capitals"),
    pytest.param("annie", "ⓐⓝⓝⓘⓔ", id="circled"),
    pytest.param("annie", "𝒶nnie", id="script"),
    pytest.param("kate", "\u212aate", id="kelvin"),
    pytest.param("sam", "ſam", id="long s"),
    pytest.param("fin", "ﬁn", id="ligature"),
    pytest.param("ann3", "ann３", id="wide digit"),
    pytest.param("a.n-n_1", "A.N-N_1", id="dots and dashes"),
    pytest.param("admin", "ＡＤＭＩＮ", id="admin"),
    pytest.param("x" * 100, "X" * 100, id="longest"),
]


@pytest.mark.parametrize("typed_first", [True, False])
@pytest.mark.parametrize(("kept", "typed"), USERNAMES)
def test_username_is_one_however_it_is_typed(
    app: Flask, client: FlaskClient, kept: str, typed: str, typed_first: bool
) -> None:
    first, again = (typed, kept) if typed_first else (kept, typed)
    user = sign_up(client, username=first).json["user"]
    assert (user["username"], user["role"]) == (kept, "user")
    for key in ("email", "username"):
        assert sign_in(client, **{key: again}).json["user"] == user
    assert_error(sign_up(client, username=again), 409, "name_taken")
    with app.app_context():
        assert stored() == [(None, kept)]


# Nobody passes for another

POSERS = [  # what is stored for those that look like ann@example.com or annie; None: refused
    pytest.param({"email": "=?utf-8?q?ann?=@example.com"}, None, id="encoded word"),
    pytest.param({"email": f"{CYRILLIC_A}nn@example.com"}, None, id="Cyrillic local part"),
    pytest.param({"email": "ａｎｎ@example.com"}, None, id="wide local part"),
    pytest.param({"email": "ann＠example.com"}, None, id="wide @"),
    pytest.param({"email": f"ann@ex{CYRILLIC_A}mple.com"}, "ann@xn--exmple-4nf.com", id="domain"),
    pytest.param({"email": f"ann@exampl{CYRILLIC_E}.com"}, "ann@xn--exampl-8of.com", id="domain 2"),
    pytest.param({"email": f"ann{LRM}@example.com"}, None, id="mark in the local part"),
    pytest.param({"email": f"{RLM}ann@example.com"}, None, id="mark before"),
    pytest.param({"email": f"ann@example.com{RLM}"}, None, id="mark behind"),
    pytest.param({"email": f"ann@exam{SHY}ple.com"}, None, id="soft hyphen"),
    pytest.param({"email": f"ann@example.com{ZWSP}"}, None, id="invisible space"),
    pytest.param({"email": f"{RLO}moc.elpmaxe@nna"}, None, id="backwards"),
    pytest.param({"email": "ann@example.com."}, None, id="trailing dot"),
    pytest.param({"email": "ann@example.com\u3002"}, None, id="trailing wide dot"),
    pytest.param({"email": "ann.@example.com"}, None, id="dot before @"),
    pytest.param({"email": ".ann@example.com"}, None, id="leading dot"),
    pytest.param({"email": "a..nn@example.com"}, None, id="two dots"),
    pytest.param({"email": '"ann"@example.com'}, None, id="quoted"),
    pytest.param({"email": '"ann@example.com"@evil.com'}, None, id="quoted address"),
    pytest.param({"email": "ann@example.com@evil.com"}, None, id="two @"),
    pytest.param({"email": "ann@@example.com"}, None, id="@@"),
    pytest.param({"email": "Ann <ann@example.com>"}, None, id="display name"),
    pytest.param({"email": "(x)ann@example.com"}, None, id="comment"),
    pytest.param({"email": "ann@example.com,bob@example.com"}, None, id="two addresses"),
    pytest.param({"email": "ann@example.com\nbcc: bob@example.com"}, None, id="header"),
    pytest.param({"email": "ann@[127.0.0.1]"}, None, id="IP domain"),
    pytest.param({"email": "ann@[IPv6:::1]"}, None, id="IPv6 domain"),
    pytest.param({"email": "ann@127.0.0.1"}, None, id="bare IP"),
    pytest.param({"email": "\u212aate@example.com"}, None, id="kelvin"),
    pytest.param({"email": "\u0131nn@example.com"}, None, id="dotless i"),
    pytest.param({"username": f"{CYRILLIC_A}nnie"}, None, id="Cyrillic username"),
    pytest.param({"username": "ann\u0131e"}, None, id="dotless username"),
    pytest.param({"username": "anniE\u0301"}, None, id="accent, NFD"),
    pytest.param({"username": "annié"}, None, id="accent, NFC"),
    pytest.param({"username": f"annie{RLM}"}, None, id="username with mark"),
    pytest.param({"username": f"an{ZWSP}nie"}, None, id="username with invisible space"),
    pytest.param({"username": f"{RLO}einna"}, None, id="username backwards"),
    pytest.param({"username": "an nie"}, None, id="username with space"),
    pytest.param({"username": "annie\nx"}, None, id="username with newline"),
    pytest.param({"username": "ann＠example.com"}, None, id="email as username, wide @"),
    pytest.param({"username": "annie."}, None, id="username with trailing dot"),
    pytest.param({"username": "_annie"}, None, id="username with leading underscore"),
    pytest.param({"username": "x" * 101}, None, id="username of 101"),
    pytest.param({"email": f"{'x' * 64}@{'y' * 63}.{'y' * 63}.{'y' * 63}.com"}, None, id="260"),
    pytest.param({"email": f"{'x' * 300}@example.com"}, None, id="local part of 300"),
    pytest.param({"email": f"a@{'y' * 64}.com"}, None, id="label of 64"),
    pytest.param({"email": f"a@{'ü' * 63}.com"}, None, id="label of 63, longer in ASCII"),
]


@pytest.mark.parametrize(("fields", "kept"), POSERS)
def test_no_account_passes_for_another(
    app: Flask, client: FlaskClient, register: Any, fields: dict[str, str], kept: str | None
) -> None:
    ann = register("ann", username="annie")
    login = next(iter(fields.values()))
    for key in ("email", "username"):
        assert_error(sign_in(client, **{key: login}), 401, "unauthorized")
    response = sign_up(client, **fields, name="Ann")
    with app.app_context():
        names = stored()
    assert names == [(ANN, "annie"), *([(kept, None)] if kept else [])]
    if kept is None:
        assert list(assert_error(response, 400, "invalid_input")["errors"]) == list(fields)
    else:
        assert sign_in(client, email=kept).json["user"]["id"] != ann.user["id"]


def test_refused_name_beside_a_good_one_makes_no_account(app: Flask, client: FlaskClient) -> None:
    good = {"email": "ann@example.com", "username": "annie"}
    for bad in ({"email": "a@b@c.de"}, {"username": "an nie"}):
        assert list(assert_error(sign_up(client, **{**good, **bad}), 400)["errors"]) == list(bad)
    with app.app_context():
        assert stored() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "ann@example.com", "username": "bob"},
        {"email": "bob@example.com", "username": "annie"},
    ],
)
def test_one_taken_name_of_two_is_409(
    app: Flask, client: FlaskClient, register: Any, fields: dict[str, str]
) -> None:
    register("ann", username="annie")
    assert_error(sign_up(client, **fields), 409, "name_taken")
    with app.app_context():
        assert stored() == [(ANN, "annie")]


# Worst forms

WORST = [
    pytest.param("null", id="null"),
    pytest.param("true", id="true"),
    pytest.param("-0", id="number"),
    pytest.param("1e999", id="vast"),
    pytest.param("[]", id="list"),
    pytest.param('["ann@example.com"]', id="name in a list"),
    pytest.param('{"$ne": ""}', id="operator"),
    pytest.param('""', id="empty"),
    pytest.param('"\\u0000"', id="NUL"),
    pytest.param('"annie\\u0000"', id="NUL behind"),
    pytest.param('"\\udc00"', id="lone surrogate"),
    pytest.param('"annie\\uffff"', id="no character"),
    pytest.param(f'"{"x" * 1_000_000}"', id="1 MB"),
    pytest.param(f'"{"@" * 400}"', id="many @"),
    pytest.param(f'"a@{"." * 400}"', id="many dots"),
    pytest.param(f'"a@{"xn--" * 100}.com"', id="many xn--"),
    pytest.param('"a@xn--0.com"', id="broken punycode"),
    pytest.param(f'"{"ﷺ" * 500}"', id="grows 18 times"),
    pytest.param(f'"{"a" + chr(0x301) * 499}"', id="many accents"),
    pytest.param('"\' OR 1=1 --"', id="SQL"),
    pytest.param('"%"', id="wildcard"),
    pytest.param('"user 1"', id="key of a limit"),
    pytest.param('"@"', id="@ alone"),
]


@pytest.mark.parametrize("key", ["email", "username"])
@pytest.mark.parametrize("value", WORST)
def test_name_of_worst_form_opens_and_makes_nothing(
    app: Flask, client: FlaskClient, register: Any, key: str, value: str
) -> None:
    register("ann", username="annie")
    body = f'{{"{key}": {value}, "password": "{PASSWORD}"}}'
    response = client.post(LOGIN, data=body)
    assert_error(response, 401 if response.status_code == 401 else 400)
    assert_error(client.post(REGISTER, data=body), 400)
    with app.app_context():
        assert len(stored()) == 1


@pytest.mark.parametrize("empty", ["", " ", "\t\n", "\u3000", None])
def test_name_left_empty_leaves_the_other(app: Flask, client: FlaskClient, empty: Any) -> None:
    by_username = {"email": empty, "username": "annie"}
    by_email = {"email": "bob@example.com", "username": empty}
    for fields in (by_username, by_email):
        assert sign_up(client, **fields).status_code == 201
        assert sign_in(client, **fields).status_code == 200
    with app.app_context():  # an empty name is no name: two accounts may lack the same one
        assert stored() == [(None, "annie"), ("bob@example.com", None)]


@pytest.mark.parametrize("path", [REGISTER, LOGIN])
def test_key_given_twice_counts_as_its_last(
    app: Flask, client: FlaskClient, register: Any, path: str
) -> None:
    bob = register("bob")
    body = f'{{"email": "ann@example.com", "email": "{bob.email}", "password": "{PASSWORD}"}}'
    response = client.post(path, data=body)
    if path == REGISTER:
        assert_error(response, 409, "name_taken")
    else:
        assert response.json["user"] == bob.user
    with app.app_context():
        assert stored() == [("bob@example.com", None)]
