"""Rooms: their history, and posting without a socket (docs/frontends/larc.md)."""

from flask import Blueprint, Response, g

from auth import signed_in
from events import record_message
from models import Message, Room
from routes.rest import answer_list, first_answer, parse_body, saved
from validation import Input, RequiredText

bp = Blueprint("rooms", __name__, url_prefix="/api/rooms")


class NewMessage(Input):
    """`{content}`."""

    content: RequiredText


@bp.get("/<room_id>/messages")
@signed_in
def list_messages(room_id: str) -> Response:
    """The latest messages, oldest first."""
    return answer_list(Room.load(room_id, g.user).history(), Message, oldest_first=True)


@bp.post("/<room_id>/messages")
@signed_in
def post_message(room_id: str) -> Response:
    """Say something: stored, then told to the room's sockets."""
    if first := first_answer(g.user):
        return first
    form = parse_body(NewMessage)
    room = Room.load(room_id, g.user)
    message = room.post(g.user, form.content)
    record_message(room, message)
    return saved(message, 201)
