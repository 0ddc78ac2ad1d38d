"""The chat dialect on `/` and `/ws` (docs/frontends/larc.md): rooms, typing, broadcast, direct.

The same sockets also speak the widget's words (widget.py), one table serves both, and hear and send
topic messages (topics.py).
"""

import json
from functools import partial
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from bus import Event
from errors import forbidden
from events import record, record_deletion, record_edit, record_message, signal
from models import Message, Receipt, Room
from sockets.connection import Connection
from sockets.dialect import Frame, Handler, Handlers, Seq, merge, to_frame
from sockets.relay import RelayingDialect, encode_for_chat, is_envelope, look_up_relay
from sockets.topics import TopicFrame, frame_of, publish_frame
from sockets.widget import EVERYBODY, WidgetDialect, encode_change
from sockets.widget import HANDLERS as WIDGET_HANDLERS
from topics import PUBLISHED, SHARED
from validation import Input, RequiredText


class InRoom(Frame):
    """`{roomId}`."""

    roomId: str


class JoinRoom(InRoom):
    """`{roomId, since?}`: with `since`, what was told after that seq comes first."""

    since: Seq | None = None


class ChatMessage(InRoom):
    """`{roomId, content, id?}`: with `id`, an ack comes back and a retry is stored once."""

    content: RequiredText


class OneMessage(InRoom):
    """`{roomId, messageId}`."""

    messageId: int


class EditMessage(OneMessage):
    """`{roomId, messageId, content}`."""

    content: RequiredText


class Marker(InRoom):
    """`{roomId, messageId?}`: the last message without it."""

    messageId: Annotated[int, Field(ge=1, le=2**53)] | None = None


class Relayed(Frame):
    """A frame that is passed on whole, its id as it is."""

    model_config = ConfigDict(extra="allow")

    id: Any = None


class Direct(Relayed):
    """`{targetUserId, ...}`."""

    targetUserId: str | int


def join_room(connection: Connection, frame: JoinRoom) -> None:
    """Let the client hear the room and know who is there; the others hear of a new user."""
    room, hub = Room.load(frame.roomId, connection.user), connection.hub
    room.enter(connection.user)
    hub.subscribe(connection, room.topic, frame.since)
    answer = partial(welcome, connection, room.id)
    connection.after_commit(partial(hub.presence.enter, room.topic, connection, answer))


def welcome(connection: Connection, room_id: str, members: list[dict[str, Any]]) -> None:
    """Tell a client that it has joined, and who is there.

    Only this client: a list of everybody, to everybody, for each who joins, would be too much.
    """
    joined = {"roomId": room_id, "user": connection.user.to_peer()}
    seq = connection.hub.seq_of(Room.topic_of(room_id), connection)
    joined |= {"seq": seq, "members": members}
    connection.send(to_frame({"type": "user-joined", **joined}))


def leave_room(connection: Connection, frame: InRoom) -> None:
    """Let the client hear the room no longer; the others hear when the user is gone.

    At once, like joining: a client may do both in one breath.
    """
    connection.hub.unsubscribe(connection, Room.topic_of(frame.roomId))


def post_message(connection: Connection, frame: ChatMessage) -> None:
    """Store a message and tell the room, sender included; acknowledge it when it has an id."""
    user = connection.user
    room = Room.load(frame.roomId, user)
    key, content = json.dumps(["chat-message", room.id, frame.id]), frame.content.encode()
    retriable = frame.id is not None
    if retriable and (receipt := Receipt.find(user.topic, key, content)):
        acknowledge(connection, frame, json.loads(receipt.answer))
        return
    message = room.post(user, frame.content)
    record_message(room, message)
    if retriable:
        Receipt.keep(user.topic, key, content, message)
        acknowledge(connection, frame, message)


def acknowledge(connection: Connection, frame: ChatMessage, message: dict[str, Any]) -> None:
    """Tell the sender, after the commit, that its message is stored."""
    connection.reply(to_frame({"type": "ack", "id": frame.id, "message": message}))


def edit_message(connection: Connection, frame: EditMessage) -> None:
    """Change what one said oneself, and tell the room."""
    user = connection.user
    room = Room.load_existing(frame.roomId, user)
    message = Message.load(frame.messageId, room)
    message.edit(room, user, frame.content)
    record_edit(room, message)


def delete_message(connection: Connection, frame: OneMessage) -> None:
    """Take back what one said, the owner of the room anything, and tell the room."""
    user = connection.user
    room = Room.load_existing(frame.roomId, user)
    message = Message.load(frame.messageId, room)
    message.delete(room, user)
    record_deletion(room, message.id)


def mark_read(connection: Connection, frame: Marker) -> None:
    """Move the read marker forward, and tell all devices of the user."""
    user = connection.user
    room = Room.load_existing(frame.roomId, user)
    facts, moved = room.mark_read(user, frame.messageId)
    if moved:
        record(user.topic, "room-read", facts)


def tell_typing(connection: Connection, frame: InRoom) -> None:
    """Tell the others in the room that this user types; never stored. Raises 403 outside."""
    topic = Room.topic_of(frame.roomId)
    if topic not in connection.topics:
        raise forbidden("Join the room first")
    data = {"roomId": frame.roomId, "user": connection.user.to_peer()}
    signal(topic, "user-typing", data, skip=connection.id)


def broadcast(connection: Connection, frame: Relayed) -> None:
    """Pass the frame on to every socket, the sender's included; never stored."""
    signal(EVERYBODY, "relay", frame.model_dump(exclude_unset=True))


def send_direct(connection: Connection, frame: Direct) -> None:
    """Pass the frame on to every socket of one user; never stored."""
    signal(f"user:{frame.targetUserId}", "relay", frame.model_dump(exclude_unset=True))


CHAT_HANDLERS: Handlers = {
    "join-room": (JoinRoom, join_room),
    "leave-room": (InRoom, leave_room),
    "chat-message": (ChatMessage, post_message),
    "edit-message": (EditMessage, edit_message),
    "delete-message": (OneMessage, delete_message),
    "read": (Marker, mark_read),
    "typing": (InRoom, tell_typing),
    "broadcast": (Relayed, broadcast),
    "direct": (Direct, send_direct),
}


class ChatDialect(RelayingDialect, WidgetDialect):
    """Chat pages, the chat widget, and pages that talk to each other, on one socket."""

    handlers = merge(CHAT_HANDLERS, WIDGET_HANDLERS)

    def open(self, connection: Connection) -> None:
        """Greet; hear topic messages, users broadcasts too."""
        super().open(connection)
        connection.hub.subscribe(connection, SHARED)
        user = connection.user
        connection.reply(to_frame({"type": "connected", "user": user and user.to_dict()}))
        if user:
            self.welcome(connection)

    def welcome(self, connection: Connection) -> None:
        """Listen for broadcasts."""
        super().welcome(connection)
        connection.hub.subscribe(connection, EVERYBODY)

    def look_up(self, data: dict[str, Any]) -> tuple[type[Input], Handler]:
        """A topic in place of a type is a topic message; envelopes that nobody handles pass on."""
        if "topic" in data and "type" not in data:
            return TopicFrame, publish_frame
        kind = data.get("type")
        if is_envelope(data) and (kind == "broadcast" or kind not in self.handlers):
            return look_up_relay(kind)
        return super().look_up(data)

    def encode(self, event: Event) -> dict[str, Any] | bytes | None:
        """Events as chat pages read them; stored ones with their seq."""
        if event.type in ("raw", "binary"):
            return encode_for_chat(event, self.handlers)
        if event.type == "relay":
            relayed: dict[str, Any] = event.data
            return relayed
        if event.type == "changed":
            return encode_change(event)
        if event.type == PUBLISHED:
            return frame_of(event)
        message = {"type": event.type, **event.data}
        if event.type in ("user-joined", "user-left"):
            message["roomId"] = event.topic.partition(":")[2]
            if event.type == "user-left":
                message["stays"] = False  # clients of earlier versions look
        if event.seq and (event.topic.startswith("room:") or "roomId" not in event.data):
            # Of the topic that `since` is for: beside a roomId, that of the room.
            message["seq"] = event.seq
        return message


dialect = ChatDialect()
