"""Topic messages on sockets and streams (docs/frontends/larc.md#topics).

On `/` and `/ws` they are frames `{topic, data}` beside those with a type. `GET /api/events` is a
stream of server-sent events, whose ids say how far it has come on each of our topics.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from flask import request

import topics
from bus import Event
from errors import WharfError, bad_request
from models import Collection, Items, db
from sockets.connection import Connection
from sockets.dialect import Dialect, Frame, to_json
from sockets.visitors import for_visitors
from topics import Patterns, TopicMessage, audiences, publish, retained, snapshots, worded

log = logging.getLogger(__name__)

MIMETYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies shall not hold it back
GREETING = b"retry: 3000\n\n"  # milliseconds until a browser opens a lost stream anew
RESERVED = {"message", "open", "error"}  # names of events that mean something else to browsers
KINDS = {"", topics.SHARED, "user", *topics.TABLES}  # of topics, as ids name them
KIND_OF_ITEMS = re.compile(f"(shared|public):{Collection.WORD.pattern}")

Style = Literal["both", "message", "named"]
Cursor = dict[str, int]


# Frames


class TopicFrame(TopicMessage, Frame):
    """`{topic, data?, retain?, id?}`, without a type."""

    type: str = ""


@for_visitors
def publish_frame(connection: Connection, frame: TopicFrame) -> None:
    """Tell all others who may hear it; the sender's own page knows."""
    user = connection.user
    sender = user.topic if user else f"socket:{connection.id}"
    publish(frame, user, sender, skip=connection.id)


def frame_of(event: Event) -> dict[str, Any]:
    """A published message as pages read it on a socket."""
    return {**event.data, "seq": event.seq}


# The stream


@dataclass
class Listener:
    """What a stream asked for, and how far it is: the seq of each kind of topic."""

    patterns: Patterns
    style: Style
    cursor: Cursor = field(default_factory=dict)
    since: Cursor | None = None  # where it was before, if it says so

    def stamp(self, event: Event | None = None) -> bytes:
        """The id of an event for this stream, which has come as far as that."""
        if event and event.seq:
            self.cursor[kind_of(event.topic)] = event.seq
        cursor = ",".join(f"{kind}:{seq}" for kind, seq in self.cursor.items())
        return f"id: {cursor}\n".encode()

    def since_on(self, topic: str) -> int | None:
        """After which seq of a topic events are missing; None for a stream that is new."""
        return None if self.since is None else self.since.get(kind_of(topic), self.since.get(""))


def kind_of(topic: str) -> str:
    """A topic as ids name it: `todos` for `todos:7`, whoever hears the stream."""
    items = Items.at(topic)
    if items:
        return topic if items.access else items.word
    return topic.partition(":")[0]


def parse_cursor(*texts: str) -> Cursor | None:
    """The ids a client came with as one, the later place of each; None without any.

    A bare number is a place among messages to everybody, and 0 is the beginning of all. What is no
    id of ours counts as none.
    """
    found: Cursor = {}
    for text in texts:
        for part in text.split(","):
            kind, _, number = part.rpartition(":")
            is_seq = number.isascii() and number.isdecimal() and len(number) < 16
            if is_seq and is_kind(kind):
                seq = int(number)
                kind = kind or ("topics" if seq else "")
                found[kind] = max(seq, found.get(kind, 0))
    return found or None


def is_kind(kind: str) -> bool:
    """Whether an id may name a topic so."""
    return kind in KINDS or Items.is_word(kind) or KIND_OF_ITEMS.fullmatch(kind) is not None


def poll(user: Any) -> list[dict[str, Any]]:
    """What was told after the `since` of this request, milliseconds since 1970; raises 400."""
    text = request.args["since"]
    if not (text.isascii() and text.isdecimal() and len(text) < 15):
        message = "since must be a time in milliseconds"
        raise bad_request(message, {"since": [message]})
    return topics.poll(user, read_request().patterns, int(text))


class StreamDialect(Dialect):
    """Server-sent events: each message without a name, and once more under that of its topic."""

    def allows_anonymous(self) -> bool:
        """Who may hear what is the matter of each topic."""
        return True

    def admit(self, user: Any) -> None:
        """Raise 401 for who may hear nothing of what they ask for, 400 for bad words."""
        listener = read_request()
        audiences(user, listener.patterns)

    def prepare(self, connection: Connection) -> None:
        """Keep what the request asks for."""
        connection.state = read_request()

    def open(self, connection: Connection) -> None:
        """Tell what was missed, or else what is retained; then the tables as they are."""
        listener, user = connection.state, connection.user
        topics = audiences(user, listener.patterns)
        connection.reply(GREETING)
        listener.cursor = dict(listener.since or {})
        for topic in topics:
            told = connection.hub.subscribe(connection, topic, listener.since_on(topic))
            listener.cursor[kind_of(topic)] = told
        listener.cursor.pop("", None)
        for topic in topics:
            kept = retained(topic, listener.patterns) if listener.since_on(topic) is None else ()
            for message in (*kept, *snapshots(user, topic, listener.patterns)):
                connection.reply(lines(message, listener))
        connection.reply(listener.stamp() + b"\n")  # behind them: who has it, has them all

    def deliver(self, connections: Sequence[Connection], events: Sequence[Event]) -> None:
        """Tell events: put into lines once for all who asked for the same."""
        alike: dict[tuple[Patterns, Style], list[Connection]] = {}
        for connection in connections:
            asked = connection.state.patterns, connection.state.style
            alike.setdefault(asked, []).append(connection)
        for members in alike.values():
            try:
                told = list(self.told(members[0], events))
            except Exception:  # the table could not be read: these come back with their id
                log.exception("streams are cut off")
                db.session.rollback()  # or whatever is read next fails too
                for connection in members:
                    connection.cut()
                continue
            for connection in members:
                stamp = connection.state.stamp
                if data := b"".join(stamp(event) + text for event, text in told):
                    connection.send(data)

    def missed_frames(self, connection: Connection, events: Sequence[Event]) -> bytes:
        stamp = connection.state.stamp
        return b"".join(stamp(event) + text for event, text in self.told(connection, events))

    def told(
        self, connection: Connection, events: Sequence[Event]
    ) -> Iterator[tuple[Event, bytes]]:
        """Which of these events of one topic the client asked for, and last how its table is."""
        listener: Listener = connection.state
        for event in events:
            message = worded(event)
            if message and listener.patterns.match(message["topic"]):
                yield event, lines(message, listener)
        if any(event.type == "changed" for event in events):
            db.session.expire_all()
            for message in snapshots(connection.user, events[0].topic, listener.patterns):
                yield events[-1], lines(message, listener)

    def error_frame(self, error: WharfError, answer_id: Any = None) -> bytes:
        """A comment: an event of this name means something else to browsers."""
        return f": {error.message}\n\n".encode()


def lines(message: dict[str, Any], listener: Listener) -> bytes:
    """A message as an event without name, and as one of the name of its topic."""
    text = ""
    if listener.style != "named":
        text = f"data: {to_json(message)}\n\n"
    reserved = RESERVED - {"message"} if listener.style == "named" else RESERVED
    if listener.style != "message" and message["topic"] not in reserved:
        text += f"event: {message['topic']}\ndata: {to_json(message['data'])}\n\n"
    return text.encode()


def read_request() -> Listener:
    """What the request for a stream asks for; raises 400."""
    style = request.args.get("events", "both")
    if style not in get_args(Style):
        message = f"events must be one of {', '.join(get_args(Style))}"
        raise bad_request(message, {"events": [message]})
    since = parse_cursor(
        request.args.get("lastEventId", ""), request.headers.get("Last-Event-ID", "")
    )
    patterns = Patterns.parse(request.args.get("topics", ""))
    return Listener(patterns, style, since=since)  # type: ignore[arg-type]


dialect = StreamDialect()
