"""What an administrator types about files: `flask files check` (docs/files.md#upkeep)."""

import re
import time
from collections.abc import Iterable

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import select

from files import delete_uploads
from models import Blob, File, FileVersion, Upload, db
from storage import DRAFT, get_storage

THUMBNAIL = re.compile(rf"\.({'|'.join(File.SIZES)})\.webp$")
OURS = re.compile(r"[0-9a-f]{32}(\.\w+){0,3}")  # what is called otherwise, somebody else put there
files = AppGroup("files", help="Uploaded files.")


@files.command()
@click.option(
    "--minutes",
    default=60,
    show_default=True,
    help="How long bytes may lie without a row: an upload may be about to have one.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def check(minutes: int, dry_run: bool) -> None:
    """Delete bytes that nothing leads to, and uploads that have expired.

    Ends with 1 when there are rows whose bytes are missing, and names their files.
    """
    expired = delete_uploads(Upload.expired())
    if dry_run:
        db.session.rollback()
    else:
        db.session.commit()
    click.echo(f"{expired} uploads have expired")
    known = blob_names()
    there = list(get_storage().list())
    needed = blob_names() | part_names()  # read last: bytes are there before their row
    old = time.time() - 60 * minutes
    orphans = [one for one in there if one.written_at <= old and is_orphan(one.name, needed)]
    if not dry_run:
        get_storage().delete([one.name for one in orphans])
    size = sum(one.size for one in orphans)
    click.echo(f"{len(orphans)} orphans, {size} bytes{'' if dry_run else ' deleted'}")
    lost = sorted((known & needed) - {one.name for one in there})
    for name in lost:
        click.echo(f"missing: {name}, of files {', '.join(map(str, files_of(name)))}")
    if lost:
        raise click.ClickException(f"{len(lost)} contents are missing: restore them from a backup")


def blob_names() -> set[str]:
    """The names that versions of files lead to."""
    return set(db.session.scalars(select(Blob.name)))


def part_names() -> set[str]:
    """The names that uploads under way lead to."""
    return {name for parts in db.session.scalars(select(Upload.parts)) for name, _ in parts}


def is_orphan(name: str, needed: set[str]) -> bool:
    """Whether nothing leads to these bytes of ours: a thumbnail is needed as its picture is."""
    is_ours = name.startswith(DRAFT) or OURS.fullmatch(name)
    return bool(is_ours) and needed.isdisjoint((name, THUMBNAIL.sub("", name)))


def files_of(name: str) -> Iterable[int]:
    """The ids of the files that have, or had, these bytes."""
    versions = select(FileVersion.file_id).join(Blob).where(Blob.name == name)
    return db.session.scalars(versions.distinct())


def init_app(app: Flask) -> None:
    """Let `flask` know these commands."""
    app.cli.add_command(files)
