"""A bucket of S3 on this machine, by moto, and the same one when it is down."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config

from tests.processes import free_port

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
IMPATIENT = Config(connect_timeout=0.5, read_timeout=0.5, retries={"total_max_attempts": 1})


class Bucket:
    """A new bucket; `env` are the variables that lead to it."""

    def __init__(self, endpoint: str) -> None:
        self.env = {**KEYS, "AWS_ENDPOINT_URL": endpoint}
        self.name = f"bucket-{secrets.token_hex(4)}"
        self.url = f"s3://{self.name}/wharf"
        self.client: Any = boto3.client("s3", endpoint_url=endpoint)
        self.client.create_bucket(Bucket=self.name)

    def keys(self) -> list[str]:
        """All that lies in it."""
        listed = self.client.list_objects_v2(Bucket=self.name)
        return [one["Key"] for one in listed.get("Contents", ())]

    def pending(self) -> list[str]:
        """Objects of which only a part was sent."""
        listed = self.client.list_multipart_uploads(Bucket=self.name)
        return [one["Key"] for one in listed.get("Uploads", ())]

    def cut_off(self, storage: Any, address: str = "") -> None:
        """From now on, whom `storage` asks does not answer."""
        address = address or f"http://127.0.0.1:{free_port()}"
        storage.client = storage.prober = boto3.client("s3", endpoint_url=address, config=IMPATIENT)


@contextmanager
def served() -> Iterator[str]:
    """A server of S3 on a port of its own."""
    from moto.server import ThreadedMotoServer  # here: it takes long to load

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def lent(endpoint: str, monkeypatch: Any) -> Iterator[Bucket]:
    """A bucket for one test, whose settings are in the environment; clients are closed in time."""
    clients: list[Any] = []
    make = boto3.client

    def note(*words: Any, **more: Any) -> Any:
        clients.append(make(*words, **more))
        return clients[-1]

    monkeypatch.setattr(boto3, "client", note)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    yield Bucket(endpoint)
    for client in clients:
        client.close()
