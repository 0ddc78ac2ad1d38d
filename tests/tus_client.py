"""What tests send to resumable uploads."""

import base64
import hashlib
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Account
from tests.uploads import BODY

TUS = "/api/tus"
VERSION = {"Tus-Resumable": "1.0.0"}


def encoded(text: str | bytes) -> str:
    """In base64, as headers have it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def metadata(**facts: str) -> str:
    """Upload-Metadata of these."""
    return ",".join(f"{key} {encoded(value)}" for key, value in facts.items())


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    """Upload-Checksum of these bytes."""
    digest = hashlib.new(algorithm, data).digest()
    return {"Upload-Checksum": f"{algorithm} {encoded(digest)}"}


class Tus:
    """A client of the protocol, signed in."""

    def __init__(self, app: Flask, account: Account) -> None:
        self.client: FlaskClient = app.test_client(use_cookies=False)
        self.headers = {**account.headers, **VERSION}

    def ask(self, method: str, path: str, data: Any = None, **headers: Any) -> Any:
        """The answer; headers that are None are not sent."""
        given = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        sent = {name: str(value) for name, value in given.items() if value is not None}
        return self.client.open(path, method=method, data=data, headers=sent, buffered=True)

    def create(self, length: int, name: str = "a.png", data: Any = None, **headers: Any) -> Any:
        """The answer to a creation, with its first bytes when there are some."""
        facts = {"Upload_Length": length, "Upload_Metadata": metadata(filename=name)}
        if data is not None:
            facts["Content_Type"] = BODY
        return self.ask("POST", TUS, data, **{**facts, **headers})

    def begin(self, length: int, name: str = "a.png", data: Any = None, **headers: Any) -> str:
        """The address of a new upload."""
        response = self.create(length, name, data, **headers)
        assert response.status_code == 201, response.text
        location: str = response.headers["Location"]
        return location

    def patch(self, path: str, offset: int, data: bytes, **headers: Any) -> Any:
        """The answer to the bytes from `offset` on."""
        facts = {"Upload_Offset": offset, "Content_Type": BODY}
        return self.ask("PATCH", path, data, **{**facts, **headers})

    def offset(self, path: str) -> int:
        """How far the server says it is."""
        response = self.ask("HEAD", path)
        assert response.status_code == 200
        return int(response.headers["Upload-Offset"])
