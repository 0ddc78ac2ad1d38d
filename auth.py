"""Passwords, tokens, cookies and who is calling: the only reader of credentials.

Identity comes from, in this order: `Authorization: Bearer` (any case), `?token=` on sockets, the
session cookie. Every token names a session row, looked up on each use: an ended session is refused
at once. The cookie carries the refresh token, is HttpOnly, and unsafe requests that rely on it
must come from our own pages or from an origin in CORS_ORIGINS.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache, wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

import bcrypt
from flask import Flask, Response, current_app, g, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    decode_token,
)
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from errors import WharfError, bad_request, forbidden, unauthorized
from models import Session, User, db, iso, now

COOKIE = "wharf_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
NO_TOKEN = {"", "null", "undefined"}  # what pages interpolate when they hold no token
View = TypeVar("View", bound=Callable[..., Any])
tokens = JWTManager()


# Passwords


def hash_password(password: str) -> str:
    """Hash a password of 8 to 72 bytes (bcrypt reads no more); raises 400 outside of that."""
    size = len(password.encode())
    if not 8 <= size <= 72:
        text = "Password must be 8 to 72 bytes long"
        raise bad_request(text, {"password": [text]})
    rounds = current_app.config["BCRYPT_ROUNDS"]
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


@cache
def dummy_hash(rounds: int) -> bytes:
    """A hash to check against when the account does not exist, so that both cost the same."""
    return bcrypt.hashpw(b"nobody has this password", bcrypt.gensalt(rounds))


def check_password(user: User | None, password: str) -> bool:
    """Whether `password` is this user's; takes as long for a user that does not exist."""
    stored = (
        user.password_hash.encode() if user else dummy_hash(current_app.config["BCRYPT_ROUNDS"])
    )
    secret = password.encode()
    return bcrypt.checkpw(secret[:72], stored) and user is not None and len(secret) <= 72


# Tokens


def sign_in(user: User) -> Session:
    """Open a session for `user` on the calling device; the caller commits."""
    session = Session(user=user, device=(request.user_agent.string or "")[:200])
    db.session.add(session)
    db.session.flush()
    return session


def login_reply(session: Session) -> Response:
    """The superset of what all frontends read after login, and the session cookie."""
    user = session.user
    claims = {"sid": session.id, "id": user.id, "email": user.email, "role": user.role}
    claims["name"] = user.name
    access = create_access_token(str(user.id), additional_claims=claims)
    refresh = create_refresh_token(str(user.id), additional_claims={"sid": session.id})
    lifetime: timedelta = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    seconds = int(lifetime.total_seconds())
    response = jsonify(
        ok=True,
        success=True,
        accessToken=access,
        access_token=access,
        token=access,
        refreshToken=refresh,
        refresh_token=refresh,
        token_type="bearer",
        expiresIn=seconds,
        expires_in=seconds,
        user=user.to_dict(),
        session={"id": session.id, "token": access},
        sessionId=session.id,
        createdAt=iso(session.created_at),
        expiresAt=iso(now() + lifetime),
    )
    if is_trusted_origin():  # no other site may sign a browser in to an account of its choice
        set_cookie(response, refresh)
    return response


def set_cookie(response: Response, refresh: str) -> None:
    """Hand the session to the browser: out of reach of scripts, Secure on https."""
    response.set_cookie(
        COOKIE,
        refresh,
        max_age=current_app.config["JWT_REFRESH_TOKEN_EXPIRES"],
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
    )


def clear_cookie(response: Response) -> None:
    """Take the session cookie away."""
    response.delete_cookie(COOKIE, httponly=True, secure=request.is_secure, samesite="Lax")


def session_of(token: str, kind: str) -> Session:
    """The live session a token of this kind (`access`, `refresh`) names; raises 401."""
    try:
        claims = decode_token(token)
    except (JWTExtendedException, PyJWTError, ValueError, TypeError):
        raise unauthorized("Invalid token") from None
    session = Session.find_live(claims.get("sid", "")) if claims["type"] == kind else None
    if session is None or str(session.user_id) != claims["sub"]:
        raise unauthorized("Invalid token")
    return session


# Who is calling


def bearer_token() -> str:
    """The token of the Authorization header; empty for none and for `null` or `undefined`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    return "" if scheme.lower() != "bearer" or token in NO_TOKEN else token


def query_token() -> str:
    """The token in the address: only sockets take it, since addresses end up in logs."""
    token = request.args.get("token") or request.args.get("access_token") or ""
    return "" if token in NO_TOKEN or not is_socket() else token


def is_socket() -> bool:
    """Whether this request asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def current_session() -> Session | None:
    """The caller's session, None for nobody; raises 401 for a bad token, 403 for a bad origin."""
    if "session" not in g:
        g.session = read_session()
    session: Session | None = g.session
    return session


def read_session() -> Session | None:
    """Find the session in the credentials of this request."""
    token = bearer_token() or query_token()
    if token:
        return session_of(token, "access")
    return cookie_session()


def cookie_session() -> Session | None:
    """The session in the cookie, None without one; raises 401 for a dead one, 403 for a bad origin.

    A dead cookie is taken away with the answer, so that the next request is clean.
    """
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    if (request.method not in SAFE_METHODS or is_socket()) and not is_trusted_origin():
        raise forbidden("This origin may not use the session cookie")
    try:
        return session_of(cookie, "refresh")
    except WharfError:
        g.dead_cookie = True
        raise


def current_user() -> User | None:
    """The caller's account, None for nobody; raises 401 for a bad token."""
    session = current_session()
    return session.user if session else None


def require_user() -> User:
    """The caller's account; raises 401 when nobody is signed in."""
    user = current_user()
    if user is None:
        raise unauthorized("No token provided")
    return user


def signed_in(view: View) -> View:
    """Decorator: the view runs only for a signed-in caller, found in `g.user`."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        g.user = require_user()
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def is_trusted_origin() -> bool:
    """Whether no other site's page made the browser send this.

    Requests without Origin do not come from a page. OWASP CSRF cheat sheet: verify the origin.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
    return is_allowed_origin(origin)


def is_allowed_origin(origin: str) -> bool:
    """Our own origin, one in CORS_ORIGINS, or another port of localhost while on localhost."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if origin in current_app.config["CORS_ORIGINS"] or parts.netloc == request.host:
        return True
    return parts.hostname in LOOPBACK and urlsplit(request.host_url).hostname in LOOPBACK


def drop_dead_cookie(response: Response) -> Response:
    """Take the cookie away when `cookie_session` found it dead."""
    if g.get("dead_cookie"):
        clear_cookie(response)
    return response


def init_app(app: Flask) -> None:
    """Set up tokens for `app`."""
    app.config["JWT_SECRET_KEY"] = app.config["SECRET_KEY"]
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(minutes=app.config["ACCESS_TOKEN_MINUTES"])
    app.config["JWT_REFRESH_TOKEN_EXPIRES"] = timedelta(days=app.config["REFRESH_TOKEN_DAYS"])
    tokens.init_app(app)
    app.after_request(drop_dead_cookie)
