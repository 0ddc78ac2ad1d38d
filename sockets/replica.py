"""What a sync socket keeps about the replica at its other end, and how far all of them are."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from crdt_wire import Cell

PULL_SECONDS = 1.0  # a client that has not pulled by then is served live


@dataclass
class Replica:
    """What a socket keeps about the replica at its other end."""

    wire_name: str  # the channel as the client calls it
    kind: str = ""  # of the client, as its address says; what it was before, if that says nothing
    channel: str = ""
    server_site: str = ""
    site_id: str = ""  # the client's, from its first message on
    told_version: int = 0  # the channel's version in `connected`
    live_at: float = field(default_factory=lambda: time.monotonic() + PULL_SECONDS)
    cursor: int | None = None  # all up to this version was sent; None before pull and live
    sent_version: int = 0  # of the last `update`: from there to the cursor nothing was owed
    acked: int | None = None  # the last version it said it holds, if it says so at all
    pulled: bool = False
    served_early: bool = False  # something was sent before the pull
    checked: bool = False  # for a loss of its data, by its first update or pull
    pulled_version: int | None = None  # the client's own count, until its pull is answered
    answer_due: bool = False  # a pull is always answered, if only by an empty update
    failed: bool = False  # an update was lost: none after it may be acknowledged
    due: bool = False  # there may be something above the cursor

    def holds(self, version: int) -> int:
        """Up to where it holds the channel, when it says so of `version`."""
        cursor = self.cursor or 0
        return cursor if version >= self.sent_version else min(version, cursor)

    @property
    def reached(self) -> int:
        """Up to where it is: as far as it says, or else as it was sent."""
        return self.cursor or 0 if self.acked is None else self.holds(self.acked)


@dataclass
class Batch:
    """One `update` message on its way through its slices."""

    refused: dict[int, str]  # reasons by position
    acked: int = 0
    version: int = 0  # the channel's after the last slice


class Batched(NamedTuple):
    """A page of cells, each with its text, for all replicas that are equally far."""

    changes: list[tuple[Cell, str]]
    is_last: bool


# What is above a cursor, for replicas that have pulled (None) or were told a version.
Pages = dict[tuple[int | None, int | None], Batched]


class Survey(NamedTuple):
    """How many replicas and channels are here, how many replicas lag, and by how much the last."""

    replicas: int
    channels: int
    lagging: int
    largest_lag: int


def survey(states: Iterable[object]) -> Survey:
    """Look over the replicas among the states of sockets, and at nothing else.

    A channel is as far as the replica here that was sent most of it.
    """
    known = [one for one in states if isinstance(one, Replica) and one.site_id]
    newest: dict[str, int] = {}
    for one in known:
        version = max(one.cursor or 0, one.told_version)
        newest[one.channel] = max(version, newest.get(one.channel, 0))
    lags = [newest[one.channel] - one.reached for one in known if one.cursor is not None]
    return Survey(len(known), len(newest), sum(lag > 0 for lag in lags), max(lags, default=0))
