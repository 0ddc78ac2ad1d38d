"""The chat dialect on `/` and `/ws` (docs/frontends/larc.md): rooms, typing, broadcast, direct.

The same sockets also speak the widget's words (widget.py): one table serves both.
"""

import json
from functools import partial
from typing import Any

from pydantic import ConfigDict

from bus import Event
from events import record_message, signal
from models import Receipt, Room
from sockets.connection import Connection
from sockets.dialect import Dialect, Frame, Handlers, Seq, merge, to_frame
from sockets.widget import HANDLERS as WIDGET_HANDLERS
from sockets.widget import encode_change
from validation import RequiredText

EVERYBODY = "everybody"


class InRoom(Frame):
    """`{roomId}`."""

    roomId: str


class JoinRoom(InRoom):
    """`{roomId, since?}`: with `since`, what was told after that seq comes first."""

    since: Seq | None = None


class ChatMessage(InRoom):
    """`{roomId, content, id?}`: with `id`, an ack comes back and a retry is stored once."""

    content: RequiredText


class Relayed(Frame):
    """A frame that is passed on whole, its id as it is."""

    model_config = ConfigDict(extra="allow")

    id: Any = None


class Direct(Relayed):
    """`{targetUserId, ...}`."""

    targetUserId: str | int


def join_room(connection: Connection, frame: JoinRoom) -> None:
    """Let the client hear the room and know who is there, and tell the others of the client."""
    room, hub = Room.load(frame.roomId, connection.user), connection.hub
    seq = hub.subscribe(connection, room.topic, frame.since)
    joined = {"roomId": room.id, "user": connection.user.to_peer(), "seq": seq}
    signal(room.topic, "user-joined", joined, skip=connection.id)
    # Only here: a list of everybody, to everybody, for each who joins, would be too much.
    members = {peer.user.id: peer.user.to_peer() for peer in hub.members(room.topic)}
    answer = {"type": "user-joined", **joined, "members": list(members.values())}
    connection.reply(to_frame(answer))


def leave_room(connection: Connection, frame: InRoom) -> None:
    """Let the client hear the room no longer, and tell those who remain."""
    if Room.topic_of(frame.roomId) in connection.topics:
        leave(connection, frame.roomId)


def leave(connection: Connection, room_id: str) -> None:
    """Take the client out of a room, after the commit, and tell the others.

    `stays` says that the same user is still there with another socket.
    """
    topic, hub, user = Room.topic_of(room_id), connection.hub, connection.user
    connection.after_commit(partial(hub.unsubscribe, connection, topic))
    others = (peer for peer in hub.members(topic) if peer is not connection)
    stays = any(peer.user.id == user.id for peer in others)
    signal(topic, "user-left", {"roomId": room_id, "user": user.to_peer(), "stays": stays})


def post_message(connection: Connection, frame: ChatMessage) -> None:
    """Store a message and tell the room, sender included; acknowledge it when it has an id."""
    user = connection.user
    room = Room.load(frame.roomId, user)
    key, content = json.dumps(["chat-message", room.id, frame.id]), frame.content.encode()
    retriable = frame.id is not None
    if retriable and (receipt := Receipt.find(user, key, content)):
        acknowledge(connection, frame, json.loads(receipt.answer))
        return
    message = room.post(user, frame.content)
    record_message(room, message)
    if retriable:
        Receipt.keep(user, key, content, message)
        acknowledge(connection, frame, message)


def acknowledge(connection: Connection, frame: ChatMessage, message: dict[str, Any]) -> None:
    """Tell the sender, after the commit, that its message is stored."""
    connection.reply(to_frame({"type": "ack", "id": frame.id, "message": message}))


def tell_typing(connection: Connection, frame: InRoom) -> None:
    """Tell the others in the room that this user types; never stored."""
    topic = Room.topic_of(frame.roomId)
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
    "typing": (InRoom, tell_typing),
    "broadcast": (Relayed, broadcast),
    "direct": (Direct, send_direct),
}


class ChatDialect(Dialect):
    """Chat pages, and the chat widget, on one socket."""

    handlers = merge(CHAT_HANDLERS, WIDGET_HANDLERS)
    closes_unauthorized = True

    def open(self, connection: Connection) -> None:
        """Greet; listen for broadcasts."""
        connection.hub.subscribe(connection, EVERYBODY)
        connection.reply(to_frame({"type": "connected", "user": connection.user.to_dict()}))

    def closed(self, connection: Connection) -> None:
        """A dropped client leaves its rooms."""
        for topic in connection.topics:
            kind, _, room_id = topic.partition(":")
            if kind == "room":
                leave(connection, room_id)

    def encode(self, event: Event) -> dict[str, Any] | None:
        """Events as chat pages read them; stored ones with their seq."""
        if event.type == "relay":
            relayed: dict[str, Any] = event.data
            return relayed
        if event.type == "changed":
            return encode_change(event)
        message = {"type": event.type, **event.data}
        if event.seq:
            message["seq"] = event.seq
        return message


dialect = ChatDialect()
