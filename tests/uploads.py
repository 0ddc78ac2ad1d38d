"""What tests of files send, read and look for."""

import io
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from tests.conftest import PASSWORD

UPLOAD = "/api/upload"
BODY = "application/offset+octet-stream"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG, GIF, PDF = b"\xff\xd8\xff\xe0", b"GIF89a", b"%PDF-1.7"


def form(data: bytes = PNG, name: str = "a.png", mimetype: str = "image/png") -> dict[str, Any]:
    """The request of an upload component."""
    return {"data": {"file": (io.BytesIO(data), name, mimetype)}}


def signed_up(app: Flask) -> FlaskClient:
    """A browser whose user has just registered."""
    client = app.test_client()
    client.post("/api/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
    return client


def read(client: FlaskClient, path: str, **headers: str) -> Any:
    """The answer to a GET, read to its end: the file is closed."""
    return client.get(path, headers=headers, buffered=True)


def picture(width: int = 400, height: int = 200) -> bytes:
    """A picture that can be unpacked."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def names_in(app: Flask) -> list[str]:
    """Everything in the storage, whichever it is."""
    return sorted(one.name for one in app.extensions["storage"].list())


def left_behind(app: Flask) -> list[str]:
    """Everything in the uploads folder, hidden files too."""
    folder: Path = app.extensions["storage"].folder
    return [path.name for path in folder.iterdir()] if folder.exists() else []
