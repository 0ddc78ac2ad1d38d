"""What of a topic a client is told, and how: watches of tables, filters, chat sessions."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Boolean, Integer

import json_data
from bus import Event
from errors import WharfError, bad_request
from models import Room, public_column
from sockets.connection import Connection

Kind = Literal["INSERT", "UPDATE", "DELETE"]
SESSION = "chat:"  # what the room of a chat session begins with
SESSIONS = Room.topic_of(SESSION)
KINDS: tuple[str, ...] = get_args(Kind)
Row = dict[str, Any]


class Watch(NamedTuple):
    """A part of a table: the rows whose `column` has `value`; all of them without column."""

    kinds: frozenset[str] = frozenset(KINDS)
    column: str = ""
    value: Any = None
    is_json: bool = False  # the value of a field, which says itself of what type it is

    def holds(self, row: Row | None) -> bool:
        """Whether the row is there and in this part."""
        if row is None or not self.column:
            return row is not None
        value = row.get(self.column)
        return bool(value == self.value or (self.is_json and text_of(value) == self.value))

    def kind(self, old: Row | None, new: Row | None) -> str:
        """What a change is within this part; empty for nothing that is told of it."""
        before, after = self.holds(old), self.holds(new)
        if old and not new and "updated_at" not in old:  # of what nobody may read: ids alone
            before = before or self.column not in old
        kind = "UPDATE" if before and after else "INSERT" if after else "DELETE" if before else ""
        return kind if kind in self.kinds else ""


Watches = frozenset[Watch]


@dataclass
class Watcher:
    """What a socket watches, by table; `unasked` are tables it never asked for.

    `sessions` are the topics of rooms it hears as chat sessions, in the widget's words.
    """

    watches: dict[str, Watches] = field(default_factory=dict)
    unasked: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    announced: Any = None  # what described the binary message to come (relay.py)

    def asked(self, table: str) -> Watches:
        """What the client itself subscribed to."""
        return frozenset() if table in self.unasked else self.watches.get(table, frozenset())

    def watch(self, table: str, watches: Watches) -> None:
        """Watch these parts and no others; nothing without any."""
        self.unasked.discard(table)
        self.watches[table] = watches
        if not watches:
            del self.watches[table]

    def watch_unasked(self, table: str) -> None:
        """Watch all of a table until the client says what it wants of it."""
        self.watch(table, frozenset({Watch()}))
        self.unasked.add(table)


def group(
    connections: Sequence[Connection], events: Sequence[Event]
) -> Iterator[tuple[Sequence[Connection], Sequence[Event]]]:
    """The connections to whom these events of one topic are the same, with the events as told."""
    if not events:
        return
    topic = events[0].topic
    if events[0].type == "changed":
        yield from group_by_kinds(connections, events)
    elif topic.startswith(SESSIONS):
        if guests := [one for one in connections if topic in one.state.sessions]:
            yield guests, [as_chat(event) for event in events]
        if others := [one for one in connections if topic not in one.state.sessions]:
            yield others, events
    else:
        yield connections, events


def group_by_kinds(
    connections: Sequence[Connection], events: Sequence[Event]
) -> Iterator[tuple[list[Connection], list[Event]]]:
    """The connections to whom these changes of one table are the same, with the changes as told."""
    known: dict[Watches | None, tuple[str, ...]] = {}
    alike: dict[tuple[str, ...], list[Connection]] = {}
    table = events[0].data["table"]
    for connection in connections:
        watches = connection.state.watches.get(table, frozenset())
        if watches not in known:
            known[watches] = tuple(kind_of(event, watches) for event in events)
        alike.setdefault(known[watches], []).append(connection)
    for kinds, members in alike.items():
        pairs = zip(events, kinds, strict=True)
        if heard := [as_kind(event, kind) for event, kind in pairs if kind]:
            yield members, heard


def kind_of(event: Event, watches: Watches) -> str:
    """What a change is to who watches these parts of its table; empty for nothing."""
    kinds = {watch.kind(event.data["old"], event.data["new"]) for watch in watches} - {""}
    # It leaves one part and enters another: it stays.
    return kinds.pop() if len(kinds) == 1 else "UPDATE" if kinds else ""


def as_kind(event: Event, kind: str) -> Event:
    """The change as one of `kind`: what enters has no old row, what leaves has no new one."""
    if event.data["event"] == kind:
        return event
    data = {**event.data, "event": kind}
    if kind != "UPDATE":
        data["old" if kind == "INSERT" else "new"] = None
    return replace(event, data=data)


def as_chat(event: Event) -> Event:
    """A message of a room as the widget reads it, whoever wrote it; other events as they are."""
    if event.type != "chat-message":
        return event
    return replace(event, type="chat", data=chat_of(event.data["message"]))


def chat_of(message: Row) -> Row:
    """The widget's `chat` frame for a message; the payload is what the page sent, if one did."""
    session_id = message["roomId"].removeprefix(SESSION)
    payload = {"content": message["content"], "sender": message["userName"]}
    payload |= {"timestamp": message["createdAt"], "session_id": session_id}
    return {
        "type": "chat",
        "payload": message.get("payload", payload),
        "timestamp": message["createdAt"],
        "clientId": message.get("clientId"),
        "user": {"id": message["userId"], "name": message["userName"]},
        "messageId": message["id"],
    }


def text_of(value: Any) -> str:
    """What a filter says for a value of JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def parse_filter(text: str, model: Any) -> tuple[str, Any, bool]:
    """`column=value` as the column and the value its rows hold, and if it is JSON; raises 400."""
    name, equals, value = text.partition("=")
    column = public_column(model, name)
    if not equals or column is None:
        raise bad_filter("Filter must be column=value, with a column of the table")
    if isinstance(column, json_data.Field):
        return name, value, True
    if isinstance(column.type, Boolean):
        if value.lower() not in ("true", "false", "1", "0"):
            raise bad_filter(f"Filter: {name} is true or false")
        return column.name, value.lower() in ("true", "1"), False
    if isinstance(column.type, Integer):
        if not (value.isascii() and value.isdecimal() and len(value) < 19):
            raise bad_filter(f"Filter: {name} is a whole number")
        return column.name, int(value), False
    return column.name, value, False


def bad_filter(message: str) -> WharfError:
    """400, with the name of the field."""
    return bad_request(message, {"payload.filter": [message]})
