"""What is done with files, for all doors: keep what was uploaded, take out what is not needed.

Bytes are durable before a transaction begins, and rows are committed before anybody is told.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from flask import current_app
from sqlalchemy import Select, func, select, update

from errors import WharfError
from events import chunks, forget_changes, record_change, record_row
from file_types import check_content, check_name, clean_name, end_of
from models import (
    Blob,
    File,
    FileVersion,
    Folder,
    Upload,
    User,
    db,
    discard,
    iso,
    now,
    rows_of,
)
from storage import Draft, get_storage, new_name, undone_without_rows


class Incoming(NamedTuple):
    """A file that has come in: its clean name, its type, its bytes."""

    name: str
    mimetype: str
    draft: Draft


@contextmanager
def keeping(incoming: Sequence[Incoming]) -> Iterator[list[str]]:
    """Around a transaction: what came in, checked and durable, as names in storage.py.

    Raises 413 and 415. Names that have no row in the end are taken back.
    """
    config = current_app.config
    for one in incoming:
        one.draft.seek(0)  # what is not on disk yet goes there: it may be full
        check_content(one.name, one.draft.file, config["UPLOAD_TYPES"], config["MAX_IMAGE_PIXELS"])
    db.session.commit()  # to store bytes takes long: it shall hold no connection
    names: list[str] = []
    with undone_without_rows(names):
        for one in incoming:
            names.append(get_storage().keep(one.draft))
        yield names


def put(
    owner: User, blob: Blob, one: Incoming, folder_id: int | None = None, details: Any = None
) -> File:
    """Store `one`, whose bytes are `blob`, as a file of `owner`: a new version where there is one
    of the same name. Call `require_room` before. Raises 400 for no folder of theirs."""
    Folder.require(owner.id, folder_id)
    file = File.named(owner.id, folder_id, one.name) or File.begin(owner, folder_id, one.name)
    add_version(file, blob, one.mimetype, owner, details)
    return file


def blob_of(name: str, one: Incoming) -> Blob:
    """The bytes `name` of what came in, or the same that are there already."""
    blob = Blob.of(name, one.draft.sha256, one.draft.size)
    if blob.name != name:
        discard([name])
    return blob


def blobs_of(names: Sequence[str], incoming: Sequence[Incoming]) -> list[Blob]:
    """The same of several, in their order. They are held in that of their digests, or two who store
    the same files at once would wait for each other."""
    pairs = list(zip(names, incoming, strict=True))
    by_digest = sorted(pairs, key=lambda pair: pair[1].draft.sha256)
    blobs = {name: blob_of(name, one) for name, one in by_digest}
    return [blobs[name] for name in names]


def add_version(
    file: File, blob: Blob, mimetype: str, user: User, details: dict[str, Any] | None = None
) -> None:
    """Have a file these bytes from now on, and tell of it."""
    old = file.told() if file.id else None
    file.details = details or file.details
    file.add_version(blob, mimetype, user, f"{new_name()}.{end_of(file.original_name)}")
    file.prune(current_app.config["FILE_VERSIONS"])
    record_row(file, old, file.told())


def require_room(owner: User, size: int) -> None:
    """Hold what the owner has of files; raises 401, and 507 when so many bytes are too many."""
    owner.hold()
    quota = current_app.config["QUOTA_BYTES"]
    if used_by(owner) + size > quota:
        raise WharfError(507, f"Your files may take {quota} bytes in all", "quota_exceeded")


def used_by(user: User) -> int:
    """The bytes of all versions of this user's files, and of those under way."""
    versions = select(func.coalesce(func.sum(Blob.size), 0)).join(
        FileVersion, FileVersion.blob_id == Blob.id
    )
    stored = versions.join(File, File.id == FileVersion.file_id).where(File.user_id == user.id)
    coming = select(func.coalesce(func.sum(Upload.length), 0)).where(
        Upload.user_id == user.id, Upload.file_id.is_(None), Upload.expires_at > now()
    )
    return int(db.session.scalar(stored)) + int(db.session.scalar(coming))


def delete_folder(folder: Folder) -> None:
    """Delete a folder with all that is in it, and tell of it. Call User.hold before."""
    folders = rows_of(folder.tree())
    ids = [one.id for one in folders]
    delete_files(rows_of(select(File).where(File.folder_id.in_(ids))))
    db.session.execute(update(Upload).where(Upload.folder_id.in_(ids)).values(folder_id=None))
    for one in folders:
        record_row(one, one.told(), None)
        db.session.delete(one)
        db.session.flush()  # the deepest first


@contextmanager
def telling_below(folder: Folder) -> Iterator[None]:
    """Around a change of a folder: tell of those below, whose paths change along."""
    path, below = folder.path, [one for one in rows_of(folder.tree()) if one is not folder]
    old = [one.told() for one in below]
    yield
    if folder.path != path:
        rows_of(folder.tree().execution_options(populate_existing=True))
        for one, was in zip(below, old, strict=True):
            record_row(one, was, one.told())


def delete_files(files: Sequence[File]) -> None:
    """Delete many files, and tell of it."""
    for file in files:
        record_row(file, file.told(), None)
    for chunk in chunks([file.id for file in files]):
        File.delete_all(chunk)


def delete_uploads(some: Select[tuple[Upload]]) -> int:
    """Give up these resumable uploads with what arrived of them; returns how many."""
    uploads = rows_of(some)
    for upload in uploads:
        upload.delete()
    return len(uploads)


def end_share(file: File, reader: User) -> None:
    """Share a file no longer with somebody, and tell of it. Call File.lock before."""
    old, share = file.told(), file.share_of(reader.id)
    if share:
        file.shares.remove(share)
        db.session.delete(share)
        db.session.flush()
        record_row(file, old, file.told())
        tell_reader(file, reader, is_gone=True)


def tell_reader(file: File, user: User, is_gone: bool = False) -> None:
    """Tell somebody of a file that they may read from now on, or no longer."""
    topic = File.topic_of(user)
    if is_gone:
        forget_changes(topic, {"id": file.id, "created_at": iso(file.created_at)})
        record_change(topic, "files", old={"id": file.id})
    else:
        record_change(topic, "files", new=file.told())


def incoming(filename: str, declared: str | None, draft: Draft) -> Incoming:
    """What came in by this name; raises 415 for a type that is not taken."""
    name = clean_name(filename)
    return Incoming(name, check_name(name, current_app.config["UPLOAD_TYPES"], declared), draft)
