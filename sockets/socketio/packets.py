"""Packets of Socket.IO as texts, and as the libraries want them."""

from base64 import b64decode
from typing import Any

from engineio import packet as carried
from socketio import packet as packets

from errors import WharfError
from sockets.dialect import to_json
from validation import parse_json

END = "\x1e"  # behind each packet, as between those of a poll


class Strict:
    """JSON as it is read and written everywhere here, for the library."""

    loads = staticmethod(parse_json)

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        """Compact JSON."""
        return to_json(value)


class Packet(packets.Packet):
    """A packet of Socket.IO, by the library."""

    json = Strict


def to_packet(kind: int, data: Any, **more: Any) -> bytes:
    """A packet without attachments."""
    return f"{Packet(kind, data=data, **more).encode()}{END}".encode()


def to_event(name: str, *args: Any) -> bytes:
    """An event as Socket.IO writes it."""
    return f"2{to_json([name, *args])}{END}".encode()


def refusal(error: WharfError, ack: int | None) -> bytes:
    """Tell what went wrong: where an ack was asked for in there, else as an event."""
    if ack is None:
        return to_event("error", error.body())
    return to_packet(packets.ACK, [{"ok": False, **error.body()}], id=ack)


def as_message(text: str) -> carried.Packet:
    """A packet of Socket.IO, or a binary attachment of one, for the library."""
    data = b64decode(text[1:]) if text.startswith("b") else text
    return carried.Packet(carried.MESSAGE, data)
