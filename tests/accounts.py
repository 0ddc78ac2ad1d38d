"""The routes of accounts and what tests send to them."""

from typing import Any

from flask import Flask
from sqlalchemy import update

import auth
from models import Session, User, db
from tests.conftest import PASSWORD, Account

REGISTER, LOGIN, ME = "/api/auth/register", "/api/auth/login", "/api/auth/me"
REFRESH, LOGOUT, CHECK = "/api/auth/refresh", "/api/auth/logout", "/api/auth/check"
ANN = {"email": "ann@example.com", "password": PASSWORD}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def cookie_of(app: Flask, account: Account) -> str:
    """The token that the browser of this session, which may have ended, has in its cookie."""
    with app.app_context():
        sid = auth.claims_of(account.token)["sid"]
        return auth.make_token(Session(id=sid, user_id=account.user["id"], rotation=0), "cookie")


def status_of_login(app: Flask, password: str) -> int:
    """What Ann is answered who signs in by this password."""
    return app.test_client().post(LOGIN, json={**ANN, "password": password}).status_code


def path_of(account: Account) -> str:
    return f"/api/users/{account.user['id']}"


def make_admin(app: Flask, account: Account) -> Account:
    """The account, which may do everything from now on."""
    with app.app_context():
        mine = User.id == account.user["id"]
        db.session.execute(update(User).where(mine).values(role="admin"))
        db.session.commit()
    return account


def stored_users(app: Flask) -> list[tuple[Any, ...]]:
    """All that is kept of each account, oldest first."""
    with app.app_context():
        table = User.__table__
        return [tuple(row) for row in db.session.execute(table.select().order_by(table.c.id))]
