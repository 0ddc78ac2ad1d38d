"""Rows of a sync channel that are rows of a noun too (docs/sync.md#three-doors).

What replicas write to such a row becomes the noun's, as its rules allow; what the noun becomes by
other ways is a write of the server's own in the channel.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import delete, select

import crdt
import crdt_store
from crdt_wire import TOMBSTONE, Cell, Change, Row, canonical, decode
from errors import WharfError
from events import chunks, record_row
from held import HeldChannel
from json_data import check_cell
from models import Collection, CrdtRow, Record, User, db, nouns, rows_of, upsert


@dataclass
class SyncedRows:
    """The rows of a channel that are rows of nouns too."""

    held: HeldChannel
    sources: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name, self.channel = self.held.name, self.held.channel

    def source(self, table: str) -> Any:
        """The noun or collection behind a table; None for one that is in the channel alone."""
        if not self.held.state.is_mapped:
            return None
        if table not in self.sources:
            model = nouns().get(table)
            if model is None:
                owner = db.session.get(User, self.held.state.owner_id)
                found = Collection.find(owner, table)
                self.sources[table] = found if found and found.is_synced else None
            else:
                self.sources[table] = model if model.SYNCED else None
        return self.sources[table]

    # What replicas write

    def accept(self, change: Change, winner: Cell | None) -> str:
        """The value to store for a change: its own if its noun and its schema take that."""
        source = self.source(change.table)
        schema = (self.held.state.schemas or {}).get(change.table)
        if source is None and schema is None:
            return change.val
        value = decode(change.val)
        try:
            check_cell(schema, change.cid, value)
            clean = source.clean_cell(change.cid, value) if source else value
        except (WharfError, ValueError):
            return winner.val if winner else canonical(source and source.blank(change.cid))
        return canonical(clean) if isinstance(value, str) and isinstance(clean, str) else change.val

    def take_rows(self, cells: Iterable[Cell]) -> None:
        """Let the rows of nouns become what was stored in these cells, and tell of it."""
        written: dict[Row, dict[str, str]] = {}
        reborn: set[Row] = set()  # deleted and written again at once: nothing of before counts
        for cell in cells:
            if cell.cid == TOMBSTONE:
                reborn.add(cell[:2])
            if self.source(cell.table) is not None:
                written.setdefault(cell[:2], {}).update(self.visible(cell))
        known = self.load(written)
        missing = [row for row in written if row not in known and not self.channel.is_dead(row)]
        for cell in crdt_store.load_rows(self.name, missing):
            if cell[:3] not in self.channel.winners:
                self.channel.winners[cell[:3]] = cell
                written[cell[:2]].update(self.visible(cell))
        for row in reborn & known.keys():
            source = self.source(row[0])
            blank = {cid: canonical(source.blank(cid)) for cid in known[row].cells()}
            written[row] = blank | written[row]
        taken = [self.take_row(row, known.get(row), vals) for row, vals in written.items()]
        db.session.flush()
        for one in filter(None, taken):
            if one.state == "gone":  # first: SQLite gives their ids to new ones
                self.forget(one.row)
        self.remember({one.row: one.record for one in taken if one and one.state == "new"})
        for one in filter(None, taken):
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
            rows = self.source(table).synced_rows(self.held.state.owner_id)
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
            record = source.make_synced(
                db.session.get(User, self.held.state.owner_id), row[1], whole
            )
            db.session.add(record)
            return Taken(row, record, None, "new")
        except WharfError:
            self.take_back(row, record, values)
            return None

    def value_of(self, source: Any, row: Row, cid: str, val: str) -> Any:
        """What a cell means to its noun; one from before that it does not take is corrected."""
        try:
            return source.clean_cell(cid, decode(val))
        except (WharfError, ValueError):
            self.put(row, cid, source.blank(cid))
            return source.blank(cid)

    def take_back(self, row: Row, record: Any, values: dict[str, Any]) -> None:
        """Give replicas back what the noun has, or delete the row that it has not."""
        if record is None:
            crdt.drop(self.channel, row, self.held.state.site_id)
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
            return source.clean_cell(cid, decode(winner.val))
        except (WharfError, ValueError):
            return decode(winner.val)

    def put(self, row: Row, cid: str, value: Any) -> None:
        """Write one cell."""
        crdt.put(self.channel, (*row, cid), canonical(value), self.held.state.site_id)

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

    def find_differences(self, tables: Iterable[str]) -> Iterator[str]:
        """Rows of nouns that say something else than the channel; its cells are loaded."""
        for table in tables:
            if self.source(table) is not None:
                for record in rows_of(self.unmapped(table)):
                    yield f"{table} {record.to_dict()['id']}: not in the channel"
        rows = select(CrdtRow.table, CrdtRow.pk).where(CrdtRow.channel == self.name)
        mapped = [(table, pk) for table, pk in db.session.execute(rows) if self.source(table)]
        known = self.load(mapped)
        for row in mapped:
            record = known.get(row)
            if record is None or self.channel.is_dead(row):
                yield f"{row[0]} {row[1]}: one of its two doors is missing"
                continue
            for cid, value in record.cells().items():
                if canonical(self.meaning(self.source(row[0]), row, cid)) != canonical(value):
                    yield f"{row[0]} {row[1]}: {cid} differs from its noun's"

    def unmapped(self, table: str) -> Any:
        """The rows of the noun behind a table that the channel has not, held until the commit.

        Who changes one at this moment may know of no channel yet: they finish first, or wait.
        """
        here = (CrdtRow.channel == self.name) & (CrdtRow.table == table)
        rows = self.source(table).synced_rows(self.held.state.owner_id)
        entity = rows.column_descriptions[0]["entity"]
        missing = rows.where(entity.id.not_in(select(CrdtRow.row_id).where(here)))
        return missing.order_by(entity.id).with_for_update(of=entity)


class Taken(NamedTuple):
    """A row of a noun that replicas have made, changed or deleted, and what it was before."""

    row: Row
    record: Any
    old: dict[str, Any] | None
    state: Literal["new", "known", "gone"]
