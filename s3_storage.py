"""Bytes in a bucket of S3, or of a service that speaks the same, through boto3.

Keys, region and another address come from boto3's own variables: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL (docs/files.md#storage).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import IO, Any, cast

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from errors import WharfError, not_found
from storage import DRAFT, Draft, Stored, disk, new_name, unavailable

log = logging.getLogger(__name__)

TRIES: dict[str, object] = {"mode": "standard", "total_max_attempts": 2}
PATIENCE = Config(connect_timeout=3, read_timeout=10, retries=TRIES)  # a thread waits meanwhile
IMPATIENCE = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})  # /health
ONE_BY_ONE = TransferConfig(use_threads=False)  # memory stays flat
MISSING = {"NoSuchKey", "404"}
DELETED = 1000  # names in one call, the most that S3 takes


class S3Storage:
    """Files in a bucket, under `prefix`; drafts are local files until they are kept."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.client: Any = boto3.client("s3", config=PATIENCE)
        self.prober: Any = boto3.client("s3", config=IMPATIENCE)

    def draft(self, limit: int) -> Draft:
        """A file among temporary ones (TMPDIR), without a name: it ends with its process."""
        with disk():
            draft = Draft(None, limit)
            with suppress(PermissionError):  # Windows keeps the names of open files
                draft.path.unlink()
            return draft

    def keep(self, draft: Draft, name: str = "") -> str:
        """Send the draft; S3 shows it when it has all of it."""
        name = name or new_name()
        draft.seek(0)
        with bucket():
            self.client.upload_fileobj(
                draft.file, self.bucket, self.prefix + name, Config=ONE_BY_ONE
            )
        return name

    def open(self, name: str) -> IO[bytes]:
        """Asks for the bytes from where they are read."""
        with bucket():
            facts = self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        return cast(IO[bytes], S3File(self, self.prefix + name, facts["ContentLength"]))

    def delete(self, names: Sequence[str]) -> None:
        """Delete them, many in one call; one that cannot be does not keep the others."""
        failed = 0
        whole = [name for name in names if not name.startswith(DRAFT)]
        for start in range(0, len(whole), DELETED):
            keys = [{"Key": self.prefix + name} for name in whole[start : start + DELETED]]
            given = {"Objects": keys, "Quiet": True}
            with bucket():
                done = self.client.delete_objects(Bucket=self.bucket, Delete=given)
            failed += len(done.get("Errors", ()))
        for name in set(names).difference(whole):
            self.abort(name)
        if failed:
            log.error("the bucket keeps %s names", failed)
            raise unavailable()

    def abort(self, draft: str) -> None:
        """Forget what a process that died had sent of an object."""
        upload_id, _, name = draft.removeprefix(DRAFT).partition("/")
        with suppress(WharfError), bucket():  # done, or gone, meanwhile
            self.client.abort_multipart_upload(
                Bucket=self.bucket, Key=self.prefix + name, UploadId=upload_id
            )

    def list(self) -> Iterator[Stored]:
        """All objects under the prefix, and those of which only a part was sent."""
        with bucket():
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                for one in page.get("Contents", ()):
                    name = one["Key"].removeprefix(self.prefix)
                    yield Stored(name, one["Size"], one["LastModified"].timestamp())
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                for one in page.get("Uploads", ()):
                    name = f"{DRAFT}{one['UploadId']}/{one['Key'].removeprefix(self.prefix)}"
                    yield Stored(name, 0, one["Initiated"].timestamp())

    def check(self) -> None:
        """Ask for the bucket."""
        with bucket():
            self.prober.head_bucket(Bucket=self.bucket)


class S3File(RawIOBase):
    """An object of a bucket as a file to read: seeking asks anew from there."""

    def __init__(self, storage: S3Storage, key: str, size: int) -> None:
        super().__init__()
        self.storage, self.key, self.size = storage, key, size
        self.position = 0
        self.body: Any = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, so that a part of it may be served."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self.position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Read on from there."""
        start = {SEEK_SET: 0, SEEK_CUR: self.position, SEEK_END: self.size}[whence]
        if start + offset != self.position:
            self.stop()
        self.position = max(0, start + offset)
        return self.position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; raises 503."""
        if self.position >= self.size:
            return b""
        with bucket():
            if self.body is None:
                asked = f"bytes={self.position}-"
                answer = self.storage.client.get_object(
                    Bucket=self.storage.bucket, Key=self.key, Range=asked
                )
                self.body = answer["Body"]
            chunk: bytes = self.body.read(None if size < 0 else size)
        self.position += len(chunk)
        return chunk

    def stop(self) -> None:
        """Leave the answer that is being read."""
        if self.body is not None:
            self.body.close()
            self.body = None

    def close(self) -> None:
        """Leave it for good."""
        self.stop()
        super().close()


@contextmanager
def bucket() -> Iterator[None]:
    """Tell what S3 answers in our words: 404 for no such object, 503 for anything else."""
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in MISSING:
            raise not_found("file") from None
        log.exception("the bucket refused")
        raise unavailable() from None
    except (Boto3Error, BotoCoreError, HTTPError, OSError):
        log.exception("the bucket does not answer")
        raise unavailable() from None
