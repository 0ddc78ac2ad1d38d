"""Users, as others see them, and the roles that admins give (docs/accounts.md)."""

from flask import Blueprint, Response, g

from auth import note, signed_in
from errors import bad_request, forbidden
from models import ROLES, User
from routes.rest import answer, parse_body, saved
from validation import Input, RequiredName

bp = Blueprint("users", __name__, url_prefix="/api/users")


class UserChanges(Input):
    """Any of `{name, role}`; what is missing stays as it is."""

    name: RequiredName = ""
    role: str = ""


@bp.get("/<user_id>")
@signed_in
def show_user(user_id: str) -> Response:
    """What others may know of a user; all of it for the user and for admins."""
    user = User.load(user_id)
    return answer(user.to_dict() if may_change(user) else user.to_public())


@bp.put("/<user_id>")
@bp.patch("/<user_id>")
@signed_in
def update_user(user_id: str) -> Response:
    """Change the name, by the user and by admins, or the role, by admins."""
    user = User.load(user_id)
    if not may_change(user):
        raise forbidden()
    form = parse_body(UserChanges)
    if form.name:
        user.name = form.name
    if form.role and form.role != user.role:
        change_role(user, form.role)
    return saved(user.to_dict())


def may_change(user: User) -> bool:
    """Whether the caller may change this account."""
    caller: User = g.user
    return caller.id == user.id or caller.may("users", "update")


def change_role(user: User, role: str) -> None:
    """Give `user` a role; raises 403 for who may not, 400 for one that does not exist."""
    if not g.user.may("users", "update"):
        raise forbidden("Only an admin gives roles")
    if role not in ROLES:
        text = f"Role must be one of {', '.join(ROLES)}"
        raise bad_request(text, {"role": [text]})
    note("role-changed", user, f"{user.role} to {role} by {g.user.name} ({g.user.id})")
    user.role = role
