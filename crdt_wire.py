"""Changes on the wire: what replicas send, checked, and what they receive (docs/sync.md).

`crdt.py` says what becomes of them. Pure functions: no I/O, no database.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import rfc8785

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

    @property
    def is_tombstone(self) -> bool:
        """Whether it says that its row was deleted."""
        return self.cid == TOMBSTONE


def canonical(value: str | float | bool | None) -> str:
    """Write a value as the one JSON text by which values are compared and stored.

    Numbers are doubles in the spelling of JavaScript (RFC 8785): `1` and `1.0` are one text, `1`
    and `true` two, though Python calls all equal. Pure ASCII, so lone surrogates and NUL inside
    strings become harmless escapes. Raises ValueError for NaN and Infinity.
    """
    if type(value) is float or (type(value) is int and abs(value) > MAX_INTEGER):
        return rfc8785.dumps(float(value)).decode()
    return _encode(value)


def decode(text: str) -> Any:
    """The value of a canonical text."""
    return json.loads(text)


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


def is_key(text: str) -> bool:
    """Whether this may be a table, pk or cid."""
    try:
        _check_text("key", text)
    except BadChange:
        return False
    return True


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


# What clients receive


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
