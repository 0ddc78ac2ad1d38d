"""Rows behind two doors: of a noun, and of its owner's sync channel (docs/sync.md#three-doors).

What replicas write to such a row becomes the noun's, as its rules allow; what is written by HTTP is
a write of the server's own in the channel. The channel is locked before its rows.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import delete, select

import crdt
import crdt_store
from crdt import Channel
from crdt_wire import TOMBSTONE, Cell, Change, Row, canonical
from errors import WharfError
from events import chunks, record_row
from json_data import check_by_schema
from models import (
    Collection,
    CrdtChannel,
    CrdtRow,
    Held,
    Record,
    User,
    db,
    nouns,
    rows_of,
    upsert,
)


def hold(row: Record) -> None:
    """Lock the channel that has this row, if one does, before the row itself."""
    if place := row.synced_at():
        hold_channel(place[0])


def hold_channel(owner_id: int) -> Held | None:
    """Lock the channel where a user's own rows are; None when there are none."""
    held = CrdtChannel.lock(CrdtChannel.own_name(owner_id))
    return held if held and held.is_mapped else None


def turn(collection: Collection) -> None:
    """A collection begins to be synced, or ends: what is in the channel stays there, by itself."""
    held = hold_channel(collection.owner_id)
    if held and collection.is_synced:
        adopt_table(CrdtChannel.own_name(collection.owner_id), held, collection.name)
    elif held:
        name = CrdtChannel.own_name(collection.owner_id)
        here = (CrdtRow.channel == name) & (CrdtRow.table == collection.name)
        db.session.execute(delete(CrdtRow).where(here))


def write_row(row: Record, is_gone: bool = False) -> None:
    """Write what a row of a noun is by now to the channel of its owner, if there is one."""
    place = row.synced_at()
    held = hold_channel(place[0]) if place else None
    if place and held:
        owner_id, table = place
        name = CrdtChannel.own_name(owner_id)
        pk = find_pk(name, table, row)
        wanted = {(table, pk, cid) for cid in (*row.cells(), TOMBSTONE)}
        channel = crdt_store.load_channel(name, held.version, wanted)
        mapping = Mapping(name, held, channel)
        if is_gone:
            crdt.drop(channel, (table, pk), held.site_id)
            mapping.forget((table, pk))
        else:
            mapping.put_row((table, pk), row)
        crdt_store.save_channel(name, channel)


def adopt(name: str, held: Held) -> None:
    """Make the rows of a user's channel and those of their nouns the same, for the first time."""
    own = select(Collection.name).where(Collection.owner_id == held.owner_id, Collection.is_synced)
    tables = [table for table, model in nouns().items() if model.SYNCED]
    for table in (*tables, *db.session.scalars(own.order_by(Collection.name)).all()):
        held = adopt_table(name, held, table)


def adopt_table(name: str, held: Held, table: str) -> Held:
    """Do so for one table; returns the channel as it is then."""
    channel, cells = crdt_store.load_table(name, held.version, table)
    mapping = Mapping(name, held, channel)
    mapping.take_rows(cells)
    for row in rows_of(mapping.unmapped(table)):
        pk = find_pk(name, table, row)
        mapping.put_row((table, pk), row)
    crdt_store.save_channel(name, channel)
    return held._replace(version=channel.version)


def find_pk(name: str, table: str, row: Record) -> str:
    """The key of a noun's row in the channel: the id it shows, unless a replica took that."""
    here = (CrdtRow.channel == name) & (CrdtRow.table == table)
    known = db.session.scalar(select(CrdtRow.pk).where(here, CrdtRow.row_id == row.id))
    if known is not None:
        return known
    pk = str(row.to_dict()["id"])
    return f"{pk}-{secrets.token_hex(4)}" if crdt_store.has_row(name, (table, pk)) else pk


@dataclass
class Mapping:
    """What part of a locked channel has to do with rows of nouns.

    `held` is the channel, `channel` the cells that a merge or a write has loaded.
    """

    name: str
    held: Held
    channel: Channel
    sources: dict[str, Any] = field(default_factory=dict)

    def source(self, table: str) -> Any:
        """The noun or collection behind a table; None for one that is in the channel alone."""
        if not self.held.is_mapped:
            return None
        if table not in self.sources:
            model = nouns().get(table)
            if model is None:
                owner = db.session.get(User, self.held.owner_id)
                found = Collection.find(owner, table)
                self.sources[table] = found if found and found.is_synced else None
            else:
                self.sources[table] = model if model.SYNCED else None
        return self.sources[table]

    # What replicas write

    def accept(self, change: Change, winner: Cell | None) -> str:
        """The value to store for a change: its own if its noun and its schema take that."""
        source = self.source(change.table)
        schema = (self.held.schemas or {}).get(change.table)
        if source is None and schema is None:
            return change.val
        value = json.loads(change.val)
        try:
            check_by_schema(schema, {change.cid: value})
            clean = source.clean_cell(change.cid, value) if source else value
        except (WharfError, ValueError):
            return winner.val if winner else canonical(source and source.blank(change.cid))
        return canonical(clean) if isinstance(value, str) and isinstance(clean, str) else change.val

    def take_rows(self, cells: Iterable[Cell]) -> None:
        """Let the rows of nouns become what was stored in these cells, and tell of it."""
        written: dict[Row, dict[str, str]] = {}
        for cell in cells:
            if self.source(cell.table) is not None:
                written.setdefault(cell[:2], {}).update(self.visible(cell))
        known = self.load(written)
        missing = [row for row in written if row not in known and not self.channel.is_dead(row)]
        for cell in crdt_store.load_rows(self.name, missing):
            if cell[:3] not in self.channel.winners:
                written[cell[:2]].update(self.visible(cell))
        taken = [self.take_row(row, known.get(row), vals) for row, vals in written.items()]
        db.session.flush()
        self.remember({one.row: one.record for one in taken if one and one.state == "new"})
        for one in filter(None, taken):
            if one.state == "gone":
                self.forget(one.row)
            record_row(one.record, one.old, None if one.state == "gone" else one.record.told())

    def visible(self, cell: Cell) -> dict[str, str]:
        """The value of a cell by its cid; none of one that its row's tombstone hides."""
        tombstone = self.channel.winners.get((cell.table, cell.pk, TOMBSTONE))
        hidden = tombstone is not None and tombstone.version >= cell.version
        return {} if hidden else {cell.cid: cell.val}

    def load(self, rows: Iterable[Row]) -> dict[Row, Any]:
        """The rows of nouns behind rows of the channel, held until the commit."""
        by_table: dict[str, list[str]] = {}
        for table, pk in rows:
            by_table.setdefault(table, []).append(pk)
        known: dict[Row, Any] = {}
        for table, pks in by_table.items():
            rows = self.source(table).synced_rows(self.held.owner_id)
            known |= {(table, pk): record for pk, record in self.load_table(table, pks, rows)}
        return known

    def load_table(self, table: str, pks: list[str], rows: Any) -> Iterator[tuple[str, Any]]:
        """The same for one table."""
        entity = rows.column_descriptions[0]["entity"]
        here = (CrdtRow.channel == self.name) & (CrdtRow.table == table)
        mapped = rows.join(CrdtRow, here & (CrdtRow.row_id == entity.id)).add_columns(CrdtRow.pk)
        for some in chunks(pks):
            held = mapped.where(CrdtRow.pk.in_(some)).with_for_update(of=entity)
            fresh = db.session.execute(held, execution_options={"populate_existing": True})
            yield from ((pk, record) for record, pk in fresh)

    def take_row(self, row: Row, record: Any, vals: dict[str, str]) -> "Taken | None":
        """Make, change or delete one; what its noun refuses as a whole is taken back."""
        if self.channel.is_dead(row):
            if record is None:
                return None
            old = record.told()
            record.delete()
            return Taken(row, record, old, "gone")
        source = self.source(row[0])
        values = {cid: self.value_of(source, row, cid, val) for cid, val in vals.items()}
        old = record and record.told()
        try:
            if record is not None:
                record.change_synced(values)
                return Taken(row, record, old, "known")
            whole = {cid: source.blank(cid) for cid in source.SYNCED} | values
            record = source.make_synced(db.session.get(User, self.held.owner_id), row[1], whole)
            db.session.add(record)
            return Taken(row, record, None, "new")
        except WharfError:
            self.take_back(row, record, values)
            return None

    def value_of(self, source: Any, row: Row, cid: str, val: str) -> Any:
        """What a cell means to its noun; one from before that it does not take is corrected."""
        try:
            return source.clean_cell(cid, json.loads(val))
        except (WharfError, ValueError):
            self.put(row, cid, source.blank(cid))
            return source.blank(cid)

    def take_back(self, row: Row, record: Any, values: dict[str, Any]) -> None:
        """Give replicas back what the noun has, or delete the row that it has not."""
        if record is None:
            crdt.drop(self.channel, row, self.held.site_id)
        else:
            kept = record.cells()
            for cid in values:
                self.put(row, cid, kept.get(cid))

    # What the server writes

    def put_row(self, row: Row, record: Record) -> None:
        """Write the cells of a noun's row that say something else in the channel.

        One that is missing there says what stands in for it.
        """
        self.remember({row: record})
        source = self.source(row[0])
        for cid, value in record.cells().items():
            if canonical(self.meaning(source, row, cid)) != canonical(value):
                self.put(row, cid, value)

    def meaning(self, source: Any, row: Row, cid: str) -> Any:
        """What a cell says in the channel, in whatever spelling."""
        winner = self.channel.winners.get((*row, cid))
        if winner is None or not self.visible(winner):
            return source.blank(cid)
        try:
            return source.clean_cell(cid, json.loads(winner.val))
        except (WharfError, ValueError):
            return json.loads(winner.val)

    def put(self, row: Row, cid: str, value: Any) -> None:
        """Write one cell."""
        crdt.put(self.channel, (*row, cid), canonical(value), self.held.site_id)

    def remember(self, records: dict[Row, Record]) -> None:
        """Keep which row is which."""
        rows = [
            {"channel": self.name, "table": table, "pk": pk, "row_id": record.id}
            for (table, pk), record in records.items()
        ]
        if rows:
            db.session.connection().execute(upsert(CrdtRow).on_conflict_do_nothing(), rows)

    def forget(self, row: Row) -> None:
        """The row is gone."""
        here = (CrdtRow.channel == self.name) & (CrdtRow.table == row[0]) & (CrdtRow.pk == row[1])
        db.session.execute(delete(CrdtRow).where(here))

    def unmapped(self, table: str) -> Any:
        """The rows of the noun behind a table that the channel has not."""
        here = (CrdtRow.channel == self.name) & (CrdtRow.table == table)
        rows = self.source(table).synced_rows(self.held.owner_id)
        entity = rows.column_descriptions[0]["entity"]
        return rows.where(entity.id.not_in(select(CrdtRow.row_id).where(here)))


class Taken(NamedTuple):
    """A row of a noun that replicas have made, changed or deleted, and what it was before."""

    row: Row
    record: Any
    old: dict[str, Any] | None
    state: Literal["new", "known", "gone"]
