"""Rooms, their history, and posting without a socket (docs/rooms.md)."""

import secrets
from typing import Annotated, Literal

from flask import Blueprint, Response, g
from pydantic import Field
from sqlalchemy import func

import shapes
from auth import signed_in
from errors import bad_request
from events import (
    record,
    record_deletion,
    record_edit,
    record_member,
    record_message,
    record_removal,
    record_room,
)
from models import Member, Message, Room, User, rows_of
from openapi import answers
from routes.lists import Key, answer_list, whole
from routes.rest import answer, deleted, idempotent, parse_body, saved
from validation import Input, Name, RequiredName, RequiredText

bp = Blueprint("rooms", __name__, url_prefix="/api/rooms")
Id = Annotated[int, Field(ge=1, le=2**31 - 1)]


class NewRoom(Input):
    """`{id?, name?, kind?, members?}`, or `{userId}` for the direct room with that user."""

    id: str | None = None
    name: Name = ""
    kind: Literal["public", "private"] = "public"
    members: Annotated[list[Id], Field(max_length=100)] = []
    userId: Id | None = None


class RoomChanges(Input):
    """Any of `{name, isLocked}`; what is missing stays as it is."""

    name: RequiredName = ""
    isLocked: bool = False


class NewMessage(Input):
    """`{content}`."""

    content: RequiredText


class Marker(Input):
    """`{messageId?}`: the last message when missing."""

    messageId: Annotated[int, Field(ge=1, le=2**53)] | None = None


# Rooms


@bp.get("")
@answers(shapes.ListedRoom, lists=Room)
@signed_in
def list_rooms() -> Response:
    """The rooms of the caller, the one with the latest message first."""
    latest = func.coalesce(Message.created_at, Room.created_at)
    order = [Key("latest", latest, is_descending=True)]
    return answer_list(Room.joined_by(g.user), Room, order)


@bp.post("")
@answers(shapes.Room, 200, 201, 404, body=NewRoom)
@signed_in
@idempotent
def create_room() -> Response:
    """Make a room of the caller: 201, or 409; with `userId` the direct one: 201, or 200."""
    form = parse_body(NewRoom)
    if form.userId is not None:
        return open_direct(form.userId)
    room_id = secrets.token_urlsafe(12) if form.id is None else form.id
    room = Room.create(room_id, form.kind, form.name or room_id, g.user)
    for user in users_of(form.members):
        if room.seat_user(user):
            tell_invited(room, user)
    return saved(room.as_seen_by(g.user), 201)


def open_direct(user_id: int) -> Response:
    """Answer the direct room of the caller and this user, which is made once."""
    other = User.load(user_id)
    if other.id == g.user.id:
        text = "UserId must be that of somebody else"
        raise bad_request(text, {"userId": [text]})
    room, made = Room.between(g.user, other)
    if made:
        tell_invited(room, other)
    return saved(room.as_seen_by(g.user), 201 if made else 200)


def users_of(ids: list[int]) -> list[User]:
    """The users of these ids; raises 400 when one is missing."""
    users = list(rows_of(User.existing().where(User.id.in_(set(ids)))))
    if missing := set(ids) - {user.id for user in users}:
        text = f"There is no user {min(missing)}"
        raise bad_request(text, {"members": [text]})
    return users


def tell_invited(room: Room, user: User) -> None:
    """Tell the room of its new member, and the member, who cannot hear it yet, of the room."""
    record_member(room, Member.load(room, user.id))
    record(user.topic, "room-added", {"roomId": room.id, "kind": room.kind, "name": room.name})


@bp.get("/<room_id>")
@answers(shapes.Room, 400, 403)
@signed_in
def show_room(room_id: str) -> Response:
    """One room with its participants."""
    return answer(Room.load_existing(room_id, g.user).as_seen_by(g.user))


@bp.put("/<room_id>")
@bp.patch("/<room_id>")
@answers(shapes.Room, body=RoomChanges)
@signed_in
def update_room(room_id: str) -> Response:
    """Change the name or the lock, by the owner."""
    room = Room.load_existing(room_id, g.user)
    room.require_seats()
    room.require_owner(g.user)
    form = parse_body(RoomChanges)
    if form.model_fields_set:
        names = {"name": "name", "isLocked": "is_locked"}
        room.change(**{names[name]: getattr(form, name) for name in form.model_fields_set})
        record_room(room)
    return saved(room.as_seen_by(g.user))


@bp.delete("/<room_id>")
@answers(shapes.Deleted, 200, 204, 400, 409)
@signed_in
def delete_room(room_id: str) -> Response:
    """Delete a private room in which the owner is alone."""
    room = Room.load_existing(room_id, g.user)
    room.require_owner(g.user)
    room.delete(g.user)
    record_removal(room, g.user, "deleted")
    return deleted(room.id)


# The caller's own seat


@bp.post("/<room_id>/join")
@answers(shapes.Room, 400)
@signed_in
def join_room(room_id: str) -> Response:
    """Take a seat: 200 with the room; 403 when it is locked."""
    room = Room.load(room_id, g.user)
    seated = room.seat is not None
    room.enter(g.user)
    if not seated:
        record_member(room, Member.load(room, g.user.id))
    return saved(room.as_seen_by(g.user))


@bp.post("/<room_id>/leave")
@answers(shapes.Left, 400, 409)
@signed_in
def leave_room(room_id: str) -> Response:
    """Give the seat back; who has none has left already."""
    room = Room.load_existing(room_id, g.user)
    room.require_seats()
    if member := Member.find(room, g.user.id):
        record_removal(room, g.user, "left", room.remove(member))
    return saved({"ok": True, "id": room.id})


@bp.post("/<room_id>/read")
@answers(shapes.ReadMarker, body=Marker)
@signed_in
def mark_read(room_id: str) -> Response:
    """Move the read marker forward, and tell the caller's other devices."""
    room = Room.load_existing(room_id, g.user)
    facts, moved = room.mark_read(g.user, parse_body(Marker).messageId)
    if moved:
        record(g.user.topic, "room-read", facts)
    return saved(facts)


# Messages


@bp.get("/<room_id>/messages")
@answers(shapes.Message, 403, lists=Message, query={"before": int, "after": int})
@signed_in
def list_messages(room_id: str) -> Response:
    """The latest messages, oldest first; with `before` or `after` those next to that message."""
    room = Room.load(room_id, g.user)
    before, after = whole("before", 0), whole("after", 0)
    statement = room.history()
    if before:
        statement = statement.where(Message.id < before)
    if after:  # the next ones, not the latest
        statement = statement.where(Message.id > after)
        return answer_list(statement, Message, [Key("id", Message.id, is_descending=False)])
    return answer_list(statement, Message, oldest_first=True)


@bp.post("/<room_id>/messages")
@answers(shapes.Message, 201, body=NewMessage)
@signed_in
@idempotent
def post_message(room_id: str) -> Response:
    """Say something: stored, then told to the room's sockets."""
    form = parse_body(NewMessage)
    room = Room.load(room_id, g.user)
    message = room.post(g.user, form.content)
    record_message(room, message)
    return saved(message, 201)


@bp.put("/<room_id>/messages/<message_id>")
@bp.patch("/<room_id>/messages/<message_id>")
@answers(shapes.Message, body=NewMessage)
@signed_in
def edit_message(room_id: str, message_id: str) -> Response:
    """Change what one said oneself."""
    room = Room.load_existing(room_id, g.user)
    message = Message.load(message_id, room)
    message.edit(room, g.user, parse_body(NewMessage).content)
    record_edit(room, message)
    return saved(message.to_dict())


@bp.delete("/<room_id>/messages/<message_id>")
@answers(shapes.Deleted, 200, 204, 400)
@signed_in
def delete_message(room_id: str, message_id: str) -> Response:
    """Take back what one said; the owner and admins take back anything."""
    room = Room.load_existing(room_id, g.user)
    message = Message.load(message_id, room)
    message.delete(room, g.user)
    record_deletion(room, message.id)
    return deleted(message.id)
