"""What every dialect does with events: frame once, join, write once per client."""

from typing import Any

from bus import Event
from sockets.dialect import Dialect, to_frame


class Counting(Dialect):
    """Counts how often it words an event."""

    def __init__(self) -> None:
        self.worded = 0

    def encode(self, event: Event) -> dict[str, Any] | None:
        self.worded += 1
        return {"n": event.data} if event.data else None


class Sink:
    """A connection that notes each write."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.writes: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.writes.append(data)


def test_events_are_framed_once_and_written_once_per_client() -> None:
    dialect = Counting()
    clients: Any = [Sink(name) for name in "abc"]
    dialect.deliver(clients, [Event("t", "x", 1, 1), Event("t", "x", 2, 2)])
    assert dialect.worded == 2
    assert [client.writes for client in clients] == [[to_frame({"n": 1}) + to_frame({"n": 2})]] * 3


def test_a_skipped_client_hears_the_rest() -> None:
    clients: Any = [Sink(name) for name in "ab"]
    Counting().deliver(clients, [Event("t", "x", 1, skip="a"), Event("t", "x", 2, 1)])
    assert clients[0].writes == [to_frame({"n": 2})]
    assert clients[1].writes == [to_frame({"n": 1}) + to_frame({"n": 2})]


def test_an_event_without_words_in_a_dialect_is_left_out() -> None:
    assert Counting().join_frames([Event("t", "x", None, 1), Event("t", "x", 3, 2)]) == to_frame(
        {"n": 3}
    )
