"""The tables behind crdt.py: load what a merge needs, write what it stored, page what is owed.

Core statements only: merging is a hot path (bench/). Nothing here commits.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import JSON, Text, bindparam, cast, func, or_, select, text, update
from sqlalchemy.orm import Bundle, aliased

import crdt_wire
from crdt import Channel
from crdt_wire import Cell, Key, Row
from errors import forbidden
from events import record
from json_data import field_of
from models import CrdtChange, CrdtChannel, CrdtPeer, User, db, upsert

CELL = [getattr(CrdtChange, name) for name in Cell._fields]
MERGED = "merged"  # the event that tells the sockets of a channel to look
PAGE = 1000  # changes in one `update`
PAGE_BYTES = 900_000  # and its size, so that with the rest a frame stays below 1 MB


def load_peer(name: str, site_id: str, user: User | None, kind: str = "") -> CrdtPeer:
    """What a replica sent and holds; bound to the user who first used its site id, raises 403.

    `kind`, if given, is kept from now on.
    """
    user_id = user.id if user else None
    peer = db.session.get(CrdtPeer, (name, site_id))
    if peer is None:
        values = {"channel": name, "site_id": site_id, "user_id": user_id}
        values |= {"kind": kind or "log"}
        db.session.execute(upsert(CrdtPeer).values(values).on_conflict_do_nothing())
        peer = db.session.get(CrdtPeer, (name, site_id))
    if peer.user_id != user_id:
        raise forbidden("This site id belongs to somebody else")
    if kind and peer.kind != kind:
        peer.kind = kind
    return peer


def load_channel(name: str, version: int, wanted: Iterable[Key]) -> Channel:
    """The part of a channel that a merge of the `wanted` keys reads; the caller holds its lock."""
    columns = ", ".join(f'c."{field}"' for field in Cell._fields)
    rows = find(columns, name, list(wanted), "c.cid = {cid}")
    winners = {(row[0], row[1], row[2]): Cell(*row) for row in rows}
    deleted = [key[:2] for key in winners if key[2] == crdt_wire.TOMBSTONE]
    return Channel(version, winners, row_tops(name, deleted))


def row_tops(name: str, rows: Sequence[Row]) -> dict[Row, int]:
    """The highest version among the cells of each row, tombstones left out."""
    columns, others = 'c."table", c.pk, max(c.version)', f"c.cid <> '{crdt_wire.TOMBSTONE}'"
    found = find(columns, name, rows, others, "GROUP BY 1, 2") if rows else []
    return {(row[0], row[1]): row[2] for row in found}


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


def find(
    columns: str, name: str, keys: Sequence[Any], which: str, group: str = ""
) -> Sequence[Any]:
    """Columns of the cells whose (table, pk, cid) is among `keys`, as `which` narrows them."""
    dialect = db.engine.dialect.name
    table, pk, cid = (PART[dialect].format(index) for index in range(3))
    statement = FIND[dialect].format(
        columns=columns, table=table, pk=pk, which=which.format(cid=cid), group=group
    )
    parameters = {"channel": name, "keys": json.dumps(keys)}
    rows: Sequence[Any] = db.session.connection().execute(text(statement), parameters).all()
    return rows


def save_channel(name: str, channel: Channel) -> None:
    """Write what a merge stored and the channel's new version, and poke whoever listens."""
    if not channel.stored:
        return
    statement = upsert(CrdtChange)
    fields = [field for field in Cell._fields if field not in ("table", "pk", "cid")]
    statement = statement.on_conflict_do_update(
        index_elements=["channel", "table", "pk", "cid"],
        set_={field: statement.excluded[field] for field in fields},
    )
    rows = [{"channel": name, **cell._asdict()} for cell in channel.stored.values()]
    db.session.connection().execute(statement, rows)
    db.session.execute(
        update(CrdtChannel)
        .where(CrdtChannel.name == name)
        .values(crdt_db_version=channel.version)
        .execution_options(synchronize_session=False)
    )
    record(CrdtChannel.topic_of(name), MERGED, None)


def load_table(name: str, version: int, table: str = "") -> tuple[Channel, list[Cell]]:
    """A whole table of a channel, or all, for a merge, and the cells in version order."""
    here = CrdtChange.channel == name
    if table:
        here &= CrdtChange.table == table
    rows = db.session.execute(select(*CELL).where(here).order_by(CrdtChange.version))
    cells = [Cell(*row) for row in rows]
    tops = {cell[:2]: cell.version for cell in cells if cell.cid != crdt_wire.TOMBSTONE}
    return Channel(version, {cell[:3]: cell for cell in cells}, tops), cells


def load_rows(name: str, rows: Sequence[Row]) -> list[Cell]:
    """All cells of these rows, tombstones left out."""
    columns = ", ".join(f'c."{field}"' for field in Cell._fields)
    others = f"c.cid <> '{crdt_wire.TOMBSTONE}'"
    return [Cell(*row) for row in find(columns, name, rows, others)] if rows else []


def has_row(name: str, row: Row) -> bool:
    """Whether anything was ever written to a row."""
    here = (CrdtChange.channel == name) & (CrdtChange.table == row[0]) & (CrdtChange.pk == row[1])
    return db.session.scalar(select(CrdtChange.version).where(here).limit(1)) is not None


def visible_cells(*columns: Any) -> tuple[Any, Any]:
    """Selects these columns of the cells that no tombstone hides; and the tombstones they have."""
    tomb = aliased(CrdtChange)
    same_row = (
        (tomb.channel == CrdtChange.channel)
        & (tomb.table == CrdtChange.table)
        & (tomb.pk == CrdtChange.pk)
        & (tomb.cid == crdt_wire.TOMBSTONE)
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


def read_page(name: str, after: int, told: int | None = None) -> list[Cell]:
    """The next visible cells above version `after`; none means that there are no more.

    PAGE at most, fewer when they are large. `told` before a pull.
    """
    statement = PULLED if told is None else NOT_PULLED
    parameters = {"channel": name, "after": after, "told": told}
    page: list[Cell] = []
    size = 0
    for row in db.session.connection().execute(statement, parameters):
        page.append(Cell(*row))
        size += len(page[-1].val)
        if size > PAGE_BYTES:
            break
    return page


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
        alive = CrdtChange.cid != crdt_wire.TOMBSTONE
        rows = statement.where(here, alive).group_by(CrdtChange.pk)
        self.__table__ = rows.subquery("synced")
        self.id = self.__table__.c.pk

    def select(self) -> Any:
        """All of them."""
        columns = self.__table__.c
        return select(Bundle("row", columns.pk, cast(columns.cells, Text).label("cells")))

    def field(self, name: str) -> Any:
        """A cell of the rows, if a query may name it; see public_column."""
        return field_of(self.__table__.c.cells, name, db.engine.dialect.name)

    @staticmethod
    def show(row: Any) -> dict[str, Any]:
        """A row as an object, with its key."""
        return {**json.loads(row.cells), "pk": row.pk}
