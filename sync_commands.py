"""What an administrator types about sync: `flask sync stats|verify|export|renew|purge`.

docs/sync.md#upkeep says when.
"""

import secrets
from collections.abc import Iterator
from datetime import timedelta

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from sqlalchemy import delete, func, select

import crdt_store
import crdt_wire
from held import HeldChannel, hold, try_hold
from models import CrdtChange, CrdtChannel, CrdtPeer, db, now, rows_of
from synced import synced_tables
from synced_rows import SyncedRows

sync = AppGroup("sync", help="Sync channels.")


@sync.command()
def stats() -> None:
    """Print each channel: its version, cells, deleted rows, replicas, and the furthest behind."""
    click.echo("version  cells  deleted  replicas  lag  channel")
    for channel in rows_of(select(CrdtChannel).order_by(CrdtChannel.name)):
        cells = CrdtChange.channel == channel.name
        deleted = cells & (CrdtChange.cid == crdt_wire.TOMBSTONE)
        held = select(func.min(CrdtPeer.sent), func.count()).where(CrdtPeer.channel == channel.name)
        least, replicas = db.session.execute(held).one()
        numbers = (
            channel.crdt_db_version,
            db.session.scalar(select(func.count()).where(cells)),
            db.session.scalar(select(func.count()).where(deleted)),
            replicas,
            channel.crdt_db_version - (least or 0) if replicas else 0,
        )
        widths = (7, 7, 9, 10, 5)
        text = "".join(f"{number:>{width}}" for number, width in zip(numbers, widths, strict=True))
        click.echo(f"{text}  {channel.name}")


@sync.command()
@click.argument("name", required=False)
def verify(name: str | None) -> None:
    """Check the rules that hold in channel NAME, or in all; ends with 1 when one does not."""
    found = 0
    for held in hold_each(name):
        for problem in find_problems(held):
            click.echo(f"{held.name}: {problem}")
            found += 1
        db.session.rollback()
    if found:
        raise click.exceptions.Exit(1)
    click.echo("All rules hold.")


def names(name: str | None) -> list[str]:
    """The channels that are meant; ends the command for one that is not there."""
    if name is None:
        return list(db.session.scalars(select(CrdtChannel.name).order_by(CrdtChannel.name)))
    if db.session.get(CrdtChannel, name) is None:
        raise click.ClickException(f"There is no channel {name}")
    return [name]


def hold_each(name: str | None) -> Iterator[HeldChannel]:
    """The channels that are meant, one held after the other; one deleted meanwhile is left out."""
    for one in names(name):
        if held := try_hold(one):
            yield held


def find_problems(held: HeldChannel) -> Iterator[str]:
    """What is wrong in a channel, if anything."""
    cells = held.load_table()
    versions = [cell.version for cell in cells]
    if len(set(versions)) < len(versions):
        yield "two cells have one version"
    if versions and versions[-1] > held.state.version:
        yield f"a cell has version {versions[-1]}, the channel {held.state.version}"
    for cell in cells:
        row = f"{cell.table} {cell.pk}"
        if cell.is_tombstone and (cell.cl % 2 or cell.col_version != cell.cl):
            yield f"{row}: a tombstone of cl {cell.cl} and col_version {cell.col_version}"
        if not cell.is_tombstone and cell.cl % 2 == 0:
            yield f"{row}: the cell {cell.cid} has cl {cell.cl}"
        if crdt_wire.canonical(crdt_wire.decode(cell.val)) != cell.val:
            yield f"{row}: the text of {cell.cid} is not canonical"
    yield from SyncedRows(held).find_differences(synced_tables(held))


@sync.command()
@click.argument("name")
def export(name: str) -> None:
    """Print all that is in channel NAME, as it is downloaded over HTTP."""
    [name] = names(name)
    site_id = hold(name).state.site_id
    for piece in crdt_store.snapshot(name, site_id):
        click.echo(piece, nl=False)
    click.echo()


@sync.command()
@click.argument("name", required=False)
def renew(name: str | None) -> None:
    """After a backup was restored: let all replicas of channel NAME, or of all, push anew.

    The server gets another site id there, and what replicas sent and hold is forgotten.
    """
    for channel in rows_of(select(CrdtChannel).where(CrdtChannel.name.in_(names(name)))):
        channel.crdt_site_id = secrets.token_hex(16)
        known = db.update(CrdtPeer).where(CrdtPeer.channel == channel.name)
        db.session.execute(known.values(received=0, sent=0))
    db.session.commit()
    click.echo("Restart the socket processes now: replicas connect and push anew.")


@sync.command()
def purge() -> None:
    """Forget deleted rows that every replica seen within SYNC_HORIZON_DAYS knows to be deleted.

    Replicas away for longer are forgotten too; what they still have of such rows, they keep.
    """
    horizon = now() - timedelta(days=current_app.config["SYNC_HORIZON_DAYS"])
    total = 0
    for held in hold_each(None):
        away = (CrdtPeer.channel == held.name) & (CrdtPeer.seen_at < horizon)
        db.session.execute(delete(CrdtPeer).where(away))
        total += purge_channel(held)
        db.session.commit()
    click.echo(f"{total} deleted rows are forgotten.")


def purge_channel(held: HeldChannel) -> int:
    """Take out rows that are deleted for all; returns how many."""
    least = select(func.min(CrdtPeer.sent)).where(CrdtPeer.channel == held.name)
    known = db.session.scalar(least)
    known = held.state.version if known is None else known
    cells = held.load_table()
    rows = {cell[:2] for cell in cells if cell.is_tombstone and cell.version <= known}
    dead = [row for row in rows if held.channel.is_dead(row)]
    for table, pk in dead:
        row = (CrdtChange.table == table) & (CrdtChange.pk == pk)
        db.session.execute(delete(CrdtChange).where(CrdtChange.channel == held.name, row))
    return len(dead)


def init_app(app: Flask) -> None:
    """Let `flask` know these commands."""
    app.cli.add_command(sync)
