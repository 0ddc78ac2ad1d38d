"""Tokens, cookies and who is calling: the only reader of credentials.

Identity comes from, in this order: `Authorization: Bearer` (any case), `?token=`, a subprotocol or
a one-time `?ticket=` on sockets, the session cookie. Every token names a session row, looked up on
each use: an ended session is refused at once, and its open sockets are closed. The cookie holds a
token of its own kind, is HttpOnly, and unsafe requests that rely on it must come from an origin we
trust.
"""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache, wraps
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, has_request_context, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    decode_token,
)
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError
from sqlalchemy.exc import OperationalError

from bus import SESSIONS_ENDED
from errors import WharfError, forbidden, unauthorized
from events import record
from models import Activity, Caller, OneTimeToken, Session, User, db, iso, now
from origins import csrf_token, has_csrf_token, is_trusted_origin

COOKIE = "wharf_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
SOCKETS = {"sockets", "socketio"}  # the blueprints of what stays open
NO_TOKEN = {"", "null", "undefined"}  # what pages interpolate when they hold no token
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # one of ours, or of others like us
SEEN_EVERY = timedelta(minutes=5)  # how exact `seen_at` is: a write for each request is too much
TICKET_LIFE = timedelta(seconds=30)
View = TypeVar("View", bound=Callable[..., Any])
tokens = JWTManager()


# Sessions


def sign_in(user: User, how: str) -> Session:
    """Open a session for `user` on the calling device; the caller commits."""
    session = Session(user=user, device=caller_device(), address=request.remote_addr or "")
    db.session.add(session)
    db.session.flush()
    note(how, user)
    return session


def end_sessions(user: User, reason: str, *which: Any) -> int:
    """End the live sessions of `user` that meet the conditions `which`, and close their sockets.

    Returns how many; the caller commits.
    """
    ended = user.end_sessions(*which)
    for _ in ended:
        note("session-ended", user, reason)
    if ended:
        record(user.topic, SESSIONS_ENDED, {"ids": ended})
    own = g.get("cookie_session")
    if own and own.id in ended:
        g.dead_cookie = True
    return len(ended)


def note(type: str, user: User | None, detail: str = "") -> None:
    """Add to the audit trail what happened to `user`; the caller commits."""
    entry = Activity(user_id=user and user.id, type=type, detail=detail, device="command line")
    if has_request_context():
        entry.device, entry.address = caller_device(), request.remote_addr or ""
    db.session.add(entry)


def caller_device() -> str:
    """What the caller says it is."""
    return (request.user_agent.string or "").replace("\0", "")[:200]


def note_seen(session: Session) -> None:
    """Keep when the session was last used, every few minutes."""
    if now() - session.seen_at < SEEN_EVERY:
        return
    session.seen_at, session.address = now(), request.remote_addr or ""
    g.sliding_session = g.get("cookie_session")  # the answer brings a cookie that lasts longer
    try:
        db.session.commit()
    except OperationalError:  # busy: the next request will do it
        db.session.rollback()


# Tokens


def login_reply(session: Session, hand_out: bool = True) -> Response:
    """The superset of what all frontends read after login, and the session cookie.

    Without `hand_out` there is no refresh token: who holds the cookie alone shall not get one.
    """
    user = session.user
    claims = {"sid": session.id, "id": user.id, "userId": user.id, "email": user.email}
    claims |= {"username": user.username, "name": user.name}
    claims |= {"role": user.role, "roles": [user.role]}
    access = create_access_token(str(user.id), additional_claims=claims)
    refresh = make_token(session, "refresh")
    lifetime: timedelta = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    seconds = int(lifetime.total_seconds())
    response = jsonify(
        ok=True,
        success=True,
        accessToken=access,
        access_token=access,
        token=access,
        **({"refreshToken": refresh, "refresh_token": refresh} if hand_out else {}),
        token_type="bearer",
        expiresIn=seconds,
        expires_in=seconds,
        user=describe(user),
        userId=user.id,
        session={"id": session.id, "token": access},
        sessionId=session.id,
        createdAt=iso(session.created_at),
        expiresAt=iso(now() + lifetime),
    )
    response.headers["X-CSRFToken"] = csrf_token(session)
    response.headers["Cache-Control"] = "no-store"
    if is_trusted_origin():  # no other site may sign a browser in to an account of its choice
        set_cookie(response, session)
    return response


def make_token(session: Session, use: str) -> str:
    """A long-lived token: `refresh`, which knows how many came before it (`rot`), or `cookie`."""
    claims = {"sid": session.id, "rot": session.rotation, "use": use}
    return create_refresh_token(str(session.user_id), additional_claims=claims)


def describe(user: User) -> dict[str, Any]:
    """The account; asked with `?roles=objects`, its roles as AuthManager's `hasRole` reads them."""
    facts = user.to_dict()
    if request.args.get("roles") == "objects":
        facts["roles"] = [user.role_object()]
    return facts


def claims_of(token: str, allow_expired: bool = False) -> dict[str, Any]:
    """What a token says, when it is ours; raises 401."""
    try:
        claims = verified(token, current_app.config["SECRET_KEY"])
    except (JWTExtendedException, PyJWTError, ValueError, TypeError):
        raise unauthorized("Invalid token") from None
    if not allow_expired and claims.get("exp", 0) <= time.time():
        raise unauthorized("Invalid token")
    return claims


@lru_cache(maxsize=4096)
def verified(token: str, _secret: str) -> dict[str, Any]:
    """What a token says that was signed with our secret; raises for any other.

    Remembered, because a token comes with each request and its signature stays good (bench/).
    """
    return decode_token(token, allow_expired=True)


def session_of(token: str, kind: str, allow_expired: bool = False) -> Session:
    """The live session a token of this kind (`access`, `refresh`, `cookie`) names; raises 401."""
    claims = claims_of(token, allow_expired)
    session = Session.find_live(claims.get("sid", "")) if use_of(claims) == kind else None
    if session is None or str(session.user_id) != claims["sub"]:
        raise unauthorized("Invalid token")
    return session


def use_of(claims: dict[str, Any]) -> str:
    """What a token is for: `access`, `refresh` or `cookie`."""
    return str(claims.get("use", claims["type"]))


def rotate(session: Session, token: str) -> None:
    """Count the use of a refresh token; with REFRESH_ROTATION=strict the second use ends the
    session, since one of the two users is a thief, and raises 401."""
    note_seen(session)
    if current_app.config["REFRESH_ROTATION"] != "strict":
        return
    rotated = session.rotate(claims_of(token).get("rot", 0))
    if not rotated:
        note("refresh-reused", session.user)
        end_sessions(session.user, "a refresh token was used twice", Session.id == session.id)
    db.session.commit()
    if not rotated:
        raise unauthorized("Invalid token")


def set_cookie(response: Response, session: Session) -> None:
    """Hand the session to the browser: out of reach of scripts, Secure on https."""
    response.set_cookie(
        COOKIE,
        make_token(session, "cookie"),
        max_age=current_app.config["JWT_REFRESH_TOKEN_EXPIRES"],
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
    )


def clear_cookie(response: Response) -> None:
    """Take the session cookie away."""
    response.delete_cookie(COOKIE, httponly=True, secure=request.is_secure, samesite="Lax")


# Who is calling


def bearer_token() -> str:
    """The token of the Authorization header; empty for none and for `null` or `undefined`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    return "" if scheme.lower() != "bearer" or token in NO_TOKEN else token


def query_word(*names: str) -> str:
    """A credential in the address: only sockets take it, since addresses end up in logs."""
    words = (request.args.get(name, "") for name in names if request.blueprint in SOCKETS)
    return next((word for word in words if word not in NO_TOKEN), "")


def subprotocol_token() -> str:
    """A token among the subprotocols a socket offers: the one place beside its address that pages
    may write to."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "") if is_socket() else ""
    words = (word.strip() for word in offered.split(","))
    return next((word for word in words if TOKEN.fullmatch(word)), "")


def is_socket() -> bool:
    """Whether this request asks for a WebSocket."""
    words = request.headers.get("Connection", "").lower()
    return "upgrade" in words and request.headers.get("Upgrade", "").lower() == "websocket"


def current_session() -> Session | None:
    """The caller's session, None for nobody; raises 401 for a bad token, 403 for a bad origin."""
    if "session" not in g:
        g.session = read_session()
        if g.session:
            note_seen(g.session)
    session: Session | None = g.session
    return session


def read_session() -> Session | None:
    """Find the session in the credentials of this request."""
    if token := bearer_token() or query_word("token", "access_token") or subprotocol_token():
        return session_of(token, "access")
    if ticket := query_word("ticket"):
        return ticket_session(ticket)
    return cookie_session()


def ticket_session(ticket: str) -> Session:
    """The live session a one-time ticket was made for, which is used up; raises 401."""
    row = OneTimeToken.redeem("ticket", ticket)
    db.session.commit()
    session = Session.find_live(row.session_id) if row else None
    if session is None:
        raise unauthorized("Invalid ticket")
    return session


def cookie_session() -> Session | None:
    """The session in the cookie, None without one; raises 401 for a dead one, 403 for a bad origin.

    A dead cookie is taken away with the answer, so that the next request is clean.
    """
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    try:
        session = session_of(cookie, "cookie")
    except WharfError:
        g.dead_cookie = True
        raise
    safe = request.method in SAFE_METHODS and not is_socket()
    if not (safe or is_trusted_origin() or has_csrf_token(session)):
        raise forbidden("This origin may not use the session cookie")
    g.cookie_session = session
    return session


def claimed_user_id() -> str:
    """The user a well-signed token names, its session not looked up; empty for nobody."""
    try:
        return str(claims_of(bearer_token() or request.cookies.get(COOKIE, ""))["sub"])
    except WharfError:
        return ""


def current_user() -> User | None:
    """The caller's account, None for nobody; raises 401 for a bad token."""
    session = current_session()
    return session.user if session else None


def current_caller() -> User | Caller | None:
    """The caller as views need it that ask for id and role alone: by one short statement (bench/).

    None for nobody; raises 401 for a bad token.
    """
    token = bearer_token()
    if not token or "session" in g:
        return current_user()
    claims = claims_of(token)
    caller = Caller.find(claims.get("sid", "")) if use_of(claims) == "access" else None
    if caller is None or str(caller.id) != claims["sub"]:
        raise unauthorized("Invalid token")
    if now() - caller.seen_at >= SEEN_EVERY:
        return current_user()
    g.user_id = caller.id  # for the log
    return caller


def require_user() -> User:
    """The caller's account; raises 401 when nobody is signed in."""
    user = current_user()
    if user is None:
        raise unauthorized("No token provided")
    return user


def require_caller() -> User | Caller:
    """The caller by that short statement; raises 401 when nobody is signed in."""
    caller = current_caller()
    if caller is None:
        raise unauthorized("No token provided")
    return caller


def signed_in(view: View) -> View:
    """Decorator: the view runs only for a signed-in caller, found in `g.user`."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        g.user = require_user()
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def renew_cookie(response: Response) -> Response:
    """Take a dead cookie away; one in use lives on with its session."""
    if g.get("dead_cookie"):
        clear_cookie(response)
    elif g.get("sliding_session") and "Set-Cookie" not in response.headers:
        set_cookie(response, g.sliding_session)
    return response


def init_app(app: Flask) -> None:
    """Set up tokens for `app`."""
    app.config["JWT_SECRET_KEY"] = app.config["SECRET_KEY"]
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(minutes=app.config["ACCESS_TOKEN_MINUTES"])
    app.config["JWT_REFRESH_TOKEN_EXPIRES"] = timedelta(days=app.config["REFRESH_TOKEN_DAYS"])
    tokens.init_app(app)
    app.after_request(renew_cookie)
