"""What Socket.IO clients say (docs/frontends/brolostack.md): rooms, and what is passed on.

A room here is whoever listens at the moment: a topic `io:<kind>:<name>`, nothing is stored. Where
there is a stored room of that name, its rules hold, and its news are heard too. `room:create`,
`room:join`, `room:leave` and `room:lock` (docs/frontends/reactive.md) change the stored one.
"""

import secrets
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, ConfigDict, Field, JsonValue, StringConstraints, field_validator
from socketio import packet as packets

from errors import WharfError, bad_request, forbidden, not_found, unauthorized
from events import RECORDED, record_member, record_removal, record_room, signal
from models import Member, Room, User, db, iso, now
from sockets.dialect import to_json
from sockets.socketio.client import Client
from sockets.socketio.packets import Packet, to_event
from validation import Input, Name, Plain

EVERYBODY = "socketio"  # the topic of all clients
TOPIC = "io:"  # of rooms
PACKET = "packet"  # a signal: `{packet, topics}`, ready to be sent
MAX_ROOMS = 100  # of one client
MAX_INFO = 2000  # characters of what a client tells of itself
# What only the server says; so nobody can feign it.
OURS = RECORDED | {
    *("connect", "connect_error", "disconnect", "disconnecting", "error", "auth-error", "pong"),
    *("newListener", "removeListener", "room-joined", "room-left", "user-joined", "user-left"),
    *("message-received", "data-sync", "user-typing"),
}
OUR_PREFIXES = ("room:", "job:")
NAMING = ("room", "roomId", "channel", "sessionId")  # where an event says for which room it is

RoomName = Annotated[str, StringConstraints(min_length=1, max_length=200), Plain]


# What is sent


class Said(Input):
    """Arguments of an event: an object, or one bare value that stands for `bare`."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    bare: ClassVar[str] = "roomId"
    whole: ClassVar[bool] = False  # an object is a value too


class InRoom(Said):
    """A bare name, or `{roomId}`, which may be called `room`, `channel` or `sessionId`."""

    roomId: RoomName = Field(
        validation_alias=AliasChoices("roomId", "room", "channel", "sessionId")
    )


class JoinRoom(InRoom):
    """The same, and `roomName?`, `userInfo?`."""

    roomName: Name | None = None
    userInfo: JsonValue = None

    @field_validator("userInfo")
    @classmethod
    def check_size(cls, info: Any) -> Any:
        """It is told to others again and again."""
        if len(to_json(info)) > MAX_INFO:
            raise ValueError(f"must not be longer than {MAX_INFO} characters")
        return info


class Broadcast(Said):
    """Any value."""

    bare = "payload"
    whole = True
    payload: Any = None


class Beat(Said):
    """Any value, a number mostly."""

    bare = "value"
    whole = True
    value: JsonValue = None


class RoomBroadcast(InRoom):
    """`{room, event, data?}`."""

    event: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    data: Any = None


class Relayed(Input):
    """An event nobody handles, for others."""

    event: str
    args: list[Any]


class NewRoom(Said):
    """`{id?, name?}`."""

    bare = "name"
    id: str | None = None
    name: Name = ""


class Lock(InRoom):
    """`{roomId, isLocked}`."""

    isLocked: bool


# Rooms of clients


def find_room(name: str, user: User | None) -> tuple[Room | None, str]:
    """The stored room of this name and the topic of the clients in it.

    Raises 400, 403 and 404 where that does not let this user in. The kind is part of the
    topic, so nobody hears a room that became private after they came.
    """
    if user:
        room: Room | None = Room.load(name, user)
    else:
        Room.check_id(name)
        room = db.session.get(Room, name)
        if name.startswith("direct:") or (room and room.kind != "public"):
            raise not_found("room")
    if room and room.is_locked and room.seat is None:
        raise forbidden("Room is locked")
    return room, f"{TOPIC}{room.kind if room else 'public'}:{name}"


def enter(client: Client, name: str) -> str:
    """Let the client hear a room; returns its topic."""
    rooms = client.state.rooms
    if name not in rooms and len(rooms) >= MAX_ROOMS:
        raise bad_request(f"{MAX_ROOMS} rooms are enough", code="too_many")
    room, topic = find_room(name, client.user)
    client.hub.subscribe(client, topic)
    if room and room.exists and client.user:
        client.hub.subscribe(client, room.topic)
    rooms[name] = topic
    return topic


def leave(client: Client, name: str) -> None:
    """Let the client hear a room no longer."""
    if topic := client.state.rooms.pop(name, None):
        client.hub.unsubscribe(client, topic)
        client.hub.unsubscribe(client, Room.topic_of(name))
        client.guests.pop(topic, None)


def join_channel(client: Client, said: InRoom) -> None:
    """Hear what is said in a channel; nobody is told."""
    enter(client, said.roomId)


def leave_channel(client: Client, said: InRoom) -> None:
    """Hear it no longer."""
    leave(client, said.roomId)


def join_room(client: Client, said: JoinRoom) -> None:
    """Come into a room: the others hear who, the client how many they are now."""
    topic = enter(client, said.roomId)
    guest: dict[str, Any] = {"userId": client.user.id if client.user else client.id}
    if said.userInfo is not None:
        guest["userInfo"] = said.userInfo
    client.guests[topic] = guest
    answer = partial(welcome, client, said)
    client.after_commit(partial(client.hub.presence.enter, topic, client, answer))


def welcome(client: Client, said: JoinRoom, members: list[dict[str, Any]]) -> None:
    """Tell a client that it is in, and how many there are, over all processes."""
    facts = {"roomId": said.roomId, "roomName": said.roomName or said.roomId}
    client.send(to_event("room-joined", {**facts, "memberCount": len(members)}))


def leave_room(client: Client, said: InRoom) -> None:
    """Go; the others are told by presence."""
    leave(client, said.roomId)
    client.reply(to_event("room-left", {"roomId": said.roomId}))


# What is passed on


def broadcast(client: Client, said: Broadcast) -> None:
    """Tell all clients, the sender too."""
    payload = said.payload if isinstance(said.payload, dict) else {"data": said.payload}
    told = {**payload, "timestamp": iso(now()), "sender": client.id}
    tell([EVERYBODY], "message-received", [told])


def broadcast_in_room(client: Client, said: RoomBroadcast) -> None:
    """Tell the others in a room, as the event named."""
    pass_on(client, [said.roomId], said.event, [said.data])


def relay(client: Client, said: Relayed) -> None:
    """Tell the others in the room that is named, else in all rooms of the sender; raises 400."""
    data = said.args[0] if said.args and isinstance(said.args[0], dict) else {}
    named = [data[word] for word in NAMING if data.get(word) is not None]
    if not named:
        pass_on(client, list(client.state.rooms), said.event, said.args)
        return
    names = [str(one) for one in named if isinstance(one, str | int) and not isinstance(one, bool)]
    if not names or not names[0]:
        raise bad_request("This is not the name of a room", code="invalid_room")
    pass_on(client, names[:1], said.event, said.args)


def pass_on(client: Client, names: list[str], event: str, args: list[Any]) -> None:
    """Tell an event to the others in these rooms; raises 400, 403, 404, and 413 for too much."""
    if event in OURS or event.startswith(OUR_PREFIXES):
        raise bad_request(f"Only the server says {event!r}", code="reserved")
    joined: dict[str, str] = client.state.rooms
    Room.require_voices([name for name in names if name in joined], client.user)
    topics = [joined.get(name) or find_topic(client, name) for name in names]
    tell(topics, event, args, client)


def find_topic(client: Client, name: str) -> str:
    """The topic of a room this client did not join and may speak in: an offline queue may be sent
    before its rooms are joined. Raises 400, 403 and 404."""
    room, topic = find_room(name, client.user)
    if room:
        room.require_voice()
    return topic


def tell(topics: list[str], event: str, args: list[Any], sender: Client | None = None) -> None:
    """Tell an event on topics, worded once; who hears several of them is told once."""
    worded = Packet(packets.EVENT, data=[event, *args]).encode()
    parts = worded if isinstance(worded, list) else [worded]
    ready = [part if isinstance(part, str) else f"b{b64encode(part).decode()}" for part in parts]
    if sender and len(topics) * sum(map(len, ready)) > 2 * sender.limits.frame_bytes:
        raise WharfError(413, "This is too large for so many rooms")
    if topics:
        road = topics[0] if len(topics) == 1 else EVERYBODY
        told = {"packet": ready, "topics": topics}
        signal(road, PACKET, told, skip=sender.id if sender else "")


def answer_ping(client: Client, said: Beat) -> None:
    """The page's own heartbeat: its value comes back."""
    client.reply(to_event("pong", said.value))


# Rooms that are stored


def require_user(client: Client) -> User:
    """The user of a client; raises 401."""
    if client.user is None:
        raise unauthorized("No token provided")
    user: User = client.user
    return user


def seen(room: Room, user: User) -> dict[str, Any]:
    """What is answered."""
    return {"ok": True, "room": room.as_seen_by(user)}


def create_room(client: Client, said: NewRoom) -> dict[str, Any]:
    """Make a room of the user and come in; raises 401 and 409."""
    user = require_user(client)
    room_id = secrets.token_urlsafe(12) if said.id is None else said.id
    room = Room.create(room_id, "public", said.name or room_id, user)
    join_room(client, JoinRoom.model_construct(roomId=room.id, roomName=room.name, userInfo=None))
    record_room(room)
    return seen(room, user)


def take_seat(client: Client, said: JoinRoom) -> dict[str, Any]:
    """Take a seat in a room and come in; raises 401, 403 and 404."""
    user = require_user(client)
    room = Room.load(said.roomId, user)
    seated = room.seat is not None
    room.enter(user)
    join_room(client, said)
    if not seated:
        record_member(room, Member.load(room, user.id))
        record_room(room)
    return seen(room, user)


def give_seat_back(client: Client, said: InRoom) -> dict[str, Any]:
    """Give the seat back, which all sockets of the user hear, and go; raises 401, 403 and 404."""
    user = require_user(client)
    room = Room.load_existing(said.roomId, user)
    room.require_seats()
    if member := Member.find(room, user.id):
        room.remove(member)
        record_removal(room, user, "left")  # the hub takes all sockets of the user out
        record_room(room)
    else:
        leave(client, room.id)
    return {"ok": True, "room": {"id": room.id}}


def lock_room(client: Client, said: Lock) -> dict[str, Any]:
    """Let nobody new in, or do again, by the owner; raises 401, 403 and 404."""
    user = require_user(client)
    room = Room.load_existing(said.roomId, user)
    room.require_seats()
    room.require_owner(user)
    room.change(is_locked=said.isLocked)
    record_room(room)
    return seen(room, user)


Handler = Callable[..., dict[str, Any] | None]
HANDLERS: dict[str, tuple[type[Said], Handler]] = {
    "join-channel": (InRoom, join_channel),
    "leave-channel": (InRoom, leave_channel),
    "join-room": (JoinRoom, join_room),
    "leave-room": (InRoom, leave_room),
    "join-session": (JoinRoom, join_room),
    "leave-session": (InRoom, leave_room),
    "broadcast-message": (Broadcast, broadcast),
    "room-broadcast": (RoomBroadcast, broadcast_in_room),
    "ping": (Beat, answer_ping),
    "room:create": (NewRoom, create_room),
    "room:join": (JoinRoom, take_seat),
    "room:leave": (InRoom, give_seat_back),
    "room:lock": (Lock, lock_room),
}
