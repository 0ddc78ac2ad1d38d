"""A client of server-sent events, as strict as a browser (WHATWG HTML 9.2.6)."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

STREAM = "/api/events"


def is_endless(rule: Any) -> bool:
    """Whether a rule leads to a socket, a stream or Socket.IO, which speak for themselves."""
    streams = rule.endpoint == "sockets.serve_stream"
    return rule.websocket or streams or rule.endpoint.startswith("socketio.")


class ServerEvent(NamedTuple):
    """One event as a browser hands it to a page."""

    name: str
    data: Any
    id: str


class Stream:
    """An open stream; waits 5 seconds at most for each line."""

    def __init__(self, url: str, address: str = STREAM, **headers: str) -> None:
        parts = urlsplit(url)
        self.connection = HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        self.connection.request("GET", address, headers=headers)
        self.answer = self.connection.getresponse()
        self.last_id = ""

    def lines(self) -> Iterator[str]:
        """The lines until the stream ends."""
        while line := self.answer.readline():
            yield line.decode().removesuffix("\n")

    def events(self) -> Iterator[ServerEvent]:
        """The events until the stream ends."""
        name, data = "message", []
        for line in self.lines():
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif not line:
                if data:
                    yield ServerEvent(name, json.loads("\n".join(data)), self.last_id)
                name, data = "message", []

    def next(self, topic: str = "") -> dict[str, Any]:
        """The next unnamed message, of a topic if one is given; those before it are dropped."""
        for event in self.events():
            if event.name == "message" and topic in ("", event.data["topic"]):
                message: dict[str, Any] = event.data
                return message
        raise EOFError("the stream has ended")

    def until(self, topic: str) -> list[ServerEvent]:
        """All events up to the unnamed one on this topic, without it."""
        found = []
        for event in self.events():
            if event.name == "message" and event.data["topic"] == topic:
                return found
            found.append(event)
        raise EOFError("the stream has ended")

    def close(self) -> None:
        """Leave."""
        self.answer.close()
        self.connection.close()
