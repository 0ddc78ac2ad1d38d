"""Raw sockets on `/ws/<client_id>` (docs/frontends/brolostack.md): what one sends, the others hear.

Nothing is stored. Envelopes on `/ws` take the same way: chat.py asks `is_envelope`.
"""

from base64 import b64decode, b64encode
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from flask import request
from pydantic import ConfigDict, Field, StringConstraints, model_validator

from bus import Event
from errors import bad_request, not_found
from events import RECORDED, signal
from models import iso, now
from sockets.connection import Connection
from sockets.dialect import Frame, Handler, Handlers, merge, to_frame
from sockets.flusher import Job
from sockets.framing import Oversized
from sockets.visitors import Auth, OpenDialect, authenticate, for_visitors
from sockets.widget import EVERYBODY, PUBLIC, Ping, answer_ping
from validation import Input, Plain

RESERVED = {"crewai", "autogen", "langgraph"}  # feeds of adapters, which nobody may pass for
MAX_ID = 200
MAX_CHANNELS = 100  # of one socket
ENVELOPE = ("id", "type", "payload", "timestamp", "source", "target")
SERVER = "server"
STREAM = "data-stream"  # for the others, though its target is the server
# What chat pages are told by the house; a new frame of ours belongs here (docs show them all).
HOUSE_WORDS = RECORDED | {
    *("ack", "auth_response", "chat", "connected", "database_change", "echo", "error", "pong"),
    *("room-left", "system", "user-joined", "user-left", "user-typing"),
}
PASSED_ON = ("relay", "raw", "binary")  # types of events; a `relay` is for all, whatever they chose

Channel = Annotated[str, StringConstraints(min_length=1, max_length=200), Plain]
Message = dict[str, Any]


# What clients send


class Channels(Input):
    """`{channel}` or `{channels}`."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    channel: Channel | None = None
    channels: Annotated[list[Channel], Field(max_length=MAX_CHANNELS)] = []

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [self.channel, *self.channels] if self.channel else self.channels


class Subscribe(Frame, Channels):
    """The same, or in `payload`: all that the manager of an app can send is in there."""

    payload: Channels | None = None

    @property
    def names(self) -> list[str]:
        return super().names + (self.payload.names if self.payload else [])

    @model_validator(mode="after")
    def check_names(self) -> "Subscribe":
        """At least one."""
        if not self.names:
            raise ValueError("a channel is needed")
        return self


class Relayed(Input):
    """Whatever a page sends, passed on as it is."""

    model_config = ConfigDict(extra="allow")


class Metadata(Relayed):
    """What describes the binary message directly behind it: both are passed on together."""


def is_envelope(data: Message) -> bool:
    """Whether the manager of an app wraps this frame: it does so with all it sends."""
    source, texts = data.get("source"), (data.get("type"), data.get("target"))
    return source in ("client", STREAM) and all(isinstance(text, str) for text in texts)


def channel_of(message: Message) -> str:
    """The channel a frame is for; empty for everybody."""
    target = message.get("target")
    if target in ("broadcast", SERVER) or not isinstance(target, (str, int)):
        return ""
    return str(target)


@for_visitors
def tune_in(connection: Connection, frame: Subscribe) -> None:
    """Of what is for channels, tell this client no others from now on."""
    channels = connection.state.channels.union(frame.names)
    if len(channels) > MAX_CHANNELS:
        raise bad_request(f"{MAX_CHANNELS} channels are enough", code="too_many")
    connection.state.channels = channels
    confirm(connection, "subscribed", frame)


@for_visitors
def tune_out(connection: Connection, frame: Subscribe) -> None:
    """Tell this client of these channels no longer; who is left with none hears of all again."""
    connection.state.channels = connection.state.channels.difference(frame.names)
    confirm(connection, "unsubscribed", frame)


def confirm(connection: Connection, kind: str, frame: Subscribe) -> None:
    """Answer once for each channel."""
    for name in dict.fromkeys(frame.names):
        answer = {"type": kind, "channel": name, "timestamp": iso(now())}
        connection.reply(to_frame(answer))


@for_visitors
def relay(connection: Connection, frame: Relayed) -> None:
    """Pass a frame on to all others, unless it is for us, who have nothing to do about it."""
    message = frame.model_dump()
    if message.get("target") != SERVER or message.get("type") == STREAM:
        signal(PUBLIC, "raw", message, skip=connection.id)


@for_visitors
def relay_to_all(connection: Connection, frame: Relayed) -> None:
    """Pass a frame on to all, the sender included; no manager expects its own."""
    message = frame.model_dump()
    if is_envelope(message):
        signal(PUBLIC, "raw", message, skip=connection.id)
    else:
        signal(PUBLIC, "relay", message)


@for_visitors
def relay_binary(connection: Connection, message: bytes, metadata: Metadata | None) -> None:
    """Pass a binary message on to all others, right behind what describes it."""
    described = metadata.model_dump() if metadata else {}
    if described:
        signal(PUBLIC, "raw", described, skip=connection.id)
    told = {"bytes": b64encode(message).decode(), "described": described}
    signal(PUBLIC, "binary", told, skip=connection.id)


HANDLERS: Handlers = {
    "subscribe": (Subscribe, tune_in),
    "unsubscribe": (Subscribe, tune_out),
    "broadcast": (Relayed, relay_to_all),
    "binary-metadata": (Metadata, relay),
}


def look_up_relay(kind: Any) -> tuple[type[Input], Handler]:
    """The model and handler of a frame that is passed on."""
    return HANDLERS[kind] if kind in ("broadcast", "binary-metadata") else (Relayed, relay)


# What clients hear


@dataclass
class Tuner:
    """What a raw socket wants to hear, and how."""

    wraps: bool = False
    channels: frozenset[str] = frozenset()
    announced: Metadata | None = None  # its last message was this

    def hears(self, event: Event, channel: str) -> str:
        """How an event is told: `plain`, `wrapped`, or empty for not at all."""
        if event.type not in PASSED_ON or (self.channels and channel not in {"", *self.channels}):
            return ""
        wraps = self.wraps and channel and event.type != "binary"
        wraps = wraps and event.data.get("type") != "channel-message"
        return "wrapped" if wraps else "plain"


def frame_of(event: Event) -> Message:
    """The frame that is passed on, or describes the bytes that are; empty for none."""
    if event.type == "binary":
        described: Message = event.data["described"]
        return described
    return event.data if event.type == "raw" else {}


def wrap(event: Event) -> Event:
    """The frame as what the manager of an app calls a message of a channel."""
    outside = envelope_of(event.data)
    return replace(event, data={**outside, "type": "channel-message", "payload": event.data})


def encode_relayed(event: Event) -> Message | bytes:
    """What is passed on, as it came."""
    if event.type == "binary":
        return b64decode(event.data["bytes"])
    relayed: Message = event.data
    return relayed


def encode_for_chat(event: Event, words: Container[str]) -> Message | bytes | None:
    """What is passed on, on sockets where the house speaks too and nobody shall pass for it.

    Envelopes alone, and bytes they describe, without whatever else is in the frame, and none of
    `words` but `broadcast`.
    """
    if event.type == "binary":
        return encode_relayed(event) if is_envelope(event.data["described"]) else None
    message: Message = event.data
    if not is_envelope(message):
        return None
    kind = message["type"]
    if kind != "broadcast" and (kind in words or kind in HOUSE_WORDS):
        return None
    return envelope_of(message)


def envelope_of(message: Message) -> Message:
    """What the manager of an app wrote around its payload, and that."""
    return {key: message[key] for key in ENVELOPE if key in message}


class RelayingDialect(OpenDialect):
    """A dialect on whose sockets a binary message may be passed on; `state` has `announced`."""

    passes_all_binary = False  # not only what a `binary-metadata` announced: no JSON comes so

    def receive(self, connection: Connection, message: str | bytes | Oversized) -> None:
        """Remember what was announced for no longer than the next message."""
        announced = connection.state.announced
        super().receive(connection, message)
        if connection.state.announced is announced:
            connection.state.announced = None

    def binary_jobs(self, connection: Connection, message: bytes) -> list[Job] | None:
        """Pass it on together with what announced it."""
        metadata = connection.state.announced
        if metadata is None and not self.passes_all_binary:
            return None
        return [Job(connection, relay_binary, (message, metadata))]

    def jobs(self, connection: Connection, handler: Handler, frame: Any) -> Iterator[Job]:
        """What describes a binary message waits for it."""
        if isinstance(frame, Metadata):
            connection.state.announced = frame
        else:
            yield from super().jobs(connection, handler, frame)


class RelayDialect(RelayingDialect):
    """Pages that talk to each other in words of their own."""

    handlers = merge(HANDLERS, {"auth": (Auth, authenticate), "ping": (Ping, answer_ping)})
    closes_unauthorized = False  # these pages would come back at once, for ever
    passes_all_binary = True

    def admit(self, user: Any) -> None:
        """Any printable id will do, even one in use; raises 400 and 404."""
        client_id = (request.view_args or {})["client_id"]
        if client_id in RESERVED:
            raise not_found("feed")
        if not (0 < len(client_id) <= MAX_ID and client_id.isprintable()):
            raise bad_request(f"A client id has 1 to {MAX_ID} printable characters")

    def prepare(self, connection: Connection) -> None:
        """`?wrap=1` is for good."""
        connection.state = Tuner(wraps=request.args.get("wrap") == "1")

    def open(self, connection: Connection) -> None:
        """Listen; nothing is said, as pages take every frame for one of another page."""
        connection.hub.subscribe(connection, PUBLIC)
        if connection.user:
            self.welcome(connection)

    def welcome(self, connection: Connection) -> None:
        """Users hear what only users hear."""
        connection.hub.subscribe(connection, EVERYBODY)

    def look_up(self, data: Message) -> tuple[type[Input], Handler]:
        """What nobody handles is passed on."""
        kind = data.get("type")
        known = isinstance(kind, str) and kind in self.handlers
        return super().look_up(data) if known else look_up_relay(kind)

    def deliver(self, connections: Sequence[Connection], events: Sequence[Event]) -> None:
        """Tell events to who wants them: once for all to whom they are the same."""
        pairs = [(event, channel_of(frame_of(event))) for event in events]
        alike: dict[tuple[str, ...], list[Connection]] = {}
        for connection in connections:
            ways = tuple(connection.state.hears(*pair) for pair in pairs)
            alike.setdefault(ways, []).append(connection)
        for ways, members in alike.items():
            told = zip(events, ways, strict=True)
            heard = [wrap(event) if way == "wrapped" else event for event, way in told if way]
            if heard:
                super().deliver(members, heard)

    def encode(self, event: Event) -> Message | bytes | None:
        """What is passed on, and nothing of the house's own."""
        return encode_relayed(event) if event.type in PASSED_ON else None


dialect = RelayDialect()
