"""What a run of tests/sync_soak.py knows of a replica, and what the server has told one."""

from dataclasses import dataclass, field
from typing import Protocol

from tests.crdt_client import Rows

JOURNAL = "journal"  # a table of rows that are written once
RETRY = ("unavailable", "conflict")  # the server closes, and all is pushed again


@dataclass
class Ledger:
    """What the server has said of one channel, and what was wrong about it."""

    version: int = 0  # the highest `serverVersion` of an ack
    entries: set[str] = field(default_factory=set)  # acknowledged rows of the journal
    titles: set[str] = field(default_factory=set)  # of todos made by HTTP that nobody touches
    wrong: list[str] = field(default_factory=list)


class Peer(Protocol):
    """A replica as a run speaks to it."""

    site: str

    @property
    def is_online(self) -> bool:
        """Whether it has a socket."""

    def rows(self) -> Rows:
        """Its todos: values as JSON text by key and column."""

    def journal(self) -> set[str] | None:
        """The keys of the journal; None when it keeps only its own."""

    def come(self, port: int, late: bool = False) -> None:
        """Connect; its pull waits for `pull` when it is late. Raises ConnectionError."""

    def cut(self, hard: bool = False) -> None:
        """Lose the socket, and what is on its way."""

    def become_calm(self) -> None:
        """Have no bad luck from now on."""

    def pull(self) -> None:
        """Send a late pull."""

    def write(self, pk: str, values: dict[str, str]) -> None:
        """Make or change a todo."""

    def delete(self, pk: str) -> None:
        """Delete a todo."""

    def note(self, pk: str) -> None:
        """Write a new row of the journal."""

    def flush(self) -> None:
        """Send what waits."""

    def listen(self, wait: float = 0.0) -> bool:
        """Take what has come, or comes within so many seconds; whether anything has."""

    def is_idle(self) -> bool:
        """Whether all it wrote is acknowledged and its pull is answered."""

    def reset(self, site: str) -> None:
        """Lose all its data, while offline; `site` is what it calls itself from now on."""

    def close(self) -> None:
        """Leave for good."""
