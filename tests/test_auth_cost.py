"""What it costs the database to know who is calling (docs/benchmarks.md has the times)."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from flask import Flask, has_request_context
from flask.testing import FlaskClient
from sqlalchemy import event, insert

import auth
from auth import current_session, current_user
from models import Session, User, db, now
from tests.accounts import ANN, CHECK, LOGIN, bearer
from tests.conftest import Account

MANY = 1000  # accounts; with fewer PostgreSQL may rightly read the whole table
TODOS = "/api/todos"


class Statement(NamedTuple):
    """What was sent to the database."""

    sql: str
    parameters: Any

    @property
    def brief(self) -> str:
        """The verb and the tables, as in `SELECT sessions users`."""
        tables = re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (\w+)", self.sql)
        return " ".join([self.sql.split()[0], *tables])


LOOKUP = "SELECT sessions users"


@pytest.fixture
def statements(app: Flask) -> Iterator[list[Statement]]:
    """Grows by each statement of a request; what threads of the app do beside it is left out."""
    seen: list[Statement] = []

    def keep(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if has_request_context():
            seen.append(Statement(sql, parameters))

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", keep)
    yield seen
    event.remove(engine, "before_cursor_execute", keep)


@pytest.fixture(params=["Bearer", "cookie"])
def signed_in(request: Any, app: Flask, ann: Account) -> FlaskClient:
    """A client that every request knows as Ann, by one kind of credentials."""
    client = app.test_client()
    if request.param == "Bearer":
        client.environ_base["HTTP_AUTHORIZATION"] = bearer(ann.token)["Authorization"]
    else:
        assert client.post(LOGIN, json=ANN).status_code == 200
    return client


# One statement


def briefs(client: FlaskClient, statements: list[Statement], method: str, path: str) -> list[str]:
    """What a request asks the database; `ID` in the path is a todo the client made.

    Left out: whether a known user has a sync channel, which is to have what is written too.
    """
    todo = client.post(TODOS, json={"title": "x"}).json["id"]
    statements.clear()
    body = {} if method == "GET" else {"title": "y"}
    response = client.open(path.replace("ID", str(todo)), method=method, json=body)
    assert response.status_code in (200, 201)
    asked = [statement.brief for statement in statements]
    return [brief for brief in asked if brief != "UPDATE crdt_channels"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", f"{TODOS}/ID", id="an item"),
        pytest.param("GET", TODOS, id="a list"),
        pytest.param("POST", TODOS, id="a new item"),
        pytest.param("PUT", f"{TODOS}/ID", id="a change"),
        pytest.param("GET", CHECK, id="am I signed in"),
        pytest.param("POST", "/api/session/init", id="a CSRF token"),
    ],
)
def test_who_is_calling_costs_one_statement(
    client: FlaskClient,
    signed_in: FlaskClient,
    statements: list[Statement],
    method: str,
    path: str,
) -> None:
    for_nobody = briefs(client, statements, method, path)
    assert briefs(signed_in, statements, method, path) == [LOOKUP, *for_nobody]


def test_nobody_costs_none(client: FlaskClient, statements: list[Statement]) -> None:
    todo = client.post(TODOS, json={"title": "x"}).json["id"]
    statements.clear()
    client.get(f"{TODOS}/{todo}")
    assert [statement.brief for statement in statements] == ["SELECT todos"]


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
def test_token_that_is_not_ours_costs_none(
    client: FlaskClient, statements: list[Statement], token: str
) -> None:
    assert client.get(TODOS, headers=bearer(token)).status_code == 401
    client.set_cookie(auth.COOKIE, token)
    assert client.get(TODOS).status_code == 401
    assert statements == []


def test_a_request_asks_once_however_often_its_code_does(
    app: Flask, ann: Account, statements: list[Statement]
) -> None:
    with app.test_request_context(headers=ann.headers):
        users = [current_user() for _ in range(3)]
        session = current_session()
        assert session is not None
        assert users == [session.user] * 3
        assert session.user.id == ann.user["id"]
    assert [statement.brief for statement in statements] == [LOOKUP]


def test_a_request_of_nobody_never_asks(app: Flask, statements: list[Statement]) -> None:
    with app.test_request_context():
        assert [current_user(), current_user(), current_session()] == [None] * 3
    assert statements == []


def test_a_token_is_decoded_once(signed_in: FlaskClient, monkeypatch: Any) -> None:
    auth.verified.cache_clear()
    decoded, decode = [], auth.decode_token

    def count(token: str, **options: Any) -> Any:
        decoded.append(token)
        return decode(token, **options)

    monkeypatch.setattr(auth, "decode_token", count)
    for _ in range(3):
        assert signed_in.get(TODOS).status_code == 200  # the limit on API calls reads it too
    assert len(decoded) == 1


# By primary keys


@pytest.fixture
def crowd(app: Flask) -> None:
    """MANY accounts with one session each, and a database that knows of them."""
    with app.app_context():
        people = [{"name": "X", "password_hash": "", "email": f"{i}@x.test"} for i in range(MANY)]
        ids = db.session.scalars(insert(User).returning(User.id), people).all()
        db.session.execute(insert(Session), [{"user_id": user_id} for user_id in ids])
        if db.engine.dialect.name == "postgresql":
            db.session.execute(db.text("ANALYZE users, sessions"))
        db.session.commit()


def plan(statement: Statement) -> set[str]:
    """How the database reads each table for a statement, in its own words."""
    connection = db.session.connection()
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql}", statement[1])
        return {row.detail for row in rows}
    rows = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement[1])
    (found,) = rows.scalars()
    return set(reads((found if isinstance(found, list) else json.loads(found))[0]["Plan"]))


def reads(node: dict[str, Any]) -> Iterator[str]:
    """The nodes of a plan of PostgreSQL that read a table."""
    if "Relation Name" in node:
        yield " ".join(node.get(key, "") for key in ("Node Type", "Index Name", "Index Cond"))
    for inner in node.get("Plans", []):
        yield from reads(inner)


PLANS = {
    "sqlite": {
        "SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (id=?)",
        "SEARCH users_1 USING INTEGER PRIMARY KEY (rowid=?)",
    },
    "postgresql": {
        "Index Scan sessions_pkey ((id)::text = '{sid}'::text)",
        "Index Scan users_pkey (id = sessions.user_id)",
    },
}


def test_who_is_calling_is_read_by_primary_keys(
    app: Flask, crowd: None, ann: Account, signed_in: FlaskClient, statements: list[Statement]
) -> None:
    statements.clear()
    assert signed_in.get(CHECK).json["user"] == ann.user
    (lookup,) = statements
    with app.app_context():
        sid = next(value for value in values(lookup) if isinstance(value, str))
        wanted = {text.replace("{sid}", sid) for text in PLANS[db.engine.dialect.name]}
        assert plan(lookup) == wanted


def values(statement: Statement) -> list[Any]:
    """The parameters, which SQLite gets by position and PostgreSQL by name."""
    given = statement.parameters
    return list(given.values() if isinstance(given, dict) else given)


# When it was last seen


def test_last_use_is_written_once_in_five_minutes(
    signed_in: FlaskClient, statements: list[Statement], monkeypatch: Any
) -> None:
    signed_in.get(CHECK)
    start, writes = now(), []
    for seconds in (0, 60, 299, 301, 301, 302, 600, 602, 602):
        moment = start + timedelta(seconds=seconds)
        monkeypatch.setattr(auth, "now", lambda moment=moment: moment)
        statements.clear()
        assert signed_in.get(CHECK).json["authenticated"] is True
        first, *more = [statement.brief for statement in statements]
        assert first == LOOKUP
        writes.append(more)
    once = ["UPDATE sessions"]
    assert writes == [[], [], [], once, [], [], [], once, []]
