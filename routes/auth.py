"""In and out: register, sign in, refresh, sign out, who am I (docs/accounts.md).

Each handler answers under `/api/auth`, `/auth` (what adapters call by default) and, for some, the
short addresses that older pages use. Devices are in sessions.py, passwords in passwords.py.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Self

from flask import Blueprint, Response, g, jsonify, request
from pydantic import Field, field_validator, model_validator

import rate_limits
import shapes
from auth import (
    TICKET_LIFE,
    bearer_token,
    clear_cookie,
    cookie_session,
    current_session,
    describe,
    end_sessions,
    login_reply,
    note,
    rotate,
    session_of,
    sign_in,
    signed_in,
)
from errors import WharfError, bad_request, unauthorized
from models import OneTimeToken, Session, User, db
from openapi import answers
from origins import csrf_token, is_trusted_origin
from passwords import check_password, hash_password, turn_to_hash
from routes.rest import parse_body
from validation import Email, Input, Line, Name, Username, clean_login

bp = Blueprint("auth", __name__)
Action = Literal["login", "refresh", "logout", "check", "csrf"]
ROLES_AS = {"roles": Literal["objects"]}


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
        """The name given, whichever key it came under, as it is stored."""
        return clean_login(self.email or self.username or "")


class Registration(Login):
    """`{email or username, password, name?}`."""

    email: Email | None = None
    username: Username | None = None
    name: Name | None = None

    @field_validator("email", "username", mode="before")
    @classmethod
    def skip_empty(cls, value: Any) -> Any:
        """Forms send what was left empty."""
        return None if isinstance(value, str) and not value.strip() else value


class Refresh(Input):
    """`{refreshToken}` or `{refresh_token}`; both may be missing."""

    refresh_token: str | None = Field(None, alias="refreshToken")
    refresh_token_snake: str | None = Field(None, alias="refresh_token")


def aliases(name: str, *more: str, method: str = "POST") -> Any:
    """Route a handler under `/api/auth/<name>`, `/auth/<name>` and `more`."""

    def decorate(view: Any) -> Any:
        for path in (f"/api/auth/{name}", f"/auth/{name}", *more):
            view = bp.route(path, methods=[method])(view)
        return view

    return decorate


# In


@aliases("register", "/auth/signup", "/api/auth/signup", "/api/register")
@answers(shapes.TokenReply, 201, 409, body=Registration)
def register() -> tuple[Response, int]:
    """Create an account and sign in; 409 when the name is taken."""
    rate_limits.count("REGISTER_LIMIT", rate_limits.caller_address())
    form = parse_body(Registration)
    hashed = hash_password(form.password)  # first: a taken name shall not show by a quick answer
    for login in filter(None, (form.email, form.username)):
        if User.find(login):
            raise WharfError(409, "This name is already registered", "name_taken")
    name = form.name or form.login.split("@")[0]
    user = User(email=form.email, username=form.username, name=name)
    user.password_hash = hashed
    db.session.add(user)
    session = sign_in(user, "registered")
    db.session.commit()
    return login_reply(session), 201


@aliases("login", "/api/login")
@answers(shapes.TokenReply, 401, body=Login)
def login() -> Response:
    """Sign in by email or username; one answer for a wrong name and a wrong password."""
    form = parse_body(Login)
    user = User.find(form.login)
    account = f"user {user.id}" if user else f"name {form.login}"
    address = rate_limits.caller_address()
    db.session.commit()  # hashing takes long: it shall hold no connection
    with turn_to_hash():
        rate_limits.check("LOGIN_ADDRESS_LIMIT", address)
        rate_limits.count("LOGIN_LIMIT", account)  # before, since guesses may come all at once
        right = check_password(user, form.password)
        if not right:
            rate_limits.count("LOGIN_ADDRESS_LIMIT", address)
    if not right or user is None:
        note("sign-in-failed", user)
        db.session.commit()
        raise unauthorized("Invalid credentials")
    rate_limits.clear("LOGIN_LIMIT", account)
    session = sign_in(user, "signed-in")
    db.session.commit()
    return login_reply(session)


@aliases("refresh", "/api/refresh-token")
@answers(shapes.TokenReply, 401, 403, body=Refresh)
def refresh() -> Response:
    """New tokens for a refresh token given in the body, as Bearer, or in the cookie."""
    form = parse_body(Refresh)
    token = form.refresh_token or form.refresh_token_snake or refresh_bearer()
    if token:
        session = session_of(token, "refresh")
        rotate(session, token)
        return login_reply(session)
    cookie = cookie_session()
    if cookie is None:
        raise unauthorized("No refresh token")
    return login_reply(cookie, hand_out=False)


def refresh_bearer() -> str:
    """The Bearer token, if it is a refresh token: pages send their access token along too."""
    bearer = bearer_token()
    with suppress(WharfError):
        session_of(bearer, "refresh")
        return bearer
    return ""


# Out


@aliases("logout", "/api/logout")
@answers(shapes.Ok, 403)
def logout() -> Response:
    """End the caller's session, its access and refresh tokens with it; fine without one."""
    session = leaving_session()
    if session:
        end_sessions(session.user, "signed out", Session.id == session.id)
        db.session.commit()
    response = jsonify(ok=True)
    if session or is_trusted_origin():  # or another site's form could sign a browser out
        clear_cookie(response)
    return response


def leaving_session() -> Session | None:
    """The session of the Bearer token, which may have expired meanwhile, or of the cookie."""
    if bearer := bearer_token():
        with suppress(WharfError):
            return session_of(bearer, "access", allow_expired=True)
    try:
        return cookie_session()
    except WharfError as error:
        if error.status != 401:
            raise
    return None  # signed out already


# Who am I


@aliases("me", method="GET")
@aliases("profile", method="GET")
@answers(shapes.User, query=ROLES_AS)
@signed_in
def show_me() -> dict[str, Any]:
    """The caller's account."""
    return describe(g.user)


@aliases("verify", method="GET")
@answers(shapes.Verified, query=ROLES_AS)
@signed_in
def verify() -> dict[str, Any]:
    """200 with the account when the token is good, else 401."""
    return {"ok": True, "valid": True, "user": describe(g.user)}


@aliases("check", method="GET")
@answers(shapes.Checked, query=ROLES_AS)
def check() -> Response:
    """Whether the caller is signed in; always 200, so that pages can ask on load."""
    session = None
    with suppress(WharfError):
        session = current_session()
    user = session and describe(session.user)
    known = session is not None
    return jsonify(ok=True, authenticated=known, user=user, csrf_token=csrf_token(session))


@bp.post("/api/session/init")
@answers(shapes.Begun)
def begin() -> Response:
    """A CSRF token before anything else, as FlaskAdapter asks (docs/frontends/brolostack.md)."""
    session = None
    with suppress(WharfError):
        session = current_session()
    session_id = session.id if session else secrets.token_urlsafe(16)
    return jsonify(session_id=session_id, csrf_token=csrf_token(session))


@aliases("ticket")
@answers(shapes.Ticket)
@signed_in
def issue_ticket() -> Response:
    """A ticket that opens one socket, `?ticket=`, so that no token stands in an address."""
    session = current_session()
    ticket = OneTimeToken.issue("ticket", g.user, TICKET_LIFE, session)
    db.session.commit()
    response = jsonify(ticket=ticket, expiresIn=int(TICKET_LIFE.total_seconds()))
    response.headers["Cache-Control"] = "no-store"
    return response


# All at one address


ACTIONS: dict[tuple[str, str], Callable[[], Any]] = {
    ("POST", "login"): login,
    ("POST", "refresh"): refresh,
    ("POST", "logout"): logout,
    ("GET", "check"): check,
    ("POST", "check"): check,
    ("GET", "csrf"): check,
    ("POST", "csrf"): check,
}


@bp.route("/api/auth", methods=["GET", "POST"])
@answers(
    shapes.TokenReply | shapes.Ok | shapes.Checked,
    401,
    403,
    body=Login | Refresh,
    query={"action": Action},
)
def act() -> Any:
    """`?action=login|logout|refresh|check|csrf`, as LARC's reference backends have it."""
    handler = ACTIONS.get((request.method, request.args.get("action", "")))
    if handler is None:
        raise bad_request("Invalid action")
    return handler()
