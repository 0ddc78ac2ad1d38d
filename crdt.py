"""CRDT merge: how replicas that were offline agree again. Pure functions: no I/O, no database.

A replica is a client with its own copy of the data and a log of its writes. Each write of a cell
(table, primary key, column) counts up that cell's `col_version`, and a replica takes a change
only when its col_version is strictly greater than what it holds. Two replicas that write the
same cell while apart reach the same col_version with different values, and neither would ever
take the other's. The server settles that: it merges one change at a time, so its order is *the*
order, and where a replica could refuse the outcome, it stores the change under a higher
col_version and sends it to everyone, its author included: the change is **re-issued**.

    parse_changes -> slices -> (load the `keys`) -> merge -> (write `stored`) -> outgoing_json

Everything the server stores takes the channel's next `version`. Replicas receive cells in
version order, so the last operation on a row is the same for all. A delete is a cell too, the
tombstone, and hides the cells of its row that were stored before it. docs/sync.md holds the wire,
the rules by number, and the reason for each.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from operator import attrgetter
from typing import NamedTuple

from crdt_wire import TOMBSTONE, Cell, Change, Key, Refused, Row

MAX_CHANGES = 500_000
"""Most changes in one message."""

SLICE = 1000
"""Changes merged per transaction, so that a long push does not hold the channel."""

MAX_LEAP = 1_000_000
"""How far a col_version may lie above its winner's, or a cl above its row's: one hostile client
must not freeze a cell."""

KINDS = ("log", "cl")
"""What a replica pushes: its whole log, with every life of a row as 1 ("log"), or its newest state
with the causal length of each row ("cl")."""


def slices(changes: Iterable[Change], size: int = SLICE) -> Iterator[list[Change]]:
    """Cut the changes of one message, in the order they were written, into lists to merge.

    A list holds `size` changes, or more where it would end inside a db_version: the caller may
    raise the peer's `received` with each list it commits, and a crash between two loses nothing.
    """
    piece: list[Change] = []
    for change in in_order(changes):
        if len(piece) >= size and change.db_version != piece[-1].db_version:
            yield piece
            piece = []
        piece.append(change)
    if piece:
        yield piece


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Sort by (db_version, seq), the order of writing: clients push their log in any order."""
    return sorted(changes, key=attrgetter("db_version", "seq"))


def takes(change: tuple[int, int], held: tuple[int, int]) -> bool:
    """Whether a replica takes a change over what it holds, each as (cl, col_version).

    A greater cl is another life of the row, of which nothing before it counts. A replica that
    counts no lives has 1 for each cl. Equal ones keep what they hold: see merge.
    """
    return change > held


def was_reset(version: int, received: int) -> bool:
    """Whether a client lost its data: its first message counts below `received`.

    The caller then clears the peer's `received` and `sent` (docs/sync.md, merge rule 7).
    """
    return version < received


# The merge


def keep(change: Change, winner: Cell | None) -> str:
    """Accept any value."""
    return change.val


@dataclass(slots=True)
class Channel:
    """The part of a channel that a merge reads and changes.

    version: the channel's count before the merge; afterwards the count to store.
    winners: stored cells by key, for every key in `keys(changes)` that exists.
    row_top: for rows that have a tombstone, the highest version among their other cells.
    accept: the value to store for a change, given the winner of its cell; another than the
        change's own corrects it.
    tables: those that the channel takes; None for any.
    stored: filled by `merge`: the final state of each changed cell, in version order.

    Several messages may be merged one after the other into one Channel, then written together.
    """

    version: int
    winners: dict[Key, Cell]
    row_top: dict[Row, int]
    accept: Callable[[Change, Cell | None], str] = keep
    tables: list[str] | None = None
    stored: dict[Key, Cell] = field(default_factory=dict)

    def lives(self, row: Row) -> int:
        """How often the row was made or deleted, as its tombstone says: 0 for one never deleted."""
        tombstone = self.winners.get((*row, TOMBSTONE))
        return tombstone.cl if tombstone else 0

    def is_dead(self, row: Row) -> bool:
        """Whether the row was deleted and nothing was written to it since."""
        tombstone = self.winners.get((*row, TOMBSTONE))
        return tombstone is not None and self.row_top.get(row, 0) < tombstone.version

    def store(self, change: Change, col_version: int, cl: int, reissued: bool) -> None:
        """Make `change` the winner of its cell, under the channel's next version."""
        table, pk, cid, val, _, db_version, site_id, _, _, _ = change
        key = (table, pk, cid)
        self.version += 1
        cell = Cell(*key, val, col_version, cl, site_id, db_version, self.version, reissued)
        self.winners[key] = cell
        if cid != TOMBSTONE:
            self.row_top[table, pk] = self.version
        self.stored.pop(key, None)  # to the end: `stored` stays in version order
        self.stored[key] = cell

    def stored_since(self, version: int) -> list[Cell]:
        """What was stored above a version, in order."""
        newer = takewhile(lambda cell: cell.version > version, reversed(self.stored.values()))
        return list(newer)[::-1]

    def bury(self, change: Change, cl: int) -> None:
        """Store the tombstone of the row of `change`: its cells are hidden from here on."""
        change = change._replace(cid=TOMBSTONE, val="null")
        self.store(change, cl, cl, reissued=True)


class Merged(NamedTuple):
    """What to tell the sender of merged changes.

    acked: highest db_version among the sender's own changes (0: none): the `version` of its ack.
    refused: changes left out, and why.
    """

    acked: int
    refused: list[Refused]


def held_after(held: int, before: int, after: int, reissued: int) -> int:
    """Up to which version the sender of a merge holds everything: up to `held` before it.

    Who held the whole channel holds it still when all was stored as it came.
    """
    return after if held == before and not reissued else held


def keys(changes: Iterable[Change]) -> set[Key]:
    """The cells to load before a merge: those that change, and the tombstones of their rows."""
    wanted: set[Key] = set()
    for change in changes:
        wanted.add(change[:3])
        wanted.add((change.table, change.pk, TOMBSTONE))
    return wanted


def merge(
    channel: Channel, changes: Iterable[Change], *, sender: str, received: int, kind: str = "log"
) -> Merged:
    """Merge changes that one client pushed; `channel` is changed in place.

    `sender` is the siteId of the message, `received` the highest db_version had from it before.
    Clients repeat what was not acknowledged, hence two questions about each change: is it *own*,
    by the sender itself, and is it *new*, own and not seen before (docs/sync.md, merge). The
    caller checks that `sender` is bound to the user, and raises `received` to `acked` afterwards.
    """
    acked, refused = 0, []
    for change in in_order(changes):
        own = change.site_id == sender
        if own:
            acked = change.db_version  # in order: the last is the highest
        winner = channel.winners.get(change[:3])
        if reason := fault(channel, change, winner, kind):
            refused.append(Refused(change.position, reason))
        elif kind == "cl":
            merge_counted(channel, change, winner, own)
        else:
            merge_logged(channel, change, winner, own, own and change.db_version > received)
    return Merged(acked, refused)


def fault(channel: Channel, change: Change, winner: Cell | None, kind: str) -> str:
    """Why a change cannot be merged; empty when it can."""
    if channel.tables is not None and change.table not in channel.tables:
        return "this channel has no such table"
    if change.col_version > MAX_LEAP + (winner.col_version if winner else 0):
        return "col_version is too far ahead"
    if change.cl > MAX_LEAP and change.cl > MAX_LEAP + channel.lives(change[:2]):
        return "cl is too far ahead"
    if kind == "cl" and change.cl % 2 == 0 and change.cid != TOMBSTONE:
        return "the cl of a cell must be odd"
    return ""


def merge_logged(
    channel: Channel, change: Change, winner: Cell | None, own: bool, new: bool
) -> None:
    """Merge a change of a client that pushes its log; its `cl` says nothing."""
    if change.cid != TOMBSTONE:
        write(channel, change, winner, own, new)
    elif new and not channel.is_dead(change[:2]):
        # Such clients write every tombstone with col_version 1: only the first would be taken.
        last = max(change.col_version, channel.lives(change[:2]))
        channel.bury(change, last + 2 - last % 2)  # the next even number


def merge_counted(channel: Channel, change: Change, winner: Cell | None, own: bool) -> None:
    """Merge a change of a client that counts lives (docs/sync.md, merge rule 5).

    `cl` is even for a delete, odd for a cell or for the mark that a row exists. Such clients push
    their newest state, not their history: a repeat is told by the cell it repeats.
    """
    row, cl = change[:2], change.cl
    lives = channel.lives(row)
    if cl % 2 == 0:
        if own and change.cid == TOMBSTONE and cl > lives:
            channel.bury(change, cl)
        return
    if own and cl > lives + 1:
        channel.bury(change, cl - 1)  # others must drop the life before
        lives, winner = cl - 1, channel.winners.get(change[:3])
    if change.cid != TOMBSTONE and cl == lives + 1:
        write(channel, change, winner, own, own and not repeats(change, winner))


def repeats(change: Change, winner: Cell | None) -> bool:
    """Whether a change says what its author said already, or something older."""
    if winner is None or winner.site_id != change.site_id:
        return False
    # Who lost its data counts its writes from 1 again, but not those of a cell.
    return winner.db_version >= change.db_version and winner.col_version >= change.col_version


def write(channel: Channel, change: Change, winner: Cell | None, own: bool, new: bool) -> None:
    """Store a write of a cell in the life its row has now, if it wins."""
    tombstone = channel.winners.get((change.table, change.pk, TOMBSTONE))
    if tombstone is None:
        col_version, lives = judge_cell(change, winner, own, new), 0
    else:
        col_version, lives = judge_cell_after_delete(change, winner, tombstone, new), tombstone.cl
    if not col_version:
        return
    val = channel.accept(change, winner)
    if val != change.val:  # corrected, under a version that its author takes too
        change, col_version = change._replace(val=val), max(col_version, change.col_version + 1)
    # In the name of somebody else: who has that name must hear of it, whoever wrote it in truth.
    reissued = not own or col_version != change.col_version
    channel.store(change, col_version, lives + 1, reissued)


# What the server writes itself wins over whatever there is.


def put(channel: Channel, key: Key, val: str, site_id: str) -> None:
    """Write a cell, as the server's own site; its row lives from now on."""
    winner = channel.winners.get(key)
    change = Change(*key, val, 0, 0, site_id, 0, 0)
    col_version = (winner.col_version if winner else 0) + 1
    channel.store(change, col_version, channel.lives(key[:2]) + 1, reissued=True)


def drop(channel: Channel, row: Row, site_id: str) -> None:
    """Delete a row that lives."""
    if not channel.is_dead(row):
        channel.bury(Change(*row, TOMBSTONE, "null", 0, 0, site_id, 0, 0), channel.lives(row) + 2)


# Each judge answers with the col_version to store a change under; any other than the change's own
# means re-issued. 0 means ignore: no replica takes a col_version of 0.


def judge_cell(change: Change, winner: Cell | None, own: bool, new: bool) -> int:
    """A cell of a row that was never deleted (docs/sync.md, merge rule 2)."""
    if winner is None or change.col_version > winner.col_version:
        return change.col_version
    if own and winner.site_id == change.site_id and change.db_version > winner.db_version:
        return winner.col_version + 1  # the same person typed on: the later write counts
    if new and change.col_version == winner.col_version and change.val != winner.val:
        return winner.col_version + 1  # a tie, which no replica would give up by itself
    return 0  # the sender is owed the winner and will take it: its own col_version is lower


def judge_cell_after_delete(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """A cell of a row that has a tombstone (docs/sync.md, merge rule 4).

    Always re-issued: its author may be about to receive the tombstone, drop the row, and refuse
    a winner that is not strictly greater than what it wrote, be it the same value.
    """
    if not new:
        return 0
    if winner is None or winner.version < tombstone.version:
        return 1 + max(change.col_version, winner.col_version if winner else 0)  # lives again
    if change.col_version >= winner.col_version:
        return change.col_version + 1
    if winner.site_id == change.site_id and change.db_version > winner.db_version:
        return winner.col_version + 1
    return 0


# What clients receive


def is_visible(cell: Cell, tombstone_version: int | None) -> bool:
    """Whether `cell` is to be sent at all, given the version of its row's tombstone, if any.

    crdt_store.py asks this of the database, in SQL.
    """
    # A tombstone itself is visible, hence >=; no other cell shares its version.
    return tombstone_version is None or cell.version >= tombstone_version


def may_precede_pull(tombstone_version: int | None, told: int) -> bool:
    """Whether a cell of a row with this tombstone may go to a client that has not pulled yet.

    `told` is the version in its `connected`. An older tombstone would reach the client only with
    the answer to its pull, after the cell, and take away what the cell brought.
    """
    return tombstone_version is None or tombstone_version > told


def is_owed(cell: Cell, site_id: str, pulled_version: int | None = None) -> bool:
    """Whether `site_id` still needs `cell`: not what it wrote itself and holds as it wrote it.

    In the answer to a pull, `pulled_version` is the client's own count: if it is lower than the
    cell's db_version, the client has lost that write.
    """
    if cell.reissued or cell.site_id != site_id:
        return True
    return pulled_version is not None and cell.db_version > pulled_version
