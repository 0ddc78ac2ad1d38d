"""The widget's words on `/` and `/ws` (docs/frontends/widget.md): changes of tables, chat, echo.

What a client watches in a table, watches.py says; its seat in a chat session is that of a room.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictInt, StringConstraints, model_validator

from bus import Event
from errors import bad_request, not_found, unauthorized
from events import record_message, signal
from models import Room, db, iso, now
from rate_limits import caller_address, count
from sockets.connection import Connection
from sockets.dialect import Frame, Handler, Handlers, Seq, to_frame
from sockets.flusher import Job, quick
from sockets.visitors import Auth, OpenDialect, authenticate, envelope, for_visitors
from sockets.watches import KINDS, SESSION, Kind, Watch, Watcher, chat_of, group, parse_filter
from topics import TABLES, find_table, is_open
from validation import Input, Plain, RequiredText

PUBLIC = "public"  # the topic of chat to all sockets, visitors' too
EVERYBODY = "everybody"  # of what only users hear
MAX_TABLES = 100  # watched by one socket
MAX_WATCHES = 20  # of one table by one socket

Short = Annotated[str, StringConstraints(max_length=500), Plain]
SessionId = Annotated[str, StringConstraints(min_length=1, max_length=190), Plain]


# Tables and chat sessions


class Part(Input):
    """`{table, id?, filter?, events?}`, or `{channel}`: a chat session."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    table: str | None = None
    id: StrictInt | Short | None = None
    filter: Short | None = None
    events: Annotated[list[Kind], Field(min_length=1, max_length=10)] | None = None
    channel: SessionId | None = None

    @model_validator(mode="after")
    def check_choice(self) -> "Part":
        """One of both, and one way to choose rows."""
        if (self.table is None) == (self.channel is None):
            raise ValueError("either table or channel is needed")
        if self.id is not None and self.filter:
            raise ValueError("either id or filter, not both")
        return self


class Unsubscribe(Frame):
    """`{payload: {table, id?, filter?, events?}}` or `{payload: {channel}}`."""

    payload: Part


class Subscribe(Unsubscribe):
    """The same and `since?`: with it, what was told after that seq comes first."""

    since: Seq | None = None


def watch_of(part: Part, model: Any) -> Watch:
    """The part of the table a client asks for; raises 400, and 404 for an impossible id."""
    kinds = frozenset(part.events or KINDS)
    if part.id is not None:
        row_id = model.parse_id(part.id)
        if row_id is None:
            raise not_found(model.noun())
        return Watch(kinds, "id", row_id)
    return Watch(kinds, *parse_filter(part.filter, model)) if part.filter else Watch(kinds)


@for_visitors
def subscribe(connection: Connection, frame: Subscribe) -> None:
    """Tell the client of changes in a table, of one row, or of a chat session from now on."""
    part = frame.payload
    answer: dict[str, Any] = {}
    if part.channel is not None:
        seq = enter_session(connection, part.channel, frame.since)
    else:
        seq, answer = watch(connection, frame)
    name = part.channel or part.table
    payload = {"message": f"Subscribed to {name}", "subscribed": name, "seq": seq, **answer}
    connection.reply(to_frame(envelope("system", payload)))


def watch(connection: Connection, frame: Subscribe) -> tuple[int, dict[str, Any]]:
    """Add to what the client watches; returns the last seq told, and the row it asked for.

    A row that is not there is 404, unless the client returns and may hear how it went.
    """
    part, state = frame.payload, connection.state
    name = part.table or ""
    model = find_table(name, connection.user)
    topic = model.topic_of(connection.user)
    wanted = watch_of(part, model)
    before = state.asked(name)
    if not before and len(state.watches) >= MAX_TABLES:
        raise bad_request(f"{MAX_TABLES} tables are enough", code="too_many")
    if wanted not in before and len(before) >= MAX_WATCHES:
        raise bad_request(f"{MAX_WATCHES} subscriptions to a table are enough", code="too_many")
    row = part.id is not None and model.find(part.id, connection.user)
    if row is None and frame.since is None:
        raise not_found(model.noun())
    state.watch(name, before | {wanted})
    seq = listen(connection, topic, frame.since)
    if part.id is None:
        return seq, {}
    if row:
        db.session.expire(row)  # read again, now that nothing more can be missed
        row = model.find(part.id, connection.user)
    return seq, {"id": wanted.value, "record": row and row.to_dict()}


def listen(connection: Connection, topic: str, since: int | None = None) -> int:
    """Hear a topic, perhaps again: what is still to be replayed is not forgotten."""
    due = [seq for seq in (since, connection.told_up_to(topic)) if seq is not None]
    return connection.hub.subscribe(connection, topic, min(due, default=None))


@for_visitors
def unsubscribe(connection: Connection, frame: Unsubscribe) -> None:
    """Tell the client no longer: without id, filter and events of nothing in the table.

    At once, like `subscribe`: a client may send both in one breath.
    """
    part, hub, state = frame.payload, connection.hub, connection.state
    if part.channel is not None:
        topic = Room.topic_of(session_room(part.channel))
        state.sessions.discard(topic)
        hub.unsubscribe(connection, topic)
    else:
        name = part.table or ""
        model = find_table(name, connection.user)
        chosen = part.id is not None or part.filter or part.events
        left = state.asked(name) - {watch_of(part, model)} if chosen else frozenset()
        state.watch(name, left)
        if not left:
            hub.unsubscribe(connection, model.topic_of(connection.user))
    gone = part.channel or part.table
    payload = {"message": f"Unsubscribed from {gone}", "unsubscribed": gone}
    connection.reply(to_frame(envelope("system", payload)))


# Chat, echo, ping


class Said(Input):
    """`{content, sender?, timestamp?, session_id?}` and whatever else a page puts there."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    content: RequiredText
    session_id: SessionId | None = None


class Chat(Frame):
    """`{payload: {content, sender, timestamp, session_id?}, clientId?}`."""

    payload: Said
    clientId: Short | None = None


class Echo(Frame):
    """`{payload?}` of any type nobody handles."""

    payload: Any = None


class Ping(Frame):
    """`{sentAt?, payload?}`, any JSON values."""

    sentAt: Any = None
    payload: Any = None


def session_room(session_id: str) -> str:
    """The room of a chat session; clients may name it with or without `chat:`."""
    return SESSION + session_id.removeprefix(SESSION)


def load_room(connection: Connection, session_id: str) -> Room:
    """The room of a chat session; raises 401 for visitors, 400, 403 and 404."""
    if connection.user is None:
        raise unauthorized("No token provided")
    return Room.load(session_room(session_id), connection.user)


def enter_session(connection: Connection, session_id: str, since: int | None) -> int:
    """Let a user hear a chat session; its room says who may. Raises 401, 403 and 404."""
    room = load_room(connection, session_id)
    room.enter(connection.user)
    connection.state.sessions.add(room.topic)
    return listen(connection, room.topic, since)


@for_visitors
def chat(connection: Connection, frame: Chat) -> None:
    """Tell all clients, the sender too; with `session_id` only those of the session, and store it.

    `user` is who it was: what the page calls `sender` may be anybody.
    """
    user, said = connection.user, frame.payload
    payload = said.model_dump(exclude_unset=True)
    if said.session_id is None:
        peer = user and user.to_peer()
        told = envelope("chat", payload, clientId=frame.clientId, user=peer)
        signal(PUBLIC, "chat", told)
        return
    room = load_room(connection, said.session_id)
    message = room.post(user, said.content)
    message |= {"payload": payload, "clientId": frame.clientId}
    record_message(room, message)
    if room.topic not in connection.topics & connection.state.sessions:
        connection.reply(to_frame(chat_of(message)))


@quick
@for_visitors
def echo(connection: Connection, frame: Echo) -> None:
    """Send back what nobody else handles."""
    connection.reply(to_frame(envelope("echo", frame.payload, originalType=frame.type)))


@quick
@for_visitors
def answer_ping(connection: Connection, frame: Ping) -> None:
    """Answer a ping of the page's own making."""
    pong = {"type": "pong", "sentAt": frame.sentAt, "timestamp": iso(now())}
    if "payload" in frame.model_fields_set:
        pong["payload"] = frame.payload
    connection.reply(to_frame(pong))


HANDLERS: Handlers = {
    "auth": (Auth, authenticate),
    "subscribe": (Subscribe, subscribe),
    "unsubscribe": (Unsubscribe, unsubscribe),
    "chat": (Chat, chat),
    "echo": (Echo, echo),
    "ping": (Ping, answer_ping),
}


def encode_change(event: Event) -> dict[str, Any]:
    """A changed row under all the names widgets and their services read."""
    kind, old, new = event.data["event"], event.data["old"], event.data["new"]
    return {
        "type": "database_change",
        "table": event.data["table"],
        "event": kind,
        "eventType": kind,
        "data": new or old,
        "new": new,
        "old": old,
        "seq": event.seq,
        "timestamp": iso(now()),
    }


class WidgetDialect(OpenDialect):
    """The dialect of sockets that speak these words, among others."""

    def prepare(self, connection: Connection) -> None:
        """Watches nothing yet."""
        connection.state = Watcher()

    def open(self, connection: Connection) -> None:
        """Greet; hear public chat. A widget subscribes to nothing: a visitor watches all it may."""
        connection.state = Watcher()  # a first try that was rolled back may have left something
        connection.reply(to_frame(envelope("system", {"message": "Connected"})))
        connection.hub.subscribe(connection, PUBLIC)
        if connection.user is None:
            for name, model in TABLES.items():
                if is_open(model, None):
                    connection.state.watch_unasked(name)
                    connection.hub.subscribe(connection, model.topic_of(None))

    def welcome(self, connection: Connection) -> None:
        """What a visitor watched in public tables, a user watches in those of their own."""
        for name in TABLES.keys() & connection.state.watches:
            model = find_table(name, connection.user)
            connection.hub.unsubscribe(connection, model.topic_of(None))
            seq = listen(connection, model.topic_of(connection.user))
            payload = {"message": f"Subscribed to {name}", "subscribed": name, "seq": seq}
            connection.reply(to_frame(envelope("system", payload)))

    def look_up(self, data: dict[str, Any]) -> tuple[type[Input], Handler]:
        """A type nobody handles is echoed to a widget, whose frames have a `clientId`."""
        kind = data.get("type")
        if isinstance(kind, str) and kind not in self.handlers and "clientId" in data:
            return Echo, echo
        return super().look_up(data)

    def jobs(self, connection: Connection, handler: Handler, frame: Any) -> Iterator[Job]:
        """What is told to all sockets has a limit of its own; raises 429."""
        if isinstance(frame, Chat) and frame.payload.session_id is None:
            user = connection.user
            count("CHAT_LIMIT", str(user.id) if user else caller_address())
        yield from super().jobs(connection, handler, frame)

    def deliver(self, connections: Sequence[Connection], events: Sequence[Event]) -> None:
        """Tell events to who is due them: once for all to whom they are the same."""
        for members, heard in group(connections, events):
            super().deliver(members, heard)

    def missed_frames(self, connection: Connection, events: Sequence[Event]) -> bytes:
        """What this client is due of the events it missed."""
        return b"".join(self.join_frames(heard) for _, heard in group([connection], events))
