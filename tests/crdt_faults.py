"""The faults that the simulator is to notice.

`FAULTS` switches single rules off, to show that the simulator would notice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import crdt
from crdt import Channel
from crdt_wire import TOMBSTONE, Cell, Change
from tests.crdt_client import Message
from tests.crdt_scenario import (
    COUNTING,
    DELETES,
    EARLY_ACKS,
    LATE_PULLS,
    NO_DELETES,
    ONE_AUTHOR,
    READERS,
    Scenario,
)
from tests.crdt_server import Peer, Server, Socket


class AcksOurVersion(Server):
    """Acknowledges in the server's count."""

    def ack_version(self, acked: int) -> int:
        return self.version


class BelievesPullVersion(Server):
    """Takes the client's count for its own."""

    def cursor_of(self, peer: Peer, pull_version: int) -> int:
        return pull_version


class SendsNoPrimer(Server):
    """Lets the first load of a client fail."""

    def send_primer(self, socket: Socket) -> None:
        return None


class SendsAllBeforeThePull(Server):
    """Sends cells before the older tombstone of their row."""

    def may_precede_pull(self, cell: Cell, socket: Socket) -> bool:
        return True


class BelievesEveryAck(Server):
    """Counts acks of what was sent live before a pull."""

    def on_ack(self, socket: Socket, peer: Peer, message: Message) -> None:
        peer.held = max(peer.held, min(message["version"], self.version))


class TakesEverythingForNew(Server):
    """Merges repeats as if they were new."""

    def merge(self, piece: list[Change], sender: str, sent: int) -> tuple[crdt.Merged, Channel]:
        return super().merge(piece, sender, -1)


def keep_ties(change: Change, winner: Cell | None, own: bool, new: bool) -> int:
    """judge_cell without the tie."""
    tie = winner is not None and change.col_version == winner.col_version
    if tie and winner and change.site_id != winner.site_id:
        return 0
    return judge_cell(change, winner, own, new)


def compare_loosely(change: Change, winner: Cell | None, own: bool, new: bool) -> int:
    """judge_cell with Python's idea of equality."""
    if winner and change.val in ("1", "true") and winner.val in ("1", "true"):
        change = change._replace(val=winner.val)
    return judge_cell(change, winner, own, new)


def ignore_later_writes(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """judge_cell_after_delete without 'the same person typed on'."""
    visible = winner is not None and winner.version > tombstone.version
    if visible and winner and change.col_version < winner.col_version:
        return 0
    return judge_cell_after_delete(change, winner, tombstone, new)


def relay_tombstone(
    channel: Channel, change: Change, winner: Cell | None, own: bool, new: bool
) -> None:
    """merge_logged without the re-issue of deletes."""
    if change.cid != TOMBSTONE:
        merge_logged(channel, change, winner, own, new)
    elif new and not channel.is_dead(change[:2]):
        channel.store(change, change.col_version, change.col_version, reissued=False)


def keep_earlier_life(channel: Channel, change: Change, winner: Cell | None, own: bool) -> None:
    """merge_counted that begins a life without ending the one before."""
    lives = channel.lives(change[:2])
    if change.cl % 2 and change.cl > lives + 1:
        if change.cid != TOMBSTONE:
            crdt.write(channel, change, winner, own, own)
        return
    merge_counted(channel, change, winner, own)


def ignore_lives(channel: Channel, change: Change, winner: Cell | None, own: bool) -> None:
    """Takes a client that counts lives for one that does not."""
    merge_logged(channel, change, winner, own, own)


def treat_as_never_deleted(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """judge_cell_after_delete without the re-issue of visible cells."""
    if winner is None or winner.version < tombstone.version:
        return judge_cell_after_delete(change, winner, tombstone, new)
    return judge_cell(change, winner, True, new)


def ignore_same_value(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """judge_cell_after_delete without the re-issue of an equal value."""
    if winner and winner.version > tombstone.version and winner[3:5] == change[3:5]:
        return 0
    return judge_cell_after_delete(change, winner, tombstone, new)


judge_cell = crdt.judge_cell
judge_cell_after_delete = crdt.judge_cell_after_delete
merge_logged = crdt.merge_logged
merge_counted = crdt.merge_counted


def hold_over_gaps(held: int, before: int, after: int, reissued: int) -> int:
    """Forget what the sender lacked before."""
    return after


def hold_what_was_reissued(held: int, before: int, after: int, reissued: int) -> int:
    """Forget that the sender has its cells under another version."""
    return after if held == before else held


@dataclass(frozen=True)
class Fault:
    """A rule switched off: a wrong server or a wrong function in crdt.py, and where it shows."""

    scenario: Scenario
    server: type[Server] = Server
    name: str = ""
    function: Callable[..., Any] | None = None


FAULTS = {
    "acks in the server's count": Fault(NO_DELETES, AcksOurVersion),
    "believes pull.version": Fault(NO_DELETES, BelievesPullVersion),
    "no primer": Fault(READERS, SendsNoPrimer),
    "all cells sent before the pull": Fault(LATE_PULLS, SendsAllBeforeThePull),
    "acks before the pull believed": Fault(EARLY_ACKS, BelievesEveryAck),
    "ties kept": Fault(NO_DELETES, name="judge_cell", function=keep_ties),
    "1 taken for true": Fault(NO_DELETES, name="judge_cell", function=compare_loosely),
    "tombstones relayed": Fault(DELETES, name="merge_logged", function=relay_tombstone),
    "lives not counted": Fault(COUNTING, name="merge_counted", function=ignore_lives),
    "an earlier life kept": Fault(COUNTING, name="merge_counted", function=keep_earlier_life),
    "visible cells of a deleted row relayed": Fault(
        DELETES, name="judge_cell_after_delete", function=treat_as_never_deleted
    ),
    "equal values of a deleted row ignored": Fault(
        DELETES, name="judge_cell_after_delete", function=ignore_same_value
    ),
    "no sort": Fault(ONE_AUTHOR, name="in_order", function=list),
    "repeats taken for new": Fault(ONE_AUTHOR, TakesEverythingForNew),
    "later writes ignored": Fault(
        ONE_AUTHOR, name="judge_cell_after_delete", function=ignore_later_writes
    ),
    "a writer taken to hold all": Fault(NO_DELETES, name="held_after", function=hold_over_gaps),
    "re-issued cells taken for held": Fault(
        ONE_AUTHOR, name="held_after", function=hold_what_was_reissued
    ),
}


@contextmanager
def rule_off(fault: Fault | None) -> Iterator[type[Server]]:
    """The server to run, with crdt.py broken as `fault` says."""
    if fault is None or fault.function is None:
        yield fault.server if fault else Server
    else:
        with patch.object(crdt, fault.name, fault.function):
            yield fault.server
