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

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

TOMBSTONE = "-1"
"""The cid that stands for the row itself: a delete."""

MAX_INTEGER = 2**53 - 1
"""Largest integer that JavaScript clients read exactly."""

MAX_KEY_LENGTH = 1024
"""Longest table, pk or cid, in characters."""

MAX_SITE_LENGTH = 250
"""Longest site_id, in characters."""

MAX_KEY_BYTES = 1500
"""Longest table, pk and cid together, in UTF-8: with the channel's name they fit an index row."""

MAX_VALUE_BYTES = 900_000
"""Longest JSON text of a value: with its keys, any one change fits a frame of 1 MB."""

MAX_LEAP = 1_000_000
"""How far a col_version may lie above its winner's: one hostile client must not freeze a cell."""

MAX_CHANGES = 500_000
"""Most changes in one message."""

SLICE = 1000
"""Changes merged per transaction, so that a long push does not hold the channel."""

Row = tuple[str, str]
"""(table, pk)."""

Key = tuple[str, str, str]
"""(table, pk, cid)."""


class BadChange(ValueError):
    """A change that cannot be merged; its text says why and may be shown to the client."""


class Refused(NamedTuple):
    """A change that was left out: its place in its message, from 0, and the reason."""

    position: int
    reason: str


class Change(NamedTuple):
    """One write as a client sent it: the nine fields of the wire, then its place in the message.

    `val` is canonical JSON text. `db_version` counts the writes of the replica `site_id`, `seq`
    orders changes within one of them, `cl` is the causal length of the row.
    """

    table: str
    pk: str
    cid: str
    val: str
    col_version: int
    db_version: int
    site_id: str
    cl: int
    seq: int
    position: int = 0


class Cell(NamedTuple):
    """The winner of one cell, as it is stored.

    `site_id` and `db_version` name the author's write, also of a re-issued cell. `version` is
    the channel's count at which the cell was stored.
    """

    table: str
    pk: str
    cid: str
    val: str
    col_version: int
    cl: int
    site_id: str
    db_version: int
    version: int
    reissued: bool


# What clients send


def canonical(value: str | float | bool | None) -> str:
    """Write a value as the one JSON text by which values are compared and stored.

    Pure ASCII, so lone surrogates and NUL inside strings become harmless escapes. `1`, `1.0` and
    `true` are three texts, though Python calls them equal. Raises ValueError for NaN and Infinity.
    """
    return _encode(value)


_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def parse_changes(raw: Iterable[object]) -> tuple[list[Change], list[Refused]]:
    """Check the `changes` of a message: the good ones, and the bad ones by position.

    One bad change does not spoil its message: the client would send it again for ever.
    """
    changes, refused = [], []
    for position, item in enumerate(raw):
        try:
            changes.append(parse_change(item, position))
        except BadChange as error:
            refused.append(Refused(position, str(error)))
    return changes, refused


def parse_change(raw: object, position: int = 0) -> Change:
    """Check one decoded change, `[table, pk, cid, val, col_version, db_version, site_id, cl, seq]`.

    Raises BadChange for a wrong shape, type or size (docs/sync.md, limits).
    """
    if not isinstance(raw, list) or len(raw) != 9:
        raise BadChange("a change is a list of nine fields")
    table, pk, cid, val, col_version, db_version, site_id, cl, seq = raw
    _check_text("table", table)
    _check_text("pk", pk)
    _check_text("cid", cid)
    if len((table + pk + cid).encode()) > MAX_KEY_BYTES:
        raise BadChange(f"table, pk and cid together must not exceed {MAX_KEY_BYTES} bytes")
    _check_text("site_id", site_id, MAX_SITE_LENGTH)
    _check_integer("col_version", col_version)
    _check_integer("db_version", db_version)
    _check_integer("cl", cl)
    _check_integer("seq", seq)
    text = _check_value(val)
    return Change(table, pk, cid, text, col_version, db_version, site_id, cl, seq, position)


def _check_text(name: str, text: object, longest: int = MAX_KEY_LENGTH) -> None:
    if type(text) is not str:
        raise BadChange(f"{name} must be a string")
    if not 0 < len(text) <= longest:
        raise BadChange(f"{name} must have 1 to {longest} characters")
    if "\0" in text:
        raise BadChange(f"{name} must not contain NUL")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadChange(f"{name} must not contain lone surrogates")


def _check_integer(name: str, number: object) -> None:
    # bool is a subclass of int, hence type() and not isinstance().
    if type(number) is not int or not 0 <= number <= MAX_INTEGER:
        raise BadChange(f"{name} must be an integer from 0 to {MAX_INTEGER}")


def _check_value(value: object) -> str:
    if value is not None and not isinstance(value, (str, int, float)):
        raise BadChange("val must be a string, number, boolean or null")
    if isinstance(value, (int, float)) and not _is_finite(value):
        raise BadChange("val must be a finite number")
    text = canonical(value)
    if len(text) > MAX_VALUE_BYTES:
        raise BadChange(f"val must not exceed {MAX_VALUE_BYTES} bytes as JSON")
    return text


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond every double: Infinity to JavaScript
        return False


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


def was_reset(version: int, received: int) -> bool:
    """Whether a client lost its data: its first message counts below `received`.

    The caller then clears the peer's `received` and `sent` (docs/sync.md, merge rule 7).
    """
    return version < received


# The merge


@dataclass(slots=True)
class Channel:
    """The part of a channel that a merge reads and changes.

    version: the channel's count before the merge; afterwards the count to store.
    winners: stored cells by key, for every key in `keys(changes)` that exists.
    row_top: for rows that have a tombstone, the highest version among their other cells.
    stored: filled by `merge`: the final state of each changed cell, in version order.

    Several messages may be merged one after the other into one Channel, then written together.
    """

    version: int
    winners: dict[Key, Cell]
    row_top: dict[Row, int]
    stored: dict[Key, Cell] = field(default_factory=dict)

    def store(self, cell: Cell) -> None:
        """Make `cell` the winner; its version must be the channel's next."""
        key = cell[:3]
        self.version = cell.version
        self.winners[key] = cell
        if cell.cid != TOMBSTONE:
            self.row_top[cell[:2]] = cell.version
        self.stored.pop(key, None)  # to the end: `stored` stays in version order
        self.stored[key] = cell


class Merged(NamedTuple):
    """What to tell the sender of merged changes.

    acked: highest db_version among the sender's own changes (0: none): the `version` of its ack.
    refused: changes left out because their col_version leapt.
    """

    acked: int
    refused: list[Refused]


def keys(changes: Iterable[Change]) -> set[Key]:
    """The cells to load before a merge: those that change, and the tombstones of their rows."""
    wanted: set[Key] = set()
    for change in changes:
        wanted.add(change[:3])
        wanted.add((change.table, change.pk, TOMBSTONE))
    return wanted


def merge(channel: Channel, changes: Iterable[Change], *, sender: str, received: int) -> Merged:
    """Merge changes that one client pushed; `channel` is changed in place.

    `sender` is the siteId of the message, `received` the highest db_version had from it before.
    Clients repeat what was not acknowledged, hence two questions about each change: is it *own*,
    by the sender itself, and is it *new*, own and not seen before (docs/sync.md, merge). The
    caller checks that `sender` is bound to the user, and raises `received` to `acked` afterwards.
    """
    acked, refused = 0, []
    for change in in_order(changes):
        own = change.site_id == sender
        new = own and change.db_version > received
        if own:
            acked = change.db_version  # in order: the last is the highest
        winner = channel.winners.get(change[:3])
        if change.col_version > MAX_LEAP + (winner.col_version if winner else 0):
            refused.append(Refused(change.position, "col_version is too far ahead"))
        else:
            _merge_change(channel, change, winner, own, new)
    return Merged(acked, refused)


def _merge_change(
    channel: Channel, change: Change, winner: Cell | None, own: bool, new: bool
) -> None:
    table, pk, cid, val, _, db_version, site_id, cl, _, _ = change
    tombstone = channel.winners.get((table, pk, TOMBSTONE))
    if cid == TOMBSTONE:
        row_top = channel.row_top.get((table, pk), 0)
        col_version = cl = judge_tombstone(change, tombstone, row_top, new)
    elif tombstone is None:
        col_version = judge_cell(change, winner, own, new)
    else:
        col_version = judge_cell_after_delete(change, winner, tombstone, new)
        cl = tombstone.cl + 1
    if col_version:
        version, reissued = channel.version + 1, col_version != change.col_version
        channel.store(
            Cell(table, pk, cid, val, col_version, cl, site_id, db_version, version, reissued)
        )


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


def judge_tombstone(change: Change, tombstone: Cell | None, row_top: int, new: bool) -> int:
    """A delete (docs/sync.md, merge rule 3).

    Clients write every tombstone with col_version 1, so only the first would ever be taken.
    """
    if not new or (tombstone and row_top < tombstone.version):
        return 0
    last = max(change.col_version, tombstone.col_version if tombstone else 0)
    return last + 2 - last % 2  # the next even number


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


def outgoing(cell: Cell, server_site: str) -> list[Any]:
    """`cell` as a change on the wire; `val` is decoded."""
    change: list[Any] = json.loads(outgoing_json(cell, server_site))
    return change


def outgoing_json(cell: Cell, server_site: str) -> str:
    """`cell` as the JSON text of a change: exactly as its author wrote it, unless re-issued.

    A re-issued one comes from the server under a negative db_version. That is unique, so it never
    clashes with a row of a client's log, and below whatever a client counts as sent, so it is
    never pushed back.
    """
    table, pk, cid, val, col_version, cl, site_id, db_version, version, reissued = cell
    if reissued:
        site_id, db_version = server_site, -version
    return (
        f"[{_encode(table)},{_encode(pk)},{_encode(cid)},{val},"
        f"{col_version},{db_version},{_encode(site_id)},{cl},0]"
    )


def dummy_change(server_site: str, nonce: str) -> list[Any]:
    """A change of a table no one uses, to be sent alone before the answer to a pull of version 0.

    A client that has never written loads its first update without comparing versions, and fails
    as a whole on a row it knows. This one is unique, by `nonce`, and harmless.
    """
    return ["wharf_primer", nonce, "primer", None, 1, -1, server_site, 1, 0]
