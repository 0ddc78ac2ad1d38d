"""Where the bytes of uploads lie: a folder. Names are ours and random; rows are in models.File."""

import os
import secrets
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from flask import Flask, current_app

from errors import WharfError

CHUNK = 1 << 16


class TooLarge(WharfError):
    """413: more bytes than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The file is larger than {limit} bytes")


class FolderStorage:
    """Files in one folder; a file is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, stream: IO[bytes], suffix: str, limit: int) -> tuple[str, int]:
        """Keep the bytes of `stream` under a new name; returns (name, size in bytes).

        Raises TooLarge above `limit` bytes. The bytes are on disk before the name exists.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = secrets.token_hex(16) + suffix
        temporary = self.folder / f".{name}"
        try:
            with temporary.open("xb") as target:
                size = copy(stream, target, limit)
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(self.folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return name, size

    def path(self, name: str) -> Path:
        """Where the bytes of `name` lie; `name` comes from a row, never from a client."""
        return self.folder / name

    def delete(self, name: str) -> None:
        """Forget the bytes of `name`; fine when they are gone already."""
        self.path(name).unlink(missing_ok=True)


def copy(source: IO[bytes], target: IO[bytes], limit: int) -> int:
    """Copy in chunks, so that memory stays flat; returns the size, raises TooLarge."""
    size = 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if size > limit:
            raise TooLarge(limit)
        target.write(chunk)
    return size


def get_storage() -> FolderStorage:
    """The storage of the current app."""
    storage: FolderStorage = current_app.extensions["storage"]
    return storage


def init_app(app: Flask) -> None:
    """Give `app` the storage its STORAGE_URL names; a relative folder lies beside app.py."""
    url = urlsplit(app.config["STORAGE_URL"])
    if url.scheme not in ("", "file"):
        raise ValueError("STORAGE_URL must be a folder or file:///folder")
    path = unquote(url.path) if url.scheme else app.config["STORAGE_URL"]
    app.extensions["storage"] = FolderStorage(Path(app.root_path) / path)
