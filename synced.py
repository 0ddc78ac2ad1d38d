"""What is written to a noun by HTTP is written to its user's channel (docs/sync.md#three-doors).

The channel is locked before its rows.
"""

import secrets
from collections.abc import Iterable

from sqlalchemy import delete, select

import crdt
import crdt_store
from crdt_wire import TOMBSTONE, Cell, Row
from held import HeldChannel, try_hold
from models import Collection, CrdtChannel, CrdtRow, Item, Record, db, nouns, rows_of
from synced_rows import SyncedRows


def hold(row: Record) -> None:
    """Lock the channel that has this row, if one does, before the row itself."""
    if place := row.synced_at():
        hold_channel(place[0])


def hold_channel(owner_id: int) -> HeldChannel | None:
    """Lock the channel where a user's own rows are; None when there are none."""
    held = try_hold(CrdtChannel.own_name(owner_id))
    return held if held and held.state.is_mapped else None


def write_row(row: Record, is_gone: bool = False) -> None:
    """Write what a row of a noun is by now to the channel of its owner, if there is one."""
    place = row.synced_at()
    held = hold_channel(place[0]) if place else None
    if place and held:
        table = place[1]
        pk = find_pk(held, table, row)
        held.load((table, pk, cid) for cid in (*row.cells(), TOMBSTONE))
        if is_gone:
            crdt.drop(held.channel, (table, pk), held.state.site_id)
            SyncedRows(held).forget((table, pk))
        else:
            SyncedRows(held).put_row((table, pk), row)


def turn(collection: Collection) -> None:
    """A collection begins to be synced, or ends: what is in the channel stays there, by itself."""
    held = hold_channel(collection.owner_id)
    if held and collection.is_synced:
        adopt_table(held, collection.name)
    elif held:
        forget_table(held, collection.name)


def drop_items(collection: Collection) -> None:
    """The items of a collection go: so do their rows in the channel."""
    held = hold_channel(collection.owner_id)
    if held and collection.is_synced:
        for row in sorted({cell[:2] for cell in held.load_table(collection.name)}):
            crdt.drop(held.channel, row, held.state.site_id)
        forget_table(held, collection.name)


def forget_table(held: HeldChannel, table: str) -> None:
    """The rows of a table are in the channel alone."""
    here = (CrdtRow.channel == held.name) & (CrdtRow.table == table)
    db.session.execute(delete(CrdtRow).where(here))


def adopt(held: HeldChannel) -> None:
    """Make the rows of a user's channel and those of their nouns the same, for the first time."""
    for table in synced_tables(held):
        adopt_table(held, table)


def synced_tables(held: HeldChannel) -> list[str]:
    """The tables of a user's own channel that are nouns or collections, these held: who makes an
    item at this moment is done, or waits."""
    mine = (Collection.owner_id == held.state.owner_id) & Collection.is_synced
    own = select(Collection.name).where(mine).order_by(Collection.name).with_for_update()
    tables = [table for table, model in nouns().items() if model.SYNCED]
    return [*tables, *db.session.scalars(own)]


def adopt_table(held: HeldChannel, table: str) -> None:
    """Do so for one table.

    An item whose key is that of a row is that row: its fields win, and it gets those it lacks.
    """
    mapping, cells = SyncedRows(held), held.load_table(table)
    twins = find_twins(mapping, table, cells)
    for row, item in twins.items():
        mapping.put_row(row, item)
    said = {(*row, cid) for row, item in twins.items() for cid in (*item.data, TOMBSTONE)}
    mapping.take_rows(cell for cell in cells if cell[:3] not in said)
    for record in rows_of(mapping.unmapped(table)):
        mapping.put_row((table, find_pk(held, table, record)), record)


def find_twins(mapping: SyncedRows, table: str, cells: Iterable[Cell]) -> dict[Row, Item]:
    """The items of a collection that rows which live are named after."""
    if not isinstance(mapping.source(table), Collection):
        return {}
    alive = {cell[:2] for cell in cells if not mapping.channel.is_dead(cell[:2])}
    items = {(table, item.key): item for item in rows_of(mapping.unmapped(table))}
    return {row: items[row] for row in alive & items.keys()}


def find_pk(held: HeldChannel, table: str, row: Record) -> str:
    """The key of a noun's row in the channel: the id it shows, unless a replica took that."""
    here = (CrdtRow.channel == held.name) & (CrdtRow.table == table)
    known = db.session.scalar(select(CrdtRow.pk).where(here, CrdtRow.row_id == row.id))
    if known is not None:
        return known
    pk = str(row.to_dict()["id"])
    return f"{pk}-{secrets.token_hex(4)}" if crdt_store.has_row(held.name, (table, pk)) else pk
