"""Accounts: register, sign in, refresh, sign out, who am I (docs/frontends/larc.md, brolostack.md).

Each handler answers under `/api/auth`, `/auth` (what adapters call by default) and, for some, the
short addresses that older pages use.
"""

import re
from contextlib import suppress
from typing import Any, Self

from flask import Blueprint, Response, g, jsonify
from pydantic import Field, field_validator, model_validator

from auth import (
    bearer_token,
    check_password,
    clear_cookie,
    cookie_session,
    current_session,
    current_user,
    hash_password,
    login_reply,
    session_of,
    sign_in,
    signed_in,
)
from errors import WharfError, unauthorized
from models import Session, User, db
from routes.rest import parse_body
from validation import Input, Line

bp = Blueprint("auth", __name__)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class Login(Input):
    """`{email or username, password}`; either key may hold either name."""

    email: Line | None = None
    username: Line | None = None
    password: str

    @model_validator(mode="after")
    def need_a_login(self) -> Self:
        """One of the two names is needed."""
        if not self.login:
            raise ValueError("Email and password are required")
        return self

    @property
    def login(self) -> str:
        """The name given, whichever key it came under."""
        return self.email or self.username or ""


class Registration(Login):
    """`{email or username, password, name?}`."""

    name: Line | None = None

    @field_validator("email")
    @classmethod
    def check_email(cls, email: str | None) -> str | None:
        """Emails are stored in lower case and look like one."""
        if email and not EMAIL.fullmatch(email):
            raise ValueError("is not an email address")
        return email.lower() if email else None

    @field_validator("username")
    @classmethod
    def check_username(cls, username: str | None) -> str | None:
        """Usernames are stored in lower case; no `@`, so none can pose as an email."""
        if username and "@" in username:
            raise ValueError("must not contain @")
        return username.lower() if username else None


class Refresh(Input):
    """`{refreshToken}` or `{refresh_token}`; both may be missing."""

    refresh_token: str | None = Field(None, alias="refreshToken")
    refresh_token_snake: str | None = Field(None, alias="refresh_token")


def aliases(name: str, *more: str) -> Any:
    """Route a POST handler under `/api/auth/<name>`, `/auth/<name>` and `more`."""

    def decorate(view: Any) -> Any:
        for path in (f"/api/auth/{name}", f"/auth/{name}", *more):
            view = bp.post(path)(view)
        return view

    return decorate


@aliases("register", "/api/auth/signup", "/api/register")
def register() -> tuple[Response, int]:
    """Create an account and sign in; 409 when the name is taken."""
    form = parse_body(Registration)
    for login in filter(None, (form.email, form.username)):
        if User.find(login):
            raise WharfError(409, "This name is already registered", "name_taken")
    name = form.name or form.login.split("@")[0]
    user = User(email=form.email, username=form.username, name=name)
    user.password_hash = hash_password(form.password)
    db.session.add(user)
    session = sign_in(user)
    db.session.commit()
    return login_reply(session), 201


@aliases("login", "/api/login")
def login() -> Response:
    """Sign in by email or username; one answer for a wrong name and a wrong password."""
    form = parse_body(Login)
    user = User.find(form.login)
    if not check_password(user, form.password) or user is None:
        raise unauthorized("Invalid credentials")
    session = sign_in(user)
    db.session.commit()
    return login_reply(session)


@aliases("refresh", "/api/refresh-token")
def refresh() -> Response:
    """New tokens for a refresh token given in the body, as Bearer, or in the cookie."""
    form = parse_body(Refresh)
    return login_reply(find_refreshed(form.refresh_token or form.refresh_token_snake))


def find_refreshed(token: str | None) -> Session:
    """The session of the refresh token in the body, else as Bearer, else in the cookie."""
    if token:
        return session_of(token, "refresh")
    with suppress(WharfError):  # pages send their access token along: then the cookie counts
        return session_of(bearer_token(), "refresh")
    session = cookie_session()
    if session is None:
        raise unauthorized("No refresh token")
    return session


@aliases("logout", "/api/logout")
def logout() -> Response:
    """End the caller's session, its access and refresh tokens with it; fine without one."""
    try:
        session = current_session()
    except WharfError as error:
        if error.status != 401:
            raise
        session = None  # a dead token is already signed out
    if session:
        session.end()
        db.session.commit()
    response = jsonify(ok=True)
    clear_cookie(response)
    return response


@bp.get("/api/auth/me")
@bp.get("/api/auth/profile")
@signed_in
def show_me() -> dict[str, Any]:
    """The caller's account."""
    user: User = g.user
    return user.to_dict()


@bp.get("/api/auth/check")
def check() -> Response:
    """Whether the caller is signed in; always 200, so that pages can ask on load."""
    try:
        user = current_user()
    except WharfError:
        user = None
    return jsonify(ok=True, authenticated=user is not None, user=user and user.to_dict())
