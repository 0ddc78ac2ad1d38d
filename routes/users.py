"""Users as others see them, and what they and admins change (docs/accounts.md).

Each address is there under `/api/users` and `/users`; a list at the latter is always a page.
"""

import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Annotated, Any

from flask import Blueprint, Response, g, request
from pydantic import AliasChoices, Field, field_validator
from sqlalchemy import case

import shapes
from auth import end_sessions, note, signed_in
from erasure import erase
from errors import WharfError, bad_request, forbidden
from models import ROLES, OneTimeToken, User, db, lock_row, parse_id, rows_of
from openapi import answers
from passwords import dummy_hash, hash_password
from routes.lists import answer_list
from routes.passwords import OLD, require_password
from routes.rest import answer, deleted, idempotent, parse_body, require_match, saved
from validation import Email, Input, RequiredName, Username

log = logging.getLogger(__name__)

bp = Blueprint("users", __name__)
Id = Annotated[str, Field(coerce_numbers_to_str=True)]
PAGE_WORDS = {"status", "where", "filters"}  # of pages that read a list as ReactiveModel does


class Account(Input):
    """Any of `{name, email, username, role, is_active}`, and `id` for the one that is meant.

    What is missing or empty stays as it is. `password` is for new accounts alone.
    """

    id: Id | None = None
    name: RequiredName = ""
    email: Email | None = None
    username: Username | None = None
    role: str = ""
    is_active: bool = Field(True, validation_alias=AliasChoices("is_active", "isActive"))
    password: str = ""
    current_password: str = Field("", validation_alias=OLD)

    @field_validator("id", "email", "username", mode="before")
    @classmethod
    def skip_empty(cls, value: Any) -> Any:
        """Forms send what was left empty, stores the id that is not there yet."""
        return None if isinstance(value, str) and not value.strip() else value


class UserIds(Input):
    """`{ids}`."""

    ids: Annotated[list[Id], Field(max_length=100)]


class Listed:
    """What `answer_list` asks of a model, as every user may know it."""

    id = User.id
    LISTED = {"id", "username", "name", "role", "is_active", "status", "created_at"}
    SEARCHED: tuple[str, ...] = ("username", "name")
    status = case((User.is_active, "active"), else_="inactive")
    __table__ = SimpleNamespace(columns={**User.__table__.columns, "status": status})


class ListedForAdmins(Listed):
    """The same for who may see emails: to look for one is to learn whose it is."""

    LISTED = Listed.LISTED | {"email"}
    SEARCHED = (*Listed.SEARCHED, "email")


def at(path: str, *methods: str) -> Any:
    """Route a handler under `/api/users` and `/users`."""

    def decorate(view: Any) -> Any:
        for prefix in ("/api/users", "/users"):
            view = bp.route(prefix + path, methods=methods)(view)
        return view

    return decorate


# Read


@at("", "GET")
@answers(shapes.User | shapes.PublicUser, lists=ListedForAdmins)
@signed_in
def list_users() -> Response:
    """All accounts, newest first."""
    paged = request.path == "/users" or bool(PAGE_WORDS & set(request.args))
    listed = ListedForAdmins if is_admin() else Listed
    return answer_list(User.existing(), listed, paged=paged, show=shown)


@at("/<user_id>", "GET")
@answers(shapes.User | shapes.PublicUser)
@signed_in
def show_user(user_id: str) -> Response:
    """What others may know of a user; all of it for the user and for admins."""
    return answer(shown(User.load(user_id)))


def shown(user: User) -> dict[str, Any]:
    """The account as the caller may see it."""
    return user.to_dict() if may_change(user) else user.to_public()


def may_change(user: User) -> bool:
    """Whether the caller may change this account."""
    return g.user.id == user.id or is_admin()


def is_admin() -> bool:
    """Whether the caller may change every account."""
    caller: User = g.user
    return caller.may("users", "update")


# Write


@at("", "POST")
@answers(shapes.User, 201, 404, body=Account)
@signed_in
@idempotent
def publish_user() -> Response:
    """Change the account of this `id`, or make one without: 201 for both."""
    form = parse_body(Account)
    if form.id is None:
        return saved(create_user(form).to_dict(), 201)
    user = User.load(form.id)
    change(user, form)
    return saved(user.to_dict(), 201)


@at("", "PUT")
@answers(shapes.User, 404, 409, body=Account)
@signed_in
def update_published() -> Response:
    """Change the account of the `id` in the body."""
    form = parse_body(Account)
    if form.id is None:
        raise bad_request("Id is required", {"id": ["Id is required"]})
    user = User.load(form.id)
    change(user, form)
    return saved(user.to_dict())


@at("/<user_id>", "PUT", "PATCH")
@answers(shapes.User, 409, 412, body=Account)
@signed_in
def update_user(user_id: str) -> Response:
    """Change an account, by its user and by admins."""
    user = User.load(user_id)
    if not may_change(user):
        raise forbidden()
    form = parse_body(Account)
    require_same(user)
    change(user, form)
    return saved(user.to_dict())


@at("/batch", "DELETE")
@answers(shapes.DeletedAll, 409, body=UserIds)
@signed_in
def delete_users() -> Response:
    """Delete several accounts, all or none; who is not there is deleted already."""
    ids = {parse_id(user_id) for user_id in parse_body(UserIds).ids}
    users = rows_of(User.existing().where(User.id.in_(ids - {None})).order_by(User.id))
    return delete_all(users, lambda: saved({"ok": True, "ids": [user.id for user in users]}))


@at("/<user_id>", "DELETE")
@answers(shapes.Deleted, 200, 204, 409, 412)
@signed_in
def delete_user(user_id: str) -> Response:
    """Delete an account, by its user and by admins; what it said in rooms stays."""
    user = User.load(user_id)
    if may_change(user):
        require_same(user)
    return delete_all([user], lambda: deleted(user.id))


def require_same(user: User) -> None:
    """Hold an account to be changed; raises 412 when If-Match names another state of it."""
    lock_row(user, "role")
    require_match(user.to_dict())


def delete_all(users: Sequence[User], commit: Callable[[], Response]) -> Response:
    """Delete accounts; raises 403, 409 for all admins."""
    if not all(may_change(user) for user in users):
        raise forbidden()
    for user in users:
        user.require_other_admin()
        erase(user, by_caller())
    return commit()


def create_user(form: Account) -> User:
    """A new account, by admins; without a password its user sets one by a reset link."""
    if not is_admin():
        raise forbidden("Only an admin makes accounts for others: register at /api/auth/register")
    login = form.email or form.username
    if not login:
        raise bad_request("Email is required", {"email": ["Email is required"]})
    require_role(form.role or "user")
    require_free(form.email, form.username)
    user = User(email=form.email, username=form.username, name=form.name or login.split("@")[0])
    user.role, user.is_active = form.role or "user", form.is_active
    user.password_hash = hash_password(form.password) if form.password else dummy_hash()
    db.session.add(user)
    db.session.flush()
    note("registered", user, by_caller())
    return user


def change(user: User, form: Account) -> None:
    """Change what the caller may change of an account; raises 400, 403 and 409.

    Role and state are read-only but for admins: pages send back whole items.
    """
    if not may_change(user):
        raise forbidden()
    if is_admin() and form.role:
        require_role(form.role)
    change_logins(user, form)
    user.name = form.name or user.name
    if is_admin():
        change_role(user, form.role or user.role)
        change_state(user, form.is_active if "is_active" in form.model_fields_set else None)


def change_logins(user: User, form: Account) -> None:
    """Change the names an account signs in by; its own user shows the password for it.

    Who changes the email can have a new password mailed: a stolen session shall not.
    """
    given = {"email": form.email, "username": form.username}
    news = {key: login for key, login in given.items() if login and login != getattr(user, key)}
    if not news:
        return
    require_free(*news.values())
    if user.id == g.user.id:
        if not form.current_password:
            text = f"Current password is required to change {' and '.join(news)}"
            raise bad_request(text, {"currentPassword": [text]})
        require_password(user, form.current_password)
    for key, login in news.items():
        note("login-changed", user, f"{key} {getattr(user, key)} to {login} {by_caller()}")
        setattr(user, key, login)
    OneTimeToken.revoke("reset", user)


def change_role(user: User, role: str) -> None:
    """Give `user` a role; it counts at once. Raises 409 for the only admin."""
    if role != user.role:
        user.require_other_admin()
        note("role-changed", user, f"{user.role} to {role} {by_caller()}")
        user.role = role


def change_state(user: User, active: bool | None) -> None:
    """Let an account sign in, or no longer: then it is signed out everywhere."""
    if active is None or active == user.is_active:
        return
    if user.id == g.user.id:
        raise forbidden("You cannot do this to yourself")
    user.is_active = active
    db.session.flush()  # first: who signs in at this moment waits for it
    note("activated" if active else "deactivated", user, by_caller())
    if not active:
        end_sessions(user, "the account was deactivated")


def require_role(role: str) -> None:
    """Raise 400 for a role that does not exist."""
    if role not in ROLES:
        text = f"Role must be one of {', '.join(ROLES)}"
        raise bad_request(text, {"role": [text]})


def require_free(*logins: str | None) -> None:
    """Raise 409 when somebody signs in by one of these names."""
    if any(User.find(login) for login in logins if login):
        raise WharfError(409, "This name is already registered", "name_taken")


def by_caller() -> str:
    """Who did it, for the audit trail."""
    return f"by {g.user.name} ({g.user.id})"
