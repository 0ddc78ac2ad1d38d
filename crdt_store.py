"""The tables behind crdt.py: cells and peers as a merge needs them, pages of what is owed, rows.

Core statements, each built once: merging is a hot path (bench/crdt.py). Nothing here commits.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    Text,
    bindparam,
    cast,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Bundle, aliased

from crdt_wire import TOMBSTONE, Cell, Key, Row, canonical, outgoing_json
from json_data import field_of
from models import CrdtChange, CrdtChannel, CrdtPeer, db, now, upsert

CELL = [getattr(CrdtChange, name) for name in Cell._fields]
PAGE = 1000  # changes in one `update`
PAGE_BYTES = 900_000  # and its size, so that with the rest a frame stays below 1 MB


def execute(statement: Any, words: Any) -> Any:
    """Run a statement in the transaction of the session, past the ORM."""
    return db.session.connection().execute(statement, words)


# Peers


@dataclass
class Peer:
    """What one replica sent us (`received`) and is known to hold of ours (`sent`)."""

    site_id: str
    user_id: int | None
    kind: str
    received: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self.stored: tuple[Any, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether it is not in the database as it is here."""
        return self.facts != self.stored

    @property
    def facts(self) -> tuple[Any, ...]:
        """What is stored of it, in the order of PEER."""
        return self.site_id, self.user_id, self.kind, self.received, self.sent


PEER = ("site_id", "user_id", "kind", "received", "sent")
FIND_PEER = select(*(CrdtPeer.__table__.c[name] for name in PEER)).where(
    CrdtPeer.channel == bindparam("channel"), CrdtPeer.site_id == bindparam("site")
)


def find_peer(channel: str, site_id: str) -> Peer | None:
    """The tracked peer of this site id."""
    row = execute(FIND_PEER, {"channel": channel, "site": site_id}).first()
    if row is None:
        return None
    peer = Peer(*row)
    peer.stored = peer.facts
    return peer


def save_peers(channel: str, peers: Collection[Peer]) -> None:
    """Write peers, new or not."""
    if peers:
        seen = {"channel": channel, "seen_at": now()}
        words = [dict(zip(PEER, peer.facts, strict=True)) | seen for peer in peers]
        execute(upsert_peer(db.engine.dialect.name), words)


@cache
def upsert_peer(dialect: str) -> Any:
    """Writes a peer."""
    return overwrite(CrdtPeer.__table__, ["channel", "site_id"], dialect)


def overwrite(table: Any, keys: list[str], dialect: str) -> Any:
    """Adds a row, or takes the place of the one with the same keys."""
    statement = upsert(table, dialect)
    values = {one.name: statement.excluded[one.name] for one in table.c if one.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


# Cells


COLUMNS = ", ".join(f'c."{name}"' for name in Cell._fields)
OTHERS = f"c.cid <> '{TOMBSTONE}'"
# Driven from the keys, given as JSON: left to themselves, the planners walk the whole channel.
FIND = {
    "sqlite": (
        "SELECT {columns} FROM json_each(:keys) AS k CROSS JOIN crdt_changes AS c"
        ' WHERE c.channel = :channel AND c."table" = {table} AND c.pk = {pk} AND {which} {group}'
    ),
    "postgresql": (
        "SELECT {columns} FROM json_array_elements(CAST(:keys AS json)) AS k(value)"
        " CROSS JOIN LATERAL (SELECT * FROM crdt_changes AS c WHERE c.channel = :channel"
        ' AND c."table" = {table} AND c.pk = {pk} AND {which} OFFSET 0) AS c {group}'
    ),
}
PART = {"sqlite": "json_extract(k.value, '$[{}]')", "postgresql": "k.value->>{}"}


def find(channel: str, keys: Iterable[Any], columns: str, which: str, group: str = "") -> Any:
    """Columns of the cells whose (table, pk, cid) is among `keys`, as `which` narrows them."""
    statement = find_statement(db.engine.dialect.name, columns, which, group)
    return execute(statement, {"channel": channel, "keys": json.dumps(list(keys))}).all()


@cache
def find_statement(dialect: str, columns: str, which: str, group: str) -> Any:
    """Finds cells."""
    table, pk, cid = (PART[dialect].format(index) for index in range(3))
    words = {"table": table, "pk": pk, "which": which.format(cid=cid)}
    return text(FIND[dialect].format(columns=columns, group=group, **words))


def load_cells(channel: str, keys: Iterable[Key]) -> tuple[list[Cell], dict[Row, int]]:
    """The cells of these keys that are stored; and of rows with a tombstone among them, the highest
    version of the other cells."""
    cells = [Cell(*row) for row in find(channel, keys, COLUMNS, "c.cid = {cid}")]
    deleted = [cell[:2] for cell in cells if cell.is_tombstone]
    if not deleted:
        return cells, {}
    tops = find(channel, deleted, 'c."table", c.pk, max(c.version)', OTHERS, "GROUP BY 1, 2")
    return cells, {(row[0], row[1]): row[2] for row in tops}


def load_rows(channel: str, rows: Sequence[Row]) -> list[Cell]:
    """All cells of these rows, tombstones left out."""
    return [Cell(*row) for row in find(channel, rows, COLUMNS, OTHERS)] if rows else []


def load_table(channel: str, table: str = "") -> list[Cell]:
    """All cells of a table, or of all tables, in version order."""
    here = CrdtChange.channel == channel
    if table:
        here &= CrdtChange.table == table
    return [Cell(*row) for row in execute(select(*CELL).where(here).order_by(CELL[-2]), {})]


def has_row(channel: str, row: Row) -> bool:
    """Whether anything was ever written to a row."""
    table, pk = row
    here = (CrdtChange.channel == channel) & (CrdtChange.table == table) & (CrdtChange.pk == pk)
    return db.session.scalar(select(CrdtChange.version).where(here).limit(1)) is not None


def save_cells(channel: str, cells: Iterable[Cell], version: int) -> None:
    """Write winners, and how far the channel is."""
    statement = upsert_cell(db.engine.dialect.name)
    db.session.connection().exec_driver_sql(statement, [(channel, *cell) for cell in cells])
    execute(SAVE_VERSION, {"key": channel, "version": version})


@cache
def upsert_cell(dialect: str) -> str:
    """Writes a winner, as the driver reads it: SQLAlchemy takes its time over each value."""
    names = ("channel", *Cell._fields)
    mark = "%s" if dialect == "postgresql" else "?"
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f'"{name}" = excluded."{name}"' for name in names[4:])
    return (
        f"INSERT INTO crdt_changes ({columns}) VALUES ({', '.join([mark] * len(names))})"
        f' ON CONFLICT (channel, "table", pk, cid) DO UPDATE SET {values}'
    )


SAVE_VERSION = (
    update(CrdtChannel.__table__)
    .where(CrdtChannel.__table__.c.name == bindparam("key"))
    .values(crdt_db_version=bindparam("version"))
)


# What is owed


def visible_cells(*columns: Any) -> tuple[Any, Any]:
    """Selects these columns of the cells that no tombstone hides; and the tombstones they have."""
    tomb = aliased(CrdtChange)
    same_row = (
        (tomb.channel == CrdtChange.channel)
        & (tomb.table == CrdtChange.table)
        & (tomb.pk == CrdtChange.pk)
        & (tomb.cid == TOMBSTONE)
    )
    visible = or_(tomb.version.is_(None), CrdtChange.version >= tomb.version)
    return select(*columns).outerjoin(tomb, same_row).where(visible), tomb


def page_statement(pulled: bool) -> Any:
    """Selects the visible cells of `channel` above version `after`, in version order.

    A replica that has not pulled, and was told version `told` in `connected`, must not get the
    cells that `crdt.may_precede_pull` excludes.
    """
    statement, tomb = visible_cells(*CELL)
    if not pulled:
        statement = statement.where(or_(tomb.version.is_(None), tomb.version > bindparam("told")))
    above = (CrdtChange.channel == bindparam("channel")) & (CrdtChange.version > bindparam("after"))
    return statement.where(above).order_by(CrdtChange.version).limit(PAGE)


PULLED, NOT_PULLED = page_statement(pulled=True), page_statement(pulled=False)


class Page(NamedTuple):
    """Cells in version order; the last one when there are no more."""

    cells: list[Cell]
    is_last: bool


def read_page(channel: str, after: int, told: int | None = None) -> Page:
    """The next visible cells above version `after`: PAGE at most, fewer when they are large.

    `told` before a pull.
    """
    statement = PULLED if told is None else NOT_PULLED
    cells: list[Cell] = []
    size = 0
    for row in execute(statement, {"channel": channel, "after": after, "told": told}):
        cells.append(Cell(*row))
        size += len(cells[-1].val)
        if size > PAGE_BYTES:
            return Page(cells, is_last=False)
    return Page(cells, is_last=len(cells) < PAGE)


def snapshot(name: str, site_id: str) -> Iterator[str]:
    """The text of a snapshot, page by page.

    A cell that is written meanwhile moves up to a page still to come: nothing is missed.
    """
    yield f'{{"channel":{canonical(name)},"siteId":"{site_id}","changes":['
    version, comma = 0, ""
    while cells := read_page(name, version).cells:
        yield comma + ",".join(outgoing_json(cell, site_id) for cell in cells)
        version, comma = cells[-1].version, ","
    yield f'],"version":{version},"hasMore":false}}'


class TableRows:
    """The rows of a table of a channel, as lists know a noun: by `pk` and the names of cells."""

    __table__: Any = CrdtChange.__table__
    LISTED = {"pk"}
    SEARCHED = ("pk",)
    ORDER = ("pk",)
    IS_SHORT = False

    def __init__(self, channel: str, table: str) -> None:
        is_postgres = db.engine.dialect.name == "postgresql"
        group = func.json_object_agg if is_postgres else func.json_group_object
        value = cast(CrdtChange.val, JSON) if is_postgres else func.json(CrdtChange.val)
        cells = group(CrdtChange.cid, value, type_=JSON).label("cells")
        statement, _ = visible_cells(CrdtChange.pk, cells)
        here = (CrdtChange.channel == channel) & (CrdtChange.table == table)
        alive = CrdtChange.cid != TOMBSTONE
        rows = statement.where(here, alive).group_by(CrdtChange.pk)
        self.__table__ = rows.subquery("synced")
        self.id = self.__table__.c.pk

    def select(self) -> Any:
        """All of them."""
        columns = self.__table__.c
        return select(Bundle("row", columns.pk, cast(columns.cells, Text).label("cells")))

    def field(self, name: str) -> Any:
        """A cell of the rows, if a query may name it; see public_column."""
        cells, dialect = self.__table__.c.cells, db.engine.dialect.name
        if dialect == "postgresql":  # it reads no JSON with NUL
            cells = cast(func.replace(cast(cells, Text), "\\u0000", "\\ufffd"), JSON)
        return field_of(cells, name, dialect)

    @staticmethod
    def show(row: Any) -> dict[str, Any]:
        """A row as an object, with its key."""
        return {**json.loads(row.cells), "pk": row.pk}
