"""Who is in a room, and who may stay (docs/rooms.md)."""

from types import SimpleNamespace

from flask import Blueprint, Response, g
from sqlalchemy import select
from sqlalchemy.orm import contains_eager

import shapes
from auth import signed_in
from errors import forbidden
from events import record, record_member, record_removal
from models import Member, Room, User, db
from openapi import answers
from routes.lists import Key, answer_list
from routes.rest import deleted, idempotent, parse_body, saved
from routes.rooms import Id, tell_invited
from validation import Input

bp = Blueprint("members", __name__, url_prefix="/api/rooms/<room_id>/members")


class Invited(Input):
    """`{userId}`."""

    userId: Id


class MemberChanges(Input):
    """Any of `{isMuted, isBanned}`; what is missing stays as it is."""

    isMuted: bool = False
    isBanned: bool = False


class Listed:
    """What `answer_list` asks of a model: a member's columns and the user's name."""

    id = Member.user_id
    LISTED = {"user_id", "name", "is_muted", "is_banned", "joined_at"}
    SEARCHED = ("name",)
    __table__ = SimpleNamespace(
        columns={**Member.__table__.columns, "name": User.__table__.columns["name"]}
    )


@bp.get("")
@answers(shapes.Member, 403, lists=Listed)
@signed_in
def list_members(room_id: str) -> Response:
    """Who is in the room, who came last first; the owner and admins see who is banned too."""
    room = Room.load_existing(room_id, g.user)
    statement = select(Member).join(Member.user).options(contains_eager(Member.user))
    statement = statement.where(Member.room_id == room.id)
    if not room.is_owned_by(g.user):
        statement = statement.where(Member.is_banned.is_(False))
    order = [Key("joined_at", Member.joined_at, is_descending=True)]
    return answer_list(statement, Listed, order)


@bp.post("")
@answers(shapes.Member, 200, 201, body=Invited)
@signed_in
@idempotent
def invite_member(room_id: str) -> Response:
    """Seat a user: 201, or 200 when they are there."""
    room = load_moderated(room_id)
    user = User.load(parse_body(Invited).userId)
    invited = room.invite(user)
    if invited:
        tell_invited(room, user)
    return saved(Member.load(room, user.id).to_dict(), 201 if invited else 200)


@bp.put("/<user_id>")
@bp.patch("/<user_id>")
@answers(shapes.Member, 409, body=MemberChanges)
@signed_in
def update_member(room_id: str, user_id: str) -> Response:
    """Mute or ban a member, or end that; who is no member can be banned too."""
    room = load_moderated(room_id)
    user = load_other(user_id)
    form = parse_body(MemberChanges)
    if form.isBanned:
        room.seat_user(user)
    member = Member.load(room, user.id)
    banned = form.isBanned and not member.is_banned
    if "isMuted" in form.model_fields_set:
        member.is_muted = form.isMuted
    if "isBanned" in form.model_fields_set:
        member.is_banned = form.isBanned
    db.session.flush()
    record_member(room, member)
    if banned:
        remove(room, member, "banned")
    return saved(member.to_dict())


@bp.delete("/<user_id>")
@answers(shapes.Deleted, 200, 204, 400, 409)
@signed_in
def kick_member(room_id: str, user_id: str) -> Response:
    """Take a member out; a ban stays."""
    room = load_moderated(room_id)
    member = Member.load(room, load_other(user_id).id)
    remove(room, member, "kicked")
    return deleted(member.user_id)


def load_moderated(room_id: str) -> Room:
    """A room whose members the caller may seat and remove; raises 403 and 404."""
    room = Room.load_existing(room_id, g.user)
    room.require_seats()
    room.require_owner(g.user)
    return room


def load_other(user_id: str) -> User:
    """A user who is not the caller; raises 403 and 404."""
    user = User.load(user_id)
    if user.id == g.user.id:
        raise forbidden("You cannot do this to yourself")
    return user


def remove(room: Room, member: Member, reason: str) -> None:
    """Take a member out, and tell the room and the member's devices."""
    user, handed_over = member.user, room.remove(member)
    record_removal(room, user, reason, handed_over)
    record(user.topic, "room-removed", {"roomId": room.id, "reason": reason})
