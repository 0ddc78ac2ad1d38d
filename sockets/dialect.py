"""What every dialect is: frame types with their models and handlers, and how events are worded.

A dialect is one file that fills in this class. Handlers take (connection, frame), or what `jobs`
gives them, run inside the flusher's transaction, and never commit; what they reply or tell leaves
after the commit. A handler may run twice: it changes memory only by `connection.after_commit`, or
so that a second time makes no difference, as `hub.subscribe` does.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints
from pydantic_core import to_json as to_bytes

from bus import Event
from errors import WharfError, bad_request, known_error
from models import iso, now
from sockets.connection import Connection
from sockets.flusher import Job
from sockets.framing import (
    BINARY,
    INTERNAL_ERROR,
    POLICY,
    TOO_BIG,
    TRY_AGAIN_LATER,
    Oversized,
    frame,
)
from validation import Input, Plain, parse_object, validate

log = logging.getLogger(__name__)

Seq = Annotated[int, Field(ge=0, le=2**53)]
Handler = Callable[..., None]
Handlers = Mapping[str, tuple[type[Input], Handler]]


class Frame(Input):
    """Base of every frame: `type`, and optionally the `id` its answers carry."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # room ids may be numbers in a page

    type: str
    id: Annotated[str, Plain, StringConstraints(max_length=200)] | int | None = None


def merge(*tables: Handlers) -> Handlers:
    """One table out of several; raises at import when two claim the same type."""
    merged: dict[str, tuple[type[Input], Handler]] = {}
    for table in tables:
        if clash := merged.keys() & table.keys():
            raise ValueError(f"two handlers for {sorted(clash)}")
        merged.update(table)
    return merged


def to_json(message: Any) -> str:
    """`message`, a JSON value, as compact JSON text."""
    return to_bytes(message).decode()


def text_frame(text: str) -> bytes:
    """A text frame."""
    return frame(text.encode())


def to_frame(message: Mapping[str, Any] | bytes) -> bytes:
    """A text frame holding `message` as JSON; a binary one with bytes."""
    return frame(message, BINARY) if isinstance(message, bytes) else frame(to_bytes(message))


class Dialect:
    """How one family of clients speaks. Subclasses give `handlers` and `encode`."""

    handlers: Handlers = {}
    frame_limit = "MAX_FRAME_BYTES"  # the setting that bounds its messages
    closes_unauthorized = False  # accept, then close 4001, where the contract shows that

    # In

    def allows_anonymous(self) -> bool:
        """Whether sockets of this dialect are open to callers without account."""
        return False

    def admit(self, user: Any) -> None:
        """Raise what refuses the handshake: 400, 403 or 404."""

    def prepare(self, connection: Connection) -> None:
        """Keep what the handshake request says about this client (`connection.state`)."""

    def open(self, connection: Connection) -> None:
        """Greet and subscribe; the connection hears its user's topic already."""

    def closed(self, connection: Connection) -> None:
        """Last job of a connection, still on its topics: tell the others."""

    def removed(self, connection: Connection, room_id: str) -> None:
        """The hub has taken the client off the topic of a room, for good."""

    def receive(self, connection: Connection, message: str | bytes | Oversized) -> None:
        """Check a message and queue its handler; whatever is wrong is answered, never raised."""
        answer_id = None
        try:
            content = self.check_limits(connection, message)
            jobs = self.binary_jobs(connection, content) if isinstance(content, bytes) else None
            if jobs is None:
                data = parse_object(content)
                answer_id = data.get("id")
                model, handler = self.look_up(data)
                jobs = self.jobs(connection, handler, validate(model, data))
            for job in jobs:
                connection.hub.flusher.submit(job)
        except WharfError as error:
            connection.send(self.error_frame(error, answer_id))
        except Exception as error:  # a bug: what escaped would reach the client as garbage
            self.report(connection, error)

    def check_limits(self, connection: Connection, message: str | bytes | Oversized) -> str | bytes:
        """The message if it may be read; raises 429 and 413."""
        self.check_rate(connection)
        if isinstance(message, Oversized):
            connection.strike(TOO_BIG, "message too large")
            raise WharfError(413, f"The message is larger than {connection.limits.frame_bytes}")
        return message

    def check_rate(self, connection: Connection) -> None:
        """Count a message; raises 429."""
        if not connection.allowance.take():
            connection.strike(POLICY, "too many messages")
            raise WharfError(429, "Too many messages, slow down")

    def binary_jobs(self, connection: Connection, message: bytes) -> Iterable[Job] | None:
        """What a binary message gives the flusher to do; None if it is read like text."""
        return None

    def look_up(self, data: dict[str, Any]) -> tuple[type[Input], Handler]:
        """The model and handler for a frame; raises 400 for a type nobody handles."""
        kind = data.get("type")
        entry = self.handlers.get(kind) if isinstance(kind, str) else None
        if entry is None:
            raise bad_request(f"Unknown type {str(kind)[:50]!r}", code="unknown_type")
        return entry

    def lock_order(self, connection: Connection) -> str:
        """Sorts clients: all processes lock rows in one order, so that they seldom deadlock."""
        return f"user {connection.user.id if connection.user else 0}"

    def jobs(self, connection: Connection, handler: Handler, frame: Any) -> Iterator[Job]:
        """What a checked frame gives the flusher to do."""
        yield Job(connection, handler, (frame,))

    # Out

    def encode(self, event: Event) -> dict[str, Any] | bytes | None:
        """An event in this dialect's words; None when it has none for it."""
        raise NotImplementedError

    def deliver(self, connections: Sequence[Connection], events: Sequence[Event]) -> None:
        """Tell events to connections: each framed once, joined, written once per client."""
        skipped = {event.skip for event in events if event.skip}
        joined = self.join_frames(events)
        for connection in connections:
            if connection.id in skipped:
                heard = [event for event in events if event.skip != connection.id]
                connection.send(self.join_frames(heard))
            else:
                connection.send(joined)

    def join_frames(self, events: Sequence[Event]) -> bytes:
        """The frames of events, in order, as one piece of bytes."""
        worded = (self.encode(event) for event in events)
        return b"".join(to_frame(message) for message in worded if message is not None)

    def missed_frames(self, connection: Connection, events: Sequence[Event]) -> bytes:
        """The frames of events this client missed."""
        return self.join_frames(events)

    def drained(self, connection: Connection) -> None:
        """A slow client has read everything that was queued: it may have the next page."""
        if connection.behind:
            connection.hub.flusher.poke(connection)

    def tick(self, connection: Connection, now: float) -> None:
        """Called a few times a second, with the monotonic time; tries again what failed."""
        if connection.behind and not connection.queued:
            connection.hub.flusher.poke(connection)

    def pump(self, connection: Connection) -> None:
        """Send what is waiting in the database; the flusher calls it after a poke."""

    # Trouble

    def error_frame(self, error: WharfError, answer_id: Any = None) -> bytes:
        """The one error shape as a frame, with the id of the frame it answers."""
        body: dict[str, Any] = {"type": "error", **error.body()}
        if answer_id is not None:
            body["id"] = answer_id
        body["payload"] = {"message": error.message}  # where the chat widget looks
        return to_frame({**body, "timestamp": iso(now())})

    def report(
        self, connection: Connection, error: Exception, frame: Any = None, *_more: Any
    ) -> None:
        """A handler raised: a known error is told, a bug is logged and ends the socket (1011)."""
        known = known_error(error)
        if known is None:
            log.error("handler failed, connection %s", connection.id, exc_info=error)
            connection.close(INTERNAL_ERROR, "internal error")
        else:
            connection.send(self.error_frame(known, getattr(frame, "id", None)))
            if frame is None:  # not an answer to a frame: it could not even be greeted
                connection.close(TRY_AGAIN_LATER, "try again")
