"""The chat widget's words on `/` and `/ws` (docs/frontends/widget.md): changes of tables, ping."""

from functools import partial
from typing import Any

from bus import Event
from errors import not_found
from models import Todo, iso, now
from sockets.connection import Connection
from sockets.dialect import Frame, Handlers, Seq, to_frame
from validation import Input

# The tables whose changes are told, and where those a user may see are told.
TABLES = {"todos": Todo.topic_of}


class Table(Input):
    """`{table}`."""

    table: str


class TableFrame(Frame):
    """`{payload: {table}}`."""

    payload: Table


class Subscribe(TableFrame):
    """`{payload: {table}, since?}`: with `since`, changes told after that seq come first."""

    since: Seq | None = None


class Ping(Frame):
    """`{sentAt?}`, any JSON value."""

    sentAt: Any = None


def topic_of(connection: Connection, table: str) -> str:
    """Where changes of `table` that this client may see are told; raises 404."""
    if table not in TABLES:
        raise not_found("table")
    return TABLES[table](connection.user)


def subscribe(connection: Connection, frame: Subscribe) -> None:
    """Tell the client of changes of a table from now on."""
    table = frame.payload.table
    seq = connection.hub.subscribe(connection, topic_of(connection, table), frame.since)
    payload = {"message": f"Subscribed to {table}", "subscribed": table, "seq": seq}
    connection.reply(to_frame({"type": "system", "payload": payload, "timestamp": iso(now())}))


def unsubscribe(connection: Connection, frame: TableFrame) -> None:
    """Tell the client of changes of a table no longer."""
    table = frame.payload.table
    topic = topic_of(connection, table)
    connection.after_commit(partial(connection.hub.unsubscribe, connection, topic))
    payload = {"message": f"Unsubscribed from {table}", "unsubscribed": table}
    connection.reply(to_frame({"type": "system", "payload": payload, "timestamp": iso(now())}))


def answer_ping(connection: Connection, frame: Ping) -> None:
    """Answer a ping of the page's own making."""
    pong = {"type": "pong", "sentAt": frame.sentAt, "timestamp": iso(now())}
    connection.reply(to_frame(pong))


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


HANDLERS: Handlers = {
    "subscribe": (Subscribe, subscribe),
    "unsubscribe": (TableFrame, unsubscribe),
    "ping": (Ping, answer_ping),
}
