"""Where the bytes of uploads lie: a folder, or a bucket of S3. Rows are in models.Blob.

Bytes come in as a Draft, a local file; `keep` makes them durable under a name of ours, before any
transaction begins. What a transaction needs no longer is deleted after its commit.
`flask files check` finds what a process that died left behind.
"""

import errno
import hashlib
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from flask import Flask, current_app
from sqlalchemy import event, select
from sqlalchemy.exc import SQLAlchemyError

from errors import WharfError, not_found
from models import Blob, db

log = logging.getLogger(__name__)

CHUNK = 1 << 20  # what gunicorn receives at once; smaller reads have it copy the rest each time
DRAFT = ".draft-"
FULL = {errno.ENOSPC, errno.EDQUOT}


class TooLarge(WharfError):
    """413: more bytes than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The file is larger than {limit} bytes")


class Stored(NamedTuple):
    """What lies in a storage: a name of ours, its bytes, and when it was written (Unix time)."""

    name: str
    size: int
    written_at: float


class Draft:
    """Bytes on their way in: a local file that counts and hashes what is written to it.

    Ends with its `with`: what was not kept until then is gone.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.digest = hashlib.sha256()
        descriptor, name = tempfile.mkstemp(prefix=DRAFT, dir=folder)
        self.file = os.fdopen(descriptor, "w+b")
        self.path = Path(name)

    @property
    def sha256(self) -> str:
        """The digest of what was written, in hex."""
        return self.digest.hexdigest()

    def write(self, chunk: bytes) -> int:
        """Add bytes; raises TooLarge above the limit, 507 when the disk is full."""
        self.size += len(chunk)
        if self.size > self.limit:
            raise TooLarge(self.limit)
        self.digest.update(chunk)
        with disk():
            return self.file.write(chunk)

    def copy(self, source: IO[bytes]) -> None:
        """Add all of `source`, in chunks, so that memory stays flat."""
        while chunk := source.read(CHUNK):
            self.write(chunk)

    def seek(self, offset: int) -> int:
        """Go to a place in the file, to read it."""
        with disk():
            return self.file.seek(offset)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # a full disk says so once more
            self.file.close()
        self.path.unlink(missing_ok=True)


class Storage(Protocol):
    """What routes and commands know of where bytes lie; `name` comes from a row, never a client."""

    def draft(self, limit: int) -> Draft:
        """A new draft of `limit` bytes at most."""

    def keep(self, draft: Draft, name: str = "") -> str:
        """Make a draft durable, whole or not at all, by this name or a new one, which is returned.

        Raises 503 and 507.
        """

    def open(self, name: str) -> IO[bytes]:
        """The bytes, to read and seek in; raises 404 when they are gone, and 503."""

    def delete(self, names: Sequence[str]) -> None:
        """Forget these; fine when they are gone already. Raises 503."""

    def list(self) -> Iterator[Stored]:
        """Everything that lies here, forgotten drafts too; raises 503."""

    def check(self) -> None:
        """Raise an exception unless something can be written here."""


class FolderStorage:
    """Files in one folder; a file is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def draft(self, limit: int) -> Draft:
        """A file in the same folder, so that it only needs its name."""
        with disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            return Draft(self.folder, limit)

    def keep(self, draft: Draft, name: str = "") -> str:
        """The bytes are on disk before the name exists, and so is the name when this returns."""
        name = name or new_name()
        with disk():
            draft.file.flush()
            os.fsync(draft.file.fileno())
            draft.path.replace(self.folder / name)
            try:
                self.sync()
            except OSError:
                (self.folder / name).unlink(missing_ok=True)
                raise
        return name

    def sync(self) -> None:
        """Have the names in the folder on disk."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def open(self, name: str) -> IO[bytes]:
        """The file itself: servers hand it to the kernel."""
        with disk():
            try:
                return (self.folder / name).open("rb")
            except FileNotFoundError:
                raise not_found("file") from None

    def delete(self, names: Sequence[str]) -> None:
        """Unlink them; one that cannot be does not keep the others."""
        with disk(), ExitStack() as failures:
            for name in names:
                failures.callback((self.folder / name).unlink, missing_ok=True)

    def list(self) -> Iterator[Stored]:
        """All files of the folder but those of others, such as .gitkeep."""
        if not self.folder.exists():
            return
        with disk(), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.is_file() and (not entry.name.startswith(".") or DRAFT in entry.name):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        facts = entry.stat()
                        yield Stored(entry.name, facts.st_size, facts.st_mtime)

    def check(self) -> None:
        """Write a file that never has a name; the folder itself is made with the first upload."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder, prefix=DRAFT) as file:
            file.write(b"x")


def new_name() -> str:
    """A name that nobody guesses."""
    return secrets.token_hex(16)


@contextmanager
def disk() -> Iterator[None]:
    """Tell a full disk as 507, and one that fails as 503."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise WharfError(507, "There is no room left on the server", "storage_full") from None
        log.exception("storage failed")
        raise unavailable() from None


def unavailable() -> WharfError:
    """503: the disk or the bucket does not do its part."""
    text = "Files are not available, try again"
    return WharfError(503, text, "storage_unavailable", headers={"Retry-After": "5"})


# With the transactions of the database


@contextmanager
def undone_without_rows(names: Sequence[str]) -> Iterator[None]:
    """Around what commits rows for `names`: when it fails, those that have none are deleted.

    When the database cannot tell, they stay, for `flask files check`.
    """
    try:
        yield
    except BaseException:
        with suppress(SQLAlchemyError, WharfError, OSError):
            db.session.rollback()
            there = set(db.session.scalars(select(Blob.name).where(Blob.name.in_(names))))
            get_storage().delete([name for name in names if name not in there])
        raise


def delete_unneeded(session: Any) -> None:
    """After the commit: delete what its rows led to. A bucket that is down keeps it a while."""
    if names := session.info.pop("unneeded", None):
        try:
            get_storage().delete(names)
        except (WharfError, OSError):
            log.warning("storage: %s names are left for `flask files check`", len(names))


def forget_unneeded(session: Any, _previous: Any) -> None:
    """After a rollback: everything stays."""
    session.info.pop("unneeded", None)


def get_storage() -> Storage:
    """The storage of the current app."""
    storage: Storage = current_app.extensions["storage"]
    return storage


def make_storage(url: str, root: Path) -> Storage:
    """The storage of this address; a relative folder lies in `root`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        from s3_storage import S3Storage  # here: boto3 takes long to load

        return S3Storage(parts.netloc, parts.path.strip("/"))
    if parts.scheme not in ("", "file"):
        raise ValueError("STORAGE_URL must be a folder, file:///folder or s3://bucket/prefix")
    return FolderStorage(root / (unquote(parts.path) if parts.scheme else url))


def init_app(app: Flask) -> None:
    """Give `app` the storage that its STORAGE_URL names."""
    app.extensions["storage"] = make_storage(app.config["STORAGE_URL"], Path(app.root_path))


event.listen(db.session, "after_commit", delete_unneeded)
event.listen(db.session, "after_soft_rollback", forget_unneeded)
