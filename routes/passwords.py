"""Passwords: change one's own, or set a new one by a link from a mail (docs/accounts.md).

OWASP forgot-password cheat sheet: one answer whether the account exists or not, a link that works
once and not for long, and nobody is signed in by it.
"""

from typing import Any

from flask import Blueprint, current_app, g
from pydantic import AliasChoices, Field

import mail
import rate_limits
import shapes
from auth import current_session, end_sessions, note, signed_in
from errors import WharfError, bad_request
from models import OneTimeToken, Session, User, db
from openapi import answers
from passwords import check_password, hash_password, reset_link, turn_to_hash
from routes.rest import parse_body
from validation import Input, RequiredLine, clean_login

bp = Blueprint("passwords", __name__, url_prefix="/api/auth")

OLD = AliasChoices("currentPassword", "current_password", "oldPassword", "old_password")
NEW = AliasChoices("newPassword", "new_password", "password")
MAIL = """Somebody, hopefully you, asked for a new password at {site}.
Set it here within an hour:

{link}

If it was not you, do nothing: your password stays as it is.
"""


class PasswordChange(Input):
    """`{currentPassword, newPassword}`, also in the spellings above."""

    current: str = Field(validation_alias=OLD)
    new: str = Field(validation_alias=NEW)


class ResetRequest(Input):
    """`{email}` or `{username}`."""

    login: RequiredLine = Field(validation_alias=AliasChoices("email", "username"))


class Reset(Input):
    """`{token, password}`."""

    token: RequiredLine
    password: str = Field(validation_alias=AliasChoices("password", "newPassword", "new_password"))


@bp.put("/password")
@bp.post("/password")
@answers(shapes.Ok, body=PasswordChange)
@signed_in
def change_password() -> dict[str, Any]:
    """Set a new password for who knows the old one; all other devices are signed out."""
    user: User = g.user
    form = parse_body(PasswordChange)
    session = current_session()
    db.session.commit()  # hashing takes long: it shall hold no connection
    hashed = hash_password(form.new, "newPassword")
    require_password(user, form.current)
    set_password(user, hashed, Session.id != (session and session.id))
    db.session.commit()
    return {"ok": True}


def require_password(user: User, password: str) -> None:
    """Raise 400 unless this is the password of `user`, who is signed in; 429 after many tries.

    Commits first, since hashing takes long and shall hold no connection.
    """
    session = current_session()
    guesser = f"session {session and session.id}"  # who guesses at the door locks nobody in
    db.session.commit()
    with turn_to_hash():
        rate_limits.count("LOGIN_LIMIT", guesser)
        right = check_password(user, password)
    if not right:
        note("password-change-failed", user)
        db.session.commit()
        text = "The current password is wrong"
        raise bad_request(text, {"currentPassword": [text]})
    rate_limits.clear("LOGIN_LIMIT", guesser)


def set_password(user: User, hashed: str, *ended: Any) -> None:
    """Store a new password, end the sessions `ended` (all without one) and open reset links."""
    user.password_hash = hashed
    OneTimeToken.revoke("reset", user)
    note("password-changed", user)
    end_sessions(user, "the password was changed", *ended)


@bp.post("/password-reset")
@answers(shapes.Mailed, body=ResetRequest)
def request_reset() -> dict[str, Any]:
    """Mail a link to set a new password; the answer is the same when there is no such account."""
    if not mail.is_set_up():
        raise WharfError(503, "This server sends no mail: ask its administrator for a link")
    login = clean_login(parse_body(ResetRequest).login)
    rate_limits.count("RESET_LIMIT", rate_limits.caller_address())
    user = User.find(login)
    rate_limits.count("RESET_LIMIT", f"user {user.id}" if user else f"name {login}")
    note("password-reset-asked", user)
    link = reset_link(user) if user else ""
    db.session.commit()
    if user and user.email:
        text = MAIL.format(site=current_app.config["PUBLIC_URL"], link=link)
        mail.send(user.email, "Set a new password", text)
    return {"ok": True, "message": "If this account exists, a link is on its way by mail"}


@bp.post("/password-reset/confirm")
@answers(shapes.Ok, 404, body=Reset)
def confirm_reset() -> dict[str, Any]:
    """Set a new password by the token of a link; all devices are signed out."""
    form = parse_body(Reset)
    known = OneTimeToken.is_good("reset", form.token)
    db.session.commit()  # hashing takes long: it shall hold no connection
    hashed = hash_password(form.password) if known else ""
    row = OneTimeToken.redeem("reset", form.token)
    if row is None:
        text = "This link was used already, or is too old"
        raise bad_request(text, {"token": [text]}, code="invalid_token")
    set_password(User.load(row.user_id), hashed)
    db.session.commit()
    rate_limits.clear("LOGIN_LIMIT", f"user {row.user_id}")  # who was locked out may come in
    return {"ok": True}
